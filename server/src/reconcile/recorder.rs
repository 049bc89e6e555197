//! Writes what hosts report into the history.
//!
//! Lines wait in a bounded queue and are written many at a time. Best effort: when the store can't
//! write or the queue is full, lines are left out and counted in the log; nothing is decided by the
//! history, and a session never waits for it.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Parts;
use crate::model::caller::Caller;
use crate::model::history::HistoryEvent;
use crate::model::ledger::Record;

/// How many lines may wait.
pub const QUEUE: usize = 4096;

/// How many lines are written together.
const BATCH: usize = 512;

/// Runs until it is cancelled or nobody writes any more.
pub(super) async fn run(
    parts: Arc<Parts>,
    mut lines: mpsc::Receiver<HistoryEvent>,
    cancel: CancellationToken,
) {
    loop {
        let mut events = Vec::new();
        // Cancel-safe: `recv_many` takes nothing when it is dropped before it is ready.
        let taken = tokio::select! {
            () = cancel.cancelled() => return,
            taken = lines.recv_many(&mut events, BATCH) => taken,
        };
        if taken == 0 {
            return;
        }
        let caller = Caller::server(parts.clock.now());
        if let Err(error) = parts.store.submit(caller, Record { events }).await {
            tracing::warn!(error = %error, lines = taken, "lines of history were not written");
        }
    }
}
