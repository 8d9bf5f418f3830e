#!/usr/bin/env bash
# run.sh docker|podman
#
# Builds the image of packaging/Dockerfile from dist/dmnode-linux-*, runs the five nodes of packaging/compose.yml, and
# stores and fetches through them. `podman` uses Debian's podman, podman-compose and runc, and builds a base image from
# Debian's packages, without an image registry. podman needs root, and, for the names of the nodes,
# golang-github-containernetworking-plugin-dnsname.
set -euo pipefail
[ $# -eq 1 ] || { sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '$d'; exit 2; }
engine=$1
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
compose=(docker compose)
if [ "$engine" = podman ]; then
  compose=(podman-compose)
  # Set limits that a container here may set, and a runtime that works with the older control groups.
  printf '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n[engine]\nruntime = "runc"\n' >"$work/containers.conf"
  export CONTAINERS_CONF=$work/containers.conf
fi
cleanup() {
  "${compose[@]}" -f packaging/compose.yml down -v >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT

# shellcheck source=tests/check.sh
. tests/check.sh
ready() {
  for _ in $(seq 200); do
    if curl -sf -o /dev/null "http://127.0.0.1:$1/readyz"; then return 0; fi
    sleep 0.1
  done
  return 1
}

arguments=()
if [ "$engine" = podman ]; then
  mkdir -p "$work/root/etc" "$work/root/tmp" "$work/root/home/nonroot" "$work/debs"
  (cd "$work/debs" && apt-get -qq -o APT::Sandbox::User= download libc6 libgcc-s1 ca-certificates)
  for package in "$work"/debs/*.deb; do dpkg -x "$package" "$work/root"; done
  echo 'nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin' >"$work/root/etc/passwd"
  echo 'nonroot:x:65532:' >"$work/root/etc/group"
  chown 65532:65532 "$work/root/home/nonroot"
  chmod 700 "$work/root/home/nonroot"
  chmod 1777 "$work/root/tmp"
  tar -C "$work/root" -c . | podman import -q - localhost/dmnode-base >/dev/null
  arguments=(--build-arg BASE=localhost/dmnode-base --build-arg TARGETARCH=amd64 --format docker)
fi
"$engine" build -q -f packaging/Dockerfile "${arguments[@]}" -t dmnode dist >/dev/null
version=$(dist/dmnode-linux-amd64 --version)

check "the image runs the program" equal "$("$engine" run --rm dmnode --version)" "$version"
check "the image does not run as root" equal "$("$engine" image inspect --format '{{.Config.User}}' dmnode)" 65532:65532
check "the image has no shell" sh -c "! $engine run --rm --entrypoint /bin/sh dmnode -c true 2>/dev/null"

up=(up -d)
if [ "$engine" = podman ]; then up+=(--no-build); fi
"${compose[@]}" -f packaging/compose.yml "${up[@]}" >"$work/up.log" 2>&1 || cat "$work/up.log"
for port in 8081 8082 8083 8084 8085; do check "the node at $port is ready" ready "$port"; done
# request PORT PATH OPTION...
request() {
  local url="http://127.0.0.1:$1$2"
  shift 2
  curl -s "$url" -H 'authorization: Bearer only-for-a-trial-of-five' "$@"
}
answer=$(request 8082 /network/store -H 'content-type: text/plain' --data 'from two to five')
check "a value is stored on five nodes" equal "$(grep -o '"replicas":[0-9]*' <<<"$answer")" '"replicas":5'
hash=$(grep -o '"hash":"[0-9a-f]*' <<<"$answer" | cut -d'"' -f4)
check "another node fetches the value" equal "$(request 8085 "/data/$hash")" 'from two to five'
check "a store needs the token" equal \
  "$(curl -s -o /dev/null -w '%{http_code}' -X POST http://127.0.0.1:8082/network/store -H 'content-type: text/plain' -d x)" 401
node=$("$engine" ps --format '{{.Names}}' | grep 'node3')
if [ "$engine" = podman ]; then
  # Without systemd on the host, podman runs no health checks by itself, and warns each time.
  check "the health check passes" podman healthcheck run "$node"
  podman restart -t 5 "$node" >/dev/null 2>&1
else
  docker restart -t 5 "$node" >/dev/null
fi
check "a restarted node is ready" ready 8083
check "a restarted node has the value on its volume" equal "$(request 8083 "/data/$hash")" 'from two to five'

totals
[ "$failed" -eq 0 ]
