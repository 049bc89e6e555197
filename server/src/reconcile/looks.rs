//! Looks at hosts, shared by whoever asks at the same time.
//!
//! One look at a host may bring megabytes, and nobody bounds how many ask. So those who ask while a
//! host is looked at get what comes of that look, and a few looks exist in all: one is over when
//! whoever asked has let go of what it brought. The alternative, to bound the callers, would refuse
//! people of whom each asks once.

use std::collections::HashMap;
use std::sync::Arc;

use banger_proto::ids::HostId;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many there are at a time, of all hosts.
const AT_ONCE: usize = 2;

/// A place for one look, kept with what it brings.
#[derive(Debug)]
pub(super) struct LookPlace(
    #[expect(dead_code, reason = "given back when dropped")] Option<OwnedSemaphorePermit>,
);

type Look<T> = BoxFuture<'static, T>;

/// All looks. Cheap to clone.
#[derive(Debug)]
pub(super) struct Looks<T: Clone> {
    of_host: Arc<Mutex<HashMap<HostId, WeakShared<Look<T>>>>>,
    places: Arc<Semaphore>,
}

impl<T: Clone> Clone for Looks<T> {
    fn clone(&self) -> Self {
        Self { of_host: Arc::clone(&self.of_host), places: Arc::clone(&self.places) }
    }
}

impl<T: Clone> Looks<T> {
    pub(super) fn new() -> Self {
        Self { of_host: Arc::default(), places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Waits for a place.
    pub(super) async fn place(&self) -> LookPlace {
        // Never closed: it always comes.
        LookPlace(Arc::clone(&self.places).acquire_owned().await.ok())
    }

    /// The look at this host that is under way, or else this one. It goes on for as long as anybody
    /// waits for it.
    pub(super) fn shared(&self, host: HostId, look: impl FnOnce() -> Look<T>) -> Shared<Look<T>> {
        let mut of_host = self.of_host.lock();
        of_host.retain(|_, look| look.upgrade().is_some_and(|look| look.peek().is_none()));
        if let Some(look) = of_host.get(&host).and_then(WeakShared::upgrade) {
            return look;
        }
        let look = look().shared();
        if let Some(weak) = look.downgrade() {
            of_host.insert(host, weak);
        }
        look
    }

    /// The host has changed: who asks from now on gets a look that begins after this.
    pub(super) fn begin_anew(&self, host: HostId) {
        self.of_host.lock().remove(&host);
    }
}

#[cfg(test)]
mod tests;
