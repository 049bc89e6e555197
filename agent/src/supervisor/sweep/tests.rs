//! What counts as an orphan.

use super::*;
use crate::host::{FileId, LoopDevice};
use crate::naming::Naming;
use crate::vm::fixtures::vm_id;

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

#[test]
fn only_objects_of_ours_that_no_vm_owns_are_orphans() {
    let naming = Naming::default();
    let (owned, orphan) = (naming.vm(vm_id(1)), naming.vm(vm_id(2)));
    let path = |n: u32| format!("/vms/{}/root.cow", vm_id(n));
    let found = Found {
        jails: vec![owned.jail.clone(), orphan.jail.clone(), JailId::new("theirs").unwrap()],
        rules: vec![owned.rules.clone(), orphan.rules.clone()],
        taps: vec![owned.tap.clone(), orphan.tap.clone(), TapName::new("bg-tap0").unwrap()],
        snapshots: vec![
            owned.snapshot.clone(),
            orphan.snapshot.clone(),
            DmName::new("banger-bg-swap").unwrap(),
        ],
        loops: vec![
            attached(1, &path(1), false, &["dm-1"]),
            attached(2, &path(2), false, &["dm-2"]),
            attached(3, &format!("{} (deleted)", path(3)), false, &[]),
            attached(4, "/images/root.ext4", true, &["dm-1"]),
            attached(5, "/images/old.ext4", true, &[]),
        ],
    };
    let owners = BTreeSet::from([vm_id(1)]);
    let orphans = orphans(&found, naming, &owners, &BTreeSet::from([owned.tap]));
    let expected = BTreeSet::from([
        Orphan::Jail(orphan.jail),
        Orphan::Rules(orphan.rules),
        Orphan::Tap(orphan.tap),
        Orphan::Snapshot(orphan.snapshot),
        Orphan::Loop(2, path(2)),
        Orphan::Loop(3, format!("{} (deleted)", path(3))),
        Orphan::Loop(5, "/images/old.ext4".to_owned()),
    ]);
    assert_eq!(orphans, expected);
}

#[test]
fn an_object_that_finds_an_owner_starts_its_grace_anew() {
    let naming = Naming::default();
    let jail = || BTreeSet::from([Orphan::Jail(naming.vm(vm_id(1)).jail)]);
    let settings = SweepSettings::default();
    let at = |seconds| Moment(Duration::from_secs(seconds));
    let mut ledger = Ledger::default();
    assert_eq!(ledger.due(jail(), &settings, at(0)), []);
    assert_eq!(ledger.due(BTreeSet::new(), &settings, at(30)), []);
    assert_eq!(ledger.due(jail(), &settings, at(60)), []);
    assert_eq!(ledger.due(jail(), &settings, at(120)).len(), 1);
}
