//! A disk that is full, a change that the database refuses, a commit whose outcome was missed.
//!
//! The disk is "full" by a limit on pages. The limit belongs to one connection, the writer's first:
//! the one it opens after the failure has room again.

use super::*;
use crate::model::ledger::PlacePending;
use crate::store::batch::Batch;
use crate::store::table::Table;
use crate::store::writer::{Numbers, Opened, Writer};

/// A store whose database can't grow, over a directory that has `vms` VMs.
async fn full(vms: u128) -> Fixture {
    let fixture = fixture().await;
    for number in 1..=vms {
        fixture.add_vm(number, &format!("vm{number}")).await;
    }
    let (open, directory) = fixture.reopened().await;
    let mut open = open;
    let pages: i64 = sqlx::query_scalar("SELECT page_count FROM pragma_page_count")
        .fetch_one(&mut open.opened.connection)
        .await
        .expect("readable");
    let limit = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
    sqlx::query(limit).execute(&mut open.opened.connection).await.expect("limited");
    started(open, directory)
}

fn large(number: u128) -> AnyMutation {
    let spec = spec_with(|draft| {
        let text = "x".repeat(32_000);
        draft.metadata = serde_json::json!({"text": text}).as_object().cloned();
    });
    AnyMutation::CreateVm(CreateVm { spec, ..create(number, "") })
}

#[tokio::test]
async fn a_full_disk_refuses_and_loses_nothing_that_was_answered() {
    let fixture = full(20).await;
    let refused = fixture.make(large(fresh())).await;
    assert!(matches!(refused, Err(MutateError::Unavailable { .. })), "{refused:?}");
    assert!(fixture.published.lock().is_empty(), "nothing of it was published");
    assert_eq!(fixture.store.ledger.lock().vms().count(), 20, "the ledger has forgotten it");
    assert!(fixture.commits.lock().iter().any(|commit| commit.failed));
    let (open, _directory) = fixture.reopened().await;
    assert_eq!(open.vms().count(), 20);
}

#[tokio::test]
async fn a_failure_poisons_neither_the_store_nor_the_id() {
    let fixture = full(20).await;
    let number = fresh();
    fixture.make(large(number)).await.expect_err("full");
    // The new connection has no limit: there is room again.
    fixture.make(large(number)).await.expect("there is room again");
    let (open, _directory) = fixture.reopened().await;
    assert_eq!(open.vms().count(), 21);
}

#[tokio::test]
async fn all_of_a_group_fail_together_and_none_is_half_done() {
    let fixture = full(20).await;
    let (a, b) = (fresh(), fresh());
    let (one, two, three) = tokio::join!(
        fixture.make(large(a)),
        fixture.make(large(a)),
        fixture.make(AnyMutation::CreateVm(create(b, "vm1"))),
    );
    for answer in [one, two, three] {
        // The repetition and the refusal stood on a group that was not stored.
        assert!(matches!(answer, Err(MutateError::Unavailable { .. })), "{answer:?}");
    }
}

#[tokio::test]
async fn a_write_that_the_database_refuses_hurts_only_itself() {
    let fixture = fixture().await;
    fixture.add_host(1, "one").await;
    // Behind the ledger's back the name is taken: a defect that only a constraint catches.
    let mut other = connect(&database(&fixture.directory)).await.expect("opens");
    fixture.add_vm(1, "web").await;
    sqlx::query("UPDATE vms SET name = 'db' WHERE name = 'web'")
        .execute(&mut other)
        .await
        .expect("changed");
    let (bad, good) = tokio::join!(
        fixture.make(AnyMutation::CreateVm(create(2, "db"))),
        fixture.make(AnyMutation::CreateVm(create(3, "cache"))),
    );
    // Loaded anew, the ledger knows the name.
    let taken = matches!(bad, Err(MutateError::Refused(Refusal::VmNameTaken { .. })));
    assert!(taken || matches!(bad, Err(MutateError::Defect { .. })), "{bad:?}");
    good.expect("created");
}

