//! The file systems of a guest without an init.
//!
//! Driven by [`super::run`]. What is mounted already, by an initial RAM disk, is left as it is.

use std::ffi::CString;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{attempt, say};

/// Kind, place, options, and flags that forbid what is not needed there.
const MOUNTS: [(&str, &str, &str, MsFlags); 7] = [
    ("proc", "/proc", "", no(true, true)),
    ("sysfs", "/sys", "", no(true, true)),
    ("devtmpfs", "/dev", "mode=0755", no(true, false)),
    ("devpts", "/dev/pts", "gid=5,mode=0620,ptmxmode=0666", no(true, false)),
    ("tmpfs", "/dev/shm", "mode=1777", no(true, true)),
    ("tmpfs", "/run", "mode=0755", no(true, true)),
    ("tmpfs", "/tmp", "mode=1777", no(true, true)),
];

const fn no(suid: bool, devices: bool) -> MsFlags {
    let mut flags = MsFlags::empty();
    if suid {
        flags = flags.union(MsFlags::MS_NOSUID);
    }
    if devices {
        flags = flags.union(MsFlags::MS_NODEV);
    }
    flags
}

/// Mounts what is missing.
pub(super) fn mount_all() {
    let none = None::<&str>;
    // The kernel mounts the root for reading, unless it was told otherwise.
    attempt("make the root writable", mount(none, "/", none, MsFlags::MS_REMOUNT, none));
    for (kind, place, options, flags) in MOUNTS {
        // It may be there; if it can't be made, mounting says so.
        let _ = std::fs::create_dir_all(place);
        if is_mounted(place) {
            continue;
        }
        let options = Some(options).filter(|options| !options.is_empty());
        match mount(Some(kind), place, Some(kind), flags, options) {
            Ok(()) | Err(Errno::EBUSY) => {}
            Err(error) => say(format_args!("could not mount {kind} at {place}: {error}")),
        }
    }
    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ] {
        let _ = std::os::unix::fs::symlink(target, link);
    }
}

/// Whether something is mounted there: it is on another device than its parent.
fn is_mounted(place: &str) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev()).ok();
    let place = Path::new(place);
    device(place).is_some() && device(place) != device(place.parent().unwrap_or(place))
}

/// Writes everything to disk and unmounts what can be; the root becomes read-only.
pub(super) fn let_go() {
    nix::unistd::sync();
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let places: Vec<&str> = mounts.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    for place in places.iter().rev().filter(|place| **place != "/") {
        // What is busy, and what holds nothing, stays.
        if let Ok(place) = CString::new(place.replace("\\040", " ")) {
            let _ = umount2(place.as_c_str(), MntFlags::empty());
        }
    }
    let none = None::<&str>;
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    attempt("make the root read-only", mount(none, "/", none, flags, none));
    nix::unistd::sync();
}
