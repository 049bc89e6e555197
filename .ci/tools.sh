#!/usr/bin/env bash
# Installs what is missing, and says what it cannot install.
#
#   .ci/tools.sh build   a C compiler, for SQLite and ring
#   .ci/tools.sh guests  what runs a real guest where there is no KVM
#   .ci/tools.sh images  what deploy/dev/packages.sh fetches packages with
#   .ci/tools.sh bench   the peers that benchmarks are run beside
#   .ci/tools.sh deb     what packages are built with
#   .ci/tools.sh check   and the pinned tools of the checks, under target/tools
#   .ci/tools.sh test    and the packages of the privileged tests and the test host
#
# Needs Rust with rustfmt and clippy. Packages come from apt and need root; everything else goes
# under target/tools, and nothing is installed into the user's home.
set -euo pipefail
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MACHETE=0.9.2
CARGO_DEB=3.8.0

# COMMAND:PACKAGE, for Debian.
BUILD=(cc:gcc)
# openssl makes the certificates of the operators' page, as it says; from cpio on: the tests of the
# images ask them what banger wrote (server/images/src/testing.rs).
CHECK=(
  python3:python3 git:git systemd-analyze:systemd openssl:openssl
  cpio:cpio tar:tar gzip:gzip bzip2:bzip2 lz4:lz4 xz:xz-utils zstd:zstd
  mke2fs:e2fsprogs e2fsck:e2fsprogs debugfs:e2fsprogs
)
GUESTS=(qemu-system-x86_64:qemu-system-x86 ip:iproute2 iptables:iptables nft:nftables ping:iputils-ping)
# The static program that the peer's container runs. etcd and runc are unpacked: see peers.
BENCH=(busybox:busybox-static dpkg:dpkg)
TEST=(
  qemu-system-x86_64:qemu-system-x86 debootstrap:debootstrap busybox:busybox-static
  losetup:mount dmsetup:dmsetup ip:iproute2 iptables:iptables nft:nftables
  modprobe:kmod
  # The browser that the tests of the dashboard drive.
  chromium:chromium
)

packages() {
  local missing=() entry
  for entry in "$@"; do
    # /sbin is not always in a user's PATH.
    PATH="$PATH:/usr/sbin:/sbin" command -v "${entry%%:*}" >/dev/null || missing+=("${entry#*:}")
  done
  if [ "${WANT_VENV:-}" = 1 ] && ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    missing+=(python3-venv)
  fi
  [ ${#missing[@]} -eq 0 ] && return
  if ! command -v apt-get >/dev/null; then
    echo "Missing, and this is no Debian: please install ${missing[*]}." >&2
    exit 1
  fi
  if ! is_root; then
    echo "Missing: ${missing[*]}. As root: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  echo "installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null
}

# `apt-get download` needs the package lists; a fresh container has none.
refresh_lists() {
  command -v apt-cache >/dev/null || return 0
  [ -n "$(apt-cache madison linux-image-cloud-amd64 2>/dev/null)" ] && return
  if ! is_root; then
    echo "The package lists are missing. As root: apt-get update" >&2
    exit 1
  fi
  apt-get update -qq
}

rust() {
  local part
  if ! command -v cargo >/dev/null; then
    echo "There is no cargo in PATH, ~/.cargo/bin or /usr/local/cargo/bin. If Rust is installed, add its" >&2
    echo "directory to PATH; else install it as rustup.rs says, version 1.94 or later." >&2
    exit 1
  fi
  for part in "$@"; do
    cargo "$part" --version >/dev/null 2>&1 || rustup component add "$part"
  done
}

# The prebuilt tools and the Python client's libraries, all in one virtual environment.
venv() {
  local want
  want=$(sha256sum .ci/tools.txt)
  if [ "$(cat "$TOOLS/venv/.tools" 2>/dev/null)" != "$want" ] || ! "$TOOLS/venv/bin/buf" --version >/dev/null 2>&1; then
    echo "installing the tools of .ci/tools.txt"
    rm -rf "$TOOLS/venv" && hash -r
    python3 -m venv "$TOOLS/venv"
    "$TOOLS/venv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r .ci/tools.txt
    echo "$want" >"$TOOLS/venv/.tools"
  fi
}

machete() {
  [ "$("$TOOLS/bin/cargo-machete" --version 2>/dev/null)" = "$MACHETE" ] && return
  # Compiled once and run for a second: built to be built fast.
  CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    cargo install -q --locked --root "$TOOLS" "cargo-machete@$MACHETE"
}

# For `make deb` alone: no check needs it.
cargo_deb() {
  [ "$("$TOOLS/bin/cargo-deb" --version 2>/dev/null)" = "$CARGO_DEB" ] && return
  CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    cargo install -q --locked --root "$TOOLS" "cargo-deb@$CARGO_DEB"
}

# The peers, unpacked but not installed: installing etcd would start it.
peers() {
  command -v etcd >/dev/null && command -v runc >/dev/null && return
  command -v apt-get >/dev/null || return 0
  echo "unpacking etcd and runc under target/tools"
  mkdir -p "$TOOLS/peers" "$TOOLS/bin"
  (
    cd "$TOOLS/peers"
    apt-get download -qq etcd-server runc
    for package in *.deb; do dpkg -x "$package" . && rm "$package"; done
  )
  ln -sf ../peers/usr/bin/etcd ../peers/usr/sbin/runc "$TOOLS/bin/"
}

case "${1:-check}" in
  build)
    rust
    packages "${BUILD[@]}"
    ;;
  guests)
    packages "${GUESTS[@]}"
    ;;
  images)
    refresh_lists
    ;;
  bench)
    rust
    packages "${BUILD[@]}" "${BENCH[@]}"
    refresh_lists
    peers
    ;;
  deb)
    rust
    packages "${BUILD[@]}"
    cargo_deb
    ;;
  check)
    rust fmt clippy
    WANT_VENV=1 packages "${BUILD[@]}" "${CHECK[@]}"
    venv
    machete
    ;;
  test)
    rust fmt clippy
    WANT_VENV=1 packages "${BUILD[@]}" "${CHECK[@]}" "${TEST[@]}"
    refresh_lists
    venv
    machete
    ;;
  *)
    echo "usage: $0 build|guests|images|bench|deb|check|test" >&2
    exit 2
    ;;
esac
