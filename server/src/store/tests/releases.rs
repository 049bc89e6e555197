//! Databases of earlier servers open, and one of a later server is refused with a sentence.
//!
//! `server/src/store/fixtures/<version>.sql` is a dump of a database as that server wrote it,
//! before the first release `<version>-schema-<n>.sql`, where `n` is its newest migration
//! (`0.1.0.sql` has schema 1). `cargo test -p banger-server -- --ignored write_the_database` writes
//! that of the present schema: run it before a release, and add the file to [`RELEASES`]. None is
//! ever changed. A kind of object that is new goes into [`a_little_of_everything`], and what it is
//! to be after the years into [`the_newest_database_opens_with_every_kind_of_object`].

use std::fmt::Write as _;
use std::path::PathBuf;

use sqlx::{AssertSqlSafe, Row as _};

use super::*;
use crate::model::caller::{ProjectRole, Rights};
use crate::model::fixtures::{project, project_record, record_of};
use crate::model::image::{Boot, ImageRecord, StoredKind};
use crate::model::inventory::SweepRecord;
use crate::model::ledger::{CreateProject, CreateToken, RevokeToken, SetCordon};
use crate::model::project::{Named, ProjectName, ProjectRecord, Quota};
use crate::model::request::RequestId;
use crate::model::status::VmState;
use crate::model::token::TokenRecord;
use crate::testing::image;

/// Every server whose databases open, oldest first.
pub(super) const RELEASES: [(&str, &str); 5] = [
    ("0.1.0", include_str!("../fixtures/0.1.0.sql")),
    ("0.1.0-schema-11", include_str!("../fixtures/0.1.0-schema-11.sql")),
    ("0.1.0-schema-16", include_str!("../fixtures/0.1.0-schema-16.sql")),
    ("0.1.0-schema-19", include_str!("../fixtures/0.1.0-schema-19.sql")),
    ("0.1.0-schema-20", include_str!("../fixtures/0.1.0-schema-20.sql")),
];

async fn dump(connection: &mut SqliteConnection) -> String {
    let mut text = String::new();
    let schema = sqlx::query(
        // Tables before what stands on them; what SQLite keeps for itself it makes again.
        "SELECT type, name, sql FROM sqlite_master
         WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'
         ORDER BY type = 'table' DESC, type, name",
    )
    .fetch_all(&mut *connection)
    .await
    .expect("a schema");
    for row in &schema {
        writeln!(text, "{};", row.get::<String, _>("sql")).expect("text");
    }
    for row in schema.iter().filter(|row| row.get::<String, _>("type") == "table") {
        let table: String = row.get("name");
        let columns = format!("SELECT name FROM pragma_table_info('{table}')");
        let columns: Vec<String> = sqlx::query_scalar(AssertSqlSafe(columns))
            .fetch_all(&mut *connection)
            .await
            .expect("columns");
        let quoted: Vec<String> = columns.iter().map(|column| format!("quote({column})")).collect();
        let rows = format!("SELECT {} AS line FROM {table} ORDER BY 1", quoted.join("||','||"));
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(rows))
            .fetch_all(&mut *connection)
            .await
            .expect("rows");
        for row in rows {
            writeln!(text, "INSERT INTO {table} VALUES({row});").expect("text");
        }
    }
    text
}

fn create_web() -> CreateVm {
    CreateVm {
        request_id: Some(vm_id(99)),
        desired: Desired::Paused,
        spec: spec_with(|draft| {
            draft.labels.insert("app".to_owned(), "web".to_owned());
            draft.work_disk_mib = Some(64);
            draft.initrd = Some(ImageDraft { name: "initrd".to_owned(), sha256: "a".repeat(64) });
            draft.metadata = serde_json::json!({"a": ["é", 1, null]}).as_object().cloned();
        }),
        ..create(1, "web")
    }
}

/// An image of the server with all that an image can have.
fn root_image() -> ImageRecord {
    ImageRecord {
        notes: vec!["one".to_owned(), "é\"\\".to_owned()],
        guest_agent: true,
        boot: Some(Boot {
            kernel: "vmlinux".to_owned(),
            initrd: None,
            boot_args: "quiet".to_owned(),
        }),
        ..ImageRecord::clone(&image("alpine", StoredKind::Root, b"root").0)
    }
}

/// A token that another has made, and that goes with it.
fn made_token() -> TokenRecord {
    let maker = Some(record_of(1, "ci").id);
    TokenRecord { created_by_token: maker.clone(), goes_with: maker, ..record_of(2, "bot") }
}

/// A project with a quota, and a token of it.
fn shop() -> ProjectRecord {
    let quota = Quota::of_numbers([9, 8, 7, 6, 0, 0, 0, 0]);
    ProjectRecord { quota, ..(*project_record("shop")).clone() }
}

fn token_of_shop() -> TokenRecord {
    let rights = Rights::Project(project("shop"), ProjectRole::Developer);
    TokenRecord { rights, ..record_of(3, "ann") }
}

