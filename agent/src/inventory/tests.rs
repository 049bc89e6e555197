//! What counts as ours, and whose it is.

use std::path::Path;

use super::*;
use crate::host::{BootTime, DeviceNumber, FileId, LoopDevice, Pid, SnapshotFill, VmmKind};
use crate::naming::Naming;
use crate::vm::fixtures::vm_id;

const BOOT: &str = "boot-1";
const NOW: u64 = 10_000;

fn frame() -> Frame<'static> {
    Frame {
        naming: Naming::default(),
        boot_id: BOOT,
        boot_time: BootTime { unix_seconds: 1_000, ticks_per_second: 100 },
        now: NOW,
        images: Path::new("/images"),
        scratch: Path::new("/vms"),
    }
}

fn jail(n: u32) -> JailSurvey {
    JailSurvey {
        id: frame().naming.vm(vm_id(n)).jail,
        vmm: Some(VmmKind::Firecracker),
        files: true,
        root: Some(root(n)),
        cgroup: true,
        members: Vec::new(),
        born: Some(NOW - 60),
        occupied_bytes: 4096,
    }
}

fn root(n: u32) -> FileId {
    FileId { device: 7, inode: u64::from(n) }
}

fn process(n: u32, root: Option<FileId>) -> (ProcessFacts, JailId) {
    let jail = frame().naming.vm(vm_id(n)).jail;
    let facts = ProcessFacts {
        pid: Pid::new(4000 + n).unwrap(),
        start_ticks: 500_000,
        comm: "firecracker".to_owned(),
        zombie: false,
        user: Some(200_002),
        program: Some("firecracker".to_owned()),
        arguments: vec!["/firecracker".to_owned(), "--id".to_owned(), jail.to_string()],
        root,
    };
    (facts, jail)
}

fn attached(number: u32, path: &str, read_only: bool, holders: &[&str]) -> LoopFacts {
    LoopFacts {
        device: LoopDevice(number),
        backing_path: path.into(),
        backing: FileId { device: 1, inode: u64::from(number) },
        read_only,
        size_bytes: 512,
        holders: holders.iter().map(|holder| (*holder).to_owned()).collect(),
    }
}

fn snapshot(name: &DmName, minor: u32, base: u32, cow: u32) -> SnapshotFacts {
    SnapshotFacts {
        name: name.clone(),
        device: DeviceNumber { major: 254, minor },
        open_count: 0,
        base: LoopDevice(base).number(),
        cow: LoopDevice(cow).number(),
        size_sectors: 8,
        fill: SnapshotFill::Unclear,
    }
}

fn dir(n: u32, files: &[&str]) -> DirFacts {
    DirFacts {
        dir: frame().naming.vm(vm_id(n)).dir,
        born: None,
        occupied_bytes: 512,
        files: Some(files.iter().map(|file| PathPart::new(file).unwrap()).collect()),
    }
}

/// VM n with everything.
fn add_vm(found: &mut Found, n: u32) {
    let names = frame().naming.vm(vm_id(n));
    let cow = format!("/vms/{}/root.cow", vm_id(n));
    found.processes.push(process(n, Some(root(n))));
    found.jails.push(jail(n));
    found.rules.insert(names.rules.clone(), 5);
    found.taps.push(names.tap.clone());
    found.snapshots.push(snapshot(&names.snapshot, n, 100, n));
    found.loops.push(attached(n, &cow, false, &[&format!("dm-{n}")]));
    found.dirs.push(dir(n, &["root.cow", "vm.json"]));
}

fn held(vms: &[(u32, Hold)]) -> Records {
    Records { held: vms.iter().map(|(n, hold)| (vm_id(*n), *hold)).collect(), ..Records::default() }
}

/// Kind, name and standing of everything listed.
fn rows(found: &Found, records: &Records) -> Vec<(Kind, String, Standing)> {
    let objects = join(found, records, frame()).into_iter();
    objects.map(|object| (object.kind(), object.name, object.standing)).collect()
}

fn standings(found: &Found, records: &Records) -> BTreeSet<String> {
    rows(found, records).iter().map(|(kind, _, s)| format!("{} {s:?}", kind.as_str())).collect()
}

