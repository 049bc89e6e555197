//! Puts a backup in the place of the database.
//!
//! ```text
//! lock ─▶ copy beside ─▶ check the copy, bring it up to date, raise its epoch ─▶ keep the old ─▶ swap
//! ```
//! Everything that can be wrong with the backup is found on the copy, before anything of the old
//! state has moved. The old database is first made whole, its log taken into it, and kept in a
//! directory of its own; then one rename puts the copy in its place. So at every moment there is
//! one whole database of this name, and no log beside it that belongs to another.
//!
//! The epoch becomes higher than any that an agent can have heard: above the backup's, above the
//! old database's, and not below the time in seconds, so that the same backup restored again, here
//! or on a machine that knows nothing of the first time, begins yet another one.
//!
//! The audit's numbers go on above all that were ever given out, so that whoever sends its records
//! elsewhere has no number twice; its first one tells of the restore.
//!
//! The past let in whom somebody has shut out since. Where the old database can be read, who that
//! is is named, and stays shut out unless whoever restores says otherwise: [`ShutOut`]. One of an
//! earlier release is read from a copy that is brought up to date, never changed itself.

mod old;
mod shut_out;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use banger_proto::ids::{Epoch, HostId, VmId};
use jiff::Timestamp;

use self::old::{Log, Old};
use self::shut_out::renewed;
pub use self::shut_out::{HostShutOut, NamedToken, ShutOut, ShutOutHost};
use super::backup::{self, BackupNote};
use super::batch::Batch;
use super::table::NetEffect;
use super::{OpenError, audit, close_whole, connect, epoch, load, lock, migrate};
use crate::model::audit::{AuditObject, AuditRecord, AuditedKind};
use crate::model::intent::{Desired, VmIntent};
use crate::model::ledger::{Change, Edit, HostRef, Ledger, LedgerConfig};

/// The first bytes of every SQLite database: its file format, section 1.3.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// What the audit calls it.
const RESTORE: &str = "banger-server/restore";

/// A backup was not restored; the database is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The old database is in use, or either can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file is no backup.
    #[error("{} is no backup of a banger-server: {why}", path.display())]
    NotABackup { path: PathBuf, why: String },
    /// The file is damaged.
    #[error("{} is damaged: {why}", path.display())]
    Damaged { path: PathBuf, why: String },
    /// Somebody else reads the old database, so that its log can't be taken into it.
    #[error(
        "{} is open in another program; end that one, so that its log can be closed",
        path.display()
    )]
    Busy { path: PathBuf },
    /// A file can't be read, copied or moved.
    #[error("could not {what} {}", path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl RestoreError {
    fn file(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }
}

/// A VM that one of the two databases knows and the other does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedVm {
    pub id: VmId,
    /// With its project before it, but for `default`.
    pub name: String,
    /// The name of its host; empty when it had none.
    pub host: String,
}

/// A host of the old state that the backup does not know by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownHost {
    pub name: String,
    /// The id under which it joined last: its agent has a certificate for this one.
    pub id: HostId,
    /// The id that the backup has for the name, where it has one: of an earlier time that it
    /// joined. It is in the way of the next.
    pub earlier: Option<HostId>,
}

/// How a backup is restored.
#[derive(Debug, Clone, Copy, Default)]
pub struct RestoreTerms {
    /// Change nothing, and answer what would be.
    pub dry_run: bool,
    /// Let in again whom somebody has shut out since.
    pub keep_shut_out: bool,
}

/// What a restore has done, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What the backup says of itself; `None` when it was copied by other means.
    pub note: Option<BackupNote>,
    /// The epoch from now on.
    pub epoch: Epoch,
    /// Where the old state is; `None` when there was none.
    pub kept: Option<PathBuf>,
    /// Whether the old database could be read; otherwise the following four say nothing.
    pub compared: bool,
    /// Why it could not; empty where it could, or where there was none.
    pub unread: String,
    /// VMs of the old state that the backup does not know: what their hosts hold of them is
    /// nobody's from now on.
    pub unclaimed: Vec<NamedVm>,
    /// VMs of the backup that were deleted since: they are made again, with empty disks.
    pub made_again: Vec<NamedVm>,
    /// Hosts that the backup does not know: they have to join again.
    pub unknown_hosts: Vec<UnknownHost>,
    /// Who was shut out since, whether they stay so or not.
    pub shut_out: ShutOut,
    /// How many VMs the backup has.
    pub vms: usize,
    /// How many hosts it has.
    pub hosts: usize,
    /// How many of its tokens are good.
    pub tokens: usize,
    /// Digests of the contents that it needs.
    pub contents: BTreeSet<String>,
}

