//! The one writer: decides mutations, commits them in groups, publishes, answers.
//!
//! ```text
//! queue ─▶ take what waits ─▶ decide and apply each (ledger) ─▶ one transaction ─▶ sink ─▶ answers
//!                                                                   │ failed
//!                                                                   ▼
//!                          answers "unavailable" ◀─ load the ledger anew, on a new connection
//! ```
//! While one group is being written the next one gathers in the queue, so a group is as large as
//! the disk is slow. Nobody is answered before the commit, refusals included: they may stand on
//! changes of the same group.

mod job;

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use banger_proto::ids::VmId;
use banger_wire::causes::with_causes;
use jiff::Timestamp;
use parking_lot::Mutex;
use sqlx::{SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument as _, error, info_span, warn};

use super::batch::Batch;
use super::error::{MutateError, StoreError};
use super::journal::{Entries, Journal};
use super::retention::{self, Tidied};
use super::table::{NetEffect, load};
use super::{REVISION_BLOCK, audit, close_whole, connect, events, meta, requests, sweeps, vms};
use crate::model::ledger::{AnyMutation, Change, Ledger, Outcome};
use crate::model::request::RequestId;
use crate::model::retention::Retention;

use self::job::Reply;
pub(super) use self::job::{Asked, Job, Numbers, Opened};
pub use self::job::{CommitMeter, CommitSink, CommitStats};

/// Most mutations of one group.
pub(super) const MAX_GROUP: usize = 4096;

/// After so long without a commit the revisions of the last one are written.
const MARK_AFTER: Duration = Duration::from_millis(250);

/// How often a VM's history is trimmed: after so many lines.
const TRIM_EVERY: u32 = 100;

/// A transaction whose outcome was missed, with what it would have published.
struct Doubtful {
    commit: u64,
    changes: Vec<Change>,
}

/// One mutation of a group, decided.
struct Entry {
    asked: Box<Asked>,
    reply: Reply,
    answer: Result<Outcome, MutateError>,
}

pub(super) struct Writer {
    path: PathBuf,
    /// `None` after a failure, until it could be opened again and the ledger loaded.
    connection: Option<SqliteConnection>,
    numbers: Numbers,
    journal: Journal,
    doubtful: Option<Doubtful>,
    readers: SqlitePool,
    ledger: Arc<Mutex<Ledger>>,
    sink: CommitSink,
    meter: CommitMeter,
    /// Told when something was written into the audit.
    audit_news: watch::Sender<()>,
    /// Lines of history per VM since its last trim in this life of the server. A VM that is not
    /// here and is older than this life is trimmed with its first line.
    event_counts: HashMap<VmId, u32>,
    _lock: fs::File,
}

impl Writer {
    /// Over a database that was just loaded into `ledger`.
    pub(super) fn new(
        opened: Opened,
        ledger: Arc<Mutex<Ledger>>,
        sink: CommitSink,
        meter: CommitMeter,
        audit_news: watch::Sender<()>,
    ) -> Self {
        Self {
            path: opened.path,
            connection: Some(opened.connection),
            numbers: opened.numbers,
            journal: opened.journal,
            doubtful: None,
            readers: opened.readers,
            ledger,
            sink,
            meter,
            audit_news,
            event_counts: HashMap::new(),
            _lock: opened.lock,
        }
    }

    /// Works until the queue is closed, or told to close and the queue is empty.
    pub(super) async fn run(
        mut self,
        mut queue: mpsc::Receiver<Job>,
        closing: CancellationToken,
        done: DropGuard,
    ) {
        let mut jobs = Vec::new();
        loop {
            tokio::select! {
                // Cancel-safe: recv_many takes nothing out of the queue when it loses the race.
                taken = queue.recv_many(&mut jobs, MAX_GROUP) => {
                    if taken == 0 {
                        break;
                    }
                    self.work(std::mem::take(&mut jobs)).await;
                }
                () = closing.cancelled(), if !queue.is_closed() => queue.close(),
                () = sleep(MARK_AFTER), if self.journal.has_marks() => self.mark().await,
            }
        }
        self.mark().await;
        // Before the writer: whoever closes last takes the log into the database, and readers
        // can't.
        self.readers.close().await;
        if let Some(connection) = self.connection.take() {
            match close_whole(connection).await {
                Ok(true) => {}
                Ok(false) => warn!("another program reads the database; its log stays beside it"),
                Err(source) => warn!(
                    error = with_causes(&source),
                    "closing the database failed; its log is replayed at the next start"
                ),
            }
        }
        // The lock goes before anybody hears that the store is closed.
        drop(self);
        drop(done);
    }

