//! The only owner of the present time, by which VMs are decided about.
//!
//! Two readings, because they answer two questions: [`Clock::now`] is shown to people and may
//! jump when somebody sets the clock; [`Clock::monotonic`] measures waits, back-off and grace
//! periods and never jumps. What decides about a VM takes one of them
//! as an argument; what only paces itself (a back-off of a connection, a check that is believed for
//! a while) measures by `Instant`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

/// Time since an arbitrary moment before the agent started. Never goes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub Duration);

impl Moment {
    /// This long after.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }

    /// How long until `later`; zero when it is past.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        later.0.saturating_sub(self.0)
    }
}

/// Where the time comes from. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Source>);

trait Source: Send + Sync {
    fn now(&self) -> Timestamp;
    fn monotonic(&self) -> Moment;
}

impl Clock {
    /// The machine's clock. Waits follow tokio's clock, so that a test may pause it.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(System { start: tokio::time::Instant::now() }))
    }

    /// A clock that stands still until it is told to go on, beginning at `now`.
    #[must_use]
    pub fn manual(now: Timestamp) -> (Self, ManualClock) {
        let hands = ManualClock(Arc::new(Manual(Mutex::new((now, Moment::default())))));
        (Self(hands.0.clone()), hands)
    }

    /// The time of day, for showing.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// For measuring waits.
    #[must_use]
    pub fn monotonic(&self) -> Moment {
        self.0.monotonic()
    }
}

struct System {
    start: tokio::time::Instant,
}

impl Source for System {
    #[expect(clippy::disallowed_methods, reason = "the clock is the one owner of the time")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Moment {
        Moment(self.start.elapsed())
    }
}

struct Manual(Mutex<(Timestamp, Moment)>);

impl Source for Manual {
    fn now(&self) -> Timestamp {
        self.0.lock().0
    }

    fn monotonic(&self) -> Moment {
        self.0.lock().1
    }
}

/// The hands of a manual clock.
#[derive(Clone)]
pub struct ManualClock(Arc<Manual>);

impl ManualClock {
    /// Lets time go on, by both readings.
    pub fn advance(&self, by: Duration) {
        let mut time = self.0.0.lock();
        time.0 = time.0.checked_add(by).unwrap_or(Timestamp::MAX);
        time.1 = time.1.after(by);
    }

    /// Somebody sets the clock: the time of day jumps, waits go on as they were.
    pub fn set(&self, now: Timestamp) {
        self.0.0.lock().0 = now;
    }
}
