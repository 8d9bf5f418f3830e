#!/usr/bin/env bash
# ci.sh DENORT_BIN DENO_VERSION
#
# Builds the executable with a runtime of this Deno version, and runs all its tests: the build, permissions, three nodes,
# the installer, and the program's own tests. Needs strace and the dependencies of make.
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
check "make compile writes an SBOM" grep -q '"bomFormat": "CycloneDX"' dist/dmnode.cdx.json
first=$(sum)
build >/dev/null
check "a second build has the same bytes" equal "$(sum)" "$first"
check "make compile-all refuses a runtime for a single machine" \
  grep -q 'not for .*aarch64-unknown-linux-gnu' <<<"$(make -s compile-all "DENO_VERSION=$version" "DENORT_BIN=$denort" 2>&1 || true)"
check "a refused make compile-all leaves no checksums" test ! -e dist/SHA256SUMS
check "make compile refuses a runtime of another version" \
  grep -q 'does not start, and was discarded' <<<"$(make -s compile "DENORT_BIN=$denort" 2>&1 || true)"
check "a refused build keeps the executable of the build before" equal "$(sum)" "$first"
DMNODE_COMMIT=next build >/dev/null
check "DMNODE_COMMIT sets the commit" grep -q '^dmnode .* (next, ' <<<"$(dist/dmnode --version)"
mv dist/dmnode dist/dmnode-next
check "make compile builds a single target" build ARGS="--target x86_64-unknown-linux-gnu"
build ARGS="--entry tests/executable/probe.ts" >/dev/null
check "make compile builds an executable without batches" build ARGS=--no-batches
mv dist/dmnode dist/dmnode-plain
build >/dev/null

totals
deno=$(make -s --no-print-directory deno-path | tail -n 1)
DMNODE=$PWD/dist/dmnode DMNODE_PLAIN=$PWD/dist/dmnode-plain DMNODE_PROBE=$PWD/dist/probe \
  "$deno" test --parallel --no-check --allow-all tests/executable tests/program
[ "$failed" -eq 0 ]
