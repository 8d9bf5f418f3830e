#!/usr/bin/env bash
# deno_hash.sh
#
# Checks that `make` installs the pinned Deno from npm, and refuses a package whose hash differs. Needs npm.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/check.sh
. tests/check.sh
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
mkdir -p "$copy/packaging"
cp -r Makefile "$copy"
cp -r packaging/deno "$copy/packaging"
pinned=$(sed -n 's/^DENO_PINNED := //p' Makefile)
# Without Deno on the PATH, make takes it from npm.
install() { make -s --no-print-directory -C "$copy" DENO= DENO_VERSION="$pinned" deno-path; }

check "the hashes are those of the pinned version" grep -q "\"deno\": \"$pinned\"" packaging/deno/package.json
check "make installs the pinned Deno" install
check "it is that version" grep -q "^deno $pinned " <("$copy/.tools/deno-$pinned/deno" --version)

rm -rf "$copy/.tools"
sed -i -E '/@deno\//,/integrity/ s/sha512-...../sha512-AAAAA/' "$copy/packaging/deno/package-lock.json"
check "make refuses a package with another hash" sh -c '! "$@"' - make -s --no-print-directory -C "$copy" DENO= \
  DENO_VERSION="$pinned" deno-path
check "no other Deno is installed" test ! -e "$copy/.tools/deno-$pinned/deno"
totals
[ "$failed" -eq 0 ]
