#!/usr/bin/env bash
# Downloads a pinned release of Firecracker and its jailer for this machine, checks it against the
# checksum published beside it, and installs the two programs. You run this; nothing else does:
# neither the build nor any test downloads them.
#
#   deploy/get-firecracker.sh [DIRECTORY]      default: /usr/local/bin
#
# BANGER_FIRECRACKER_SHA256 may hold the archive's checksum from a source you trust more than the
# server the archive comes from; then that one is required.
set -euo pipefail

VERSION=v1.16.1
dir=${1:-/usr/local/bin}
arch=$(uname -m)
case "$arch" in
  x86_64 | aarch64) ;;
  *)
    echo "Firecracker runs on x86_64 and aarch64, this is $arch." >&2
    exit 1
    ;;
esac

name=firecracker-$VERSION-$arch.tgz
base=https://github.com/firecracker-microvm/firecracker/releases/download/$VERSION
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

echo "downloading $base/$name"
curl -fsSL --proto '=https' --tlsv1.2 -o "$scratch/$name" "$base/$name"
curl -fsSL --proto '=https' --tlsv1.2 -o "$scratch/$name.sha256.txt" "$base/$name.sha256.txt"

published=$(cut -d' ' -f1 "$scratch/$name.sha256.txt")
wanted=${BANGER_FIRECRACKER_SHA256:-$published}
if [ "$(sha256sum "$scratch/$name" | cut -d' ' -f1)" != "$wanted" ]; then
  echo "the checksum of $name is not $wanted: nothing was installed" >&2
  exit 1
fi

tar -xzf "$scratch/$name" -C "$scratch"
for program in firecracker jailer; do
  install -m 0755 "$scratch/release-$VERSION-$arch/$program-$VERSION-$arch" "$dir/$program"
  echo "installed $dir/$program"
done
"$dir/firecracker" --version | head -n 1
