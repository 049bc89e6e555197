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

#[test]
fn a_counter_written_in_its_place_is_read_back_also_where_the_old_one_was_longer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    for boot_id in ["a-long-boot-id", "b", "a-boot-id"] {
        let stored = Stored { format: 1, epoch: 7, boot_id: boot_id.to_owned() };
        if !path.exists() {
            std::fs::write(&path, b"").unwrap();
        }
        overwrite(&path, serde_json::to_vec(&stored).unwrap()).unwrap();
        let life = Life::begin(dir.path(), boot_id, now()).unwrap();
        assert_eq!(life, Life { epoch: 8, rebooted: false }, "{boot_id}");
    }
}
