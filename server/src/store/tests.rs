use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use banger_proto::ids::{Generation, Revision};
use tempfile::TempDir;

use sqlx::SqliteConnection;

use super::*;
use crate::model::fixtures::{at, caller, create, host_id, join, line, spec_with, token, vm_id};
use crate::model::history::EventKind;
use crate::model::intent::{DEFAULT_STOP_GRACE, Desired};
use crate::model::ledger::{
    Change, CreateJoinToken, DeleteHost, DeleteImage, DeleteVm, Edit, Forget, JoinToken, Outcome,
    Power, PutImage, Record, RecordSweep, Refusal, SetPower,
};
use crate::model::spec::ImageDraft;

mod audit;
mod crashes;
mod failures;
mod history;
mod images;
mod journal;
mod migrations;
mod placing;
mod projects;
mod releases;
mod repeats;
mod restores;
mod retention;
mod sizes;
mod sweeps;
mod tokens;

/// A store on a directory of its own, with everything it has published.
struct Fixture {
    store: Store,
    published: Arc<Mutex<Vec<Change>>>,
    commits: Arc<Mutex<Vec<CommitStats>>>,
    directory: TempDir,
}

fn database(directory: &TempDir) -> std::path::PathBuf {
    directory.path().join("banger.db")
}

async fn open_in(directory: &TempDir) -> OpenStore {
    OpenStore::open(&database(directory), LedgerConfig::default()).await.expect("opens")
}

fn started(open: OpenStore, directory: TempDir) -> Fixture {
    let published = Arc::new(Mutex::new(Vec::new()));
    let commits = Arc::new(Mutex::new(Vec::new()));
    let (sink, meter) = (Arc::clone(&published), Arc::clone(&commits));
    let store = open.start(
        Arc::new(move |changes: &[Change]| {
            sink.lock().extend_from_slice(changes);
            Revision(0)..Revision(0)
        }),
        Arc::new(move |stats| meter.lock().push(stats)),
    );
    Fixture { store, published, commits, directory }
}

async fn fixture() -> Fixture {
    let directory = TempDir::new().expect("a directory");
    let open = open_in(&directory).await;
    started(open, directory)
}

impl Fixture {
    async fn make(&self, mutation: AnyMutation) -> Result<Outcome, MutateError> {
        self.store.submit(caller(), mutation).await
    }

    async fn add_host(&self, number: u128, name: &str) {
        self.make(AnyMutation::CreateJoinToken(CreateJoinToken(token(name)))).await.expect("kept");
        self.make(AnyMutation::JoinHost(join(number, name, name))).await.expect("joined");
        let room =
            Resources { vcpus: 64, memory_mib: 1 << 20, disk_mib: 1 << 30, guests: u32::MAX };
        self.store.set_capacity(host_id(number), Some(room), true);
    }

    async fn add_vm(&self, number: u128, name: &str) -> Arc<VmIntent> {
        match self.make(AnyMutation::CreateVm(create(number, name))).await {
            Ok(Outcome::Vm { intent, .. }) => intent,
            other => panic!("not created: {other:?}"),
        }
    }

    async fn reopened(self) -> (OpenStore, TempDir) {
        self.store.close().await;
        let open = open_in(&self.directory).await;
        (open, self.directory)
    }
}

fn delete(number: u128) -> AnyMutation {
    AnyMutation::DeleteVm(DeleteVm { vm: VmRef::Id(vm_id(number)), etag: None })
}

