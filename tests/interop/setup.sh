#!/bin/sh
# Installs the dependencies of the interoperability suite: the npm peer in this directory, and libtorrent from Debian.
set -eu
cd "$(dirname "$0")/peers"

if ! command -v npm >/dev/null || ! node -e 'process.exit(+process.versions.node.split(".")[0] < 20 ? 1 : 0)'; then
  echo "setup.sh: Node 20 or newer with npm is needed (https://nodejs.org, or apt-get install npm)" >&2
  exit 1
fi

if ! /usr/bin/python3 -c 'import libtorrent' 2>/dev/null; then
  if [ "$(id -u)" -ne 0 ]; then
    echo "setup.sh: libtorrent is missing; run: sudo apt-get install python3-libtorrent" >&2
    exit 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends python3-libtorrent
fi

npm ci --ignore-scripts --no-audit --no-fund
