//! How long to wait before trying again.
//!
//! Doubles from a first pause up to a longest one, and spreads clients so that a restarted server
//! does not meet all of them in the same moment. Pure: the random part is an argument.

use std::time::Duration;

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

/// A number to spread clients by. Zero where the kernel gives no randomness: the spread is
/// a courtesy, not a need.
pub(crate) fn spread() -> u32 {
    getrandom::u32().unwrap_or(0)
}

#[cfg(test)]
mod tests;
