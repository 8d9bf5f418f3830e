# shellcheck shell=bash
# Sourced by the tests of the systemd service. Makes the directory $root with a Debian 12, which `boot` starts in a
# container (systemd-nspawn) with only its own loopback. Needs root, systemd-container and debootstrap. The first run needs a
# Debian mirror (260 MB in .tools).

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=$here/.tools/systemd
base=$cache/bookworm
if [ ! -e "$base/.done" ]; then
  rm -rf "$base"
  mkdir -p "$cache"
  debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,iproute2,curl bookworm "$base" >"$cache/debootstrap.log" 2>&1
  touch "$base/.done"
fi
root=$(mktemp -d "$cache/root.XXXXXX")
container="" init=""
cleanup() {
  if [ -n "$init" ]; then in_ systemctl poweroff >/dev/null 2>&1 || true; fi
  if [ -n "$container" ]; then
    for _ in $(seq 50); do kill -0 "$container" 2>/dev/null || break; sleep 0.1; done
    kill "$container" 2>/dev/null || true
    wait "$container" 2>/dev/null || true
  fi
  rm -rf "$root" "$root.log"
}
trap cleanup EXIT

# shellcheck source=tests/check.sh disable=SC1091
. "$here/tests/check.sh"
in_() { nsenter -t "$init" -m -p -n -u -i -C -- "$@"; }
show() { in_ systemctl show dmnode -p "$1" --value; }
# within SECONDS COMMAND...: repeats the command until it succeeds
within() {
  local tries=$(($1 * 10))
  shift
  for _ in $(seq "$tries"); do
    if "$@" >/dev/null 2>&1; then return 0; fi
    sleep 0.1
  done
  echo "     timed out: $*"
  return 1
}
is() { [ "$(show "$1")" = "$2" ]; }
fetch() { in_ curl -sf "http://127.0.0.1:8080$1"; }
answers() { fetch /healthz >/dev/null; }
node_id() { fetch /network/stats | grep -o '"node_id":"[0-9a-f]*"'; }
journal() { in_ journalctl -u dmnode --no-pager "$@"; }


cp -a "$base/." "$root/"

boot() {
  systemd-nspawn -q -D "$root" -b --register=no --keep-unit --private-network --machine="dmnode$$" --console=pipe </dev/null >"$root.log" 2>&1 &
  container=$!
  for _ in $(seq 100); do
    init=$(pgrep -P "$container" | head -1 || true)
    if [ -n "$init" ]; then break; fi
    sleep 0.1
  done
  [ -n "$init" ] || { cat "$root.log" >&2; exit 1; }
  within 30 in_ systemctl is-active multi-user.target || { cat "$root.log" >&2; exit 1; }
}
