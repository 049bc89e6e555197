//! Who did what is stored with what was done: both or neither, and no more is kept than is stated.

use super::*;
use crate::model::audit::{
    AuditEffect, AuditObject, AuditOutcome, AuditRecord, AuditStep, AuditedKind,
};
use crate::model::caller::{CallOf, Grants, ProjectRole, Role};
use crate::model::fixtures::{caller_of, project, project_record, record_of};
use crate::model::ledger::{Audit, CreateProject, CreateToken, RevokeToken};
use crate::model::retention::Retention;

const SECOND: Duration = Duration::from_secs(1);

const KEEP: Retention = Retention {
    deleted_history: SECOND,
    deleted_ids: SECOND,
    requests: SECOND,
    sweeps: SECOND,
    audit: SECOND,
};

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
    let keep = Retention { audit: Duration::from_secs(3600), ..KEEP };
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

#[tokio::test]
async fn one_step_lets_go_of_more_records_than_are_written_until_the_next() {
    let fixture = fixture().await;
    for _ in 0..20 {
        fixture.note(vec![refused(0); 1000]).await;
    }
    let step = fixture.store.tidy(KEEP, at(9)).await.expect("tidied");
    assert_eq!((step.rows, step.more, step.audit_left), (16_384, true, 20_000 - 16_384));
    let step = fixture.store.tidy(KEEP, at(9)).await.expect("tidied");
    assert_eq!((step.rows, step.more, step.audit_left), (20_000 - 16_384, false, 0));
}

/// A store with room for so many records.
async fn with_room(max_audit: u64) -> Fixture {
    let directory = TempDir::new().expect("a directory");
    reopened_with_room(directory, max_audit).await
}

async fn reopened_with_room(directory: TempDir, max_audit: u64) -> Fixture {
    let config = LedgerConfig { max_audit, ..LedgerConfig::default() };
    let open = OpenStore::open(&database(&directory), config).await.expect("opens");
    started(open, directory)
}

#[tokio::test]
async fn where_the_audit_is_full_nothing_is_changed_and_nothing_of_it_goes_before_its_time() {
    let fixture = with_room(100).await;
    let grants = |role| Caller { grants: Grants::fleet(role), ..calling("a/CreateVm") };
    let (operator, admin) = (grants(Role::Operator), grants(Role::Admin));
    let mut made = 0;
    let mut make = async |store: &Store, caller: &Caller| {
        made += 1;
        let created = store.submit(caller.clone(), create(made, "")).await;
        match created {
            Ok(_) => None,
            Err(MutateError::Refused(Refusal::AuditFull { limit })) => Some(limit),
            Err(other) => panic!("{other:?}"),
        }
    };
    for _ in 0..95 {
        assert_eq!(make(&fixture.store, &operator).await, None);
    }
    assert_eq!(make(&fixture.store, &operator).await, Some(95));
    // The count is that of the database after a restart, and admins have the rest.
    fixture.store.close().await;
    let fixture = reopened_with_room(fixture.directory, 100).await;
    assert_eq!(fixture.store.audit_room().records, 95);
    assert_eq!(make(&fixture.store, &operator).await, Some(95));
    let token = Arc::new(record_of(1, "flood"));
    fixture.store.submit(admin.clone(), CreateToken(token)).await.expect("an admin may");
    for _ in 96..100 {
        assert_eq!(make(&fixture.store, &admin).await, None);
    }
    assert_eq!(make(&fixture.store, &admin).await, Some(100));
    let began = AuditRecord::of(&admin, AuditStep::Began, AuditOutcome::open()).expect("a call");
    let ended = AuditRecord { step: AuditStep::Ended, ..began.clone() };
    let note = |records| Audit { records, events: Vec::new() };
    let opened = fixture.store.submit(admin.clone(), note(vec![began])).await;
    assert!(matches!(opened, Err(MutateError::Refused(Refusal::AuditFull { .. }))), "{opened:?}");
    // What has ended is written, and whoever does it is stopped; what the server does goes on.
    fixture.store.submit(admin.clone(), note(vec![ended])).await.expect("written");
    let revoke = RevokeToken { token: "flood".to_owned(), keep_made: false };
    fixture.store.submit(admin.clone(), revoke).await.expect("taken back");
    fixture.make(delete(1)).await.expect("no call of anybody's");
    assert_eq!(fixture.store.audit_room().records, 102);
    assert_eq!(all(&fixture.store).await.len(), 102, "none has gone");
    // There is room again when it is given, or when what is too old has gone.
    fixture.store.tidy(KEEP, at(9000)).await.expect("tidied");
    assert_eq!(make(&fixture.store, &operator).await, None);
    fixture.store.close().await;
    let fixture = reopened_with_room(fixture.directory, 1000).await;
    assert_eq!(make(&fixture.store, &operator).await, None);
    assert_eq!(fixture.store.audit_room().records, 2);
}

