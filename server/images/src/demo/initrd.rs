//! An initial RAM disk that loads modules and goes on to the root disk: a gzipped cpio archive
//! with busybox and a script.

use std::io::{self, Write};

use cpio::newc;
use flate2::{Compression, GzBuilder};

use crate::package::Modules;

const INIT: &str = "\
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
while read -r module; do /bin/busybox insmod \"$module\"; done </modules/order
tries=0
until /bin/busybox mount -t ext4 -o rw /dev/vda /root; do
  tries=$((tries + 1))
  [ \"$tries\" -gt 50 ] && exec /bin/busybox sh
  /bin/busybox usleep 100000
done
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /sbin/init
";

const DIRECTORIES: [&str; 6] = ["bin", "dev", "proc", "sys", "root", "modules"];

/// Writes the archive; the same modules give the same bytes.
pub(crate) fn write_initrd(modules: &Modules, busybox: &[u8], out: impl Write) -> io::Result<()> {
    let mut packed = GzBuilder::new().mtime(0).write(out, Compression::default());
    let mut order = String::new();
    let mut number = 0;
    let mut put = |name: &str, mode: u32, bytes: &[u8]| {
        number += 1;
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let entry = newc::Builder::new(name).ino(number).mode(mode).nlink(1);
        let mut entry = entry.write(&mut packed, length);
        entry.write_all(bytes)?;
        entry.finish().map(drop)
    };
    for directory in DIRECTORIES {
        put(directory, 0o040_755, b"")?;
    }
    put("init", 0o100_755, INIT.as_bytes())?;
    put("bin/busybox", 0o100_755, busybox)?;
    for (name, module) in &modules.in_order {
        let path = format!("modules/{name}.ko");
        put(&path, 0o100_644, module)?;
        order.push_str(&format!("/{path}\n"));
    }
    put("modules/order", 0o100_644, order.as_bytes())?;
    newc::trailer(&mut packed)?;
    packed.finish()?.flush()
}
