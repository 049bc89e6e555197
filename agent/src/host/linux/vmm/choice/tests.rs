//! What is chosen where the configuration leaves it open.

use super::*;

#[test]
fn firecracker_where_it_runs_else_qemu_where_it_is() {
    assert_eq!(automatic(true, true), VmmKind::Firecracker);
    assert_eq!(automatic(true, false), VmmKind::Firecracker);
    assert_eq!(automatic(false, true), VmmKind::Qemu);
    assert_eq!(automatic(false, false), VmmKind::Firecracker, "it says what is missing");
}

#[test]
fn a_choice_needs_its_own_tools_and_no_other() {
    let least = tools(VmmKind::Qemu, RootDiskKind::Copy);
    assert!(least.contains(&Tool::Qemu) && !least.contains(&Tool::Firecracker));
    assert!(!least.contains(&Tool::Dmsetup));
    let usual = tools(VmmKind::Firecracker, RootDiskKind::Snapshot);
    assert!(usual.contains(&Tool::Dmsetup) && usual.contains(&Tool::Jailer));
    assert!(!usual.contains(&Tool::Qemu));
}
