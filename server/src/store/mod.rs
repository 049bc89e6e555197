//! What is stored: intents, hosts, join tokens, tokens of callers, names of images, finished
//! requests, history, sweeps that were asked for, and who did what. Nothing of what is.
//!
//! SQLite in WAL mode with `synchronous=FULL`. [`OpenStore::open`] migrates and reads everything,
//! [`OpenStore::start`] starts the one writer and hands out the [`Store`]. Mutations go through
//! [`Store::submit`]; the writer decides them with the ledger, commits them in groups, publishes
//! each group to the sink after its commit and only then answers the callers. History is read
//! beside the writer, on connections that can't write.
//!
//! What can go wrong: a commit fails (disk full, read-only, I/O error). Then nothing of its group
//! was changed, all its callers hear [`MutateError::Unavailable`], and the ledger is loaded anew.
//! If the outcome of a commit was missed, the commit number in the database tells.
//!
//! This folder is the only one with SQL.

mod audit;
mod backup;
mod batch;
mod capacity;
mod catalog;
mod columns;
mod epoch;
mod error;
mod events;
mod file;
mod hosts;
mod images;
mod join_tokens;
mod journal;
mod meta;
mod projects;
mod query;
mod requests;
mod restore;
mod retention;
mod revoked_keys;
mod schema;
mod sweeps;
mod table;
mod tokens;
mod vms;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use banger_proto::ids::{Epoch, HostId, Revision, VmId};
use jiff::Timestamp;
use parking_lot::Mutex;
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use self::audit::{AuditFollow, AuditLook, AuditNext, AuditPage, AuditStretch, StoredAudit};
pub use self::backup::{BackupError, BackupNote, backup, partial_of};
pub use self::error::{MutateError, OpenError, StoreError};
pub use self::events::{MAX_EVENTS_PER_VM, StoredEvent};
use self::file::{close_whole, connect, lock, options};
pub use self::hosts::hosts_in;
use self::query::Question;
pub use self::query::{KeptContents, Query, UnusedContents};
pub use self::restore::{
    HostShutOut, NamedToken, NamedVm, RestoreError, RestoreTerms, Restored, ShutOut, ShutOutHost,
    UnknownHost, restore, restoring,
};
pub use self::retention::Tidied;
use self::schema::migrate;
pub use self::sweeps::MAX_SWEEPS_PER_HOST;
use self::table::load;
use self::writer::{Asked, Job, Numbers, Opened, Writer};
pub use self::writer::{CommitMeter, CommitSink, CommitStats};
use crate::model::audit::AuditRecord;
use crate::model::audit_room::AuditRoom;
use crate::model::caller::Caller;
use crate::model::host::{HostRecord, Resources};
use crate::model::intent::VmIntent;
use crate::model::inventory::SweepRecord;
use crate::model::ledger::{
    AnyMutation, CreateVm, HostRef, HostUse, Ledger, LedgerConfig, Mutation, Outcome, VmAnswer,
    VmRef,
};
use crate::model::past::Past;
use crate::model::placement::Evaluation;
use crate::model::project::{Named, ProjectName, ProjectRecord};
use crate::model::request::RequestKey;
use crate::model::retention::Retention;
use crate::model::token::TokenRecord;

/// How many mutations wait for the writer at most; more wait at their callers.
const QUEUE: usize = 8192;

// What waits for the writer and what it writes at once comes before the next step that lets records
// of the audit go, and some more while that is waited for.
const _: () = assert!(audit::STEP as usize >= QUEUE + writer::MAX_GROUP + 4096);

/// Connections that read beside the writer.
const READERS: u32 = 4;

/// What the audit calls it that an epoch was begun by hand.
const NEW_EPOCH: &str = "banger-server/new-epoch";

/// How many revisions are reserved at a time.
pub const REVISION_BLOCK: u64 = 1_000_000;

/// A store that was read and takes no mutations yet.
#[derive(Debug)]
pub struct OpenStore {
    opened: Opened,
    ledger: Ledger,
    epoch: Epoch,
    revisions: Range<u64>,
    past: Past,
}

