//! How often the callers of each project call: one bucket for all of a project, whose admin makes
//! as many tokens as they like.
//!
//! Callers of the fleet have none: they run it. A call that is refused for it has cost a look at
//! its token and one at a bucket.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::model::caller::Caller;
use crate::model::project::ProjectName;
use crate::model::rate::Bucket;

/// From how many buckets on those are looked for that nobody would miss.
const MANY: usize = 1024;

/// A bucket for each project that calls. Nothing is bounded until [`Rates::bound`].
#[derive(Debug)]
pub(super) struct Rates {
    began: Instant,
    per_second: AtomicU32,
    buckets: Mutex<HashMap<ProjectName, Bucket>>,
}

impl Default for Rates {
    fn default() -> Self {
        let (per_second, buckets) = (AtomicU32::default(), Mutex::default());
        Self { began: Instant::now(), per_second, buckets }
    }
}

impl Rates {
    /// From now on the callers of each project may call so often a second; 0: nothing bounds that.
    pub(super) fn bound(&self, per_second: u32) {
        self.per_second.store(per_second, Ordering::Relaxed);
    }

    /// How many calls a second there may be.
    pub(super) fn per_second(&self) -> u32 {
        self.per_second.load(Ordering::Relaxed)
    }

    /// Counts a call.
    ///
    /// # Errors
    /// It is one too many; how long until there may be one.
    pub(super) fn admit(&self, caller: &Caller, now: Instant) -> Result<(), Duration> {
        let per_second = self.per_second();
        let Some(project) = caller.only().filter(|_| per_second > 0) else { return Ok(()) };
        let now = now.saturating_duration_since(self.began);
        let mut buckets = self.buckets.lock();
        if let Some(bucket) = buckets.get_mut(project) {
            return bucket.take(per_second, now);
        }
        if buckets.len() >= MANY {
            buckets.retain(|_, bucket| !bucket.is_full(per_second, now));
        }
        let mut bucket = Bucket::full(per_second, now);
        let taken = bucket.take(per_second, now);
        buckets.insert(project.clone(), bucket);
        taken
    }
}
