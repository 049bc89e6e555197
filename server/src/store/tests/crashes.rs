//! The server is killed, or the power fails, at any byte of the log: what opens then is the state
//! after the last answer, or after a later commit that was not answered yet. Never less, and never
//! a part of a commit.
//!
//! SQLite appends to its log and checkpoints it later. A kill leaves a prefix of what was written,
//! so each prefix of the log of one run is a place at which that run was killed.

use super::*;

/// Bytes before the first frame of a log: SQLite's file format, section 4.1.
const LOG_HEADER: usize = 32;

/// Bytes of a frame before its page.
const FRAME_HEADER: usize = 24;

fn log(directory: &TempDir) -> std::path::PathBuf {
    directory.path().join("banger.db-wal")
}

/// Both files as they are now, while the store is open.
fn files(directory: &TempDir) -> (Vec<u8>, Vec<u8>) {
    let read = |path| fs::read(path).expect("is read");
    (read(database(directory)), read(log(directory)))
}

/// The places at which a log may end: at each frame, and in the middle of each.
fn cuts(log: &[u8], from: usize) -> Vec<usize> {
    let page = log.get(8..12).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    let frame = FRAME_HEADER + usize::try_from(page.expect("a log has a header")).expect("fits");
    let mut cuts = vec![0, LOG_HEADER / 2];
    cuts.extend((LOG_HEADER..log.len()).step_by(frame).flat_map(|at| [at, at + frame / 2]));
    cuts.push(log.len());
    cuts.retain(|cut| *cut >= from);
    cuts
}

/// What opens when only so much of the log was written.
async fn opened_after(database_bytes: &[u8], log_bytes: &[u8], cut: usize) -> (OpenStore, TempDir) {
    let directory = TempDir::new().expect("a directory");
    fs::write(database(&directory), database_bytes).expect("is written");
    fs::write(log(&directory), log_bytes.get(..cut).expect("a prefix")).expect("is written");
    (open_in(&directory).await, directory)
}

#[tokio::test]
async fn a_server_killed_at_any_commit_or_within_it_has_all_that_was_answered_and_no_half() {
    let fixture = fixture().await;
    fixture.add_host(1, "one").await;
    let (before, _) = files(&fixture.directory);
    let everything = |store: &Store| -> Vec<Arc<VmIntent>> {
        (1..=9).filter_map(|n| store.vm(&VmRef::Id(vm_id(n)))).collect()
    };
    let power = |number, power| {
        AnyMutation::SetPower(SetPower { vm: VmRef::Id(vm_id(number)), etag: None, power })
    };
    let work = (1..=6).map(|n| AnyMutation::CreateVm(create(n, &format!("vm-{n}")))).chain([
        power(1, Power::Stop { grace: Duration::from_secs(1) }),
        power(2, Power::Reboot { grace: DEFAULT_STOP_GRACE, reset_root_disk: true }),
        delete(3),
        delete(4),
        AnyMutation::Forget(Forget { vm: vm_id(4) }),
        power(1, Power::Start { again: false }),
        AnyMutation::CreateVm(create(7, "vm-4")),
    ]);
    // The length of the log when each was answered, and the state then.
    let mut answered = vec![(files(&fixture.directory).1.len(), everything(&fixture.store))];
    for mutation in work {
        fixture.make(mutation).await.expect("fits");
        answered.push((files(&fixture.directory).1.len(), everything(&fixture.store)));
    }
    let (database_bytes, log_bytes) = files(&fixture.directory);
    assert_eq!(
        database_bytes, before,
        "the log was checkpointed meanwhile, which this test is not for"
    );

    let cuts = cuts(&log_bytes, answered[0].0);
    for cut in &cuts {
        let (open, _directory) = opened_after(&database_bytes, &log_bytes, *cut).await;
        let mut found: Vec<Arc<VmIntent>> = open.vms().cloned().collect();
        found.sort_by_key(|vm| vm.id);
        // A commit is written before it is answered, so that its last byte decides.
        let owed = answered.iter().rposition(|(end, _)| end <= cut).expect("the first is there");
        assert_eq!(found, answered[owed].1, "cut at {cut}: {} were answered", owed);
    }
    println!("sweep the server is killed within its log: {} cases", cuts.len());
}

#[tokio::test]
async fn a_server_killed_anywhere_has_a_record_of_each_change_and_of_nothing_else() {
    let fixture = fixture().await;
    fixture.add_host(1, "one").await;
    let begins = files(&fixture.directory).1.len();
    let stop = |number, seconds| {
        let grace = Duration::from_secs(seconds);
        let power = Power::Reboot { grace, reset_root_disk: false };
        AnyMutation::SetPower(SetPower { vm: VmRef::Id(vm_id(number)), etag: None, power })
    };
    // Groups of several, too: each is one transaction.
    for round in 0..4_u128 {
        let numbers = round * 3 + 1..=round * 3 + 3;
        let made = numbers.clone().map(|n| {
            let create = AnyMutation::CreateVm(create(n, &format!("vm-{n}")));
            fixture.store.submit(audit::calling("a/CreateVm"), create)
        });
        futures_util::future::try_join_all(made).await.expect("created");
        let stopped = numbers
            .map(|n| fixture.store.submit(audit::calling("a/RebootVm"), stop(n, 1 + n as u64)));
        futures_util::future::try_join_all(stopped).await.expect("done");
    }
    let (database_bytes, log_bytes) = files(&fixture.directory);
    let cuts = cuts(&log_bytes, begins);
    let mut most = 0;
    for cut in &cuts {
        let (open, _directory) = opened_after(&database_bytes, &log_bytes, *cut).await;
        let look = audit::everything();
        let records = super::super::audit::read(&open.opened.readers, &look).await;
        let records = records.expect("readable").records;
        for vm in open.vms() {
            let id = vm.id.to_string();
            let of_it = records.iter().filter(|stored| {
                stored.record.object.as_ref().is_some_and(|object| object.id == id)
            });
            // Each change is a generation.
            let count = u64::try_from(of_it.count()).expect("fits");
            assert_eq!(count, vm.generation.0, "cut at {cut}: {}", vm.name);
        }
        let changes: u64 = open.vms().map(|vm| vm.generation.0).sum();
        assert_eq!(u64::try_from(records.len()).expect("fits"), changes, "cut at {cut}");
        most = most.max(records.len());
    }
    assert_eq!(most, 24, "all of it at the end");
    println!("sweep the server is killed between a change and its record: {} cases", cuts.len());
}

#[tokio::test]
async fn a_database_whose_making_was_cut_anywhere_is_made_whole_at_the_next_start() {
    let directory = TempDir::new().expect("a directory");
    let open = open_in(&directory).await;
    let (database_bytes, log_bytes) = files(&directory);
    drop(open);
    let cuts = cuts(&log_bytes, 0);
    for cut in &cuts {
        let (open, directory) = opened_after(&database_bytes, &log_bytes, *cut).await;
        let fixture = started(open, directory);
        fixture.add_host(1, "one").await;
        fixture.add_vm(1, "web").await;
        let (open, _directory) = fixture.reopened().await;
        assert_eq!(names(&open), ["web"], "cut at {cut}");
    }
    println!("sweep the making of a database is cut: {} cases", cuts.len());
}