#[tokio::test]
async fn capacities_of_hosts_outlive_a_failure() {
    let fixture = full(1).await;
    let host = host_id(7);
    // No page is needed for what fits into those that are there; a host may or may not.
    fixture.make(large(fresh())).await.expect_err("full");
    fixture.add_host(7, "seven").await;
    let before = fixture.store.ledger.lock().clone();
    let mut fresh_ledger = load(
        &mut connect(&database(&fixture.directory)).await.expect("opens"),
        LedgerConfig::default(),
    )
    .await
    .expect("loads");
    fresh_ledger.keep_capacities_of(&before);
    *fixture.store.ledger.lock() = fresh_ledger;
    // Those that waited before go first.
    fixture.make(PlacePending.into()).await.expect("searched");
    assert_eq!(fixture.add_vm(8, "web").await.host, Some(host));
}

#[tokio::test]
async fn a_commit_that_reported_a_failure_and_is_there_is_published_once() {
    let directory = TempDir::new().expect("a directory");
    let mut open = open_in(&directory).await;
    let ledger = Arc::new(Mutex::new(open.ledger.clone()));
    let published = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&published);
    // Another hand stores the very rows and the commit number that the writer was about to.
    let numbers = Numbers::read(&mut open.opened.connection).await.expect("readable");
    let Opened { path, connection, journal, readers, lock, .. } = open.opened;
    let opened = Opened { path, connection, numbers, journal, readers, lock };
    let mut writer = Writer::new(
        opened,
        Arc::clone(&ledger),
        Arc::new(move |changes: &[Change]| {
            sink.lock().extend_from_slice(changes);
            Revision(0)..Revision(0)
        }),
        Arc::new(|_| {}),
        tokio::sync::watch::Sender::new(()),
    );
    let decided =
        ledger.lock().decide(&caller(), &AnyMutation::CreateVm(create(1, "web"))).expect("fits");
    let mut other = connect(&database(&directory)).await.expect("opens");
    let vms: Vec<&VmIntent> = decided
        .changes
        .iter()
        .filter_map(|change| match change {
            Change::Vm(Edit::Put(vm)) => Some(&**vm),
            _ => None,
        })
        .collect();
    let mut batch = Batch::new();
    <VmIntent as Table>::put(&mut batch, &vms);
    meta::set_numbers(&mut batch, numbers.commit + 1, numbers.event);
    batch.commit(&mut other).await.expect("written");
    writer.lose_sight_of(numbers.commit + 1, decided.changes.clone());
    assert!(writer.ready().await.expect("readable"), "it is there after all");
    assert_eq!(*published.lock(), decided.changes);
    assert!(!writer.ready().await.expect("readable"), "published once");
    assert!(ledger.lock().vm(&VmRef::Id(vm_id(1))).is_some());
}

#[tokio::test]
async fn a_full_disk_refuses_the_change_and_leaves_no_record_of_it() {
    let fixture = full(20).await;
    let calling = || audit::calling("a/CreateVm");
    let number = fresh();
    let AnyMutation::CreateVm(create) = large(number) else { panic!("a create") };
    fixture.store.submit(calling(), create.clone()).await.expect_err("full");
    let records = fixture.store.audit(&audit::everything()).await.expect("readable").records;
    assert_eq!(records, [], "nothing has happened");
    fixture.store.submit(calling(), create).await.expect("there is room again");
    let records = fixture.store.audit(&audit::everything()).await.expect("readable").records;
    assert_eq!(records.len(), 1);
}

#[tokio::test]
async fn where_no_record_can_be_written_nothing_is_changed() {
    let fixture = fixture().await;
    fixture.add_host(1, "one").await;
    let mut other = connect(&database(&fixture.directory)).await.expect("opens");
    // A disk that has room for the change and none for its record.
    let full = "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT raise(ABORT, 'full'); END";
    sqlx::query(full).execute(&mut other).await.expect("made");
    let web = create(1, "web");
    fixture.store.submit(audit::calling("a/CreateVm"), web.clone()).await.expect_err("no record");
    assert_eq!(fixture.store.vm(&VmRef::Id(vm_id(1))), None);
    assert!(fixture.published.lock().iter().all(|change| !matches!(change, Change::Vm(_))));
    sqlx::query("DROP TRIGGER full").execute(&mut other).await.expect("gone");
    fixture.store.submit(audit::calling("a/CreateVm"), web).await.expect("both are written");
}
