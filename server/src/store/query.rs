//! What can be asked of the writer without changing anything.
//!
//! A question waits in the queue like a mutation and is answered between two groups, so that its
//! answer stands on nothing that is not stored. What may be a little ahead of the disk is read from
//! the ledger or the watch view instead.

use std::collections::BTreeSet;
use std::fmt;

use tokio::sync::oneshot;

use super::error::MutateError;
use crate::model::ledger::Ledger;

/// Something to be told.
pub trait Query: Send + 'static {
    type Answer: Send + 'static;

    /// Answers from what is stored.
    fn answer(self, stored: &Ledger) -> Self::Answer;
}

/// Which contents names and VMs refer to, by digest.
#[derive(Debug, Clone, Copy)]
pub struct KeptContents;

impl Query for KeptContents {
    type Answer = BTreeSet<String>;

    fn answer(self, stored: &Ledger) -> BTreeSet<String> {
        stored.kept_contents()
    }
}

/// Which of these contents neither a name nor a VM refers to.
#[derive(Debug, Clone)]
pub struct UnusedContents(pub BTreeSet<String>);

impl Query for UnusedContents {
    type Answer = BTreeSet<String>;

    fn answer(self, stored: &Ledger) -> BTreeSet<String> {
        stored.unused_contents(self.0)
    }
}

/// Called with what is stored, or with why that can't be said.
type Answer = dyn FnOnce(Result<&Ledger, MutateError>) + Send;

/// A query on its way to the writer.
pub(super) struct Question(Box<Answer>);

impl Question {
    /// With where its answer is awaited.
    pub(super) fn new<Q: Query>(
        query: Q,
    ) -> (Self, oneshot::Receiver<Result<Q::Answer, MutateError>>) {
        let (reply, answer) = oneshot::channel();
        let ask = move |stored: Result<&Ledger, MutateError>| {
            // Whoever asked may be gone.
            let _ = reply.send(stored.map(|ledger| query.answer(ledger)));
        };
        (Self(Box::new(ask)), answer)
    }

    pub(super) fn answer(self, stored: Result<&Ledger, MutateError>) {
        (self.0)(stored);
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Question")
    }
}