fn made_join_token() -> JoinToken {
    JoinToken { created_by_token: Some(record_of(1, "ci").id), ..token("made") }
}

fn sweep() -> SweepRecord {
    SweepRecord {
        id: uuid::Uuid::from_u128(7),
        host: host_id(1),
        at: at(3),
        actor: "ann".to_owned(),
        removed: 3,
        kept: 2,
        failed: 1,
        message: "a tap is held".to_owned(),
    }
}

/// A request that names itself, and is recorded.
fn cordon_once() -> (Caller, RequestKey, SetCordon) {
    let key = RequestKey { id: RequestId(uuid::Uuid::from_u128(8)), fingerprint: [8; 32] };
    let host = HostRef::Name("one".to_owned());
    let cordon = SetCordon { host, etag: None, cordoned: true };
    (super::audit::calling("banger.v1.HostService/CordonHost"), key, cordon)
}

/// A little of everything that a database can hold.
async fn a_little_of_everything() -> Fixture {
    let fixture = fixture().await;
    fixture.add_host(1, "one").await;
    fixture
        .make(AnyMutation::CreateJoinToken(CreateJoinToken(token("unused"))))
        .await
        .expect("kept");
    fixture.make(AnyMutation::CreateVm(create_web())).await.expect("created");
    fixture.add_vm(2, "rebooted").await;
    let reboot = Power::Reboot { grace: Duration::from_millis(1500), reset_root_disk: true };
    let reboot =
        AnyMutation::SetPower(SetPower { vm: VmRef::Id(vm_id(2)), etag: None, power: reboot });
    fixture.make(reboot).await.expect("fits");
    fixture.add_vm(3, "being-deleted").await;
    fixture.make(delete(3)).await.expect("deleted");
    fixture.add_vm(4, "deleted").await;
    fixture.make(delete(4)).await.expect("deleted");
    fixture.make(AnyMutation::Forget(Forget { vm: vm_id(4) })).await.expect("forgotten");
    let crashed = line(vm_id(2), EventKind::Entered(VmState::Crashed), 2);
    fixture.make(AnyMutation::Record(Record { events: vec![crashed] })).await.expect("written");
    let (public, _) = image("public", StoredKind::Kernel, b"kernel");
    let put = PutImage { image: public, replace: false, public: Some(true) };
    fixture.store.submit(caller(), put).await.expect("stored");
    let put = PutImage { image: Arc::new(root_image()), replace: false, public: None };
    fixture.store.submit(caller(), put).await.expect("stored");
    fixture.store.submit(caller(), CreateProject(Arc::new(shop()))).await.expect("made");
    for token in [record_of(1, "ci"), made_token(), token_of_shop()] {
        fixture.store.submit(caller(), CreateToken(Arc::new(token))).await.expect("kept");
    }
    fixture.store.submit(caller(), CreateJoinToken(made_join_token())).await.expect("kept");
    fixture.store.submit(caller(), RecordSweep(sweep())).await.expect("written");
    let (cordoner, key, cordon) = cordon_once();
    fixture.store.submit_once(cordoner, Some(key), cordon).await.expect("cordoned");
    fixture
}

#[tokio::test]
#[ignore = "writes the fixture of the present release into the source tree; run by hand"]
async fn write_the_database_of_this_release() {
    let fixture = a_little_of_everything().await;
    fixture.store.close().await;
    let mut connection = connect(&database(&fixture.directory)).await.expect("opens");
    let text = dump(&mut connection).await;
    let schema: i64 = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
        .fetch_one(&mut connection)
        .await
        .expect("a schema");
    let name = format!("src/store/fixtures/{}-schema-{schema}.sql", env!("CARGO_PKG_VERSION"));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::write(path, text).expect("written");
}

pub(super) async fn database_of(dump: &str) -> TempDir {
    let directory = TempDir::new().expect("a directory");
    drop(super::super::file::private_file(&database(&directory)).expect("a file"));
    let mut connection = connect(&database(&directory)).await.expect("opens");
    let loading = sqlx::raw_sql(AssertSqlSafe(dump.to_owned())).execute(&mut connection);
    loading.await.expect("a dump that can be loaded");
    directory
}

