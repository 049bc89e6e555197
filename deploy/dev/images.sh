#!/usr/bin/env bash
# Makes a small kernel, initial RAM disk and root file system for a first guest, from Debian's
# packages alone, and puts them into a host's image directory.
#
#   deploy/dev/images.sh DIRECTORY [GUEST_AGENT]
#
# Writes DIRECTORY/vmlinux, initrd.img and root.ext4, unless they are there. The guest is busybox
# with a shell on its serial console, and the guest agent: GUEST_AGENT, or what .ci/guest.sh builds.
# x86_64 only. Needs apt-get download (the package lists must be there: apt-get update), lz4, cpio,
# mke2fs and busybox-static.
set -euo pipefail

dir=$1
mkdir -p "$dir"
agent=${2:-$("$(dirname "${BASH_SOURCE[0]}")/../../.ci/guest.sh")}
# Images with another guest agent are made anew.
made_of=$(sha256sum "$agent" "${BASH_SOURCE[0]}" | cut -d' ' -f1)
if [ -e "$dir/vmlinux" ] && [ -e "$dir/initrd.img" ] && [ -e "$dir/root.ext4" ] &&
  [ "$(cat "$dir/.made-of" 2>/dev/null)" = "$made_of" ]; then exit 0; fi

export PATH="$PATH:/usr/sbin:/sbin"
for tool in lz4 cpio mke2fs busybox dpkg apt-get; do
  command -v "$tool" >/dev/null || {
    echo "$0 needs $tool" >&2
    exit 1
  }
done
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The kernel's package: what Debian's meta package depends on.
package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' | head -n 1)
(cd "$scratch" && apt-get download -qq "$package")
dpkg -x "$scratch"/linux-image-*.deb "$scratch/kernel"
modules=$(echo "$scratch"/kernel/lib/modules/*)

# Firecracker starts an uncompressed ELF file: the LZ4 stream inside Debian's vmlinuz.
vmlinuz=$(echo "$scratch"/kernel/boot/vmlinuz-*)
offset=$(LC_ALL=C grep -aboP '\x02\x21\x4c\x18' "$vmlinuz" | head -n 1 | cut -d: -f1)
# What follows the stream in the file is no LZ4, which lz4 says after it has written all of it.
tail -c +$((offset + 1)) "$vmlinuz" | lz4 -dcq >"$scratch/vmlinux" 2>/dev/null || true
if [ "$(head -c 4 "$scratch/vmlinux")" != $'\x7fELF' ]; then
  echo "no kernel was found in $package" >&2
  exit 1
fi

# The drivers of the guest's disks and network are modules; they are loaded in this order.
mkdir -p "$scratch"/initrd/{bin,dev,proc,sys,root,modules}
cp "$(command -v busybox)" "$scratch/initrd/bin/busybox"
# Firecracker has its devices on virtio-mmio, QEMU on PCI.
for module in virtio_ring virtio virtio_mmio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci \
  virtio_blk failover net_failover virtio_net virtio_console vsock \
  vmw_vsock_virtio_transport_common vmw_vsock_virtio_transport; do
  file=$(find "$modules" -name "$module.ko*" | head -n 1)
  [ -z "$file" ] && continue
  cp "$file" "$scratch/initrd/modules/"
  echo "/modules/$(basename "$file")" >>"$scratch/initrd/modules/order"
done
cat >"$scratch/initrd/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
while read -r module; do /bin/busybox insmod "$module"; done </modules/order
tries=0
until /bin/busybox mount -t ext4 -o rw /dev/vda /root; do
  tries=$((tries + 1))
  [ "$tries" -gt 50 ] && exec /bin/busybox sh
  /bin/busybox usleep 100000
done
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /sbin/init
INIT
chmod +x "$scratch/initrd/init"
(cd "$scratch/initrd" && find . | cpio -o -H newc --quiet | gzip) >"$scratch/initrd.img"

# The root file system.
root=$scratch/root
mkdir -p "$root"/{bin,sbin,etc,dev,proc,sys,tmp,run,root,usr/bin,usr/sbin,usr/lib/banger}
install -m 0755 "$agent" "$root/usr/lib/banger/banger-guest"
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in $("$root/bin/busybox" --list); do
  [ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
done
ln -s ../bin/busybox "$root/sbin/init"
cat >"$root/etc/inittab" <<'INITTAB'
::sysinit:/etc/start
::respawn:/usr/lib/banger/banger-guest serve
ttyS0::respawn:-/bin/sh
::ctrlaltdel:/bin/reboot
::shutdown:/bin/umount -a -r
INITTAB
cat >"$root/etc/start" <<'START'
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /run
ip link set lo up
# ip=<address>::<gateway>:<mask>:… on the kernel's command line, as the kernel itself reads it
# where it is built to.
for word in $(cat /proc/cmdline); do
  case "$word" in
    ip=*)
      set -- $(echo "${word#ip=}" | sed 's/::*/ /g')
      hostname "$4"
      echo "$4" >/etc/hostname
      ip link set eth0 up
      ifconfig eth0 "$1" netmask "$3"
      ip route add default via "$2"
      ;;
  esac
done
echo "A guest of banger: $(uname -r), $(ip -4 -o addr show eth0 2>/dev/null | awk '{print $4}')"
START
chmod +x "$root/etc/start"
printf '%s\n' "root::0:0:root:/root:/bin/sh" "guest::1000:1000:guest:/tmp:/bin/sh" >"$root/etc/passwd"
printf '%s\n' "root:x:0:" "guest:x:1000:" "disk:x:6:guest" >"$root/etc/group"
mke2fs -q -F -t ext4 -d "$root" -E root_owner=0:0 "$scratch/root.ext4" 64M

for image in vmlinux initrd.img root.ext4; do
  install -m 0644 "$scratch/$image" "$dir/.$image.new"
  mv "$dir/.$image.new" "$dir/$image"
done
echo "$made_of" >"$dir/.made-of"
echo "made $dir/vmlinux, initrd.img and root.ext4 from $package"
