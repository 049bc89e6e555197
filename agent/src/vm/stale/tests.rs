//! What is buried stays buried: over restarts, half-written lines and full books.

use super::*;
use crate::vm::fixtures::{version, vm_id};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn open(dir: &tempfile::TempDir) -> StaleGuard {
    StaleGuard::open(&dir.path().join(FILE), "ours", at(0)).unwrap()
}

#[tokio::test]
async fn what_was_buried_is_known_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let stones = open(&dir);
    stones.bury(vm_id(1), version(1, 3), at(0)).await.unwrap();
    stones.bury(vm_id(2), version(2, 1), at(0)).await.unwrap();
    for stones in [stones, open(&dir)] {
        assert_eq!(stones.newest(vm_id(1)), Some(version(1, 3)));
        assert_eq!(stones.newest(vm_id(2)), Some(version(2, 1)));
        assert_eq!(stones.newest(vm_id(3)), None);
    }
}

#[tokio::test]
async fn an_epoch_once_heard_refuses_every_older_one_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let guard = open(&dir);
    assert_eq!(guard.refuses(vm_id(1), version(1, 1)), None);
    guard.bury(vm_id(2), version(1, 4), at(0)).await.unwrap();
    guard.raise(Epoch(3)).await.unwrap();
    guard.raise(Epoch(2)).await.unwrap();
    for guard in [guard, open(&dir)] {
        assert_eq!(guard.refuses(vm_id(1), version(2, 9)), Some(version(3, 0)));
        assert_eq!(guard.refuses(vm_id(1), version(3, 1)), None);
        assert_eq!(guard.refuses(vm_id(2), version(1, 4)), Some(version(1, 4)));
        assert_eq!(guard.refuses(vm_id(2), version(3, 1)), None);
    }
}

#[tokio::test]
async fn a_host_that_joined_another_fleet_begins_with_its_epochs_anew() {
    let dir = tempfile::tempdir().unwrap();
    let guard = open(&dir);
    guard.raise(Epoch(3)).await.unwrap();
    guard.bury(vm_id(2), version(3, 4), at(0)).await.unwrap();
    let other = StaleGuard::open(&dir.path().join(FILE), "another", at(0)).unwrap();
    assert_eq!(other.refuses(vm_id(1), version(1, 1)), None);
    assert_eq!(other.newest(vm_id(2)), Some(version(3, 4)), "a VM's id is the same in any fleet");
}

#[tokio::test]
async fn an_older_version_never_lowers_a_tombstone() {
    let dir = tempfile::tempdir().unwrap();
    let stones = open(&dir);
    stones.bury(vm_id(1), version(2, 3), at(0)).await.unwrap();
    stones.bury(vm_id(1), version(1, 9), at(1)).await.unwrap();
    assert_eq!(stones.newest(vm_id(1)), Some(version(2, 3)));
    stones.bury(vm_id(1), version(2, 4), at(2)).await.unwrap();
    assert_eq!(open(&dir).newest(vm_id(1)), Some(version(2, 4)));
}

#[tokio::test]
async fn many_that_come_together_are_all_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let stones = open(&dir);
    let all = (0..200).map(|n| stones.bury(vm_id(n), version(1, 1), at(0)));
    for buried in futures_util::future::join_all(all).await {
        buried.unwrap();
    }
    let again = open(&dir);
    for n in 0..200 {
        assert_eq!(again.newest(vm_id(n)), Some(version(1, 1)), "VM {n}");
    }
}

#[tokio::test]
async fn a_file_cut_at_every_byte_loses_nothing_but_what_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let stones = open(&dir);
    for n in 0..3 {
        stones.bury(vm_id(n), version(1, 1), at(0)).await.unwrap();
    }
    let path = dir.path().join(FILE);
    let whole = std::fs::read(&path).unwrap();
    for length in 0..=whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let complete = whole[..length].iter().filter(|byte| **byte == b'\n').count();
        let stones = open(&dir);
        for n in 1..complete {
            let vm = vm_id(u32::try_from(n - 1).unwrap());
            assert_eq!(stones.newest(vm), Some(version(1, 1)), "cut at {length}");
        }
        // What is written after a cut stands on a line of its own.
        stones.bury(vm_id(9), version(1, 1), at(0)).await.unwrap();
        assert_eq!(open(&dir).newest(vm_id(9)), Some(version(1, 1)), "cut at {length}");
    }
}

