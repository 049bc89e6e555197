//! The root file system of the demo guest: busybox, a script that brings the network up, and a
//! shell on the serial console.

use std::collections::BTreeMap;

use crate::ImportError;
use crate::blob::Blob;
use crate::budget::Budget;
use crate::deb;
use crate::kernel::{check_static, is_elf};
use crate::tree::{Body, Contents, Meta, ROOT, Tree};

const MOST_BYTES: u64 = 16 << 20;

/// 2024-01-01T00:00:00Z: the same packages give the same bytes.
const MADE_AT: i64 = 1_704_067_200;

const DIRECTORIES: [(&str, u16); 13] = [
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sbin", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr/bin", 0o755),
    ("usr/sbin", 0o755),
    ("var/log", 0o755),
];

const INITTAB: &str = "\
::sysinit:/etc/start
ttyS0::respawn:-/bin/sh
::ctrlaltdel:/bin/reboot
::shutdown:/bin/umount -a -r
";

const START: &str = "\
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
ip link set lo up
# ip=<address>::<gateway>:<mask>:<name>:<device>:<how>:<dns>:<dns> on the kernel's command line, as
# the kernel itself reads it where it is built to.
for word in $(cat /proc/cmdline); do
  case \"$word\" in
    ip=*)
      field() { echo \"${word#ip=}\" | cut -d: -f\"$1\"; }
      ip link set eth0 up
      ifconfig eth0 \"$(field 1)\" netmask \"$(field 4)\"
      ip route add default via \"$(field 3)\"
      [ -n \"$(field 5)\" ] && field 5 >/etc/hostname
      servers=$(for server in $(field 8) $(field 9); do echo \"nameserver $server\"; done)
      [ -n \"$servers\" ] && echo \"$servers\" >/etc/resolv.conf
      ;;
  esac
done
hostname -F /etc/hostname
echo \"A guest of banger: $(uname -r), $(ip -4 -o addr show eth0 2>/dev/null | awk '{print $4}')\"
";

const PASSWD: &str = "root::0:0:root:/root:/bin/sh\n";
const GROUP: &str = "root:x:0:\n";

/// What every busybox has and a guest cannot do without, should its own list not be found.
const APPLETS: [&str; 24] = [
    "awk", "cat", "chmod", "cp", "cut", "df", "echo", "hostname", "ifconfig", "ip", "kill", "ls",
    "mkdir", "mount", "mv", "ping", "poweroff", "ps", "reboot", "rm", "sed", "sh", "umount",
    "uname",
];

/// The static busybox of `blob`: itself, or the one in its package.
pub(crate) fn read_busybox(blob: &Blob, budget: &Budget<'_>) -> Result<Vec<u8>, ImportError> {
    let head = blob.head(deb::MAGIC.len())?;
    let found = if head == deb::MAGIC {
        let files = deb::files_of(blob)?;
        let mut found = None;
        deb::each_file(&files, budget, &mut |path, _, archive| {
            if path.last() == Some(&&b"busybox"[..])
                && path.iter().rev().nth(1) == Some(&&b"bin"[..])
            {
                found = Some(archive.read_whole(MOST_BYTES)?);
            }
            Ok(())
        })?;
        found
    } else if is_elf(&head) {
        Some(blob.read_whole(MOST_BYTES)?)
    } else {
        None
    };
    let Some(busybox) = found else {
        let what = "it is neither busybox nor a package that has it".to_owned();
        return Err(ImportError::NotUsable { from: blob.from.clone(), what });
    };
    check_static(&busybox[..], &blob.from)?;
    Ok(busybox)
}

/// A tree in which busybox is everything.
pub(crate) fn busybox_tree(busybox: &[u8]) -> Tree {
    let mut tree = Tree::new();
    tree.meta_mut(ROOT).mtime = MADE_AT;
    for (path, mode) in DIRECTORIES {
        let parts: Vec<_> = path.split('/').map(str::as_bytes).collect();
        // The tree is empty, so nothing is in the way.
        if let Ok(ino) = tree.make_directories(&parts, 1) {
            *tree.meta_mut(ino) = Meta::root(mode, MADE_AT);
        }
    }
    let file = |bytes: &[u8]| Body::File {
        size: bytes.len() as u64,
        contents: Contents::Bytes(bytes.into()),
    };
    let link = |target: &str| Body::Symlink(target.as_bytes().into());
    let mut put = |path: &str, mode: u16, body: Body| {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parts: Vec<_> = directory.split('/').map(str::as_bytes).collect();
        if let Some(directory) = tree.find(&parts) {
            let ino = tree.add(Meta::root(mode, MADE_AT), body);
            tree.link(directory, name.as_bytes(), ino, 1);
        }
    };
    for applet in applets(busybox) {
        put(&format!("bin/{applet}"), 0o777, link("busybox"));
    }
    put("bin/busybox", 0o755, file(busybox));
    put("sbin/init", 0o777, link("../bin/busybox"));
    put("etc/inittab", 0o644, file(INITTAB.as_bytes()));
    put("etc/start", 0o755, file(START.as_bytes()));
    put("etc/passwd", 0o644, file(PASSWD.as_bytes()));
    put("etc/group", 0o644, file(GROUP.as_bytes()));
    tree
}

/// The names that a busybox goes by. They lie in it one after the other, in order, the first
/// being `[` and `[[`; nothing is run to ask for them.
pub(crate) fn applets(busybox: &[u8]) -> Vec<String> {
    const FIRST: &[u8] = b"\0[\0[[\0";
    let from = busybox.windows(FIRST.len()).position(|window| window == FIRST);
    let listed = from.map(|from| &busybox[from + 1..]).unwrap_or_default();
    let mut names: Vec<String> = Vec::new();
    for name in listed.split(|byte| *byte == 0) {
        let text = String::from_utf8_lossy(name).into_owned();
        let plain = |c: char| c.is_ascii_alphanumeric() || "[-_.".contains(c);
        // The list is over where its order is.
        if text.is_empty() || !text.chars().all(plain) || names.last() >= Some(&text) {
            break;
        }
        names.push(text);
    }
    let own: BTreeMap<_, _> = names.iter().map(|name| (name.as_str(), ())).collect();
    if APPLETS.iter().all(|applet| own.contains_key(applet)) {
        return names;
    }
    APPLETS.iter().map(|name| (*name).to_owned()).collect()
}
