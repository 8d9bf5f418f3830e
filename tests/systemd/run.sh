#!/usr/bin/env bash
# run.sh EXECUTABLE [NEWER_EXECUTABLE]
#
# Tests packaging/systemd/dmnode.service with a real systemd: boots Debian 12 in a container (systemd-nspawn, with only
# its own loopback), installs EXECUTABLE as the unit's header says, and starts, kills, hangs, upgrades and stops the
# service, and makes a private network of two. container.sh says what it needs.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '$d'; exit 2; }
executable=$1 newer=${2:-$1}
# shellcheck source=tests/systemd/container.sh
. "$(dirname "$0")/container.sh"
unit=$here/packaging/systemd/dmnode.service

# ---- boot a machine, and install as the unit's header says
install -m 755 "$executable" "$root/usr/local/bin/dmnode"
install -m 644 "$unit" "$root/etc/systemd/system/dmnode.service"
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../dmnode.service "$root/etc/systemd/system/multi-user.target.wants/dmnode.service"
boot

# ---- the unit file
check "systemd-analyze verify finds no problem" equal "$(in_ systemd-analyze verify dmnode.service 2>&1)" ""
exposure=$(in_ systemd-analyze security dmnode --no-pager | sed -n 's/.*exposure level for dmnode.service: \([0-9.]*\).*/\1/p')
check "systemd-analyze security rates it 1.5 or better: $exposure" awk -v "x=$exposure" 'BEGIN { exit !(x != "" && x <= 1.5) }'

# ---- start
check "the service is active once the node has reported that it is ready" within 20 is SubState running
check "the status names node, UDP address and API" grep -q '^Node [0-9a-f]\{40\}, UDP .*, API http' <<<"$(show StatusText)"
check "the watchdog is on" equal "$(show WatchdogUSec)" 30s
check "the node answers" answers
check "the node does not run as root" grep -qv '^0$' <<<"$(in_ stat -c %u "/proc/$(show MainPID)")"
check "only that user can read DATA_DIR" equal "$(in_ stat -c %a /var/lib/private/dmnode)" 700