#[test]
fn every_object_of_a_vm_with_a_record_is_owned_and_named_once() {
    let mut found = Found::default();
    add_vm(&mut found, 1);
    found.loops.push(attached(100, "/images/root.ext4", true, &["dm-1"]));
    found
        .mounts
        .push(MountFacts { path: "/jails/x/mnt".into(), inside: frame().naming.vm(vm_id(1)).jail });
    let objects = join(&found, &held(&[(1, Hold::Kept)]), frame());
    let kinds: Vec<Kind> = objects.iter().map(Object::kind).collect();
    assert_eq!(
        kinds,
        [
            Kind::Process,
            Kind::Cgroup,
            Kind::Jail,
            Kind::Mount,
            Kind::Rule,
            Kind::Tap,
            Kind::Dm,
            Kind::Loop,
            Kind::Loop,
            Kind::Directory
        ]
    );
    for object in &objects {
        let shared = object.detail == "/images/root.ext4";
        let expected = if shared { Standing::Shared } else { Standing::Owned };
        assert_eq!(object.standing, expected, "{object:?}");
        assert_eq!(object.vm, (!shared).then(|| vm_id(1)), "{object:?}");
        assert!(!object.is_orphan());
    }
}

#[test]
fn ages_and_sizes_are_told_where_somebody_knows_them() {
    let mut found = Found::default();
    add_vm(&mut found, 1);
    let objects = join(&found, &held(&[(1, Hold::Kept)]), frame());
    let told: Vec<String> = objects
        .iter()
        .map(|object| {
            let age = object.age.map(|age| age.as_secs());
            format!("{} {age:?} {} {}", object.kind().as_str(), object.size_bytes, object.detail)
        })
        .collect();
    assert_eq!(
        told,
        [
            // Booted at 1000, started 5000 seconds later.
            "process Some(4000) 0 ",
            "cgroup None 0 ",
            "jail Some(60) 4096 ",
            "rule None 0 5 rules",
            "tap None 0 ",
            "dm None 4096 ",
            &format!("loop None 512 /vms/{}/root.cow", vm_id(1)),
            "directory None 512 ",
        ]
    );
}

#[test]
fn objects_of_a_vm_that_is_to_be_absent_are_leaving() {
    let mut found = Found::default();
    add_vm(&mut found, 1);
    let rows = rows(&found, &held(&[(1, Hold::Leaving)]));
    assert!(rows.iter().all(|(_, _, standing)| *standing == Standing::Leaving), "{rows:?}");
}

#[test]
fn what_only_looks_similar_is_not_listed_at_all() {
    let id = vm_id(9);
    let other = Naming::new("zz".parse().unwrap()).vm(id);
    let found = Found {
        // Another instance's VMM with a jail of its own, and one that names no VM.
        processes: vec![process(9, Some(root(9))), process(8, None)],
        members: BTreeSet::new(),
        jails: vec![JailSurvey { id: JailId::new("theirs").unwrap(), ..jail(1) }],
        mounts: vec![MountFacts { path: "/m".into(), inside: JailId::new("theirs").unwrap() }],
        rules: BTreeMap::from([(GuestKey::new("theirs").unwrap(), 1)]),
        pins: BTreeSet::from([GuestKey::new("theirs").unwrap()]),
        open_taps: std::collections::BTreeSet::new(),
        taps: vec![
            other.tap,
            TapName::new("bg-tap0").unwrap(),
            TapName::new("bg-aaaaaaaaaaa1").unwrap(),
            TapName::new("bgx-aaaaaaaaaaa").unwrap(),
        ],
        snapshots: vec![
            snapshot(&other.snapshot, 1, 1, 2),
            snapshot(&DmName::new("banger-bg-swap").unwrap(), 2, 1, 2),
        ],
        loops: vec![
            // Writable over an image, beside the images, deeper, and in no VM's directory.
            attached(1, "/images/root.ext4", false, &[]),
            attached(2, "/images-of-others/root.ext4", true, &[]),
            attached(3, "/images/deeper/root.ext4", true, &[]),
            attached(4, "/vms/notes/disk.img", true, &[]),
            attached(5, &format!("/elsewhere/{id}/root.cow"), false, &[]),
        ],
        dirs: vec![DirFacts { dir: PathPart::new("notes").unwrap(), ..dir(1, &[]) }],
    };
    assert_eq!(rows(&found, &Records::default()), []);
}