    async fn work(&mut self, jobs: Vec<Job>) {
        let mut group = Vec::with_capacity(jobs.len());
        let (mut questions, mut reservations) = (Vec::new(), Vec::new());
        let mut tidying = Vec::new();
        for job in jobs {
            match job {
                Job::Submit { asked, reply } => group.push((asked, reply)),
                Job::Ask(question) => questions.push(question),
                Job::Tidy { keep, now, reply } => tidying.push((keep, now, reply)),
                Job::Reserve { reply } => reservations.push(reply),
            }
        }
        if !group.is_empty() {
            let span = info_span!("commit", mutations = group.len());
            self.commit(group).instrument(span).await;
        }
        for question in questions {
            match self.ready().await {
                Ok(_) => question.answer(Ok(&self.ledger.lock())),
                Err(error) => question.answer(Err(error.into())),
            }
        }
        for (keep, now, reply) in tidying {
            // Whoever asked may be gone; it is done all the same.
            let _ = reply.send(self.tidy(keep, now).await);
        }
        for reply in reservations {
            // A caller that is gone has lost a block of revisions, of which there are enough.
            let _ = reply.send(self.reserve().await);
        }
    }

    async fn tidy(&mut self, keep: Retention, now: Timestamp) -> Result<Tidied, MutateError> {
        self.ready().await?;
        let Some(connection) = &mut self.connection else { return Err(MutateError::Closed) };
        let started = Instant::now();
        let stepping = async {
            let tidied = retention::step(connection, keep, now).await?;
            let shares = audit::shares(connection).await?;
            Ok::<_, StoreError>((tidied, shares, requests::shares(connection).await?))
        };
        let stepped = stepping.await;
        if stepped.is_err() {
            self.connection = None;
        }
        let (tidied, shares, remembered) = stepped?;
        let mut ledger = self.ledger.lock();
        ledger.set_audit_records(tidied.audit_left, shares);
        ledger.set_remembered(remembered);
        drop(ledger);
        Ok(Tidied { took: started.elapsed(), ..tidied })
    }

    async fn reserve(&mut self) -> Result<Range<u64>, MutateError> {
        self.ready().await?;
        let Some(connection) = &mut self.connection else { return Err(MutateError::Closed) };
        let block = meta::reserve_revisions(connection, REVISION_BLOCK).await;
        if block.is_err() {
            self.connection = None;
        }
        Ok(block?)
    }

    /// Stores one group and answers its callers.
    async fn commit(&mut self, group: Vec<(Box<Asked>, Reply)>) {
        let mutations = group.len();
        if let Err(error) = self.prepare(&group).await {
            let reason = with_causes(&error);
            for (_, reply) in group {
                answer(reply, Err(MutateError::Unavailable { reason: reason.clone() }));
            }
            return;
        }
        let (entries, changes) = self.decide(group);
        if changes.is_empty() {
            self.ledger.lock().clear_noted();
            answer_all(entries);
            return;
        }
        let effect = NetEffect::of(&changes);
        let rows = effect.rows();
        let started = Instant::now();
        let written = self.write(&effect).await;
        let is_audited = !effect.audit.is_empty();
        drop(effect);
        let stats =
            CommitStats { mutations, rows, duration: started.elapsed(), failed: written.is_err() };
        (self.meter)(stats);
        self.ledger.lock().clear_noted();
        match written {
            Ok(()) => {
                let revisions = (self.sink)(&changes);
                self.journal.published(self.numbers.commit, revisions);
                if is_audited {
                    self.audit_news.send_replace(());
                }
                answer_all(entries);
            }
            Err(Failed { error, commit }) => {
                self.doubtful = commit.map(|commit| Doubtful { commit, changes });
                self.recover(entries, error).await;
            }
        }
    }

