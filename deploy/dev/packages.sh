#!/usr/bin/env bash
# Fetches the Debian packages that a small guest is made from (`banger image build-demo`): a
# kernel's and busybox-static's. Prints the directory they are in; where they are there already, that
# takes no time.
#
# Needs apt-get download, and so the package lists: apt-get update. x86_64 only.
set -euo pipefail
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../.ci/lib.sh"

dir=$TARGET/packages
mkdir -p "$dir"
# Tests may ask at the same time.
exec 9>"$dir/.lock"
flock 9

there() { compgen -G "$dir/$1.deb" >/dev/null; }
if there "linux-image-[0-9]*" && there "busybox-static_*"; then
  echo "$dir"
  exit
fi
.ci/tools.sh images >&2

fetch() {
  # As root apt would fetch as another user, who may not write here.
  rm -rf "$dir/new"
  (mkdir "$dir/new" && cd "$dir/new" && apt-get -q -o APT::Sandbox::User=root download "$1" >&2)
  mv "$dir"/new/*.deb "$dir/"
  rmdir "$dir/new"
}

# The kernel itself is what Debian's meta package depends on.
kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' | head -n 1)
if [ -z "$kernel" ]; then
  echo "apt knows no linux-image-cloud-amd64" >&2
  exit 1
fi
there "linux-image-[0-9]*" || fetch "$kernel"
there "busybox-static_*" || fetch busybox-static
echo "$dir"
