#!/bin/sh
# Installs dmnode for the current user: chooses the file for this machine, and verifies the release's signature and the
# file's checksum. It needs no root, but openssl.
#   curl --proto '=https' -fsSL https://github.com/@REPOSITORY@/releases/latest/download/install.sh | sh
#
# DMNODE_VERSION      the version to install, such as 0.1.0 (default: the latest)
# DMNODE_INSTALL_DIR  the directory to install into (default: ~/.local/bin)
# DMNODE_URL          the URL of the directory with the release's files (default: the release on GitHub)
set -eu

# This is a function, so that an incomplete download of this script does nothing.
main() {
  # packaging/make_installer.sh fills these in.
  repository='@REPOSITORY@'
  release_key='@RELEASE_KEY@' # the base64 text of the public key that signs SHA256SUMS
  directory=${DMNODE_INSTALL_DIR:-${HOME:?is not set: set DMNODE_INSTALL_DIR to a directory}/.local/bin}
  if [ -n "${DMNODE_URL:-}" ]; then
    url=${DMNODE_URL%/}
  elif [ "${repository#@}" != "$repository" ]; then
    fail 'this copy belongs to no release: use the install.sh of a release'
  elif [ -n "${DMNODE_VERSION:-}" ]; then
    url=https://github.com/$repository/releases/download/v${DMNODE_VERSION#v}
  else
    url=https://github.com/$repository/releases/latest/download
  fi
  [ "${release_key#@}" = "$release_key" ] ||
    fail 'this copy contains no key to verify a release with: use the install.sh of a release'
  case $url in
    *@*) fail "$url must not contain an @" ;;
    https://*) protocol='=https' ;;
    # A server on this machine: a mirror for tests, or the end of a tunnel.
    http://127.0.0.1:* | http://localhost:*) protocol='=http' ;;
    *) fail "$url is not an https URL" ;;
  esac
  system=$(system)
  processor=$(processor)
  file=dmnode-$system-$processor

  mkdir -p "$directory" 2>/dev/null || fail "$directory can't be created: set DMNODE_INSTALL_DIR to another directory"
  # The temporary files are in the same directory, so that mv can put the file in place in one step.
  temporary=$(mktemp -d "$directory/.dmnode.XXXXXX" 2>/dev/null) ||
    fail "$directory is not writable: set DMNODE_INSTALL_DIR to another directory"
  trap 'rm -rf "$temporary"' EXIT
  trap 'exit 1' HUP INT TERM

  say "downloading $url/$file"
  download "$url/SHA256SUMS" "$temporary/SHA256SUMS"
  download "$url/SHA256SUMS.sig" "$temporary/SHA256SUMS.sig"
  verify "$temporary"
  download "$url/$file" "$temporary/$file"
  wanted=$(awk -v file="$file" '$2 == file || $2 == "*" file { print $1 }' "$temporary/SHA256SUMS")
  [ -n "$wanted" ] || fail "$url/SHA256SUMS does not name $file: nothing was installed"
  got=$(openssl dgst -sha256 -r <"$temporary/$file" | cut -d' ' -f1)
  [ "$got" = "$wanted" ] ||
    fail "$file has the checksum $got, but SHA256SUMS says $wanted: nothing was installed; try again later"
  chmod 755 "$temporary/$file"
  version=$("$temporary/$file" --version 2>&1) ||
    fail "$file does not run on this system, nothing was installed: $(echo "$version" | head -n 1)"
  # An attacker could offer an older release, with its signature.
  if [ -n "${DMNODE_VERSION:-}" ]; then
    case $version in
      "dmnode ${DMNODE_VERSION#v}" | "dmnode ${DMNODE_VERSION#v} "*) ;;
      *) fail "$url contains $version, not $DMNODE_VERSION: nothing was installed" ;;
    esac
  fi
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
        fail 'this system does not have the GNU C library (glibc), which dmnode needs: use the container image'
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
    curl --proto "$protocol" -fsSL --retry 2 -o "$2" "$1" || fail "$1 could not be downloaded"
  elif command -v wget >/dev/null 2>&1; then
    wget -q -O "$2" "$1" || fail "$1 could not be downloaded"
  else
    fail 'curl or wget is needed to download the files'
  fi
}

# verify DIRECTORY: verifies the signature of SHA256SUMS in it (ECDSA with P-256 and SHA-256)
verify() {
  command -v openssl >/dev/null 2>&1 ||
    fail 'openssl is needed to verify the signature: install it, or follow "Checking what you run" in docs/security.md'
  {
    echo '-----BEGIN PUBLIC KEY-----'
    echo "$release_key" | fold -w 64
    echo '-----END PUBLIC KEY-----'
  } >"$1/key.pem"
  openssl dgst -sha256 -verify "$1/key.pem" -signature "$1/SHA256SUMS.sig" "$1/SHA256SUMS" >/dev/null 2>&1 ||
    fail "the signature of $url/SHA256SUMS is wrong, so somebody has changed the release: nothing was installed"
}

main