#[tokio::test]
async fn the_book_is_bounded_by_number_and_by_age() {
    let stones = StaleGuard::default();
    let most = u32::try_from(MOST).unwrap();
    for n in 0..=most {
        stones.bury(vm_id(n), version(1, 1), at(i64::from(n))).await.unwrap();
    }
    assert_eq!(stones.newest(vm_id(0)), None, "the oldest makes room");
    assert_eq!(stones.newest(vm_id(1)), Some(version(1, 1)));
    // Raised, it is among the newest, and its first place in the order does not take it away.
    stones.bury(vm_id(1), version(1, 2), at(i64::from(most))).await.unwrap();
    stones.bury(vm_id(most + 1), version(1, 1), at(i64::from(most))).await.unwrap();
    stones.bury(vm_id(most + 2), version(1, 1), at(i64::from(most))).await.unwrap();
    assert_eq!(stones.newest(vm_id(1)), Some(version(1, 2)));
    let later = at(LONGEST.as_secs() + i64::from(most) + 1);
    stones.bury(vm_id(most + 3), version(1, 1), later).await.unwrap();
    assert_eq!(stones.newest(vm_id(most)), None, "past keeping");
}

#[tokio::test]
async fn what_is_past_keeping_is_gone_from_the_file_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    open(&dir).bury(vm_id(1), version(1, 1), at(0)).await.unwrap();
    let path = dir.path().join(FILE);
    let later = at(LONGEST.as_secs() + 1);
    assert_eq!(StaleGuard::open(&path, "ours", later).unwrap().newest(vm_id(1)), None);
    assert!(!std::fs::read_to_string(&path).unwrap().contains(&vm_id(1).to_string()));
}

#[test]
fn a_file_of_a_newer_agent_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    std::fs::write(&path, b"{\"format\":2}\n{\"something\":\"else\"}\n").unwrap();
    let refused = StaleGuard::open(&path, "ours", at(0)).unwrap_err().to_string();
    assert!(refused.contains("has format 2; this agent knows 1"), "{refused}");
}

#[tokio::test]
async fn a_disk_that_is_full_keeps_nothing_and_the_next_try_stands_on_a_line_of_its_own() {
    // Writing to it fails as a full disk does.
    let stones = StaleGuard(Arc::new(Inner {
        book: Mutex::default(),
        queue: Mutex::default(),
        pen: Some(Mutex::new(Pen {
            path: PathBuf::from("/nonexistent/fence.jsonl"),
            file: File::options().write(true).open("/dev/full").unwrap(),
            lines: 0,
            length: 0,
            reserved: 0,
            torn: false,
        })),
    }));
    let error = stones.bury(vm_id(1), version(1, 1), at(0)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(stones.newest(vm_id(1)), None);
    let dir = tempfile::tempdir().unwrap();
    stones.0.pen.as_ref().unwrap().lock().path = dir.path().join(FILE);
    stones.bury(vm_id(1), version(1, 1), at(0)).await.unwrap();
    assert_eq!(open(&dir).newest(vm_id(1)), Some(version(1, 1)));
}

#[tokio::test]
async fn a_file_that_cannot_be_written_anew_goes_on_as_it_is_also_after_half_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    open(&dir).bury(vm_id(1), version(1, 1), at(0)).await.unwrap();
    let mut content = std::fs::read(&path).unwrap();
    content.extend(b"{\"vm\":");
    std::fs::write(&path, &content).unwrap();
    let mut pen = Pen::resume(&path, &content).unwrap();
    assert!(pen.torn);
    pen.append(&[Stone { vm: vm_id(2), version: version(1, 1), at: at(0) }]).unwrap();
    let again = open(&dir);
    assert_eq!(again.newest(vm_id(1)), Some(version(1, 1)));
    assert_eq!(again.newest(vm_id(2)), Some(version(1, 1)));
}

#[tokio::test]
async fn room_for_lines_to_come_is_on_the_disk_already() {
    use std::os::unix::fs::MetadataExt as _;
    let dir = tempfile::tempdir().unwrap();
    let guard = open(&dir);
    let blocks = || std::fs::metadata(dir.path().join(FILE)).unwrap().blocks();
    let before = blocks();
    assert!(before * 512 >= AHEAD, "{before} blocks");
    for n in 0..100 {
        guard.bury(vm_id(n), version(1, 1), at(0)).await.unwrap();
    }
    assert_eq!(blocks(), before, "they went to where room was kept");
}

/// The lines as they are written now; see [`FORMAT`].
#[test]
fn the_lines_of_the_file_are_written_as_they_were_before() {
    let header = Header { format: FORMAT, fleet: "f".to_owned(), epoch: Epoch(2) };
    let written = serde_json::to_string(&header).unwrap();
    assert_eq!(written, r#"{"format":1,"fleet":"f","epoch":2}"#);
    let stone = Stone { vm: vm_id(1), version: version(2, 3), at: Timestamp::UNIX_EPOCH };
    let written = r#"{"vm":"0193a7e2-3f40-7c21-9d5e-000000000001","version":{"epoch":2,"generation":3},"at":"1970-01-01T00:00:00Z"}"#;
    assert_eq!(encoded(&[stone]).unwrap(), format!("{written}\n").into_bytes());
}