/// The store: cheap to clone, used from everywhere.
#[derive(Debug, Clone)]
pub struct Store {
    jobs: mpsc::Sender<Job>,
    readers: SqlitePool,
    ledger: Arc<Mutex<Ledger>>,
    epoch: Epoch,
    audit_news: watch::Receiver<()>,
    closing: CancellationToken,
    closed: CancellationToken,
}

impl OpenStore {
    /// Opens the database, made when it is not there, migrates it and reads everything.
    ///
    /// # Errors
    /// When another server has it open, it can't be opened or migrated, or a row makes no sense.
    pub async fn open(path: &Path, config: LedgerConfig) -> Result<Self, OpenError> {
        let lock = lock(path)?;
        let mut writer = connect(path)
            .await
            .map_err(|source| OpenError::Open { path: path.to_owned(), source })?;
        migrate(path, &mut writer).await?;
        let ledger = load(&mut writer, config).await?;
        let epoch = Epoch(meta::read(&mut writer, meta::EPOCH).await?);
        let revisions = meta::reserve_revisions(&mut writer, REVISION_BLOCK).await?;
        let past = journal::past(&mut writer, revisions.start).await?;
        let first = Revision(revisions.start);
        let journal = journal::Journal::read(&mut writer, first).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options(path).read_only(true))
            .await
            .map_err(|source| OpenError::Open { path: path.to_owned(), source })?;
        let numbers = Numbers::read(&mut writer).await?;
        let path = path.to_owned();
        let opened = Opened { path, connection: writer, numbers, journal, readers, lock };
        Ok(Self { opened, ledger, epoch, revisions, past })
    }

    /// The epoch of this store.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Revisions that were never given out before, reserved for this life of the server.
    pub fn revisions(&self) -> Range<u64> {
        self.revisions.clone()
    }

    /// What came and went before this life of the server.
    pub fn past(&self) -> &Past {
        &self.past
    }

    /// Every VM, in no order.
    pub fn vms(&self) -> impl Iterator<Item = &Arc<VmIntent>> {
        self.ledger.vms()
    }

    /// Every host, in the order they joined.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<HostRecord>> {
        self.ledger.hosts()
    }

    /// Every project that was made, by name.
    pub fn projects(&self) -> impl Iterator<Item = &Arc<ProjectRecord>> {
        self.ledger.projects()
    }

    /// Every token of a caller, by id.
    pub fn tokens(&self) -> impl Iterator<Item = &Arc<TokenRecord>> {
        self.ledger.tokens()
    }

    /// Starts the writer. It calls `sink` with what was committed, in order, before the callers get
    /// their answers, and `meter` with what each commit cost.
    ///
    /// Must be called inside a tokio runtime.
    pub fn start(self, sink: CommitSink, meter: CommitMeter) -> Store {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let ledger = Arc::new(Mutex::new(self.ledger));
        let closing = CancellationToken::new();
        let closed = CancellationToken::new();
        let readers = self.opened.readers.clone();
        let (news, audit_news) = watch::channel(());
        let writer = Writer::new(self.opened, Arc::clone(&ledger), sink, meter, news);
        let done = closed.clone().drop_guard();
        tokio::spawn(writer.run(queue, closing.clone(), done));
        Store { jobs, readers, ledger, epoch: self.epoch, audit_news, closing, closed }
    }
}

impl Store {
    /// The epoch of this store.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Decides a mutation and answers when it is on disk and published.
    ///
    /// A caller that goes away does not take its mutation with it.
    ///
    /// # Errors
    /// When it is refused, or the store can't write. Nothing was changed then.
    pub async fn submit<M: Mutation>(
        &self,
        caller: Caller,
        mutation: M,
    ) -> Result<M::Answer, MutateError> {
        self.submit_once(caller, None, mutation).await
    }

