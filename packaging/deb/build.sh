#!/usr/bin/env bash
# build.sh EXECUTABLE VERSION amd64|arm64 OUTPUT
#
# Makes a Debian package of a compiled executable, with the systemd unit and /etc/dmnode.env. Needs dpkg-deb, and no network. Equal inputs give equal bytes.
#
# DMNODE_RUNS  an executable of the same version that runs on this machine, if EXECUTABLE does not
set -euo pipefail
[ $# -eq 4 ] || { sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '$d'; exit 2; }
executable=$(realpath "$1") runs=$(realpath "${DMNODE_RUNS:-$1}") version=${2/-/\~} architecture=$3 output=$(realpath -m "$4")
cd "$(dirname "$0")/../.."
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0)
export SOURCE_DATE_EPOCH
umask 022
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"

doc=$root/usr/share/doc/dmnode
install -Dm 755 "$executable" "$root/usr/bin/dmnode"
install -dm 755 "$root/usr/lib/systemd/system" "$root/etc"
# The header of the unit explains an installation by hand.
sed -e '1,/^$/d' -e 's,/usr/local/bin/,/usr/bin/,' packaging/systemd/dmnode.service >"$root/usr/lib/systemd/system/dmnode.service"
install -m 600 packaging/deb/dmnode.env "$root/etc/dmnode.env"
install -Dm 644 packaging/deb/copyright "$doc/copyright"
install -Dm 644 packaging/deb/overrides "$root/usr/share/lintian/overrides/dmnode"
install -Dm 644 .env.example "$doc/examples/settings.env"
install -dm 755 "$root/usr/share/man/man1"
gzip -9n <packaging/deb/dmnode.1 >"$root/usr/share/man/man1/dmnode.1.gz"
gzip -9n <CHANGELOG.md >"$doc/NEWS.gz"
maintainer='DataMgmt Node maintainers <maintainers@dmnode.invalid>'
printf 'dmnode (%s) unstable; urgency=medium\n\n  * See /usr/share/doc/dmnode/NEWS.gz.\n\n -- %s  %s\n' \
  "$version" "$maintainer" "$(date -Rud "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$doc/changelog.gz"
shell=$root/usr/share
install -dm 755 "$shell/bash-completion/completions" "$shell/zsh/vendor-completions" "$shell/fish/vendor_completions.d"
"$runs" completion bash >"$shell/bash-completion/completions/dmnode"
"$runs" completion zsh >"$shell/zsh/vendor-completions/_dmnode"
"$runs" completion fish >"$shell/fish/vendor_completions.d/dmnode.fish"

install -dm 755 "$root/DEBIAN"
for script in postinst prerm postrm; do install -m 755 "packaging/deb/$script" "$root/DEBIAN/$script"; done
echo /etc/dmnode.env >"$root/DEBIAN/conffiles"
(cd "$root" && find usr -type f -printf '%P\n' | sed 's,^,usr/,' | LC_ALL=C sort | xargs md5sum) >"$root/DEBIAN/md5sums"
cat >"$root/DEBIAN/control" <<END
Package: dmnode
Version: $version
Architecture: $architecture
Maintainer: $maintainer
Installed-Size: $(du -k --apparent-size -s "$root" | cut -f1)
Depends: libc6 (>= 2.31), libgcc-s1
Section: net
Priority: optional
Description: node of a distributed hash table
 DataMgmt Node finds peers and keeps values in a Kademlia DHT that speaks
 BitTorrent Mainline's protocol. It has a REST API, a stream of events, a
 command line and a dashboard, and runs as a systemd service under a user of
 its own.
END
find "$root" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group --build "$root" "$output" >/dev/null
