//! Slots: so many at a time, and no caller more than a share of them. One that takes long makes
//! room when others wait ([`Lanes`]), and counts towards its caller's share all the same.
//!
//! Driven by uploads and imports. A caller that has its share waits for itself; the others go on.
//! A caller is a party here ([`Caller::party`]): a principal of the fleet, or all of a project's
//! together, whose admin makes as many of them as they like. There are few, and they are forgotten
//! when they hold nothing.
//!
//! [`Caller::party`]: crate::model::caller::Caller::party

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::lanes::{Lane, Lanes};

/// How long one is left alone when others wait.
const TURN: Duration = Duration::from_secs(120);

/// Slots that callers share.
#[derive(Debug)]
pub(super) struct Slots {
    all: Lanes,
    share: usize,
    callers: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// One slot, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    all: Lane,
    _own: OwnedSemaphorePermit,
    /// Keeps the caller's count as long as it holds anything.
    _count: Arc<Semaphore>,
}

impl Slot {
    /// Ends when this is to give way to others that wait. To be waited for beside the work.
    pub(super) async fn given_up(&mut self) {
        self.all.given_up().await;
    }
}

impl Slots {
    /// So many in all, of which one caller has at most `share`; as many again of those that take
    /// long.
    pub(super) fn new(all: usize, share: usize) -> Self {
        let all = Lanes::new(all, all, TURN);
        Self { all, share: share.max(1), callers: Mutex::default() }
    }

    /// A slot, when there is one for this caller. `None` never comes: nothing closes them.
    pub(super) async fn take(&self, caller: &str) -> Option<Slot> {
        let count = self.count(caller);
        // First the caller's own, so that nobody waits with a slot of everybody's in hand.
        let own = Arc::clone(&count).acquire_owned().await.ok()?;
        let all = self.all.take().await;
        Some(Slot { all, _own: own, _count: count })
    }

    fn count(&self, caller: &str) -> Arc<Semaphore> {
        let mut callers = self.callers.lock();
        callers.retain(|_, count| count.strong_count() > 0);
        if let Some(count) = callers.get(caller).and_then(Weak::upgrade) {
            return count;
        }
        let count = Arc::new(Semaphore::new(self.share));
        callers.insert(caller.to_owned(), Arc::downgrade(&count));
        count
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn one_caller_never_holds_what_another_needs() {
        let slots = Slots::new(4, 2);
        let held = (slots.take("greedy").await, slots.take("greedy").await);
        let mut more = pin!(slots.take("greedy"));
        assert!(futures_util::poll!(&mut more).is_pending(), "its share is two");
        let other = slots.take("modest").await;
        assert!(other.is_some(), "the others have slots");
        drop(held.0);
        assert!(more.await.is_some(), "one that was given back is taken");
        drop((held.1, other));
        assert!(slots.take("modest").await.is_some());
        assert!(slots.callers.lock().len() <= 2, "callers without a slot are forgotten");
    }
}