# ---- kill -9
id=$(node_id)
hash=$(in_ curl -sf -X POST http://127.0.0.1:8080/network/store -H 'content-type: text/plain' --data 'kept' | grep -o '"hash":"[0-9a-f]*"' | cut -d'"' -f4)
in_ systemctl kill --kill-whom=main -s KILL dmnode
check "systemd restarts the node after kill -9" within 10 is NRestarts 1
check "the restarted node answers" within 20 answers
check "as the same node" equal "$(node_id)" "$id"
check "the acknowledged value is still there" equal "$(fetch "/data/$hash")" kept

# ---- a process that hangs
in_ mkdir -p /run/systemd/system/dmnode.service.d
in_ sh -c 'printf "[Service]\nWatchdogSec=2\n" >/run/systemd/system/dmnode.service.d/test.conf'
in_ systemctl daemon-reload
in_ systemctl restart dmnode
sleep 5
check "a watchdog of 2 s does not restart a live node" equal "$(show NRestarts)" 0
in_ systemctl kill --kill-whom=main -s STOP dmnode
check "systemd kills and restarts a hung node" within 15 is NRestarts 1
check "the journal says that the watchdog timed out" within 5 sh -c "nsenter -t $init -m -p -n -u -i -C -- journalctl -u dmnode | grep -q 'Watchdog timeout'"
check "the node answers after the hang" within 20 answers
in_ rm -r /run/systemd/system/dmnode.service.d
in_ systemctl daemon-reload

# ---- upgrade
install -m 755 "$newer" "$root/usr/local/bin/dmnode.new"
mv "$root/usr/local/bin/dmnode.new" "$root/usr/local/bin/dmnode"
in_ systemctl restart dmnode
check "the new version runs after an upgrade" equal "$(in_ "/proc/$(show MainPID)/exe" --version)" "$("$newer" --version)"
check "as the same node" equal "$(node_id)" "$id"
check "the new version has the old values" equal "$(fetch "/data/$hash")" kept

# ---- stop
begun=$(date +%s%N)
in_ systemctl stop dmnode
took=$((($(date +%s%N) - begun) / 1000000))
check "the node stops within 5 s: $took ms" test "$took" -lt 5000
check "the node exits by itself with status 0" equal "$(show ExecMainCode) $(show ExecMainStatus) $(show Result)" "1 0 success"
check "the journal says that the node stopped" grep -q '"Stopped"' <<<"$(journal -o cat -n 5)"

# ---- a token that only root and the service can read
in_ sh -c 'umask 077; mkdir /etc/dmnode; echo secret-of-the-api >/etc/dmnode/token'
in_ mkdir -p /etc/systemd/system/dmnode.service.d
in_ sh -c 'printf "[Service]\nLoadCredential=token:/etc/dmnode/token\nEnvironment=API_TOKEN_FILE=%%d/token\n" >/etc/systemd/system/dmnode.service.d/token.conf'
in_ systemctl daemon-reload
in_ systemctl start dmnode
store() { in_ curl -s -o /dev/null -w '%{http_code}' "$@" --data-binary kept http://127.0.0.1:8080/network/store; }
check "a store without the token of LoadCredential is refused" equal "$(store)" 401
check "a store with the token succeeds" equal "$(store -H 'Authorization: Bearer secret-of-the-api')" 201
in_ systemctl stop dmnode
in_ rm -r /etc/systemd/system/dmnode.service.d
in_ systemctl daemon-reload

# ---- a private network: two machines with the same three lines, as in docs/private.md
# shellcheck disable=SC2016 # the container's shell expands it
in_ sh -c 'umask 077; printf "ALLOW_NET=10.0.0.0/8\nNETWORK_KEY=%s\nBOOTSTRAP_NODES=10.0.0.5:8000,10.0.0.6:8000\n" "$(dmnode network new)" >/etc/dmnode.env'
in_ ip netns add other
in_ ip link add toother type veth peer name tofirst netns other
in_ ip address add 10.0.0.5/24 dev toother
in_ ip link set toother up
for command in "address add 10.0.0.6/24 dev tofirst" "link set tofirst up" "link set lo up"; do
  # shellcheck disable=SC2086 # the words of the command
  in_ ip -n other $command
done
sed -e 's/dmnode$/dmnode-other/; s|DATA_DIR=/var/lib/dmnode|&-other|' -e 's|^ExecStart=.*|ExecStart=/usr/local/bin/dmnode|' \
  -e 's|^DynamicUser=|NetworkNamespacePath=/run/netns/other\n&|' "$unit" >"$root/etc/systemd/system/dmnode-other.service"
in_ systemctl daemon-reload
in_ systemctl start dmnode
in_ systemctl start dmnode-other
other() { in_ ip netns exec other "$@"; }
other_fetch() { other curl -sf "http://127.0.0.1:8080$1"; }
have_met() { fetch /network/peers | grep -q '"address":"10.0.0.6:8000"' && other_fetch /network/peers | grep -q '"address":"10.0.0.5:8000"'; }
check "two private units with the same three lines find each other" within 30 have_met
check "both use the network key" grep -q '"in_use":true' <<<"$(fetch /network/stats | grep -o '"in_use":[a-z]*' | sort -u)"
hash=$(in_ curl -sf -X POST http://127.0.0.1:8080/network/store -H 'content-type: text/plain' --data 'private' | grep -o '"hash":"[0-9a-f]*"' | cut -d'"' -f4)
check "the other unit has a value of the first one" equal "$(other_fetch "/data/$hash")" private
# UDP 5350: the router's announcements (port mapping). TCP: the API, and the port on which its front finds it.
check "the unit listens for peers, beacons and the router's announcements, and else only on loopback" \
  equal "$(other ss -lnHtu | awk '{ print $1, $5 }' | sed 's/.*:8000$/p2p/; s/.*:8787$/beacons/; s/.*:5350$/router/; s/^tcp 127.0.0.1:.*/loopback/' | sort -u | paste -sd' ')" "beacons loopback p2p router"
check "the unit logs no warning" equal "$(in_ journalctl --no-pager -q -o cat -p warning -u dmnode-other)" ""
in_ systemctl stop dmnode dmnode-other
in_ rm /etc/dmnode.env

# ---- a bad setting
in_ sh -c 'echo P2P_PORT=eight >/etc/dmnode.env'
in_ systemctl start dmnode >/dev/null 2>&1 || true
sleep 3
check "a bad setting ends the node with status 2 and without a restart" equal "$(show ActiveState) $(show ExecMainStatus) $(show NRestarts)" "failed 2 0"
check "the journal names the bad setting" grep -q 'P2P_PORT.*eight' <<<"$(journal -o cat -n 8)"
in_ sh -c 'printf "P2P_PORT=8123\nBOOTSTRAP_NODES=127.0.0.1:9\n" >/etc/dmnode.env'
in_ systemctl start dmnode
check "a corrected setting takes effect" grep -q ':8123' <<<"$(show StatusText)"
check "the journal has the priority of warnings" within 10 sh -c "nsenter -t $init -m -p -n -u -i -C -- journalctl -u dmnode -p 4..4 -o cat | grep -q '^{.*127.0.0.1:9'"
check "no log line begins with a priority as text" equal "$(journal -o cat | grep -c '^<')" 0
check "the node logged no error" equal "$(in_ journalctl --no-pager -q -o cat -p err _SYSTEMD_UNIT=dmnode.service)" ""

# shellcheck disable=SC2154 # check.sh sets it
[ "$failed" -eq 0 ] || journal -n 60 | cat
totals
[ "$failed" -eq 0 ]
