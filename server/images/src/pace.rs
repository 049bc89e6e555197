//! How slow a sender may be: a registry, or whoever uploads.
//!
//! Driven by whoever waits for the next piece. Without it a byte now and then holds a slot for
//! ever. Only the time spent waiting for the sender counts towards its throughput, so that our own
//! disk makes nobody slow. What can go wrong is [`TooSlow`], which says which bound it was.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// What is asked of a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Longest time without a byte.
    pub idle: Duration,
    /// In each such time of waiting `least_bytes` have to come.
    pub window: Duration,
    /// Fewer are too slow.
    pub least_bytes: u64,
    /// Longest time in all, from the beginning on.
    pub total: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(30),
            window: Duration::from_secs(60),
            least_bytes: 512 << 10,
            total: Duration::from_secs(12 * 3600),
        }
    }
}

/// A sender that is too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooSlow {
    /// Nothing came.
    #[error("nothing came for {} seconds", .0.as_secs_f32())]
    Idle(Duration),
    /// Not enough came.
    #[error("only {bytes} bytes came in {} seconds", .window.as_secs_f32())]
    Dripping {
        /// How many.
        bytes: u64,
        /// In which time.
        window: Duration,
    },
    /// It takes too long in all.
    #[error("it was not complete after {} seconds", .0.as_secs_f32())]
    Total(Duration),
}

/// Counts what comes from one sender.
#[derive(Debug)]
pub struct Pace {
    patience: Patience,
    end: Instant,
    /// Time waited and bytes that came in this window.
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Begins now.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        let end = Instant::now() + patience.total;
        Self { patience, end, waited: Duration::ZERO, bytes: 0 }
    }

    /// Waits for the next piece, of which `bytes_of` tells the length.
    ///
    /// # Errors
    /// It did not come in time; what waited for it is given up.
    pub async fn next<T>(
        &mut self,
        piece: impl Future<Output = T>,
        bytes_of: impl FnOnce(&T) -> u64,
    ) -> Result<T, TooSlow> {
        let Patience { idle, window, least_bytes, total } = self.patience;
        let begun = Instant::now();
        let lacking = self.bytes < least_bytes;
        let window_end = begun + window.saturating_sub(self.waited);
        let until = (begun + idle).min(self.end);
        let until = if lacking { until.min(window_end) } else { until };
        let arrived = timeout_at(until, piece).await;
        self.waited += begun.elapsed();
        let Ok(piece) = arrived else {
            return Err(if Instant::now() >= self.end {
                TooSlow::Total(total)
            } else if lacking && window_end <= until {
                TooSlow::Dripping { bytes: self.bytes, window }
            } else {
                TooSlow::Idle(idle)
            });
        };
        self.bytes = self.bytes.saturating_add(bytes_of(&piece));
        if self.waited >= window && self.bytes >= least_bytes {
            (self.waited, self.bytes) = (Duration::ZERO, 0);
        }
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        idle: Duration::from_secs(10),
        window: Duration::from_secs(30),
        least_bytes: 100,
        total: Duration::from_secs(1000),
    };

    async fn after(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// How many pieces of some bytes each came before it was given up, and why.
    async fn given_up(seconds: u64, bytes: u64) -> (u32, TooSlow) {
        let mut pace = Pace::new(PATIENCE);
        let mut count = 0;
        loop {
            match pace.next(after(seconds), |()| bytes).await {
                Ok(()) => count += 1,
                Err(why) => return (count, why),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_stops_or_drips_or_never_ends_is_given_up() {
        assert_eq!(given_up(11, 1000).await, (0, TooSlow::Idle(PATIENCE.idle)));
        let (count, why) = given_up(5, 1).await;
        assert!(matches!(why, TooSlow::Dripping { window: PATIENCE_WINDOW, .. }), "{why:?}");
        assert!(count < 7, "a byte every five seconds was waited for {count} times");
        // A good one may take all of its time, and no more.
        assert_eq!(given_up(5, 100).await, (200, TooSlow::Total(PATIENCE.total)));
    }

    const PATIENCE_WINDOW: Duration = PATIENCE.window;

    #[tokio::test(start_paused = true)]
    async fn the_time_of_the_receiver_is_not_the_senders() {
        let mut pace = Pace::new(PATIENCE);
        for _ in 0..10 {
            pace.next(after(1), |()| 20).await.expect("it is fast");
            after(60).await;
        }
    }
}
