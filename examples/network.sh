#!/bin/sh
# Starts three nodes on this machine; the second and third join through the first. Ctrl-C stops them.
# DMNODE sets the command to run, by default `dmnode`: DMNODE="deno task start" sh examples/network.sh
set -eu
dmnode=${DMNODE:-dmnode}
first=${PORT:-8000}
data=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$data"' EXIT
trap 'exit 0' INT TERM

for i in 0 1 2; do
  $dmnode --p2p-port $((first + i)) --api-port $((first + 80 + i)) --data-dir "$data/$i" \
    --bootstrap "127.0.0.1:$first" &
done
wait
