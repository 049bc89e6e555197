#!/usr/bin/env bash
# Downloads a release of Firecracker and its jailer for this machine, compares it with a checksum
# that you have from elsewhere, and installs the two programs. You run this; nothing else does:
# neither the build nor any test downloads them.
set -euo pipefail

VERSION=v1.16.1

# Archives whose checksum whoever wrote this script has computed from a copy of their own, one line
# each: "VERSION ARCHITECTURE SHA256". A checksum that lies beside the archive proves nothing: who can
# change the one can change the other. Nothing stands here that was not known for certain.
PINNED=""

usage() {
  cat << EOF
Usage: deploy/get-firecracker.sh --sha256 HEX [DIRECTORY]

Downloads Firecracker $VERSION and its jailer for this machine and installs them into DIRECTORY
(default: /usr/local/bin), if the archive has this checksum. Nothing is downloaded without one.

  --sha256 HEX   SHA-256 of the archive, 64 hexadecimal digits
  --help         this text

Where to get the checksum, somewhere else than from the archive's own server or at least on another
way than the archive comes to this machine:
  - your distribution's or your company's own copy, by sha256sum;
  - the release's page in a browser on another machine, where GitHub shows beside each file the digest
    that it computed when the file came:
    https://github.com/firecracker-microvm/firecracker/releases/tag/$VERSION
Compare two of them before you trust one.
EOF
}

wanted=
dir=
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help)
      usage
      exit 0
      ;;
    --sha256)
      [ $# -ge 2 ] || { echo "--sha256 wants the checksum after it; see --help" >&2; exit 2; }
      wanted=$2
      shift
      ;;
    --sha256=*) wanted=${1#*=} ;;
    -*)
      echo "$1 is not known; see --help" >&2
      exit 2
      ;;
    *)
      [ -z "$dir" ] || { echo "one directory is enough; see --help" >&2; exit 2; }
      dir=$1
      ;;
  esac
  shift
done
dir=${dir:-/usr/local/bin}

arch=$(uname -m)
case "$arch" in
  x86_64 | aarch64) ;;
  *)
    echo "Firecracker runs on x86_64 and aarch64, this is $arch." >&2
    exit 1
    ;;
esac

if [ -z "$wanted" ]; then
  wanted=$(awk -v version="$VERSION" -v arch="$arch" '$1 == version && $2 == arch { print $3 }' <<< "$PINNED")
fi
if [ -z "$wanted" ]; then
  echo "the checksum of Firecracker $VERSION for $arch is not pinned here: give it with --sha256; see --help" >&2
  exit 2
fi
wanted=$(tr 'A-F' 'a-f' <<< "$wanted")
if ! [[ $wanted =~ ^[0-9a-f]{64}$ ]]; then
  echo "a SHA-256 has 64 hexadecimal digits; see --help" >&2
  exit 2
fi
if ! [ -d "$dir" ]; then
  echo "there is no directory $dir" >&2
  exit 2
fi

name=firecracker-$VERSION-$arch.tgz
base=https://github.com/firecracker-microvm/firecracker/releases/download/$VERSION
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

echo "downloading $base/$name"
curl -fsSL --proto '=https' --tlsv1.2 -o "$scratch/$name" "$base/$name"

found=$(sha256sum "$scratch/$name" | cut -d' ' -f1)
if [ "$found" != "$wanted" ]; then
  echo "the checksum of $name is $found, not $wanted: nothing was installed" >&2
  exit 1
fi

tar -xzf "$scratch/$name" -C "$scratch"
for program in firecracker jailer; do
  install -m 0755 "$scratch/release-$VERSION-$arch/$program-$VERSION-$arch" "$dir/$program"
  echo "installed $dir/$program"
done
"$dir/firecracker" --version | head -n 1
