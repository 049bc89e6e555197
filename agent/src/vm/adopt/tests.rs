//! A live process outranks the file; a dead one leaves the file's other hints for cleanup.

use super::*;
use crate::handles::LoopHandle;
use crate::host::{DmName, FileId, LoopDevice, Pid};
use crate::naming;

fn identity(pid: u32) -> ProcessIdentity {
    ProcessIdentity { pid: Pid::new(pid).unwrap(), start_ticks: 5, boot_id: "boot".to_owned() }
}

fn hints(pid: u32) -> VmHandles {
    VmHandles {
        process: Some(ProcessHandle {
            identity: identity(pid),
            ending: false,
            started_at: None,
            user: None,
        }),
        base_loop: Some(LoopHandle {
            file: naming::base("root.ext4".parse().unwrap()),
            attached: Some((LoopDevice(3), FileId { device: 1, inode: 9 })),
        }),
        snapshot: Some(DmName::new("banger-bg-x").unwrap()),
        ..VmHandles::default()
    }
}

#[test]
fn lookup_prefers_the_live_process_over_the_file() {
    let found = Liveness::Alive(identity(20));
    let Adoption::Keep { handles, corrected } = adopt(hints(10), &found, "boot") else {
        panic!("a live process is kept");
    };
    assert!(corrected);
    assert_eq!(handles.process.unwrap().identity, identity(20));
    assert_eq!(handles.snapshot, hints(10).snapshot);
}

#[test]
fn a_dead_process_hands_back_the_files_handles_for_cleanup() {
    let found = Liveness::Dead(WhyNot::NoSuchProcess { pid: Pid::new(10).unwrap() });
    let Adoption::Demote { handles, ended, .. } = adopt(hints(10), &found, "boot") else {
        panic!("a dead process is demoted");
    };
    assert_eq!(ended, hints(10).process);
    assert_eq!(handles, VmHandles { process: None, ..hints(10) });
}

#[test]
fn numbers_of_another_boot_are_dropped_and_names_are_kept() {
    let found = Liveness::Dead(WhyNot::SocketMissing);
    let Adoption::Demote { handles, .. } = adopt(hints(10), &found, "later boot") else {
        panic!("demoted");
    };
    assert_eq!(handles.base_loop.unwrap().attached, None);
    assert!(handles.snapshot.is_some());
}

#[test]
fn a_process_that_cannot_be_told_changes_no_handle() {
    let found = Liveness::CannotTell(WhyUnclear::RootUnreadable { pid: Pid::new(10).unwrap() });
    assert!(matches!(
        adopt(hints(10), &found, "boot"),
        Adoption::Unclear { handles, .. } if handles == hints(10)
    ));
}
