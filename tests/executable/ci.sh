#!/usr/bin/env bash
# ci.sh DENORT_BIN DENO_VERSION
#
# Builds the executable with that runtime of that Deno, and runs every test of it: the build itself, permissions, three
# nodes, installer, and the program's own tests. Needs strace, besides what make needs.
set -euo pipefail
[ $# -eq 2 ] || { sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '$d'; exit 2; }
denort=$(realpath "$1") version=$2
cd "$(dirname "$0")/../.."

# shellcheck source=tests/check.sh
. tests/check.sh
build() { make -s --no-print-directory compile "DENO_VERSION=$version" "DENORT_BIN=$denort" "$@"; }
sum() { sha256sum <dist/dmnode; }

make -s --no-print-directory clean
check "make compile makes dist/dmnode" build
check "with an SBOM" grep -q '"bomFormat": "CycloneDX"' dist/dmnode.cdx.json
first=$(sum)
build >/dev/null
check "a second build has the same bytes" equal "$(sum)" "$first"
check "make compile-all refuses a runtime of one machine" \
  grep -q "can't make aarch64-unknown-linux-gnu" <<<"$(make -s compile-all "DENO_VERSION=$version" "DENORT_BIN=$denort" 2>&1 || true)"
check "and leaves no checksums of a half" test ! -e dist/SHA256SUMS
check "a runtime of another version is refused" \
  grep -q 'does not start, and is given up' <<<"$(make -s compile "DENORT_BIN=$denort" 2>&1 || true)"
check "and the one before is still there" equal "$(sum)" "$first"
DMNODE_COMMIT=next build >/dev/null
check "the commit can be given by hand" grep -q '^dmnode .* (next, ' <<<"$(dist/dmnode --version)"
mv dist/dmnode dist/dmnode-next
check "one target alone can be made" build ARGS="--target x86_64-unknown-linux-gnu"
build ARGS="--entry tests/executable/probe.ts" >/dev/null
check "one with batches can be made" build ARGS=--batches
mv dist/dmnode dist/dmnode-batches
build >/dev/null

totals
deno=$(make -s --no-print-directory deno-path | tail -n 1)
DMNODE=$PWD/dist/dmnode DMNODE_BATCHES=$PWD/dist/dmnode-batches DMNODE_PROBE=$PWD/dist/probe \
  "$deno" test --no-check --allow-all tests/executable tests/program
[ "$failed" -eq 0 ]