    /// A connection to write on, and what the group may meet of the past: ids that are used up, and
    /// requests that were done.
    async fn prepare(&mut self, group: &[(Box<Asked>, Reply)]) -> Result<(), StoreError> {
        self.ready().await?;
        let ids: Vec<VmId> =
            group.iter().flat_map(|(asked, _)| given_ids(&asked.mutation)).collect();
        let used_up = vms::used_up(&self.readers, &ids).await?;
        let named: Vec<RequestId> = group
            .iter()
            .filter_map(|(asked, _)| asked.request.as_ref().map(|key| key.id))
            .collect();
        let done = requests::find(&self.readers, &named).await?;
        let mut ledger = self.ledger.lock();
        ledger.note_used_up(used_up);
        ledger.note_done(done);
        Ok(())
    }

    /// Makes sure that there is a connection. After a failure that is a new one, the ledger is
    /// loaded anew, and a transaction whose outcome was missed and which is there after all is
    /// published: then the answer is true.
    pub(super) async fn ready(&mut self) -> Result<bool, StoreError> {
        if self.connection.is_some() {
            return Ok(false);
        }
        let opened = connect(&self.path).await;
        let mut connection = opened.map_err(StoreError::during("open the database again"))?;
        let numbers = Numbers::read(&mut connection).await?;
        let config = self.ledger.lock().config().clone();
        let mut fresh = load(&mut connection, config).await?;
        {
            let mut ledger = self.ledger.lock();
            fresh.keep_capacities_of(&ledger);
            *ledger = fresh;
        }
        self.journal.read_again(&mut connection).await?;
        self.connection = Some(connection);
        self.numbers = numbers;
        let landed = self.doubtful.take().filter(|doubtful| doubtful.commit == numbers.commit);
        if let Some(doubtful) = &landed {
            warn!(commit = doubtful.commit, "a commit that reported a failure is in the database");
            let revisions = (self.sink)(&doubtful.changes);
            self.journal.published(doubtful.commit, revisions);
            self.audit_news.send_replace(());
        }
        Ok(landed.is_some())
    }

    /// As if the outcome of this commit had been missed.
    #[cfg(test)]
    pub(super) fn lose_sight_of(&mut self, commit: u64, changes: Vec<Change>) {
        self.connection = None;
        self.doubtful = Some(Doubtful { commit, changes });
    }

    /// Decides each mutation and lets the ledger take it over at once, so that the next one sees
    /// it.
    fn decide(&self, group: Vec<(Box<Asked>, Reply)>) -> (Vec<Entry>, Vec<Change>) {
        let mut ledger = self.ledger.lock();
        let mut changes = Vec::new();
        let entries = group
            .into_iter()
            .map(|(asked, reply)| {
                let request = asked.request.as_ref();
                let decided = ledger.decide_once(&asked.caller, &asked.mutation, request);
                let answer = match decided {
                    Ok(decided) => {
                        ledger.apply(&decided.changes);
                        ledger.note_outcome(&decided.outcome);
                        changes.extend(decided.changes);
                        Ok(decided.outcome)
                    }
                    Err(refusal) => Err(refusal.into()),
                };
                Entry { asked, reply, answer }
            })
            .collect();
        (entries, changes)
    }

    /// One transaction. When it fails the connection is thrown away: SQLite may or may not have
    /// rolled back by itself, and a new connection knows.
    async fn write(&mut self, effect: &NetEffect<'_>) -> Result<(), Failed> {
        let Some(mut connection) = self.connection.take() else {
            let source = sqlx::Error::PoolClosed;
            let error = StoreError::Database { what: "write without a connection", source };
            return Err(Failed { error, commit: None });
        };
        let numbers = Numbers {
            commit: self.numbers.commit + 1,
            event: self.numbers.event + u64::try_from(effect.events.len()).unwrap_or(0),
        };
        let to_trim = self.due_for_trim(effect);
        let first_event = self.numbers.event + 1;
        let entries = Entries::of(effect);
        let mut batch = batch_of(effect, &to_trim, first_event, numbers);
        self.journal.write(&mut batch, numbers.commit, &entries);
        batch
            .commit(&mut connection)
            .await
            .map_err(|error| Failed { error, commit: Some(numbers.commit) })?;
        self.connection = Some(connection);
        self.numbers = numbers;
        self.journal.written(numbers.commit, &entries);
        Ok(())
    }

