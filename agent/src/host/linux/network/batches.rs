//! Changes of a table of the kernel, many at once: those that come while one change is applied are
//! taken together in the next, so that a hundred guests that start cost a few calls of a tool.
//!
//! Driven by the firewall and the pins. What can go wrong is what the table says: a change that
//! fails as a whole fails everybody who is in it, each with the same words.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{MutexGuard, oneshot};

use crate::host::{Change, HostError, HostErrorKind, HostResult};

/// A table that is changed as a whole.
#[async_trait]
pub(super) trait Table: Send + Sync + 'static {
    /// One change that somebody asks for.
    type Ask: Send + Sync;
    /// What it is to hold: what was asked for in this life of the agent and what was found at its
    /// start.
    type Wanted: Send;
    /// What an error calls it.
    const OBJECT: &'static str;

    /// Applies many changes at once; says for each whether it changed something. `wanted` is `None`
    /// the first time, and changed only when the changes are in place.
    async fn apply(
        &self,
        wanted: &mut Option<Self::Wanted>,
        asks: &[Self::Ask],
    ) -> HostResult<Vec<HostResult<Change>>>;
}

/// Who waits for changes of a table, and the table.
pub(super) struct Batches<T: Table>(Arc<Queue<T>>);

struct Queue<T: Table> {
    table: T,
    waiting: Mutex<Vec<Request<T::Ask>>>,
    // Held while the table is read and written.
    wanted: tokio::sync::Mutex<Option<T::Wanted>>,
}

struct Request<A> {
    ask: A,
    answer: oneshot::Sender<HostResult<Change>>,
}

impl<T: Table> Batches<T> {
    pub(super) fn new(table: T) -> Self {
        let (waiting, wanted) = (Mutex::default(), tokio::sync::Mutex::new(None));
        Self(Arc::new(Queue { table, waiting, wanted }))
    }

    pub(super) fn table(&self) -> &T {
        &self.0.table
    }

    /// Keeps changes from being applied, so that who looks sees none that is half applied.
    pub(super) async fn hold(&self) -> MutexGuard<'_, Option<T::Wanted>> {
        self.0.wanted.lock().await
    }

    /// Has a change applied, with whatever else waits.
    pub(super) async fn submit(&self, ask: T::Ask) -> HostResult<Change> {
        let (answer, result) = oneshot::channel();
        self.0.waiting.lock().push(Request { ask, answer });
        // A task of its own, so that a caller that gives up does not take those with it that are
        // applied together with its change.
        let queue = Arc::clone(&self.0);
        tokio::spawn(async move { queue.apply_waiting().await });
        result.await.unwrap_or_else(|_| {
            Err(HostError::new(HostErrorKind::Other, "apply", T::OBJECT)
                .detail("the agent is stopping"))
        })
    }
}

impl<T: Table> Queue<T> {
    async fn apply_waiting(&self) {
        let mut wanted = self.wanted.lock().await;
        let batch = std::mem::take(&mut *self.waiting.lock());
        if batch.is_empty() {
            // Another call took ours along.
            return;
        }
        let (asks, answers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|request| (request.ask, request.answer)).unzip();
        match self.table.apply(&mut wanted, &asks).await {
            Ok(changes) => {
                for (answer, change) in answers.into_iter().zip(changes) {
                    // The caller may have given up.
                    let _ = answer.send(change);
                }
            }
            Err(error) => {
                for answer in answers {
                    let _ = answer.send(Err(copy_of(&error)));
                }
            }
        }
    }
}

/// The same error for another who waited for the same change.
pub(super) fn copy_of(error: &HostError) -> HostError {
    HostError::new(error.kind, error.verb, &error.object).detail(error.chain())
}