#[test]
fn kernel_objects_of_no_vm_are_orphans_and_a_tap_gets_its_name_from_what_is_beside_it() {
    let names = frame().naming.vm(vm_id(2));
    let lonely = frame().naming.vm(vm_id(3)).tap;
    let mut found = Found::default();
    add_vm(&mut found, 1);
    found.rules.insert(names.rules.clone(), 1);
    found.taps.extend([names.tap.clone(), lonely.clone()]);
    found.loops.push(attached(7, &format!("/vms/{}/root.cow (deleted)", vm_id(2)), false, &[]));
    let records = held(&[(1, Hold::Kept)]);
    let objects = join(&found, &records, frame());
    let orphans: Vec<_> = objects.iter().filter(|object| object.is_orphan()).collect();
    assert_eq!(orphans.len(), 4, "{orphans:#?}");
    assert!(orphans.iter().all(|object| object.standing == Standing::Orphan));
    let vm_of = |tap: &TapName| {
        orphans.iter().find(|object| object.name == tap.as_str()).expect("is listed").vm
    };
    assert_eq!(vm_of(&names.tap), Some(vm_id(2)));
    assert_eq!(vm_of(&lonely), None);
    // The server may know whose it is.
    let records = Records { claimed: BTreeSet::from([vm_id(3)]), ..records };
    let objects = join(&found, &records, frame());
    let tap = objects.iter().find(|object| object.name == lonely.as_str()).expect("is listed");
    assert_eq!(tap.vm, Some(vm_id(3)));
}

#[test]
fn what_hangs_together_with_a_process_or_a_directory_is_lost_not_orphaned() {
    // A process in its jail, and a tap beside.
    let names = frame().naming.vm(vm_id(2));
    let found = Found {
        processes: vec![process(2, Some(root(2)))],
        jails: vec![jail(2)],
        taps: vec![names.tap.clone()],
        ..Found::default()
    };
    let all = standings(&found, &Records::default());
    assert!(all.iter().all(|row| row.ends_with("Lost")), "{all:?}");
    // A directory without a record, and the disk that lies in it.
    let cow = format!("/vms/{}/root.cow", vm_id(2));
    let found = Found {
        dirs: vec![dir(2, &["root.cow"])],
        loops: vec![attached(1, &cow, false, &[])],
        ..Found::default()
    };
    let all = standings(&found, &Records::default());
    assert_eq!(all, BTreeSet::from(["directory Lost".to_owned(), "loop Lost".to_owned()]));
}

#[test]
fn a_record_that_the_agent_does_not_hold_makes_everything_of_its_vm_unclear() {
    let mut found = Found::default();
    add_vm(&mut found, 2);
    let records = Records { lost: BTreeSet::from([vm_id(2)]), ..Records::default() };
    let rows = rows(&found, &records);
    assert!(!rows.is_empty());
    for (_, _, standing) in rows {
        assert!(matches!(standing, Standing::Unclear(_)), "{standing:?}");
    }
}

#[test]
fn a_symlink_in_the_place_of_a_directory_makes_everything_of_its_vm_unclear() {
    let mut found = Found::default();
    add_vm(&mut found, 2);
    found.dirs = vec![DirFacts { files: None, ..dir(2, &[]) }];
    let records = Records { lost: BTreeSet::from([vm_id(2)]), ..Records::default() };
    let rows = rows(&found, &records);
    assert_eq!(rows.len(), 8);
    for (_, _, standing) in rows {
        assert!(matches!(standing, Standing::Unclear(_)), "{standing:?}");
    }
}

/// A process of root's that says our id and whose root cannot be read.
fn unreadable(n: u32) -> (ProcessFacts, JailId) {
    let (facts, jail) = process(n, None);
    (ProcessFacts { user: Some(0), ..facts }, jail)
}

#[test]
fn a_process_in_the_control_group_of_a_jail_is_its_whatever_it_says_of_itself() {
    let (facts, id) = process(2, None);
    let disguised = ProcessFacts {
        comm: "kworker/u4:1".to_owned(),
        arguments: Vec::new(),
        program: Some("firecracker".to_owned()),
        ..facts
    };
    let pid = disguised.pid;
    let found = Found {
        processes: vec![(disguised, id)],
        members: BTreeSet::from([pid]),
        jails: vec![JailSurvey { members: vec![pid], ..jail(2) }],
        ..Found::default()
    };
    let rows = rows(&found, &Records::default());
    let process = rows.iter().find(|(kind, _, _)| *kind == Kind::Process);
    assert_eq!(process.map(|(_, _, standing)| standing.clone()), Some(Standing::Lost));
}

/// A process that says, as QEMU does, that it is that of a jail.
fn qemu(name: &str, root: Option<FileId>) -> ProcessFacts {
    ProcessFacts {
        comm: "qemu-system-x86".to_owned(),
        arguments: ["/usr/bin/qemu-system-x86_64", "-name", name].map(str::to_owned).into(),
        ..process(2, root).0
    }
}

