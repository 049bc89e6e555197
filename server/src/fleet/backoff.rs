//! How long to wait before the next try: doubling, bounded, and never in step with others.
//!
//! The jitter comes from a small generator seeded by its owner, so that a thousand sessions that
//! broke together do not come back together, and a test sees the same delays every time.

use std::time::Duration;

/// Delays between tries of one thing.
#[derive(Debug, Clone)]
pub struct Backoff {
    shortest: Duration,
    longest: Duration,
    tries: u32,
    state: u64,
}

impl Backoff {
    /// From `shortest`, doubling up to `longest`.
    #[expect(clippy::cast_possible_truncation, reason = "a seed: any 64 bits will do")]
    pub fn new(shortest: Duration, longest: Duration, seed: u128) -> Self {
        // Never zero, which the generator could not leave.
        let state = (seed as u64) ^ ((seed >> 64) as u64) | 1;
        Self { shortest, longest, tries: 0, state }
    }

    /// For dialling an agent: from 50 ms, because an agent that restarts is back soon, to 5 s.
    pub fn for_dialling(seed: u128) -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(5), seed)
    }

    /// For a command that was refused or whose outcome is unknown: from 200 ms to 30 s.
    pub fn for_commands(seed: u128) -> Self {
        Self::new(Duration::from_millis(200), Duration::from_secs(30), seed)
    }

    /// How often [`Backoff::next_delay`] was asked since the last reset.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// The delay before the next try: between three and five quarters of the present step.
    pub fn next_delay(&mut self) -> Duration {
        let step = self
            .shortest
            .saturating_mul(1_u32.checked_shl(self.tries.min(20)).unwrap_or(u32::MAX))
            .min(self.longest);
        self.tries = self.tries.saturating_add(1);
        step.mul_f64(0.75 + 0.5 * self.random())
    }

    /// It worked: the next failure begins from the shortest delay.
    pub fn reset(&mut self) {
        self.tries = 0;
    }

    /// xorshift64 (Marsaglia, 2003), as a number from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn random(&mut self) -> f64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests;
