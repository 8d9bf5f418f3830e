#!/bin/sh
# Installs dmnode for the user who runs it: picks the file for this machine, verifies its checksum, needs no root.
#   curl -fsSL https://github.com/@REPOSITORY@/releases/latest/download/install.sh | sh
#
# DMNODE_VERSION      the version to install, such as 0.1.0 (default: the latest)
# DMNODE_INSTALL_DIR  where to (default: ~/.local/bin)
# DMNODE_URL          the directory that holds the release's files (default: that of the release on GitHub)
set -eu

# A function, so that a script of which half arrived does nothing.
main() {
  repository='@REPOSITORY@' # put in by the release workflow
  directory=${DMNODE_INSTALL_DIR:-${HOME:?is not set: name a directory in DMNODE_INSTALL_DIR}/.local/bin}
  if [ -n "${DMNODE_URL:-}" ]; then
    url=${DMNODE_URL%/}
  elif [ "${repository#@}" != "$repository" ]; then
    fail 'this copy belongs to no release: use the one at a release, or name the files'"'"' place in DMNODE_URL'
  elif [ -n "${DMNODE_VERSION:-}" ]; then
    url=https://github.com/$repository/releases/download/v${DMNODE_VERSION#v}
  else
    url=https://github.com/$repository/releases/latest/download
  fi
  system=$(system)
  processor=$(processor)
  file=dmnode-$system-$processor

  mkdir -p "$directory" 2>/dev/null || fail "$directory can't be made: name another place in DMNODE_INSTALL_DIR"
  # In the same directory, so that the file can be put in place in one step.
  temporary=$(mktemp -d "$directory/.dmnode.XXXXXX" 2>/dev/null) ||
    fail "$directory can't be written: name another place in DMNODE_INSTALL_DIR"
  trap 'rm -rf "$temporary"' EXIT
  trap 'exit 1' HUP INT TERM

  say "fetching $url/$file"
  download "$url/SHA256SUMS" "$temporary/SHA256SUMS"
  download "$url/$file" "$temporary/$file"
  wanted=$(awk -v file="$file" '$2 == file || $2 == "*" file { print $1 }' "$temporary/SHA256SUMS")
  [ -n "$wanted" ] || fail "$url/SHA256SUMS does not name $file: nothing was installed"
  got=$(checksum "$temporary/$file")
  [ "$got" = "$wanted" ] ||
    fail "$file has the checksum $got, but SHA256SUMS says $wanted: nothing was installed; try again later"
  chmod 755 "$temporary/$file"
  version=$("$temporary/$file" --version 2>&1) ||
    fail "$file does not run on this system, nothing was installed: $(echo "$version" | head -n 1)"
  mv -f "$temporary/$file" "$directory/dmnode"

  say "installed $version as $directory/dmnode"
  case :$PATH: in
    *:"$directory":*) ;;
    *) say "$directory is not on your PATH. Add it, or call $directory/dmnode" ;;
  esac
}

say() { echo "dmnode: $*"; }

fail() {
  echo "dmnode: $*" >&2
  exit 1
}

system() {
  case $(uname -s) in
    Linux)
      # Deno's runtime is built for the GNU C library.
      if ! ls /lib*/ld-linux-* /lib/*-linux-gnu*/libc.so.6 >/dev/null 2>&1; then
        fail 'Linux with the GNU C library (glibc) is needed, and this system has another: use the container image'
      fi
      echo linux
      ;;
    Darwin) echo macos ;;
    MINGW* | MSYS* | CYGWIN*) fail 'on Windows, download dmnode-windows-amd64.exe from the releases page' ;;
    *) fail "there is no build for $(uname -s): run it from source with Deno" ;;
  esac
}

processor() {
  case $(uname -m) in
    x86_64 | amd64) echo amd64 ;;
    aarch64 | arm64) echo arm64 ;;
    *) fail "there is no build for $(uname -m) processors: run it from source with Deno" ;;
  esac
}

# download URL FILE
download() {
  if command -v curl >/dev/null 2>&1; then
    curl -fsSL --retry 2 -o "$2" "$1" || fail "$1 could not be fetched"
  elif command -v wget >/dev/null 2>&1; then
    wget -q -O "$2" "$1" || fail "$1 could not be fetched"
  else
    fail 'curl or wget is needed to fetch files'
  fi
}

checksum() {
  if command -v sha256sum >/dev/null 2>&1; then
    sha256sum <"$1" | cut -d' ' -f1
  elif command -v shasum >/dev/null 2>&1; then
    shasum -a 256 <"$1" | cut -d' ' -f1
  elif command -v openssl >/dev/null 2>&1; then
    openssl dgst -sha256 -r <"$1" | cut -d' ' -f1
  else
    fail 'sha256sum, shasum or openssl is needed to verify what was fetched'
  fi
}

main