/// Puts the backup at `from` in the place of the database at `database`.
///
/// # Errors
/// The database is as it was then.
pub async fn restore(
    database: &Path,
    from: &Path,
    now: Timestamp,
    terms: RestoreTerms,
) -> Result<Restored, RestoreError> {
    let RestoreTerms { dry_run, keep_shut_out } = terms;
    let existed = database.symlink_metadata().is_ok();
    let directory = database.parent().unwrap_or(Path::new("."));
    let owner = directory.metadata().map_err(RestoreError::file("read", directory))?;
    let held = lock(database)?;
    let copy = DatabaseCopy::make(directory, database, from)?;
    let old =
        if existed { Old::read(directory, database).await } else { Old::unread("", Log::Taken) };
    if old.log == Log::Busy {
        return Err(RestoreError::Busy { path: database.to_owned() });
    }
    let checked = check(&copy.path, from, &old, now, keep_shut_out).await;
    // An empty file is what the lock has made.
    let nothing_yet = !existed || database.metadata().is_ok_and(|file| file.len() == 0);
    if !existed && (dry_run || checked.is_err()) {
        fs::remove_file(database).map_err(RestoreError::file("remove", database))?;
    }
    let mut restored = checked?;
    let stamp = now.strftime("%Y%m%dT%H%M%SZ");
    let aside = free_name(directory, &format!("before-restore-{stamp}"));
    restored.kept = (!nothing_yet).then(|| aside.clone());
    if dry_run {
        return Ok(restored);
    }
    let mut owned = vec![copy.path.clone(), database.with_extension("lock")];
    if !nothing_yet {
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&aside)
            .map_err(RestoreError::file("make", &aside))?;
        owned.push(aside.clone());
        owned.extend(keep(database, &aside)?);
    }
    for path in &owned {
        own(path, &owner)?;
    }
    fs::rename(&copy.path, database).map_err(RestoreError::file("put in place", database))?;
    sync(directory)?;
    drop(held);
    Ok(restored)
}

/// What a backup that is put in place is copied to first, in the directory of the database.
pub fn restoring(directory: &Path) -> PathBuf {
    directory.join("banger.restoring.db")
}

/// The copy that is worked on; removed when it has not found its place.
struct DatabaseCopy {
    path: PathBuf,
}

impl DatabaseCopy {
    fn make(directory: &Path, database: &Path, from: &Path) -> Result<Self, RestoreError> {
        let file = fs::metadata(from).map_err(RestoreError::file("read", from))?;
        let not_one =
            |why: &str| RestoreError::NotABackup { path: from.to_owned(), why: why.to_owned() };
        if !file.is_file() {
            return Err(not_one("it is no file"));
        }
        let same = database.metadata();
        if same.is_ok_and(|live| (live.dev(), live.ino()) == (file.dev(), file.ino())) {
            return Err(not_one("it is the database itself"));
        }
        let copied = Self { path: restoring(directory) };
        copied.clear();
        if !begins_as_a_database(from) {
            return Err(not_one("it is no SQLite database"));
        }
        let failed = || RestoreError::file("copy to", &copied.path);
        copy_privately(from, &copied.path).map_err(failed())?;
        // A copy of the files of a server that was killed is whole with its log only.
        let log = beside(from, "-wal");
        if log.exists() {
            copy_privately(&log, &beside(&copied.path, "-wal")).map_err(failed())?;
        }
        Ok(copied)
    }

    fn clear(&self) {
        for suffix in ["", "-wal", "-shm"] {
            // Nothing there is as good as removed; anything else shows when it is written.
            let _ = fs::remove_file(beside(&self.path, suffix));
        }
    }
}