#[test]
fn a_qemu_is_ours_by_its_name_and_the_root_of_a_jail_built_for_it_and_not_by_less() {
    let id = frame().naming.vm(vm_id(2)).jail;
    let ours = format!("banger-{id}");
    let of = |process: ProcessFacts, vmm| {
        let table = crate::jail::process::ProcessTable::of(vec![process]);
        let found = Found {
            processes: table.claims().map(|(facts, jail)| (facts.clone(), jail)).collect(),
            jails: vec![JailSurvey { vmm: Some(vmm), ..jail(2) }],
            ..Found::default()
        };
        let rows = rows(&found, &Records::default()).into_iter();
        rows.filter(|(kind, _, _)| *kind == Kind::Process).map(|(_, _, s)| s).next()
    };
    let in_jail = Some(root(2));
    assert_eq!(of(qemu(&ours, in_jail), VmmKind::Qemu), Some(Standing::Lost));
    // Somebody else's machine of that name, one in our jail's root for another VMM, and names that
    // only look like ours.
    assert_eq!(of(qemu(&ours, Some(root(99))), VmmKind::Qemu), None);
    assert_eq!(of(qemu(&ours, in_jail), VmmKind::Firecracker), None);
    for name in [id.as_str(), &format!("guest={ours}"), &format!("banger-{ours}"), "banger-"] {
        assert_eq!(of(qemu(name, in_jail), VmmKind::Qemu), None, "{name}");
    }
    // Whose root cannot be read is perhaps ours as root's, and nobody's as a local user's.
    assert_eq!(of(qemu(&ours, None), VmmKind::Qemu), None);
    let unclear = of(ProcessFacts { user: Some(0), ..qemu(&ours, None) }, VmmKind::Qemu);
    assert!(matches!(unclear, Some(Standing::Unclear(_))), "{unclear:?}");
}

#[test]
fn a_process_that_cannot_be_told_makes_everything_of_its_vm_unclear() {
    let names = frame().naming.vm(vm_id(2));
    let found = Found {
        processes: vec![unreadable(2)],
        jails: vec![jail(2)],
        taps: vec![names.tap],
        ..Found::default()
    };
    let rows = rows(&found, &Records::default());
    assert_eq!(rows.len(), 4);
    for (_, _, standing) in rows {
        assert!(matches!(standing, Standing::Unclear(_)), "{standing:?}");
    }
}

#[test]
fn a_process_in_somebody_elses_root_is_not_ours_whatever_its_arguments_say() {
    let found = Found {
        processes: vec![process(2, Some(root(99)))],
        jails: vec![jail(2)],
        ..Found::default()
    };
    let all = standings(&found, &Records::default());
    assert_eq!(all, BTreeSet::from(["cgroup Orphan".to_owned(), "jail Orphan".to_owned()]));
}

#[test]
fn an_image_is_an_orphan_only_when_nothing_stands_on_it_but_orphans() {
    let names = |n| frame().naming.vm(vm_id(n)).snapshot;
    let base = |holders: &[&str]| attached(100, "/images/root.ext4", true, holders);
    let of = |holders: &[&str], records: &Records| {
        let found = Found {
            snapshots: vec![snapshot(&names(1), 1, 100, 1), snapshot(&names(2), 2, 100, 2)],
            loops: vec![base(holders)],
            ..Found::default()
        };
        let objects = join(&found, records, frame());
        objects.into_iter().find(|object| object.kind() == Kind::Loop).expect("listed").standing
    };
    let one_owned = held(&[(1, Hold::Kept)]);
    assert_eq!(of(&[], &one_owned), Standing::Orphan);
    assert_eq!(of(&["dm-2"], &one_owned), Standing::Orphan);
    assert_eq!(of(&["dm-1", "dm-2"], &one_owned), Standing::Shared);
    assert_eq!(of(&["dm-7"], &one_owned), Standing::Shared, "somebody else stands on it");
    let image = ImageName::new("root.ext4").unwrap();
    let used = Records { images: BTreeSet::from([image]), ..Records::default() };
    assert_eq!(of(&[], &used), Standing::Shared, "a VM is about to use it");
}

#[test]
fn a_number_that_belongs_to_something_else_now_is_another_object() {
    let cow = format!("/vms/{}/root.cow", vm_id(2));
    let key = |inode| {
        let mut facts = attached(1, &cow, false, &[]);
        facts.backing.inode = inode;
        let found = Found { loops: vec![facts], ..Found::default() };
        join(&found, &Records::default(), frame()).remove(0).key()
    };
    assert_eq!(key(1), key(1));
    assert_ne!(key(1), key(2));
}