#[tokio::test]
async fn no_project_fills_the_audit_and_what_it_has_is_counted_over_restarts_and_as_it_goes() {
    let mut fixture = with_room(200).await;
    for name in ["shop", "lab"] {
        fixture.make(CreateProject(project_record(name)).into()).await.expect("made");
    }
    let of = |name: &str, step| {
        let shop = caller_of(name, ProjectRole::Admin);
        let caller = Caller { call: calling("a/AttachConsole").call, ..shop };
        let record = AuditRecord::of(&caller, step, AuditOutcome::open()).expect("a call");
        (caller, Audit { records: vec![record], events: Vec::new() })
    };
    // Whether the callers of a project may open a guest once more.
    let opens = async |store: &Store, name: &str| {
        let (caller, audit) = of(name, AuditStep::Began);
        match store.submit(caller, audit).await {
            Ok(()) => true,
            Err(MutateError::Refused(Refusal::AuditShareFull { project })) => {
                assert_eq!(project, name);
                false
            }
            Err(other) => panic!("{other:?}"),
        }
    };
    // Refused calls have a bound of their own.
    let (shop, refused) = of("shop", AuditStep::Refused);
    fixture.store.submit(shop, refused).await.expect("written");
    let mut opened = 0;
    while opens(&fixture.store, "shop").await {
        opened += 1;
    }
    // Of 190 for all but admins one was there: for each of theirs four are left.
    assert_eq!(opened, 38);
    assert!(opens(&fixture.store, "lab").await, "others have what is left");
    for _ in 0..2 {
        fixture.store.close().await;
        fixture = reopened_with_room(fixture.directory, 200).await;
        assert!(!opens(&fixture.store, "shop").await, "as many as before the restart");
    }
    let stored = all(&fixture.store).await;
    let of_lab = stored.first().map(|stored| stored.record.project.clone());
    assert_eq!(of_lab, Some(Some(project("lab"))));
    // What goes by its age makes room.
    fixture.store.tidy(KEEP, at(9000)).await.expect("tidied");
    assert!(opens(&fixture.store, "shop").await);
}

#[tokio::test]
async fn whoever_follows_is_told_every_record_once_and_when_some_have_gone() {
    let fixture = fixture().await;
    fixture.note((0..25).map(refused).collect()).await;
    let mut follow = AuditFollow { limit: 10, ..AuditFollow::default() };
    let mut told = Vec::new();
    loop {
        let next = fixture.store.audit_after(&follow).await.expect("readable");
        let AuditNext::Stretch(stretch) = next else { panic!("nothing has gone") };
        told.extend(stretch.records.iter().map(|stored| stored.number));
        follow.after = stretch.up_to;
        if !stretch.more {
            break;
        }
    }
    assert_eq!(told, (1..=25).collect::<Vec<_>>());
    // Seconds 0 to 8 go, which are numbers 1 to 9.
    fixture.store.tidy(KEEP, at(9)).await.expect("tidied");
    let next = async |after| {
        let follow = AuditFollow { after, ..follow.clone() };
        fixture.store.audit_after(&follow).await.expect("readable")
    };
    assert_eq!(next(8).await, AuditNext::Gone, "number 9 was not told");
    for (after, first) in [(0, 10), (9, 10), (20, 21)] {
        let AuditNext::Stretch(stretch) = next(after).await else { panic!("{after}") };
        assert_eq!(stretch.records[0].number, first, "{after}");
    }
    assert_eq!(fixture.store.newest_audit().await.expect("readable"), 25);
}

#[tokio::test]
async fn what_a_filter_leaves_out_is_passed_a_stretch_at_a_time() {
    let fixture = fixture().await;
    fixture.note((0..15_000).map(refused).collect()).await;
    let mut follow =
        AuditFollow { principal: "nobody".to_owned(), limit: 10, ..AuditFollow::default() };
    let mut looks = Vec::new();
    loop {
        let next = fixture.store.audit_after(&follow).await.expect("readable");
        let AuditNext::Stretch(stretch) = next else { panic!("nothing has gone") };
        follow.after = stretch.up_to;
        looks.push(stretch.up_to);
        if !stretch.more {
            break;
        }
    }
    assert_eq!(looks, [10_000, 15_000]);
}