    /// The same for a request that may name itself: a repetition of one that was done answers as
    /// things stand, and changes nothing.
    ///
    /// # Errors
    /// As [`Store::submit`].
    pub async fn submit_once<M: Mutation>(
        &self,
        caller: Caller,
        request: Option<RequestKey>,
        mutation: M,
    ) -> Result<M::Answer, MutateError> {
        let (reply, answer) = oneshot::channel();
        let asked = Asked { caller, request, mutation: mutation.into() };
        self.send(Job::Submit { asked: Box::new(asked), reply }).await?;
        let outcome = answer.await.map_err(|_| MutateError::Closed)??;
        answer_of::<M>(outcome)
    }

    /// Asks the writer, whose answer stands on what is stored alone.
    ///
    /// # Errors
    /// When the store can't be read now.
    pub async fn ask<Q: Query>(&self, query: Q) -> Result<Q::Answer, MutateError> {
        let (question, answer) = Question::new(query);
        self.send(Job::Ask(question)).await?;
        answer.await.map_err(|_| MutateError::Closed)?
    }

    async fn send(&self, job: Job) -> Result<(), MutateError> {
        self.jobs.send(job).await.map_err(|_| MutateError::Closed)
    }

    /// What a create would come to now, stored nowhere, and what is thought of every host where it
    /// would make a VM.
    ///
    /// # Errors
    /// As [`Store::submit`].
    pub async fn check(
        &self,
        caller: &Caller,
        create: CreateVm,
    ) -> Result<(VmAnswer, Option<Evaluation>), MutateError> {
        let given = writer::given_ids(&AnyMutation::from(create.clone()));
        let used_up = vms::used_up(&self.readers, &given).await?;
        let (decided, found) = self.ledger.lock().check_create(&create, caller, &used_up)?;
        Ok((answer_of::<CreateVm>(decided.outcome)?, found))
    }

    /// What is thought of every host for a VM, as if it were to be placed now.
    pub fn evaluate(&self, intent: &VmIntent) -> Evaluation {
        self.ledger.lock().evaluate(intent)
    }

