//! How long to wait before trying again.
//!
//! Doubles from a first pause up to a longest one, and spreads clients so that a restarted server
//! does not meet all of them in the same moment. [`Backoff`] is pure: the random part is an
//! argument.

use std::time::Duration;

use banger_proto::v1::ErrorReason;

use crate::error::ClientError;

/// Pauses between attempts, growing until [`Backoff::reset`].
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Default for Backoff {
    /// From 100 ms to 10 s.
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(10))
    }
}

impl Backoff {
    /// Starts with `first` and never waits longer than `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The pause before the next attempt: between half and the whole of the present step.
    /// `random` decides where in between.
    pub fn pause(&mut self, random: u32) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.longest);
        let half = step / 2;
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// Begins anew: the last attempt went well.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// How often a change is made anew that others have overtaken. With pauses up to a second that is
/// about twenty seconds.
const EDITS: u32 = 24;

/// Counts how often a change was overtaken.
#[derive(Debug)]
pub(crate) struct Again {
    left: u32,
    backoff: Backoff,
}

impl Default for Again {
    fn default() -> Self {
        let backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        Self { left: EDITS, backoff }
    }
}

impl Again {
    /// Whether to try again after this error; pauses before it says so.
    pub(crate) async fn after(&mut self, error: &ClientError) -> bool {
        let overtaken = error.refusal().is_some_and(|r| r.is(ErrorReason::EtagMismatch));
        if !overtaken || self.left == 0 {
            return false;
        }
        self.left -= 1;
        tokio::time::sleep(self.backoff.pause(spread())).await;
        true
    }
}

/// A number to spread clients by. Zero where the kernel gives no randomness: the spread is
/// a courtesy, not a need.
pub(crate) fn spread() -> u32 {
    getrandom::u32().unwrap_or(0)
}

#[cfg(test)]
mod tests;
