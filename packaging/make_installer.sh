#!/bin/sh
# make_installer.sh OWNER/REPOSITORY KEY
#
# Prints the install.sh of a release: packaging/install.sh with the repository's name, and with the public key in KEY
# (PEM), which verifies the signature of SHA256SUMS.
set -eu
[ $# -eq 2 ] || { sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '$d'; exit 2; }
[ -e "$2" ] || { echo "make_installer.sh: $2 is missing: create the release key as CONTRIBUTING.md describes" >&2; exit 1; }
openssl pkey -pubin -in "$2" -noout
key=$(grep -v -e '-----' "$2" | tr -d '\r\n')
sed -e "s|@REPOSITORY@|$1|g" -e "s|@RELEASE_KEY@|$key|" "$(dirname "$0")/install.sh"