#[tokio::test]
async fn a_database_of_every_release_opens_with_all_that_it_holds_and_goes_on() {
    for (release, dump) in RELEASES {
        let directory = database_of(dump).await;
        let open = open_in(&directory).await;
        assert_eq!(names(&open), ["being-deleted", "rebooted", "web"], "{release}");
        assert_eq!(open.hosts().map(|host| host.name.as_str()).collect::<Vec<_>>(), ["one"]);
        let fixture = started(open, directory);
        let vm = |number| fixture.store.vm(&VmRef::Id(vm_id(number))).expect("is there");
        let web = vm(1);
        assert_eq!((web.desired, web.host), (Desired::Paused, Some(host_id(1))), "{release}");
        assert_eq!(web.spec.labels().get("app").map(String::as_str), Some("web"), "{release}");
        assert!(web.project.is_default(), "{release}");
        let gone = fixture.store.deleted_of(vm_id(4)).await.expect("readable");
        assert_eq!(gone, Some(Default::default()), "{release}");
        assert!(web.net.is_some() && web.request_id == Some(vm_id(99)), "{release}");
        let rebooted = vm(2);
        assert_eq!(rebooted.generation, Generation(2), "{release}");
        assert!(rebooted.boot_number > web.boot_number, "{release}");
        assert_eq!(vm(3).desired, Desired::Absent, "{release}");
        assert!(fixture.store.was_deleted(vm_id(4)).await.expect("readable"), "{release}");
        let events = fixture.store.vm_events(vm_id(4), 0, 10).await.expect("readable");
        assert_eq!(events.last().map(|event| event.kind.as_str()), Some("DELETED"), "{release}");
        let events = fixture.store.vm_events(vm_id(2), 0, 10).await.expect("readable");
        assert!(events.iter().any(|event| event.kind == "CRASHED"), "{release}");
        // Creates of that release that are repeated now are the same creates.
        for again in [create_web(), create(2, "rebooted")] {
            let answer = fixture.make(AnyMutation::CreateVm(again)).await;
            let Ok(Outcome::Vm { changed, .. }) = answer else { panic!("{release}: {answer:?}") };
            assert!(!changed, "{release}");
        }
        // And it is written to like one of today.
        fixture.add_vm(5, "new").await;
        fixture.make(AnyMutation::Forget(Forget { vm: vm_id(3) })).await.expect("forgotten");
        let (open, _directory) = fixture.reopened().await;
        assert_eq!(names(&open), ["new", "rebooted", "web"], "{release}");
    }
}

#[tokio::test]
async fn the_newest_databases_open_with_every_kind_of_object() {
    let [_, before_projects, with_projects @ ..] = RELEASES;
    has_every_kind(before_projects.1, false).await;
    for (_, dump) in with_projects {
        has_every_kind(dump, true).await;
    }
}

async fn has_every_kind(dump: &str, has_projects: bool) {
    let directory = database_of(dump).await;
    let open = open_in(&directory).await;
    let fixture = started(open, directory);
    let store = &fixture.store;
    let alpine = Named::new(&ProjectName::default(), "alpine");
    assert_eq!(store.image(&alpine, &caller()), Some((Arc::new(root_image()), 0)));
    let public = store.image(&Named::new(&ProjectName::default(), "public"), &caller());
    assert_eq!(public.map(|(image, _)| image.public), has_projects.then_some(true));
    assert_eq!(store.projects(), Vec::from_iter(has_projects.then(|| Arc::new(shop()))));
    let tokens: Vec<TokenRecord> = store.tokens().iter().map(|t| TokenRecord::clone(t)).collect();
    let mut wanted = vec![record_of(1, "ci"), made_token()];
    wanted.extend(has_projects.then(token_of_shop));
    assert_eq!(tokens, wanted);
    assert_eq!(store.host_sweeps(host_id(1), 10).await.expect("readable"), [sweep()]);
    // The request that named itself, again: the answer of then, although the host is cordoned.
    let (cordoner, key, cordon) = cordon_once();
    let host = store.submit_once(cordoner.clone(), Some(key), cordon).await.expect("as before");
    assert!(host.cordoned);
    let look = AuditLook { limit: 10, ..AuditLook::default() };
    let records = store.audit(&look).await.expect("readable").records;
    let [one] = &records[..] else { panic!("{records:?}") };
    let call = cordoner.call.as_ref().expect("a call");
    assert_eq!(
        (&*one.record.method, one.record.request_id.clone()),
        (call.method, key.id.to_string())
    );
    assert_eq!(one.record.object.as_ref().map(|object| &*object.name), Some("one"));
    // The token goes with all that was made with it.
    let revoke = RevokeToken { token: "ci".to_owned(), keep_made: false };
    let revoked = store.submit(caller(), revoke).await.expect("it is there");
    assert_eq!((revoked.made.len(), revoked.join_tokens), (1, 1));
}

#[tokio::test]
async fn a_database_of_a_later_release_is_refused_with_a_sentence_and_left_as_it_is() {
    let directory = database_of(RELEASES[0].1).await;
    let mut connection = connect(&database(&directory)).await.expect("opens");
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (1000, 'of the future', 1, X'00', 1)",
    )
    .execute(&mut connection)
    .await
    .expect("written");
    let before = dump(&mut connection).await;
    let path = database(&directory);
    let refused = OpenStore::open(&path, LedgerConfig::default()).await.expect_err("newer");
    let words = refused.to_string();
    assert!(words.contains("has schema 1000, and this server knows"), "{words}");
    let refused = raise_epoch(&path, at(0)).await.expect_err("newer");
    assert!(matches!(refused, OpenError::NewerSchema { found: 1000, .. }), "{refused}");
    assert_eq!(dump(&mut connection).await, before);
}
