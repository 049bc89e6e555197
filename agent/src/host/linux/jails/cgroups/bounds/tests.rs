//! Control groups as directories of files. That the kernel takes what is written is tried in the
//! one test that needs a mount of version 2 with controllers.

use super::*;
use crate::host::{IoBounds, VmmKind};

fn id() -> JailId {
    JailId::new("0191e0a0-0000-7000-8000-0000000000b0").expect("a test id")
}

fn disk() -> DeviceNumber {
    DeviceNumber { major: 253, minor: 4 }
}

fn bounds() -> JailBounds {
    let rates = IoRates { read_bytes: 1 << 20, write_ops: 50, ..IoRates::default() };
    JailBounds {
        cpu_weight: 250,
        cpu_millis: 1500,
        io: IoBounds { rates, devices: vec![disk()] },
        ..JailBounds::of(VmmKind::Firecracker, 2, 512)
    }
}

struct Fixture {
    temp: tempfile::TempDir,
    groups: Cgroups,
}

impl Fixture {
    fn new() -> Self {
        let temp = tempfile::tempdir().expect("a directory");
        let groups = Cgroups::at(temp.path(), Path::new("guests"));
        std::fs::create_dir_all(groups.path(&id())).expect("made");
        Self { temp, groups }
    }

    fn put(&self, file: &str, text: &str) {
        std::fs::write(self.groups.path(&id()).join(file), text).expect("written");
    }

    fn text(&self, file: &str) -> String {
        std::fs::read_to_string(self.groups.path(&id()).join(file)).expect("there")
    }
}

#[test]
fn what_the_kernel_shows_is_read_and_a_file_that_is_not_there_is_no_bound_of_zero() {
    let f = Fixture::new();
    assert_eq!(f.groups.bounds(&id()).expect("read"), BoundsSeen::default());
    f.put("memory.max", "max\n");
    f.put("pids.max", "18\n");
    f.put("cpu.weight", "100\n");
    f.put("cpu.max", "150000 100000\n");
    f.put("io.max", "253:4 rbps=1048576 wbps=max riops=max wiops=50\n8:0 junk\nx\n");
    let seen = f.groups.bounds(&id()).expect("read");
    assert_eq!((seen.memory_bytes, seen.tasks, seen.cpu_weight), (Some(0), Some(18), Some(100)));
    assert_eq!(seen.cpu_millis, Some(1500));
    assert_eq!(seen.io, bounds().held().io);
    f.put("cpu.max", "max 100000\n");
    assert_eq!(f.groups.bounds(&id()).expect("read").cpu_millis, Some(0));
}

#[test]
fn a_group_is_held_to_each_bound_once_and_to_nothing_that_it_has_no_file_for() {
    let f = Fixture::new();
    assert!(!f.groups.bound(&id(), &bounds()).expect("nothing to write"));
    for (file, text) in [("cpu.max", "max 100000\n"), ("cpu.weight", "100\n"), ("io.max", "")] {
        f.put(file, text);
    }
    assert!(f.groups.bound(&id(), &bounds()).expect("written"));
    assert_eq!(f.text("cpu.max"), "150000 100000");
    assert_eq!(f.text("cpu.weight"), "250");
    assert_eq!(f.text("io.max"), "253:4 rbps=1048576 wbps=max riops=max wiops=50");
    assert!(!f.groups.path(&id()).join("memory.max").exists());
    assert!(!f.groups.bound(&id(), &bounds()).expect("already so"));
    // A device that is bounded no longer is written too.
    assert!(f.groups.bound(&id(), &JailBounds::default()).expect("written"));
    assert_eq!(f.text("io.max"), "253:4 rbps=max wbps=max riops=max wiops=max");
    assert_eq!(f.text("cpu.max"), "max 100000");
}

#[test]
fn a_group_with_more_memory_than_it_is_to_have_keeps_its_bound() {
    let f = Fixture::new();
    f.put("memory.max", "max\n");
    f.put("memory.current", "999999999999\n");
    let refused = f.groups.bound(&id(), &bounds()).expect_err("it would end the guest");
    assert_eq!(refused.kind, HostErrorKind::Refused);
    assert_eq!(f.text("memory.max"), "max\n");
    f.put("memory.current", "4096\n");
    assert!(f.groups.bound(&id(), &bounds()).expect("room"));
}

#[test]
fn a_partition_is_bounded_by_its_disk_and_what_is_no_device_by_none() {
    let f = Fixture::new();
    let sys = f.temp.path().join("sys");
    let disk = sys.join("devices/pci/block/sda");
    std::fs::create_dir_all(disk.join("sda1")).expect("made");
    std::fs::create_dir_all(sys.join("dev/block")).expect("made");
    std::fs::write(disk.join("dev"), "8:0\n").expect("written");
    std::fs::write(disk.join("sda1/partition"), "1\n").expect("written");
    for (number, target) in [("8:0", disk.clone()), ("8:1", disk.join("sda1"))] {
        std::os::unix::fs::symlink(target, sys.join("dev/block").join(number)).expect("linked");
    }
    let of = |minor| bounded_device(&sys, DeviceNumber { major: 8, minor });
    assert_eq!(of(0), Some(DeviceNumber { major: 8, minor: 0 }));
    assert_eq!(of(1), Some(DeviceNumber { major: 8, minor: 0 }));
    assert_eq!(of(2), None);
}

/// Where the machine has version 2 with controllers; elsewhere this says so and tries nothing.
#[test]
fn priv_the_kernel_takes_each_bound_and_shows_it_as_it_was_meant() {
    let group = std::path::PathBuf::from(format!("banger-test-{}", std::process::id()));
    let Some(groups) = Cgroups::detect(&group) else {
        eprintln!("no control groups of version 2 here");
        return;
    };
    groups.make(&id()).expect("a group");
    let held = groups.bound(&id(), &JailBounds { io: IoBounds::default(), ..bounds() });
    let seen = groups.bounds(&id());
    std::fs::remove_dir(groups.path(&id())).expect("removed");
    let _ = std::fs::remove_dir(groups.path(&id()).parent().expect("a parent"));
    held.expect("bounded");
    let seen = seen.expect("read");
    let wanted = JailBounds { io: IoBounds::default(), ..bounds() };
    assert!(!wanted.differs(&seen), "{seen:?}");
    eprintln!("controllers that are not here: {:?}", seen.missing());
}