impl Drop for DatabaseCopy {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Copies the bytes alone: the copy is its owner's to read and write, whatever the other is.
fn copy_privately(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut copy = super::file::private_file(to)?;
    std::io::copy(&mut fs::File::open(from)?, &mut copy)?;
    copy.sync_all()
}

/// Whether a file can be read and has the first bytes of a database.
fn begins_as_a_database(path: &Path) -> bool {
    let mut magic = [0; MAGIC.len()];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == *MAGIC
}

/// Checks the copy, brings its schema up to date, shuts out of it who is to be, and gives it the
/// new epoch.
async fn check(
    copy: &Path,
    from: &Path,
    old: &Old,
    now: Timestamp,
    keep_shut_out: bool,
) -> Result<Restored, RestoreError> {
    let damaged = |why: String| RestoreError::Damaged { path: from.to_owned(), why };
    let mut new = connect(copy).await.map_err(|error| damaged(error.to_string()))?;
    let found: Result<Vec<String>, _> =
        sqlx::query_scalar("PRAGMA integrity_check(5)").fetch_all(&mut new).await;
    match found {
        Ok(lines) if lines == ["ok"] => {}
        Ok(lines) => return Err(damaged(lines.join("; "))),
        Err(error) => return Err(damaged(error.to_string())),
    }
    let tables: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sqlite_master WHERE name IN ('_sqlx_migrations', 'meta', 'vms')",
    )
    .fetch_one(&mut new)
    .await
    .map_err(|error| damaged(error.to_string()))?;
    if tables != 3 {
        let why = "it has other tables".to_owned();
        return Err(RestoreError::NotABackup { path: from.to_owned(), why });
    }
    let note = backup::take_note(&mut new).await.map_err(OpenError::Read)?;
    migrate(from, &mut new).await?;
    let mut ledger = load(&mut new, LedgerConfig::default()).await.map_err(OpenError::Read)?;
    let none = Ledger::new(LedgerConfig::default());
    let before = old.ledger.as_ref().unwrap_or(&none);
    let compared = old.ledger.is_ok();
    let renewed = renewed(&ledger, before);
    ledger.apply(&renewed);
    let shut_out = if compared { ShutOut::since(&ledger, before, now) } else { ShutOut::default() };
    let changes = shut_out.changes(&ledger, before, now);
    let shut = if keep_shut_out { &[][..] } else { &changes };
    let written = [&renewed[..], shut].concat();
    if !written.is_empty() {
        let mut batch = Batch::new();
        NetEffect::of(&written).write_objects(&mut batch);
        batch.commit(&mut new).await.map_err(OpenError::Read)?;
    }
    let left_out = if keep_shut_out { 0 } else { shut_out.tokens.len() };
    let tokens = ledger.tokens().filter(|token| token.is_good(now)).count() - left_out;
    let epoch = epoch::begin(&mut new, old.reached, now).await.map_err(OpenError::Read)?;
    // With a number of the new epoch.
    audit::note(&mut new, &records(from, note.as_ref(), shut, now))
        .await
        .map_err(OpenError::Read)?;
    close_whole(new).await.map_err(OpenError::Read)?;
    Ok(Restored {
        note,
        epoch,
        kept: None,
        compared,
        unread: old.ledger.as_ref().err().cloned().unwrap_or_default(),
        unclaimed: missing_from(&ledger, before, |vm| vm.host.is_some()),
        made_again: if compared {
            missing_from(before, &ledger, |vm| vm.desired != Desired::Absent)
        } else {
            Vec::new()
        },
        unknown_hosts: unknown_hosts(&ledger, before),
        shut_out,
        hosts: ledger.hosts().count(),
        tokens,
        vms: ledger.vms().count(),
        contents: ledger.kept_contents(),
    })
}

