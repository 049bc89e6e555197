//! Backups, made while the store is written to, and their way back.

use super::*;
use crate::model::fixtures::record_of;
use crate::model::host::OfferedCertificate;
use crate::model::ledger::{
    ConfirmCertificate, CreateToken, JoinHost, OfferCertificate, RevokeHost, RevokeToken, SetCordon,
};

const NOTE_CA: &str = "ca";

const LOOK: RestoreTerms = RestoreTerms { dry_run: true, keep_shut_out: false };

fn note() -> BackupNote {
    BackupNote { made_at: at(5), version: "1".to_owned(), ca_sha256: NOTE_CA.to_owned() }
}

impl Fixture {
    pub(super) async fn backup(&self, name: &str) -> std::path::PathBuf {
        let to = self.directory.path().join(name);
        backup(&database(&self.directory), &to, &note()).await.expect("made");
        to
    }
}

fn names_of(vms: &[NamedVm]) -> Vec<&str> {
    vms.iter().map(|vm| vm.name.as_str()).collect()
}

fn beside(directory: &TempDir, suffix: &str) -> std::path::PathBuf {
    directory.path().join(format!("banger.db{suffix}"))
}

#[tokio::test]
async fn a_clean_stop_leaves_one_file_and_no_log() {
    let fixture = fixture().await;
    fixture.add_host(1, "one").await;
    fixture.add_vm(1, "web").await;
    // A reader that was used holds the log open, too.
    fixture.store.vm_events(vm_id(1), 0, 10).await.expect("readable");
    assert!(beside(&fixture.directory, "-wal").exists());
    fixture.store.close().await;
    for suffix in ["-wal", "-shm"] {
        assert!(!beside(&fixture.directory, suffix).exists(), "{suffix} is left");
    }
}

#[tokio::test]
async fn a_backup_of_a_store_that_is_written_to_is_whole_and_of_one_moment() {
    let fixture = fixture().await;
    fixture.add_host(1, "one").await;
    let store = fixture.store.clone();
    let load = tokio::spawn(async move {
        for number in 1..=200 {
            let create = create(number, &format!("vm-{number}"));
            store.submit(caller(), create).await.expect("created");
        }
    });
    let mut seen = Vec::new();
    for number in 0..4 {
        let copy = fixture.backup(&format!("copy-{number}")).await;
        let open = OpenStore::open(&copy, LedgerConfig::default()).await.expect("opens");
        let mut numbers: Vec<u32> = open
            .vms()
            .filter_map(|vm| vm.name.strip_prefix("vm-").and_then(|n| n.parse().ok()))
            .collect();
        numbers.sort_unstable();
        // One after the other was made, so that one moment has no gap.
        assert_eq!(numbers, (1..=numbers.len().try_into().expect("few")).collect::<Vec<_>>());
        seen.push(numbers.len());
    }
    load.await.expect("no panic");
    assert!(seen.is_sorted(), "{seen:?}");
}