    /// Writes the revisions of the last commits. When that fails it is tried again with the next.
    async fn mark(&mut self) {
        if !self.journal.has_marks() || self.ready().await.is_err() {
            return;
        }
        let Some(connection) = &mut self.connection else { return };
        let mut batch = Batch::new();
        self.journal.write_marks(&mut batch);
        match batch.commit(connection).await {
            Ok(()) => self.journal.marks_written(),
            Err(error) => {
                self.connection = None;
                warn!(error = with_causes(&error), "revisions of commits were not written yet");
            }
        }
    }

    /// VMs whose history may have grown past its bound with this group.
    fn due_for_trim(&mut self, effect: &NetEffect<'_>) -> Vec<VmId> {
        let mut due = Vec::new();
        for event in &effect.events {
            let old = event.generation.0 > 1;
            let count =
                self.event_counts.entry(event.vm).or_insert(if old { TRIM_EVERY } else { 0 });
            *count += 1;
            if *count > TRIM_EVERY {
                *count = 0;
                due.push(event.vm);
            }
        }
        for (gone, _) in effect.vms.removed() {
            self.event_counts.remove(&gone.id);
        }
        due
    }

    /// The group was not seen to be stored. Its connection is gone already, so the ledger can't but
    /// be loaded anew before the next group.
    async fn recover(&mut self, entries: Vec<Entry>, error: StoreError) {
        let reason = with_causes(&error);
        error!(error = reason, mutations = entries.len(), "a group of mutations failed");
        // At once, so that readers of the ledger do not see for long what is not there.
        match self.ready().await {
            Ok(true) => return answer_all(entries),
            Ok(false) => {}
            Err(error) => error!(error = with_causes(&error), "the store can't be read again yet"),
        }
        // One mutation that the database can't take shall not hurt the others of its group.
        let one_by_one = error.is_constraint() && entries.len() > 1;
        for entry in entries {
            if one_by_one {
                Box::pin(self.commit(vec![(entry.asked, entry.reply)])).await;
                continue;
            }
            let reason = reason.clone();
            let failure = if error.is_constraint() {
                MutateError::Defect { reason }
            } else {
                MutateError::Unavailable { reason }
            };
            answer(entry.reply, Err(failure));
        }
    }
}

/// What stores a group.
fn batch_of(effect: &NetEffect<'_>, to_trim: &[VmId], first_event: u64, numbers: Numbers) -> Batch {
    let mut batch = Batch::new();
    effect.write_objects(&mut batch);
    sweeps::put(&mut batch, &effect.sweeps);
    requests::put(&mut batch, &effect.requests);
    audit::append(&mut batch, &effect.audit);
    events::append(&mut batch, &effect.events, first_event);
    events::trim(&mut batch, to_trim);
    meta::set_numbers(&mut batch, numbers.commit, numbers.event);
    batch
}

/// Why a transaction was not seen to be committed; with its number when it was begun.
struct Failed {
    error: StoreError,
    commit: Option<u64>,
}

fn answer_all(entries: Vec<Entry>) {
    for entry in entries {
        answer(entry.reply, entry.answer);
    }
}

fn answer(reply: Reply, result: Result<Outcome, MutateError>) {
    // A caller that is gone does not need its answer; what it asked for stands.
    let _ = reply.send(result);
}

/// Ids of a create that the client chose and that may therefore be used up.
pub(super) fn given_ids(mutation: &AnyMutation) -> Vec<VmId> {
    let AnyMutation::CreateVm(create) = mutation else { return Vec::new() };
    create.request_id.into_iter().chain(create.id_is_given.then_some(create.id)).collect()
}