/// What the audit gets of it: the restore itself, and whom it has shut out.
fn records(
    from: &Path,
    note: Option<&BackupNote>,
    changes: &[Change],
    now: Timestamp,
) -> Vec<AuditRecord> {
    let made_at = note.map(|note| note.made_at.to_string()).unwrap_or_default();
    let name = from.file_name().unwrap_or_default().to_string_lossy();
    let backup = AuditObject::new(AuditedKind::Backup, made_at, &name);
    let shut_out = changes.iter().filter_map(|change| match change {
        Change::Host(Edit::Put(host)) => {
            Some(AuditObject::new(AuditedKind::Host, host.id, &host.name))
        }
        Change::Token(Edit::Remove { last, .. }) => {
            Some(AuditObject::new(AuditedKind::Token, &last.id, &last.principal()))
        }
        Change::JoinToken(Edit::Remove { last, .. }) => {
            Some(AuditObject::new(AuditedKind::JoinToken, &last.id, ""))
        }
        Change::Image(Edit::Put(image)) => {
            Some(AuditObject::new(AuditedKind::Image, &image.sha256, &image.named().text()))
        }
        Change::Project(Edit::Put(project)) => {
            let name = project.name.as_str();
            Some(AuditObject::new(AuditedKind::Project, name, name))
        }
        _ => None,
    });
    let objects = std::iter::once(backup).chain(shut_out);
    objects.map(|object| AuditRecord::by_program(RESTORE, Some(object), now)).collect()
}

/// VMs of `other` that are not in `ledger`, by name.
fn missing_from(
    ledger: &Ledger,
    other: &Ledger,
    counts: impl Fn(&VmIntent) -> bool,
) -> Vec<NamedVm> {
    let known: BTreeSet<VmId> = ledger.vms().map(|vm| vm.id).collect();
    let host = |id: HostId| other.host(&HostRef::Id(id)).map(|host| host.name.clone());
    let missing = other.vms().filter(|vm| !known.contains(&vm.id) && counts(vm));
    let named: BTreeMap<_, _> = missing
        .map(|vm| {
            let host = vm.host.and_then(host).unwrap_or_default();
            let name = vm.named().text();
            ((name.clone(), vm.id), NamedVm { id: vm.id, name, host })
        })
        .collect();
    named.into_values().collect()
}

/// Hosts of `before` that are not in `ledger`, by id.
fn unknown_hosts(ledger: &Ledger, before: &Ledger) -> Vec<UnknownHost> {
    let named = |name: &str| ledger.hosts().find(|host| host.name == name).map(|host| host.id);
    let unknown = before.hosts().filter(|host| ledger.host(&HostRef::Id(host.id)).is_none());
    unknown
        .map(|host| UnknownHost {
            name: host.name.clone(),
            id: host.id,
            earlier: named(&host.name),
        })
        .collect()
}

/// Keeps the old database in a directory. It stays where it is, too, until the new one replaces it.
fn keep(database: &Path, aside: &Path) -> Result<Vec<PathBuf>, RestoreError> {
    let mut kept = Vec::new();
    let name = database.file_name().unwrap_or_default();
    let place = aside.join(name);
    let (log, index) = (beside(database, "-wal"), beside(database, "-shm"));
    // A log that is still there belongs to a database that can't be read.
    if log.metadata().is_ok_and(|log| log.len() > 0) {
        let place = beside(&place, "-wal");
        fs::rename(&log, &place).map_err(RestoreError::file("move", &log))?;
        kept.push(place);
    }
    for gone in [log, index] {
        match fs::remove_file(&gone) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(RestoreError::file("remove", &gone)(error)),
        }
    }
    fs::hard_link(database, &place).map_err(RestoreError::file("keep", database))?;
    sync(aside)?;
    kept.push(place);
    Ok(kept)
}

/// A name that is not there yet.
fn free_name(directory: &Path, name: &str) -> PathBuf {
    let numbered = (2..).map(|n| directory.join(format!("{name}-{n}")));
    std::iter::once(directory.join(name))
        .chain(numbered)
        .find(|path| path.symlink_metadata().is_err())
        .unwrap_or_else(|| directory.join(name))
}

/// The server's user must be able to open what root has restored.
fn own(path: &Path, owner: &fs::Metadata) -> Result<(), RestoreError> {
    let now = path.metadata().map_err(RestoreError::file("read", path))?;
    if (now.uid(), now.gid()) == (owner.uid(), owner.gid()) {
        return Ok(());
    }
    std::os::unix::fs::lchown(path, Some(owner.uid()), Some(owner.gid()))
        .map_err(RestoreError::file("give to its owner", path))
}

fn sync(directory: &Path) -> Result<(), RestoreError> {
    fs::File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(RestoreError::file("write", directory))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
