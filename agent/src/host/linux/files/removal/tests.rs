//! Trees as a hostile VMM makes them, in a temporary directory.

use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::CWD;

use super::*;

fn dir(path: &Path) -> OwnedFd {
    rustix::fs::openat(
        CWD,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .unwrap()
}

/// Directories in each other, each with a file beside the next.
fn deep(parent: &Path, depth: u32) {
    let mut at = dir(parent);
    for _ in 0..depth {
        rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        drop(rustix::fs::openat(&at, "f", flags, Mode::RUSR).unwrap());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        at = rustix::fs::openat(&at, "d", flags, Mode::empty()).unwrap();
    }
}

fn wide(parent: &Path, names: u32) {
    let at = dir(parent);
    let one = CString::new("n0").unwrap();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    drop(rustix::fs::openat(&at, &one, flags, Mode::RUSR).unwrap());
    for n in 1..names {
        // A link is a name as good as any other, and quicker to make. A file has so many at most.
        let name = format!("n{n}");
        if n % 30_000 == 0 {
            drop(rustix::fs::openat(&at, &*name, flags, Mode::RUSR).unwrap());
        } else {
            let last = format!("n{}", n - n % 30_000);
            rustix::fs::linkat(&at, &*last, &at, &*name, AtFlags::empty()).unwrap();
        }
    }
}

/// Removes in parts; how many it took. Each leaves no more open and takes no more than it may.
fn in_parts(parent: &Path, name: &str, at_once: u32) -> u32 {
    let at = dir(parent);
    for round in 1..100_000 {
        match remove_part(at.as_fd(), name, at_once).unwrap() {
            Removed::All => return round,
            Removed::Part => assert!(parent.join(name).exists(), "what is left is found again"),
            Removed::Nothing => panic!("it was there in round {round}"),
        }
    }
    panic!("it never ends")
}

fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_tree_of_300_000_names_goes_in_bounded_parts_and_little_memory() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("jail/root");
    std::fs::create_dir_all(&root).unwrap();
    wide(&root, 300_000);
    let before = memory_kib();
    let rounds = in_parts(temp.path(), "jail", AT_ONCE);
    assert!((15..=20).contains(&rounds), "{rounds} parts of {AT_ONCE}");
    let more = memory_kib() - before;
    assert!(more < 8 * 1024, "{more} KiB more");
    assert!(!temp.path().join("jail").exists());
}

#[test]
fn a_tree_10_000_deep_goes_without_a_descriptor_for_each_level() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir(temp.path().join("jail")).unwrap();
    deep(&temp.path().join("jail"), 10_000);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    assert!(limit.current.is_none_or(|most| most >= 64), "the test itself needs some");
    let rounds = in_parts(temp.path(), "jail", 1000);
    assert!((10..=60).contains(&rounds), "{rounds} parts of 1000");
}

#[test]
fn what_is_left_of_a_part_is_gone_on_with_by_the_whole() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir(temp.path().join("jail")).unwrap();
    deep(&temp.path().join("jail"), 200);
    let at = dir(temp.path());
    assert_eq!(remove_part(at.as_fd(), "jail", 50).unwrap(), Removed::Part);
    assert!(remove_tree(at.as_fd(), "jail").unwrap());
    assert!(!remove_tree(at.as_fd(), "jail").unwrap());
}

#[test]
fn nothing_outside_is_touched_by_way_of_a_symlink() {
    let temp = tempfile::tempdir().unwrap();
    let outside = temp.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("kept"), "kept").unwrap();
    let root = temp.path().join("jail/root/a/b");
    std::fs::create_dir_all(&root).unwrap();
    for place in [&root, &temp.path().join("jail/root"), &temp.path().join("jail")] {
        symlink(&outside, place.join("link")).unwrap();
        symlink(outside.join("kept"), place.join("file")).unwrap();
        // A name that what is moved up might get.
        std::fs::create_dir(place.join(".removed-1-0")).unwrap();
    }
    let at = dir(temp.path());
    assert!(remove_tree(at.as_fd(), "jail").unwrap());
    assert_eq!(std::fs::read(outside.join("kept")).unwrap(), b"kept");
    symlink(&outside, temp.path().join("jail")).unwrap();
    assert!(remove_tree(at.as_fd(), "jail").unwrap());
    assert_eq!(std::fs::read(outside.join("kept")).unwrap(), b"kept");
}