#[tokio::test]
async fn a_backup_is_for_its_owner_only_and_never_written_over() {
    use std::os::unix::fs::PermissionsExt as _;
    let fixture = fixture().await;
    let to = fixture.backup("copy").await;
    let mode = fs::metadata(&to).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = backup(&database(&fixture.directory), &to, &note()).await;
    assert!(matches!(again, Err(BackupError::Exists { .. })), "{again:?}");
    let left: Vec<_> = fs::read_dir(fixture.directory.path())
        .expect("readable")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.contains("partial"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test]
async fn a_restore_brings_back_exactly_the_backup_whatever_log_lies_there() {
    let fixture = fixture().await;
    fixture.add_host(1, "one").await;
    fixture.add_vm(1, "kept").await;
    fixture.add_vm(2, "deleted-since").await;
    let copy = fixture.backup("copy").await;
    fixture.add_vm(3, "made-since").await;
    fixture.add_host(2, "two").await;
    fixture.make(delete(2)).await.expect("deleted");
    fixture.make(AnyMutation::Forget(Forget { vm: vm_id(2) })).await.expect("forgotten");
    // As after a kill: the database with a log that holds what came later.
    let (path, log) = (database(&fixture.directory), beside(&fixture.directory, "-wal"));
    let (whole, later) = (fs::read(&path).expect("read"), fs::read(&log).expect("read"));
    assert!(!later.is_empty());
    fixture.store.close().await;
    fs::write(&path, whole).expect("written");
    fs::write(&log, later).expect("written");

    let restored = restore(&path, &copy, at(10), RestoreTerms::default()).await.expect("restored");
    assert_eq!(restored.note, Some(note()));
    assert_eq!(names_of(&restored.unclaimed), ["made-since"]);
    assert_eq!(restored.unclaimed[0].host, "one");
    assert_eq!(names_of(&restored.made_again), ["deleted-since"]);
    let unknown = UnknownHost { name: "two".to_owned(), id: host_id(2), earlier: None };
    assert_eq!(restored.unknown_hosts, [unknown]);
    assert!(!log.exists());
    let open = open_in(&fixture.directory).await;
    assert_eq!(names(&open), ["deleted-since", "kept"]);
    assert_eq!(open.epoch(), restored.epoch);
    drop(open);
    // And what was there before is whole.
    let kept = restored.kept.expect("there was one").join("banger.db");
    let open = OpenStore::open(&kept, LedgerConfig::default()).await.expect("opens");
    assert_eq!(names(&open), ["kept", "made-since"]);
}

#[tokio::test]
async fn a_host_that_joined_again_under_its_name_is_named_with_both_ids() {
    let fixture = fixture().await;
    fixture.add_host(1, "one").await;
    let copy = fixture.backup("copy").await;
    let forget_host = DeleteHost { host: HostRef::Id(host_id(1)), etag: Default::default() };
    let forget_host = AnyMutation::DeleteHost(forget_host);
    fixture.make(forget_host).await.expect("forgotten");
    fixture.add_host(2, "one").await;
    fixture.store.close().await;
    let path = database(&fixture.directory);
    let restored = restore(&path, &copy, at(10), RestoreTerms::default()).await.expect("restored");
    let again = UnknownHost { name: "one".to_owned(), id: host_id(2), earlier: Some(host_id(1)) };
    assert_eq!(restored.unknown_hosts, [again]);
}

async fn keep_join_token(fixture: &Fixture, token: JoinToken) {
    fixture.store.submit(caller(), CreateJoinToken(token)).await.expect("kept");
}

async fn keep_token(fixture: &Fixture, number: u8, name: &str) -> String {
    let record = record_of(number, name);
    let id = record.id.clone();
    fixture.store.submit(caller(), CreateToken(Arc::new(record))).await.expect("kept");
    id
}

fn cordon(number: u128, cordoned: bool) -> AnyMutation {
    let host = HostRef::Id(host_id(number));
    AnyMutation::SetCordon(SetCordon { host, etag: Default::default(), cordoned })
}

/// A backup of four hosts and their like, of which the first two were deleted and cordoned since,
/// the third has another key, and tokens and join tokens were taken back, used and made.
async fn shut_out_since() -> (Fixture, std::path::PathBuf) {
    let fixture = fixture().await;
    for (number, name) in [(1, "deleted"), (2, "cordoned"), (3, "rekeyed"), (4, "stays")] {
        fixture.add_host(number, name).await;
    }
    fixture.make(cordon(4, true)).await.expect("cordoned");
    for id in ["used", "good"] {
        keep_join_token(&fixture, token(id)).await;
    }
    let again = JoinToken { host_name: Some("rekeyed".to_owned()), ..token("again") };
    keep_join_token(&fixture, again).await;
    for (number, name) in [(1, "taken-back"), (2, "good")] {
        keep_token(&fixture, number, name).await;
    }
    let copy = fixture.backup("copy").await;
    let host = HostRef::Id(host_id(1));
    let delete = DeleteHost { host, etag: Default::default() };
    fixture.make(AnyMutation::DeleteHost(delete)).await.expect("deleted");
    fixture.make(cordon(2, true)).await.expect("cordoned");
    fixture.make(cordon(4, false)).await.expect("uncordoned");
    let again =
        JoinHost { key_sha256: [8; 32], known_id: Some(host_id(3)), ..join(3, "again", "rekeyed") };
    fixture.store.submit(caller(), again).await.expect("joined again");
    fixture.store.submit(caller(), join(5, "used", "new")).await.expect("joined");
    let revoke = RevokeToken { token: "taken-back".to_owned(), keep_made: false };
    fixture.store.submit(caller(), revoke).await.expect("it is there");
    keep_token(&fixture, 3, "made-since").await;
    fixture.store.close().await;
    (fixture, copy)
}

fn shut_out() -> ShutOut {
    let host =
        |number, name: &str, how| ShutOutHost { id: host_id(number), name: name.to_owned(), how };
    let token =
        |number, name: &str| NamedToken { id: record_of(number, "").id, name: name.to_owned() };
    ShutOut {
        hosts: vec![
            host(1, "deleted", HostShutOut::Deleted),
            host(2, "cordoned", HostShutOut::Cordoned),
            host(3, "rekeyed", HostShutOut::Rekeyed),
        ],
        tokens: vec![token(1, "taken-back")],
        join_tokens: vec!["again".to_owned(), "used".to_owned()],
        images: Vec::new(),
        quotas: Vec::new(),
        smaller_hosts: Vec::new(),
        unknown_tokens: vec![token(3, "made-since")],
    }
}

/// Names of the hosts that are cordoned, of the tokens, and of the join tokens that are unused.
fn let_in(open: &OpenStore) -> (Vec<String>, Vec<String>, usize) {
    let cordoned = open.hosts().filter(|host| host.cordoned).map(|host| host.name.clone());
    let tokens = open.tokens().map(|token| token.name.clone());
    let unused = open.ledger.join_tokens().filter(|token| token.used_for.is_none());
    (cordoned.collect(), tokens.collect(), unused.count())
}

#[tokio::test]
async fn whoever_was_shut_out_since_the_backup_is_named_and_stays_shut_out() {
    let (fixture, copy) = shut_out_since().await;
    let path = database(&fixture.directory);
    let looked = restore(&path, &copy, at(10), LOOK).await.expect("can be restored");
    assert_eq!(looked.shut_out, shut_out());
    let restored = restore(&path, &copy, at(10), RestoreTerms::default()).await.expect("restored");
    assert_eq!(restored.shut_out, shut_out());
    assert_eq!((restored.hosts, restored.tokens), (4, 1));
    let open = open_in(&fixture.directory).await;
    let (cordoned, tokens, join_tokens) = let_in(&open);
    assert_eq!(cordoned, ["deleted", "cordoned", "rekeyed", "stays"]);
    assert_eq!((tokens, join_tokens), (vec!["good".to_owned()], 1));
}

#[tokio::test]
async fn whoever_was_shut_out_since_is_let_in_again_where_that_is_asked_for() {
    let (fixture, copy) = shut_out_since().await;
    let path = database(&fixture.directory);
    let keep = RestoreTerms { keep_shut_out: true, ..RestoreTerms::default() };
    let restored = restore(&path, &copy, at(10), keep).await.expect("restored");
    assert_eq!(restored.shut_out, shut_out(), "they are named all the same");
    assert_eq!((restored.hosts, restored.tokens), (4, 2));
    let (cordoned, tokens, join_tokens) = let_in(&open_in(&fixture.directory).await);
    assert_eq!(cordoned, ["stays"]);
    assert_eq!((tokens, join_tokens), (vec!["taken-back".to_owned(), "good".to_owned()], 3));
}

#[tokio::test]
async fn a_host_whose_certificate_was_renewed_since_the_backup_is_shut_out_by_no_restore() {
    for keep_shut_out in [false, true] {
        let fixture = fixture().await;
        fixture.add_host(1, "one").await;
        let copy = fixture.backup("copy").await;
        let host = host_id(1);
        // Twice, so that the key of the backup is not even the one before; and somebody changed it.
        for key in [[5; 32], [6; 32]] {
            let offer = OfferedCertificate {
                key_sha256: key,
                made_at: at(3),
                expires_at: at(9_000_000),
                ca_sha256: [7; 32],
            };
            fixture
                .store
                .submit(caller(), OfferCertificate { host, offer })
                .await
                .expect("offered");
            let confirm = ConfirmCertificate { host, key_sha256: key };
            fixture.store.submit(caller(), confirm).await.expect("confirmed");
            fixture.make(cordon(1, true)).await.expect("cordoned");
            fixture.make(cordon(1, false)).await.expect("uncordoned");
        }
        fixture.store.close().await;
        let path = database(&fixture.directory);
        let terms = RestoreTerms { keep_shut_out, ..RestoreTerms::default() };
        let restored = restore(&path, &copy, at(10), terms).await.expect("restored");
        assert_eq!(restored.shut_out.hosts, []);
        let open = open_in(&fixture.directory).await;
        let host = open.hosts().next().expect("it is there");
        assert_eq!((host.key_sha256, host.cordoned), (Some([6; 32]), false));
        assert_eq!((host.certificate_expires_at, host.ca_sha256), (at(9_000_000), Some([7; 32])));
    }
}

#[tokio::test]
async fn a_host_that_was_revoked_since_the_backup_stays_so_with_its_keys() {
    let fixture = fixture().await;
    fixture.add_host(1, "one").await;
    let copy = fixture.backup("copy").await;
    let revoke = |reason: &str| RevokeHost {
        host: HostRef::Id(host_id(1)),
        etag: Default::default(),
        reason: reason.to_owned(),
    };
    fixture.store.submit(caller(), revoke("stolen")).await.expect("shut out");
    fixture.store.close().await;
    let path = database(&fixture.directory);
    let restored = restore(&path, &copy, at(10), RestoreTerms::default()).await.expect("restored");
    let (id, name) = (host_id(1), "one".to_owned());
    assert_eq!(restored.shut_out.hosts, [ShutOutHost { id, name, how: HostShutOut::Revoked }]);
    let open = open_in(&fixture.directory).await;
    let host = open.hosts().next().expect("it is there");
    assert_eq!(host.revoked.as_ref().expect("still").reason, "stolen");
    let keys: Vec<_> = open.ledger.revoked_keys().map(|key| key.key_sha256).collect();
    assert_eq!(keys, [[9; 32]]);
}

#[tokio::test]
async fn a_host_that_was_revoked_and_then_deleted_comes_back_revoked() {
    let fixture = fixture().await;
    fixture.add_host(1, "one").await;
    let copy = fixture.backup("copy").await;
    let host = HostRef::Id(host_id(1));
    let reason = "stolen".to_owned();
    let revoke = RevokeHost { host: host.clone(), etag: Default::default(), reason };
    fixture.store.submit(caller(), revoke).await.expect("shut out");
    let delete = DeleteHost { host, etag: Default::default() };
    fixture.make(AnyMutation::DeleteHost(delete)).await.expect("deleted");
    fixture.store.close().await;
    let path = database(&fixture.directory);
    restore(&path, &copy, at(10), RestoreTerms::default()).await.expect("restored");
    let open = open_in(&fixture.directory).await;
    let host = open.hosts().next().expect("it is there");
    assert!(host.revoked.is_some() && !host.accepts([9; 32]), "{host:?}");
}

#[tokio::test]
async fn the_same_backup_restored_twice_begins_two_epochs_also_where_nothing_of_the_first_is_known()
{
    let fixture = fixture().await;
    let path = database(&fixture.directory);
    let copy = fixture.backup("copy").await;
    fixture.store.close().await;
    let mut epochs = Vec::new();
    let mut revisions = Vec::new();
    for second in [10, 10, 11] {
        epochs.push(
            restore(&path, &copy, at(second), RestoreTerms::default())
                .await
                .expect("restored")
                .epoch,
        );
        revisions.push(open_in(&fixture.directory).await.revisions().start);
    }
    assert!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
    let elsewhere = TempDir::new().expect("a directory");
    let other = restore(&database(&elsewhere), &copy, at(60), RestoreTerms::default())
        .await
        .expect("restored");
    assert_eq!(other.kept, None);
    epochs.push(other.epoch);
    assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
}

#[tokio::test]
async fn a_restore_that_is_refused_or_only_looked_at_changes_nothing() {
    let fixture = fixture().await;
    fixture.add_vm(1, "web").await;
    let path = database(&fixture.directory);
    let copy = fixture.backup("copy").await;
    let running = restore(&path, &copy, at(10), RestoreTerms::default()).await;
    assert!(matches!(running, Err(RestoreError::Open(OpenError::InUse { .. }))), "{running:?}");
    fixture.store.close().await;
    let listed = || {
        let mut found: Vec<(std::ffi::OsString, Vec<u8>)> = fs::read_dir(fixture.directory.path())
            .expect("readable")
            .map(|entry| entry.expect("readable"))
            .map(|entry| (entry.file_name(), fs::read(entry.path()).expect("a file")))
            .collect();
        found.sort();
        found
    };
    let (cut, other, text) = ("cut", "other", "text");
    let place = |name: &str| fixture.directory.path().join(name);
    let mut bytes = fs::read(&copy).expect("read");
    // The head of a page of tables: found by its check, not by its size.
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 2048].fill(0xa5);
    fs::write(place(cut), bytes).expect("written");
    fs::write(place(text), "-- a dump").expect("written");
    fs::write(place(other), "").expect("written");
    let mut connection = connect(&place(other)).await.expect("made");
    sqlx::query("CREATE TABLE t (a)").execute(&mut connection).await.expect("made");
    close_whole(connection).await.expect("closed");
    let before = listed();
    for (name, damaged) in [(cut, true), (text, false), (other, false), ("banger.db", false)] {
        let refused = restore(&path, &place(name), at(10), RestoreTerms::default()).await;
        match refused {
            Err(RestoreError::Damaged { .. }) => assert!(damaged, "{name}"),
            Err(RestoreError::NotABackup { .. }) => assert!(!damaged, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
        assert!(before == listed(), "{name} has changed something");
    }
    let looked = restore(&path, &copy, at(10), LOOK).await.expect("can be restored");
    assert!(looked.kept.is_some());
    assert!(before == listed(), "a look has changed something");
    // Where nothing is, a look leaves nothing, but for the lock.
    let empty = TempDir::new().expect("a directory");
    restore(&database(&empty), &copy, at(10), LOOK).await.expect("can be restored");
    assert!(!database(&empty).exists());
}

#[tokio::test]
async fn a_database_that_cannot_be_read_is_kept_aside_with_its_log() {
    let fixture = fixture().await;
    fixture.add_host(1, "one").await;
    fixture.add_vm(1, "web").await;
    let path = database(&fixture.directory);
    let copy = fixture.backup("copy").await;
    fixture.store.close().await;
    fs::write(&path, vec![0xa5; 8192]).expect("written");
    fs::write(beside(&fixture.directory, "-wal"), vec![0x5a; 4096]).expect("written");
    let restored = restore(&path, &copy, at(10), RestoreTerms::default()).await.expect("restored");
    assert!(!restored.compared);
    assert_eq!(restored.shut_out, ShutOut::default(), "nobody knows");
    assert_eq!((restored.hosts, restored.tokens), (1, 0));
    let kept = restored.kept.expect("there was one");
    assert_eq!(fs::read(kept.join("banger.db")).expect("kept"), vec![0xa5; 8192]);
    assert_eq!(fs::read(kept.join("banger.db-wal")).expect("kept"), vec![0x5a; 4096]);
    assert_eq!(names(&open_in(&fixture.directory).await), ["web"]);
}

#[tokio::test]
async fn a_restored_database_is_its_owners_whatever_the_mode_of_the_backup() {
    use std::os::unix::fs::PermissionsExt as _;
    for mode in [0o400, 0o644] {
        let fixture = fixture().await;
        let path = database(&fixture.directory);
        let copy = fixture.backup("copy").await;
        fixture.store.close().await;
        fs::set_permissions(&copy, fs::Permissions::from_mode(mode)).expect("set");
        restore(&path, &copy, at(10), RestoreTerms::default()).await.expect("restored");
        let now = path.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!(now, 0o600, "of a backup that was {mode:o}");
        drop(open_in(&fixture.directory).await);
    }
}

/// Number, method and object of each record, the newest first.
async fn audited(store: &Store) -> Vec<(u64, String, String)> {
    let look = AuditLook { limit: 1000, ..AuditLook::default() };
    let records = store.audit(&look).await.expect("readable").records;
    let line = |stored: StoredAudit| {
        let object = stored.record.object.map(|o| format!("{} {}", o.kind, o.name));
        (stored.number, stored.record.method, object.unwrap_or_default())
    };
    records.into_iter().map(line).collect()
}

#[tokio::test]
async fn no_number_of_the_audit_is_given_twice_and_the_restore_is_its_first_record() {
    let fixture = fixture().await;
    let path = database(&fixture.directory);
    let call = || super::audit::calling("a/CreateVm");
    fixture.store.submit(call(), create(1, "kept")).await.expect("created");
    let copy = fixture.backup("copy").await;
    for number in 2..=9 {
        fixture.store.submit(call(), create(number, "")).await.expect("created");
    }
    let mut newest = audited(&fixture.store).await[0].0;
    assert_eq!(newest, 9);
    fixture.store.close().await;
    // Also where nothing is known of what was given out since the backup, and in the same second.
    for known in [true, false] {
        if !known {
            fs::write(&path, "damaged").expect("written");
        }
        restore(&path, &copy, at(10), RestoreTerms::default()).await.expect("restored");
        let open = open_in(&fixture.directory).await;
        let again = started(open, TempDir::new().expect("a directory"));
        again.store.submit(call(), create(100, "")).await.expect("created");
        let records = audited(&again.store).await;
        let [made, restored, first] = &records[..] else { panic!("{records:?}") };
        assert_eq!(first.0, 1);
        let of_it = ("banger-server/restore", "backup copy");
        assert_eq!((&*restored.1, &*restored.2), of_it);
        if known {
            assert!(restored.0 > newest && made.0 > restored.0, "{records:?}, {newest}");
            newest = made.0;
        } else {
            assert!(made.0 > 1_800_000_010 * (1 << 16), "above all that can be: {records:?}");
        }
        again.store.close().await;
    }
    raise_epoch(&path, at(20)).await.expect("raised");
    let open = open_in(&fixture.directory).await;
    let again = started(open, TempDir::new().expect("a directory"));
    let records = audited(&again.store).await;
    assert_eq!(&*records[0].1, "banger-server/new-epoch");
}

#[tokio::test]
async fn whoever_a_restore_shuts_out_has_a_record() {
    for keep_shut_out in [false, true] {
        let (fixture, copy) = shut_out_since().await;
        let path = database(&fixture.directory);
        let terms = RestoreTerms { keep_shut_out, ..RestoreTerms::default() };
        restore(&path, &copy, at(10), terms).await.expect("restored");
        let open = open_in(&fixture.directory).await;
        let again = started(open, TempDir::new().expect("a directory"));
        let records = audited(&again.store).await;
        let objects: Vec<&str> = records.iter().rev().map(|record| &*record.2).collect();
        let shut_out = [
            "host deleted",
            "host cordoned",
            "host rekeyed",
            "token taken-back",
            "join-token",
            "join-token",
        ];
        let expected = if keep_shut_out { &[][..] } else { &shut_out };
        assert_eq!(objects[0], "backup copy");
        assert_eq!(objects[1..].iter().map(|o| o.trim_end()).collect::<Vec<_>>(), expected);
        again.store.close().await;
    }
}

#[tokio::test]
async fn an_old_state_of_an_earlier_release_is_compared_and_kept_as_it_was() {
    for (release, dump) in super::releases::RELEASES {
        let fixture = fixture().await;
        fixture.add_host(5, "deleted").await;
        let copy = fixture.backup("copy").await;
        let earlier = super::releases::database_of(dump).await;
        let path = database(&earlier);
        let schema_of = async |path: &Path| {
            schema::found(&mut connect(path).await.expect("opens")).await.expect("readable")
        };
        let before = schema_of(&path).await;
        if before == schema::known() {
            // Not an earlier one, until the next migration.
            continue;
        }
        assert!(before < schema::known(), "{release}");
        let looked = restore(&path, &copy, at(10), LOOK).await.expect("can be restored");
        assert_eq!(schema_of(&path).await, before, "{release}");
        let restored =
            restore(&path, &copy, at(10), RestoreTerms::default()).await.expect("restored");
        for restored in [&looked, &restored] {
            assert!(restored.compared, "{release}: {}", restored.unread);
            let [shut_out] = &restored.shut_out.hosts[..] else { panic!("{restored:?}") };
            assert_eq!((&*shut_out.name, shut_out.how), ("deleted", HostShutOut::Deleted));
            assert_eq!(names_of(&restored.unclaimed), ["being-deleted", "rebooted", "web"]);
        }
        let kept = restored.kept.expect("there was one").join("banger.db");
        assert_eq!(schema_of(&kept).await, before, "{release}");
        assert!(!earlier.path().join("banger.comparing.db").exists());
    }
}

#[tokio::test]
async fn an_old_state_of_a_later_release_is_said_to_be_one() {
    let fixture = fixture().await;
    let copy = fixture.backup("copy").await;
    fixture.store.close().await;
    let path = database(&fixture.directory);
    let mut connection = connect(&path).await.expect("opens");
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (1000, 'of the future', 1, X'00', 1)",
    )
    .execute(&mut connection)
    .await
    .expect("written");
    close_whole(connection).await.expect("closed");
    let looked = restore(&path, &copy, at(10), LOOK).await.expect("can be restored");
    assert!(!looked.compared && looked.unread.contains("newer banger-server"), "{}", looked.unread);
}
