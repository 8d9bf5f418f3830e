#!/usr/bin/env bash
# run.sh DENO
#
# Runs the program from source on Deno for 64-bit ARM, emulated by qemu. The node joins a node of this machine, stores
# and fetches. DENO runs the tests. Needs qemu-user-static, npm, and apt on Debian for the C library. Downloads stay in
# .tools/arm64. The script adds no packages and no architectures to this machine.
set -euo pipefail
[ $# -eq 1 ] || { sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '$d'; exit 2; }
# Use the newest version with an ARM package on npm: the pinned version may not have one yet.
version=2.9.5
tests=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$tests/../.." && pwd)
tools=$root/.tools/arm64
mkdir -p "$tools"

if [ ! -e "$tools/lib/.done" ]; then
  rm -rf "${tools:?}/lib" "$tools/apt"
  mkdir -p "$tools/lib" "$tools/apt/lists/partial" "$tools/apt/archives/partial"
  apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=
    -o "Dir::State::lists=$tools/apt/lists" -o "Dir::Cache=$tools/apt" -o Dir::State::status=/dev/null)
  "${apt[@]}" update
  (cd "$tools/apt" && "${apt[@]}" download libc6 libgcc-s1)
  for package in "$tools"/apt/*.deb; do dpkg -x "$package" "$tools/lib"; done
  rm -rf "$tools/apt"
  touch "$tools/lib/.done"
fi

deno=$tools/deno-$version
if [ ! -x "$deno" ]; then
  tarball=$(cd "$tools" && npm pack --silent "@deno/linux-arm64-glibc@$version")
  tar -xzf "$tools/$tarball" -C "$tools" package/deno
  mv "$tools/package/deno" "$deno"
  rm -r "$tools/package" "${tools:?}/$tarball"
fi

# This program looks like a dmnode executable to the tests.
cat >"$tools/dmnode" <<END
#!/bin/sh
export DENO_DIR='$tools/cache'
exec qemu-aarch64-static -L '$tools/lib' '$deno' run --quiet --no-prompt --allow-net --allow-env --allow-read \\
  --allow-write --allow-sys=networkInterfaces '$root/src/main.ts' "\$@"
END
chmod +x "$tools/dmnode"
"$tools/dmnode" --version
DMNODE_ARM64=$tools/dmnode exec "$1" test --no-check --allow-all "$tests"
