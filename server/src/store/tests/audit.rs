//! Who did what is stored with what was done: both or neither, and no more is kept than is stated.

use super::*;
use crate::model::audit::{
    AuditEffect, AuditObject, AuditOutcome, AuditRecord, AuditStep, AuditedKind,
};
use crate::model::caller::CallOf;
use crate::model::ledger::Audit;
use crate::model::retention::Retention;

/// Somebody who calls a method.
pub(super) fn calling(method: &'static str) -> Caller {
    let peer = Some("192.0.2.1:4711".parse().expect("an address"));
    Caller { call: Some(Arc::new(CallOf { method, peer })), ..caller() }
}

pub(super) fn everything() -> AuditLook {
    AuditLook { limit: 1000, ..AuditLook::default() }
}

async fn all(store: &Store) -> Vec<StoredAudit> {
    store.audit(&everything()).await.expect("readable").records
}

fn refused(second: i64) -> AuditRecord {
    let outcome = AuditOutcome { code: "UNAUTHENTICATED".into(), reason: "TOKEN_INVALID".into() };
    let record = AuditRecord::of(&calling("a/B"), AuditStep::Refused, outcome).expect("a call");
    AuditRecord { at: at(second), ..record }
}

impl Fixture {
    async fn note(&self, records: Vec<AuditRecord>) {
        let audit = Audit { records, events: Vec::new() };
        self.store.submit(Caller::server(at(0)), audit).await.expect("written");
    }
}

#[tokio::test]
async fn a_change_of_a_call_is_recorded_and_what_the_server_does_by_itself_is_not() {
    let fixture = fixture().await;
    let web = create(1, "web");
    fixture.store.submit(calling("a/CreateVm"), web.clone()).await.expect("created");
    fixture.store.submit(calling("a/CreateVm"), web).await.expect("it is there");
    fixture.store.submit(calling("a/CreateVm"), create(2, "web")).await.expect_err("taken");
    fixture.add_vm(3, "db").await;
    let [stored] = &all(&fixture.store).await[..] else { panic!("one") };
    let object = stored.record.object.as_ref().expect("a VM");
    assert_eq!((stored.number, &*object.name, &object.id), (1, "web", &vm_id(1).to_string()));
    assert_eq!(stored.record.outcome, AuditOutcome::ok());
    assert_eq!(stored.record.request_id, vm_id(1).to_string());
}

#[tokio::test]
async fn a_record_is_read_back_as_it_was_and_nothing_of_it_can_be_changed() {
    let fixture = fixture().await;
    let token = AuditObject::new(AuditedKind::Token, "bgr_1", "ci");
    let along = AuditRecord {
        object: Some(AuditObject { id: "bgr_2".to_owned(), ..token.clone() }),
        because_of: Some((AuditEffect::WentAlong, token)),
        ..refused(3)
    };
    let records = vec![refused(1), AuditRecord::left_out("eve", 7, at(2)), along];
    fixture.note(records.clone()).await;
    let read = all(&fixture.store).await;
    let numbers: Vec<u64> = read.iter().map(|stored| stored.number).collect();
    assert_eq!(numbers, [3, 2, 1], "the newest first");
    let because_of = AuditLook { object: "bgr_1".to_owned(), ..everything() };
    let found = fixture.store.audit(&because_of).await.expect("readable").records;
    assert_eq!(found.iter().map(|stored| stored.number).collect::<Vec<_>>(), [3]);
    let read: Vec<AuditRecord> = read.into_iter().rev().map(|stored| stored.record).collect();
    assert_eq!(read, records);
    let mut other = connect(&database(&fixture.directory)).await.expect("opens");
    sqlx::query("UPDATE audit SET principal = 'bob'").execute(&mut other).await.expect_err("no");
}

#[tokio::test]
async fn a_look_goes_on_below_the_last_and_ends_long_before_what_is_asked_for() {
    let fixture = fixture().await;
    fixture.note((0..25_000).map(|n| refused(n * 60)).collect()).await;
    let mut look = AuditLook { principal: "nobody".to_owned(), ..everything() };
    let mut looks = 1;
    while let Some(next) = fixture.store.audit(&look).await.expect("readable").next {
        look.before = Some(next);
        looks += 1;
    }
    assert_eq!(looks, 3, "each goes through ten thousand");
    let late = AuditLook { from: Some(at(24_990 * 60)), ..everything() };
    let page = fixture.store.audit(&late).await.expect("readable");
    assert_eq!((page.records.len(), page.next), (10, None), "older ones are not looked at");
    let few = AuditLook { limit: 3, until: Some(at(60)), after: 0, before: Some(5), ..late };
    let few = AuditLook { from: None, ..few };
    let page = fixture.store.audit(&few).await.expect("readable");
    assert_eq!(page.records.len(), 1);
}

#[tokio::test]
async fn old_records_go_and_of_refused_calls_of_strangers_all_but_the_newest() {
    let fixture = fixture().await;
    let keep = Retention {
        deleted_history: Duration::from_secs(1),
        deleted_ids: Duration::from_secs(1),
        requests: Duration::from_secs(1),
        sweeps: Duration::from_secs(1),
        audit: Duration::from_secs(3600),
    };
    fixture.note(vec![refused(0), AuditRecord::left_out("eve", 1, at(0)), refused(10)]).await;
    fixture.store.tidy(keep, at(3605)).await.expect("tidied");
    let [newest] = &all(&fixture.store).await[..] else { panic!("the newest") };
    assert_eq!(newest.record.at, at(10));
    // A flood of strangers, after what was refused to somebody who is known.
    let strangers = AuditRecord { principal: "anonymous".into(), ..refused(3600) };
    fixture.note(vec![refused(3600), AuditRecord::left_out("eve", 1, at(3600))]).await;
    for _ in 0..101 {
        fixture.note(vec![strangers.clone(); 1000]).await;
    }
    while fixture.store.tidy(keep, at(3605)).await.expect("tidied").more {}
    let mut other = connect(&database(&fixture.directory)).await.expect("opens");
    let counts: (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE principal = 'anonymous') FROM audit",
    )
    .fetch_one(&mut other)
    .await
    .expect("readable");
    assert_eq!(counts, (100_003, 100_000), "those who are known stay");
    // What comes next is greater than all that were.
    let before = all(&fixture.store).await[0].number;
    sqlx::query("DELETE FROM audit").execute(&mut other).await.expect("all of it");
    fixture.note(vec![refused(9)]).await;
    assert_eq!(all(&fixture.store).await[0].number, before + 1);
}