fn names(open: &OpenStore) -> Vec<String> {
    let mut names: Vec<String> = open.vms().map(|vm| vm.name.clone()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn everything_that_was_answered_is_there_after_a_restart() {
    let fixture = fixture().await;
    fixture.add_host(1, "one").await;
    let full = CreateVm {
        request_id: Some(vm_id(99)),
        desired: Desired::Paused,
        spec: spec_with(|draft| {
            draft.boot_args = "quote=\"' back\\slash".to_owned();
            draft.labels.insert("app".to_owned(), "web".to_owned());
            draft.initrd = Some(ImageDraft { name: "initrd".to_owned(), sha256: "a".repeat(64) });
            draft.metadata = serde_json::json!({"text": "é\u{0}\n"}).as_object().cloned();
        }),
        ..create(1, "web")
    };
    let odd =
        Caller { actor: "it's \"me\"\u{0}".into(), trace: "00-aa-bb-01".to_owned(), ..caller() };
    fixture.store.submit(odd, full).await.expect("created");
    let reboot = Power::Reboot { grace: Duration::from_millis(1500), reset_root_disk: true };
    fixture.add_vm(2, "db").await;
    let power =
        AnyMutation::SetPower(SetPower { vm: VmRef::Id(vm_id(2)), etag: None, power: reboot });
    fixture.make(power).await.expect("fits");
    let mut before: Vec<_> =
        [1, 2].iter().filter_map(|n| fixture.store.vm(&VmRef::Id(vm_id(*n)))).collect();
    before.sort_by_key(|vm| vm.id);
    let host = fixture.store.host(&HostRef::Name("one".to_owned()));
    let (open, _directory) = fixture.reopened().await;
    let mut after: Vec<_> = open.vms().cloned().collect();
    after.sort_by_key(|vm| vm.id);
    assert_eq!(after, before);
    assert_eq!(open.hosts().next(), host.as_ref());
}

#[tokio::test]
async fn what_is_answered_was_published_before_and_in_the_order_of_commits() {
    let fixture = fixture().await;
    for number in 1..=20 {
        let vm = fixture.add_vm(number, &format!("vm{number}")).await;
        let published = fixture.published.lock();
        let last = published.iter().rev().find_map(|change| match change {
            Change::Vm(Edit::Put(vm)) => Some(vm),
            _ => None,
        });
        assert_eq!(last, Some(&vm));
    }
}

#[tokio::test]
async fn many_mutations_at_once_share_commits() {
    let fixture = fixture().await;
    let all = (1..=500).map(|number| {
        let (store, create) = (fixture.store.clone(), create(number, &format!("vm{number}")));
        tokio::spawn(async move { store.submit(caller(), AnyMutation::CreateVm(create)).await })
    });
    for task in all.collect::<Vec<_>>() {
        task.await.expect("no panic").expect("created");
    }
    let commits = fixture.commits.lock().clone();
    assert_eq!(commits.iter().map(|commit| commit.mutations).sum::<usize>(), 500);
    assert!(commits.len() < 100, "{} commits for 500 mutations", commits.len());
    let (open, _directory) = fixture.reopened().await;
    assert_eq!(open.vms().count(), 500);
}

#[tokio::test]
async fn the_same_create_twice_in_one_group_makes_one_vm() {
    let fixture = fixture().await;
    let (one, two, other) = tokio::join!(
        fixture.make(AnyMutation::CreateVm(create(1, "web"))),
        fixture.make(AnyMutation::CreateVm(create(1, "web"))),
        fixture.make(AnyMutation::CreateVm(create(2, "web"))),
    );
    assert!(matches!(one, Ok(Outcome::Vm { changed: true, .. })), "{one:?}");
    assert!(matches!(two, Ok(Outcome::Vm { changed: false, .. })), "{two:?}");
    let refused = Err(Refusal::VmNameTaken { name: "web".to_owned(), by: vm_id(1) });
    assert_eq!(
        other.map_err(|error| match error {
            MutateError::Refused(refusal) => refusal,
            other => panic!("{other}"),
        }),
        refused
    );
}

#[tokio::test]
async fn a_name_and_an_address_can_change_hands_in_one_group() {
    let directory = TempDir::new().expect("a directory");
    // Five addresses, which are all taken: the one that is freed has to be given again.
    let config = LedgerConfig { guest_prefix: 29, ..LedgerConfig::default() };
    let open = OpenStore::open(&database(&directory), config).await.expect("opens");
    let fixture = started(open, directory);
    fixture.add_host(1, "one").await;
    for (number, name) in [(1, "web"), (11, "b"), (12, "c"), (13, "d"), (14, "e")] {
        fixture.add_vm(number, name).await;
    }
    fixture.make(delete(1)).await.expect("deleting");
    let (forgotten, created) = tokio::join!(
        fixture.make(AnyMutation::Forget(Forget { vm: vm_id(1) })),
        fixture.make(AnyMutation::CreateVm(create(2, "web"))),
    );
    forgotten.expect("forgotten");
    created.expect("created");
    let (open, _directory) = fixture.reopened().await;
    let web = open.vms().find(|vm| vm.name == "web").expect("there");
    assert_eq!((web.id, web.net.map(|net| net.slot)), (vm_id(2), Some(2)));
}

#[tokio::test]
async fn a_vm_that_came_and_went_in_one_group_leaves_its_id_used_up() {
    let fixture = fixture().await;
    let (created, deleted) = tokio::join!(
        fixture.make(AnyMutation::CreateVm(create(1, "web"))),
        fixture.make(delete(1))
    );
    created.expect("created");
    deleted.expect("deleted");
    assert!(fixture.store.was_deleted(vm_id(1)).await.expect("readable"));
    assert_eq!(
        fixture
            .store
            .last_deleted(&Named::new(&ProjectName::default(), "web"))
            .await
            .expect("readable"),
        Some(vm_id(1))
    );
    assert_eq!(
        fixture
            .store
            .last_deleted(&Named::new(&ProjectName::default(), "other"))
            .await
            .expect("readable"),
        None
    );
    let again = fixture.make(AnyMutation::CreateVm(create(1, "web"))).await;
    assert!(matches!(again, Err(MutateError::Refused(Refusal::VmIdUsedUp { .. }))), "{again:?}");
}

#[tokio::test]
async fn ids_of_deleted_vms_stay_used_up_over_a_restart() {
    let fixture = fixture().await;
    let request_id = Some(vm_id(99));
    let with_request = |number| CreateVm { request_id, ..create(number, &format!("vm{number}")) };
    fixture.make(with_request(1).into()).await.expect("created");
    fixture.make(delete(1)).await.expect("deleted");
    let (open, directory) = fixture.reopened().await;
    let fixture = started(open, directory);
    for create in [create(1, "web"), with_request(2)] {
        let checked = fixture.store.check(&caller(), create.clone()).await.map(|(vm, _)| vm);
        let made = fixture.store.submit(caller(), create).await;
        for again in [checked, made] {
            let used_up = matches!(again, Err(MutateError::Refused(Refusal::VmIdUsedUp { .. })));
            assert!(used_up, "{again:?}");
        }
    }
    fixture.add_vm(3, "web").await;
}

#[tokio::test]
async fn checking_stores_nothing() {
    let fixture = fixture().await;
    let checked = fixture.store.check(&caller(), create(1, "web")).await;
    assert!(matches!(checked, Ok((VmAnswer { changed: true, .. }, Some(_)))), "{checked:?}");
    assert_eq!(fixture.store.vm(&VmRef::Id(vm_id(1))), None);
    assert!(fixture.published.lock().is_empty());
}

#[tokio::test]
async fn revisions_are_never_given_out_twice_whatever_happens() {
    let fixture = fixture().await;
    let first = fixture.store.reserve_revisions().await.expect("reserved");
    let second = fixture.store.reserve_revisions().await.expect("reserved");
    assert_eq!(first.end - first.start, REVISION_BLOCK);
    assert!(first.start > 0 && second.start >= first.end);
    let (open, directory) = fixture.reopened().await;
    let third = open.revisions();
    assert!(third.start >= second.end);
    drop(open);
    let open = open_in(&directory).await;
    assert!(open.revisions().start >= third.end);
    let _ = Revision(open.revisions().start);
}

#[tokio::test]
async fn a_new_epoch_is_higher_and_leaves_revisions_far_behind() {
    let fixture = fixture().await;
    let (epoch, revisions) = (fixture.store.epoch(), fixture.store.reserve_revisions().await);
    let path = database(&fixture.directory);
    let refused = raise_epoch(&path, at(0)).await;
    assert!(matches!(refused, Err(OpenError::InUse { .. })), "{refused:?}");
    fixture.store.close().await;
    let raised = raise_epoch(&path, at(0)).await.expect("raised");
    assert!(raised > epoch, "{raised}");
    let open = open_in(&fixture.directory).await;
    assert_eq!(open.epoch(), raised);
    assert!(open.revisions().start > revisions.expect("reserved").end + 1_000_000_000);
    let missing = raise_epoch(&fixture.directory.path().join("other.db"), at(0)).await;
    assert!(matches!(missing, Err(OpenError::Missing { .. })), "{missing:?}");
}

#[tokio::test]
async fn a_second_server_is_kept_off_until_the_first_has_closed() {
    let fixture = fixture().await;
    let path = database(&fixture.directory);
    let second = OpenStore::open(&path, LedgerConfig::default()).await;
    assert!(matches!(second, Err(OpenError::InUse { .. })), "{second:?}");
    fixture.store.close().await;
    OpenStore::open(&path, LedgerConfig::default()).await.expect("free");
}

#[tokio::test]
async fn what_was_submitted_before_the_close_is_finished_and_nothing_after_it() {
    let fixture = fixture().await;
    let (created, ()) =
        tokio::join!(fixture.make(AnyMutation::CreateVm(create(1, "web"))), fixture.store.close(),);
    created.expect("created");
    let late = fixture.make(AnyMutation::CreateVm(create(2, "db"))).await;
    assert!(matches!(late, Err(MutateError::Closed)), "{late:?}");
    assert_eq!(names(&open_in(&fixture.directory).await), ["web"]);
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_take_its_mutation_with_it() {
    let fixture = fixture().await;
    let (reply, answer) = oneshot::channel();
    drop(answer);
    let asked = Asked { caller: caller(), request: None, mutation: create(1, "web").into() };
    let job = Job::Submit { asked: Box::new(asked), reply };
    fixture.store.jobs.send(job).await.expect("open");
    let (open, _directory) = fixture.reopened().await;
    assert_eq!(names(&open), ["web"]);
}

#[tokio::test]
async fn secrets_of_join_tokens_are_stored_as_digests_and_used_once_over_a_restart() {
    let fixture = fixture().await;
    fixture
        .make(AnyMutation::CreateJoinToken(CreateJoinToken(JoinToken {
            expires_at: at(9000),
            ..token("t")
        })))
        .await
        .expect("kept");
    fixture.make(AnyMutation::JoinHost(join(1, "t", "one"))).await.expect("joined");
    let (open, directory) = fixture.reopened().await;
    let fixture = started(open, directory);
    let other = crate::model::ledger::JoinHost { key_sha256: [1; 32], ..join(2, "t", "two") };
    let refused = fixture.make(AnyMutation::JoinHost(other)).await;
    let used = MutateError::Refused(Refusal::JoinTokenInvalid("used")).to_string();
    assert_eq!(refused.expect_err("used").to_string(), used);
}

#[tokio::test]
async fn files_are_readable_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let fixture = fixture().await;
    fixture.add_vm(1, "web").await;
    for name in ["banger.db", "banger.db-wal", "banger.db-shm", "banger.lock"] {
        let path = fixture.directory.path().join(name);
        let mode = fs::metadata(&path).expect(name).permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
}

/// The schema as migrations make it. A change here needs a new migration, never an edited one
/// ([`migrations`]).
#[tokio::test]
async fn the_schema_is_as_recorded() {
    let directory = TempDir::new().expect("a directory");
    drop(open_in(&directory).await);
    let mut connection = connect(&database(&directory)).await.expect("opens");
    let schema: Vec<String> = sqlx::query_scalar(
        "SELECT sql FROM sqlite_schema
         WHERE sql IS NOT NULL AND name NOT LIKE '_sqlx%' ORDER BY name",
    )
    .fetch_all(&mut connection)
    .await
    .expect("readable");
    insta::assert_snapshot!(schema.join(";\n\n"));
}

#[tokio::test]
async fn commits_are_synced_and_constraints_are_on() {
    let directory = TempDir::new().expect("a directory");
    drop(open_in(&directory).await);
    let mut connection = connect(&database(&directory)).await.expect("opens");
    let mut pragma = async |name: &'static str| -> String {
        sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT CAST({name} AS TEXT) FROM pragma_{name}"
        )))
        .fetch_one(&mut connection)
        .await
        .expect(name)
    };
    assert_eq!(pragma("journal_mode").await, "wal");
    assert_eq!(pragma("synchronous").await, "2", "FULL");
    assert_eq!(pragma("foreign_keys").await, "1");
}

/// Ids for tests that need many.
static NEXT: AtomicU64 = AtomicU64::new(1000);

fn fresh() -> u128 {
    u128::from(NEXT.fetch_add(1, Ordering::Relaxed))
}
