#!/usr/bin/env bash
# deb.sh EXECUTABLE NEWER_EXECUTABLE
#
# Tests the Debian package (packaging/deb) with a real dpkg and systemd: builds packages of both executables, checks them
# with lintian, and installs, upgrades, removes and purges them in a container. container.sh says what it needs.
set -euo pipefail
[ $# -eq 2 ] || { sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '$d'; exit 2; }
executable=$1 newer=$2
# shellcheck source=tests/systemd/container.sh disable=SC1091
. "$(dirname "$0")/container.sh"

# shellcheck disable=SC2154 # container.sh sets here and root
# ---- the package
# The default compressor needs a minute of the processor for each package.
export DPKG_DEB_COMPRESSOR_TYPE=gzip DPKG_DEB_COMPRESSOR_LEVEL=1
packages=$(mktemp -d)
built() { "$here/packaging/deb/build.sh" "$1" "$2" amd64 "$packages/$3"; }
check "a package is built" built "$executable" 0.0.1 old.deb
check "a second build" built "$executable" 0.0.1 same.deb
check "has the same bytes" cmp "$packages/old.deb" "$packages/same.deb"
check "a package of the newer executable is built" built "$newer" 0.0.2 new.deb
check "lintian finds no problem" equal "$(lintian --allow-root --fail-on none "$packages/old.deb" 2>&1)" ""
cp "$packages"/*.deb "$root/root/"
rm -r "$packages"

# ---- install
boot
check "dpkg installs it" in_ dpkg -i /root/old.deb
check "the service runs, and has reported that it is ready" within 20 is SubState running
check "the node answers" within 20 answers
check "the service is enabled" equal "$(in_ systemctl is-enabled dmnode)" enabled
check "only root can read the settings" equal "$(in_ stat -c %a-%U /etc/dmnode.env)" 600-root
check "the manual page is there" in_ test -f /usr/share/man/man1/dmnode.1.gz
check "bash gets completions" in_ grep -q dmnode /usr/share/bash-completion/completions/dmnode
id=$(node_id)
hash=$(in_ curl -sf -X POST http://127.0.0.1:8080/network/store -H 'content-type: text/plain' --data 'kept' | grep -o '"hash":"[0-9a-f]*"' | cut -d'"' -f4)

# ---- upgrade
in_ sh -c 'echo P2P_PORT=8123 >>/etc/dmnode.env'
before=$(in_ cat /etc/dmnode.env)
check "dpkg upgrades it" in_ dpkg -i /root/new.deb
check "the new version runs" equal "$(in_ "/proc/$(show MainPID)/exe" --version)" "$("$newer" --version)"
check "it answers" within 20 answers
check "as the same node" equal "$(node_id)" "$id"
check "with the acknowledged value" equal "$(fetch "/data/$hash")" kept
check "with the user's settings" equal "$(in_ cat /etc/dmnode.env)" "$before"
check "which are in force" grep -q ':8123' <<<"$(show StatusText)"
in_ systemctl stop dmnode
check "dpkg upgrades a stopped service" in_ dpkg -i /root/new.deb
check "which stays stopped" equal "$(in_ systemctl is-active dmnode || true)" inactive
in_ systemctl start dmnode

# ---- remove and purge
same_node() { [ "$(node_id)" = "$id" ]; }
check "dpkg removes it" in_ dpkg -r dmnode
check "the service has stopped" equal "$(in_ systemctl is-active dmnode || true)" inactive
check "the data and settings stay" in_ test -f /var/lib/private/dmnode/identity.pem -a -f /etc/dmnode.env
check "dpkg installs it again" in_ dpkg -i /root/old.deb
check "as the same node again" within 20 same_node
check "dpkg purges it" in_ dpkg -P dmnode
check "nothing of it is left" in_ sh -c '! ls -d /usr/bin/dmnode /etc/dmnode.env /var/lib/dmnode /var/lib/private/dmnode /etc/systemd/system/*/dmnode.service 2>/dev/null | grep .'

# shellcheck disable=SC2154 # check.sh sets it
[ "$failed" -eq 0 ] || journal -n 60 | cat
totals
[ "$failed" -eq 0 ]