    /// Reserves the next block of revisions: never given out before, and above all that were.
    ///
    /// # Errors
    /// When the store can't write.
    pub async fn reserve_revisions(&self) -> Result<Range<u64>, MutateError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Reserve { reply }).await?;
        answer.await.map_err(|_| MutateError::Closed)?
    }

    /// Lets go of the past what is too old: one small step.
    ///
    /// # Errors
    /// When the store can't write.
    pub async fn tidy(&self, keep: Retention, now: Timestamp) -> Result<Tidied, MutateError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Tidy { keep, now, reply }).await?;
        answer.await.map_err(|_| MutateError::Closed)?
    }

    /// Tells placement what a host has, as its agent says, and whether it may be given VMs now.
    pub fn set_capacity(&self, host: HostId, capacity: Option<Resources>, available: bool) {
        self.ledger.lock().set_capacity(host, capacity, available);
    }

    /// Tells which files a host has in its image directory.
    pub fn set_image_files(&self, host: HostId, files: Arc<BTreeSet<String>>) {
        self.ledger.lock().set_image_files(host, files);
    }

    /// Tells which addresses the VMs have that a host holds.
    pub fn set_addresses(&self, host: HostId, addresses: &BTreeMap<VmId, Ipv4Addr>) {
        self.ledger.lock().set_addresses(host, addresses);
    }

    /// What the VMs on a host may use, and how many they are.
    pub fn host_use(&self, host: HostId) -> HostUse {
        self.ledger.lock().host_use(host)
    }

    /// A host's record by id or name.
    pub fn host(&self, host: &HostRef) -> Option<Arc<HostRecord>> {
        self.ledger.lock().host(host).cloned()
    }

    /// A VM's intent by id or name.
    pub fn vm(&self, vm: &VmRef) -> Option<Arc<VmIntent>> {
        self.ledger.lock().vm(vm).cloned()
    }

    /// Every token of a caller, by id, those that have expired included.
    pub fn tokens(&self) -> Vec<Arc<TokenRecord>> {
        self.ledger.lock().tokens().cloned().collect()
    }

    /// How much room there is for records of who did what.
    pub fn audit_room(&self) -> AuditRoom {
        self.ledger.lock().audit_room()
    }

    /// A token of a caller by its id.
    pub fn token(&self, id: &str) -> Option<Arc<TokenRecord>> {
        self.ledger.lock().token_by_id(id).cloned()
    }

    /// How many VMs have no host.
    pub fn pending_count(&self) -> usize {
        self.ledger.lock().pending_count()
    }

    /// Whether hosts have said how large they are for the first time, and that is not stored.
    pub fn has_first_capacities(&self) -> bool {
        self.ledger.lock().has_first_capacities()
    }

    /// Lines of a VM's history after the line with number `after`, oldest first, at most `limit`.
    /// Empty for an id that never was.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn vm_events(
        &self,
        vm: VmId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        events::read(&self.readers, vm, after, limit).await
    }

    /// The newest sweeps of a host that were asked for, newest first, at most `limit`.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn host_sweeps(
        &self,
        host: HostId,
        limit: u32,
    ) -> Result<Vec<SweepRecord>, StoreError> {
        sweeps::read(&self.readers, host, limit).await
    }

    /// Records of who did what, newest first, as far as one look goes.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn audit(&self, look: &AuditLook) -> Result<AuditPage, StoreError> {
        audit::read(&self.readers, look).await
    }

    /// What comes next in the audit for somebody who follows it.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn audit_after(&self, follow: &AuditFollow) -> Result<AuditNext, StoreError> {
        audit::next(&self.readers, follow).await
    }

    /// The greatest number that the audit has given out.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn newest_audit(&self) -> Result<u64, StoreError> {
        audit::newest_number(&self.readers).await
    }

    /// Wakes up when something was written into the audit. Says nothing of what.
    pub fn audit_news(&self) -> watch::Receiver<()> {
        self.audit_news.clone()
    }

    /// Whether a VM with this id existed and is gone.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn was_deleted(&self, vm: VmId) -> Result<bool, StoreError> {
        Ok(!vms::used_up(&self.readers, &[vm]).await?.is_empty())
    }

    /// Which project a VM belonged to that is gone, as long as its id is remembered and that
    /// project is there.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn deleted_of(&self, vm: VmId) -> Result<Option<ProjectName>, StoreError> {
        vms::deleted_of(&self.readers, vm).await
    }

    /// The VM of this name that was deleted last, as long as its id is remembered.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn last_deleted(&self, named: &Named) -> Result<Option<VmId>, StoreError> {
        vms::last_deleted(&self.readers, named).await
    }

    /// Takes no more mutations, finishes those that wait, and closes the database: its log is taken
    /// into it, so that the one file is all there is.
    pub async fn close(&self) {
        self.closing.cancel();
        self.closed.cancelled().await;
    }
}

/// The answer of a mutation, out of what the ledger said.
fn answer_of<M: Mutation>(outcome: Outcome) -> Result<M::Answer, MutateError> {
    M::answer(outcome).ok_or_else(|| MutateError::Defect {
        reason: "the ledger gave the answer of another mutation".to_owned(),
    })
}

/// Raises the epoch of the database at `path`, after a copy was put in its place by hand: agents
/// then take its intents for newer than what they were told before. Revisions go on far above those
/// that may have been given out since the copy was made. Answers the new epoch.
///
/// # Errors
/// When a server has the database open, or it can't be written.
pub async fn raise_epoch(path: &Path, now: Timestamp) -> Result<Epoch, OpenError> {
    if !path.exists() {
        return Err(OpenError::Missing { path: path.to_owned() });
    }
    let _lock = lock(path)?;
    let mut writer =
        connect(path).await.map_err(|source| OpenError::Open { path: path.to_owned(), source })?;
    migrate(path, &mut writer).await?;
    let epoch = epoch::begin(&mut writer, epoch::HighMarks::default(), now).await?;
    audit::note(&mut writer, &[AuditRecord::by_program(NEW_EPOCH, None, now)]).await?;
    close_whole(writer).await?;
    Ok(epoch)
}

#[cfg(test)]
mod tests;
