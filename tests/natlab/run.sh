#!/usr/bin/env bash
# Runs the tests of the NAT laboratory, and removes the laboratory afterwards, even after a failure.
#
#   tests/natlab/run.sh DENO [FILE...]
#
# Needs root (in a container: with CAP_NET_ADMIN, CAP_SYS_ADMIN and /dev/net/tun), iproute2, nftables, conntrack,
# miniupnpd (miniupnpd-nftables), python3 and curl. The laboratory has no connection to the machine's own network.
# NATLAB_TABLE=FILE writes the table of docs/nat.md.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
deno=${1:?usage: tests/natlab/run.sh DENO [FILE...]}
shift
[ $# -gt 0 ] || set -- tests/natlab/*.test.ts

lacks=()
[ "$(id -u)" -eq 0 ] || lacks+=("root")
for program in ip nft conntrack miniupnpd python3 curl; do
  command -v "$program" >/dev/null || lacks+=("$program")
done
[ -c /dev/net/tun ] || lacks+=("/dev/net/tun")
if [ ${#lacks[@]} -gt 0 ]; then
  echo "natlab: missing programs: ${lacks[*]}" >&2
  exit 1
fi

export NATLAB="natlab-$$" DENO_NO_UPDATE_CHECK=1
if ! ip netns add "$NATLAB-try" || ! ip netns exec "$NATLAB-try" nft add table inet try; then
  echo "natlab: this system has no network namespaces with nftables" >&2
  exit 1
fi

take_down() {
  local ns
  for ns in $(ip netns list | awk '{ print $1 }' | grep "^$NATLAB-"); do
    ip netns pids "$ns" | xargs -r kill -9
    ip netns delete "$ns"
  done
}
trap take_down EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Run all files at once: they wait for timers, not for the processor.
DENO_JOBS=$# "$deno" test --no-check --no-prompt --allow-all --parallel "$@"
