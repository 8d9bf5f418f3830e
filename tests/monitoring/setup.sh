#!/bin/sh
# Extracts promtool and Prometheus from Debian's or Ubuntu's package into .tools/prometheus. Installs nothing.
set -eu
cd "$(dirname "$0")/../.."
directory=.tools/prometheus
[ -x "$directory/usr/bin/promtool" ] && exit 0
mkdir -p "$directory"
cd "$directory"
if ! command -v apt-get >/dev/null; then
  echo "setup.sh: this system is not Debian or Ubuntu; put promtool and prometheus on the PATH" >&2
  exit 1
fi
[ "$(id -u)" -ne 0 ] || apt-get update -qq
apt-get download -qq prometheus
dpkg-deb --extract prometheus_*.deb .
rm prometheus_*.deb
usr/bin/promtool --version 2>&1 | head -n 1
