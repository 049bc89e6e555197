//! How often the callers of each project call: one bucket for all of a project, whose admin makes
//! as many tokens as they like.
//!
//! A call that is refused for it has cost a look at its token and one at a bucket.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::model::project::ProjectName;
use crate::model::rate::Bucket;

/// From how many buckets on those are looked for that nobody would miss.
const MANY: usize = 1024;

/// The calls of a project.
#[derive(Debug)]
struct Calls {
    bucket: Bucket,
    /// By which rate it was filled last.
    per_second: u32,
    /// How many came in this second, since the server began, and in the one before it.
    second: u64,
    now: u64,
    before: u64,
}

/// A bucket for each project that calls.
#[derive(Debug)]
pub(super) struct Rates {
    began: Instant,
    of_projects: Mutex<HashMap<ProjectName, Calls>>,
}

impl Default for Rates {
    fn default() -> Self {
        Self { began: Instant::now(), of_projects: Mutex::default() }
    }
}

impl Rates {
    /// Counts a call of a project that may call so often a second; 0: as often as it likes.
    ///
    /// # Errors
    /// It is one too many; how long until there may be one.
    pub(super) fn admit(
        &self,
        project: &ProjectName,
        per_second: u32,
        now: Instant,
    ) -> Result<(), Duration> {
        let now = now.saturating_duration_since(self.began);
        let mut all = self.of_projects.lock();
        if !all.contains_key(project) && all.len() >= MANY {
            all.retain(|_, calls| {
                !(calls.bucket.is_full(calls.per_second, now) && calls.lately(now) == 0)
            });
        }
        let full = || Calls {
            bucket: Bucket::full(per_second, now),
            per_second,
            second: now.as_secs(),
            now: 0,
            before: 0,
        };
        let calls = all.entry(project.clone()).or_insert_with(full);
        calls.count(now);
        calls.per_second = per_second;
        if per_second == 0 { Ok(()) } else { calls.bucket.take(per_second, now) }
    }

    /// How many calls of a project came in the last whole second.
    pub(super) fn lately(&self, project: &ProjectName, now: Instant) -> u64 {
        let now = now.saturating_duration_since(self.began);
        self.of_projects.lock().get_mut(project).map_or(0, |calls| calls.lately(now))
    }
}

impl Calls {
    fn count(&mut self, now: Duration) {
        self.lately(now);
        self.now += 1;
    }

    /// Those of the last whole second.
    fn lately(&mut self, now: Duration) -> u64 {
        let passed = now.as_secs().saturating_sub(self.second);
        if passed > 0 {
            self.before = if passed == 1 { self.now } else { 0 };
            (self.second, self.now) = (now.as_secs(), 0);
        }
        self.before
    }
}
