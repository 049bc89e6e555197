//! What the writer is given: jobs, whom it tells of commits, and the database to work on.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::ids::Revision;
use jiff::Timestamp;
use sqlx::{SqliteConnection, SqlitePool};
use tokio::sync::oneshot;

use crate::model::caller::Caller;
use crate::model::ledger::{AnyMutation, Change, Outcome};
use crate::model::request::RequestKey;
use crate::model::retention::Retention;
use crate::store::error::{MutateError, StoreError};
use crate::store::journal::Journal;
use crate::store::meta;
use crate::store::query::Question;
use crate::store::retention::Tidied;

/// Told of every commit, in order, before its callers are answered; answers between which revisions
/// it was told on. Must not block.
pub type CommitSink = Arc<dyn Fn(&[Change]) -> Range<Revision> + Send + Sync>;

/// Told what every commit has cost. Must not block.
pub type CommitMeter = Arc<dyn Fn(CommitStats) + Send + Sync>;

/// What one commit has cost.
#[derive(Debug, Clone, Copy)]
pub struct CommitStats {
    /// How many mutations it carried.
    pub mutations: usize,
    /// How many rows it wrote or removed.
    pub rows: usize,
    /// How long the transaction took, its sync to disk included.
    pub duration: Duration,
    /// Whether it failed.
    pub failed: bool,
}

pub(in crate::store) type Reply = oneshot::Sender<Result<Outcome, MutateError>>;

/// A mutation and who asks for it.
#[derive(Debug)]
pub(in crate::store) struct Asked {
    pub(in crate::store) caller: Caller,
    pub(in crate::store) request: Option<RequestKey>,
    pub(in crate::store) mutation: AnyMutation,
}

#[derive(Debug)]
pub(in crate::store) enum Job {
    /// Decide and store.
    Submit { asked: Box<Asked>, reply: Reply },
    /// Tell, once everything before it is stored.
    Ask(Question),
    /// Let go what is too old.
    Tidy { keep: Retention, now: Timestamp, reply: oneshot::Sender<Result<Tidied, MutateError>> },
    /// Reserve a block of revisions.
    Reserve { reply: oneshot::Sender<Result<Range<u64>, MutateError>> },
}

/// The counters that change with every commit, as they are in the database.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Numbers {
    pub(in crate::store) commit: u64,
    pub(in crate::store) event: u64,
}

impl Numbers {
    pub(in crate::store) async fn read(
        connection: &mut SqliteConnection,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            commit: meta::read(connection, meta::COMMIT_NUMBER).await?,
            event: meta::read(connection, meta::EVENT_NUMBER).await?,
        })
    }
}

/// What the writer works on.
#[derive(Debug)]
pub(in crate::store) struct Opened {
    pub(in crate::store) path: PathBuf,
    pub(in crate::store) connection: SqliteConnection,
    pub(in crate::store) numbers: Numbers,
    pub(in crate::store) journal: Journal,
    pub(in crate::store) readers: SqlitePool,
    /// Keeps other servers off for as long as it is held.
    pub(in crate::store) lock: fs::File,
}
