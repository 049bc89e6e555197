//! The counter grows whatever happens to its file.

use super::*;

fn now() -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_800_000_000).unwrap()
}

#[test]
fn every_start_of_the_agent_raises_the_epoch() {
    let dir = tempfile::tempdir().unwrap();
    for epoch in 1..=3 {
        assert_eq!(Life::begin(dir.path(), "a", now()).unwrap().epoch, epoch);
    }
}

#[test]
fn another_boot_id_means_that_the_host_was_rebooted() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Life::begin(dir.path(), "a", now()).unwrap().rebooted, "nobody knows");
    assert!(!Life::begin(dir.path(), "a", now()).unwrap().rebooted);
    assert!(Life::begin(dir.path(), "b", now()).unwrap().rebooted);
}

#[test]
fn a_garbled_counter_still_grows_and_counts_as_a_reboot() {
    let dir = tempfile::tempdir().unwrap();
    Life::begin(dir.path(), "a", now()).unwrap();
    std::fs::write(dir.path().join(FILE), b"{\"for").unwrap();
    let life = Life::begin(dir.path(), "a", now()).unwrap();
    assert!(life.epoch > 2 && life.rebooted, "{life:?}");
}

#[test]
fn a_counter_that_was_deleted_beside_vms_still_grows() {
    let dir = tempfile::tempdir().unwrap();
    Life::begin(dir.path(), "a", now()).unwrap();
    std::fs::create_dir_all(dir.path().join("vms/x")).unwrap();
    std::fs::remove_file(dir.path().join(FILE)).unwrap();
    assert!(Life::begin(dir.path(), "a", now()).unwrap().epoch > 2);
}
