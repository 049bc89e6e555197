//! How fast bytes go, and what is left. Pure: the time is an argument.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::text::{bytes, span};

/// Over how long a rate is taken.
const WINDOW: Duration = Duration::from_secs(5);

/// Bytes that went so far, and in all where that is known. Cheap to clone; all clones count alike.
#[derive(Debug, Clone, Default)]
pub struct Count {
    done: Arc<AtomicU64>,
    of: Arc<OnceLock<u64>>,
}

impl Count {
    pub fn new(of: Option<u64>) -> Self {
        let count = Self::default();
        of.into_iter().for_each(|of| count.expect(of));
        count
    }

    /// How many it will be in all was heard meanwhile. The first word holds.
    pub fn expect(&self, bytes: u64) {
        let _ = self.of.set(bytes);
    }

    pub fn of(&self) -> Option<u64> {
        self.of.get().copied()
    }

    pub fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn read(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

/// What was seen of a count of late.
#[derive(Debug, Default)]
pub struct Rate(VecDeque<(Duration, u64)>);

impl Rate {
    /// `uploading: 12M of 300M, 4M/s, 1m12s left`, with `now` since any fixed time.
    pub fn sentence(&mut self, what: &str, now: Duration, count: &Count) -> String {
        let done = count.read();
        self.0.push_back((now, done));
        while self.0.len() > 2 && self.0.front().is_some_and(|(at, _)| now - *at > WINDOW) {
            self.0.pop_front();
        }
        let mut line = format!("{what}: {}", bytes(done));
        if let Some(of) = count.of() {
            line += &format!(" of {}", bytes(of));
        }
        let Some((then, before)) = self.0.front() else { return line };
        let millis = u64::try_from((now - *then).as_millis()).unwrap_or(u64::MAX);
        // Not before there is something to go by.
        if millis < 1000 {
            return line;
        }
        let rate = done.saturating_sub(*before).saturating_mul(1000) / millis;
        line += &format!(", {}/s", bytes(rate));
        match count.of().map(|of| of.saturating_sub(done)) {
            Some(left) if left > 0 && rate > 0 => {
                line += &format!(", {} left", span(i64::try_from(left / rate).unwrap_or(i64::MAX)));
            }
            Some(_) | None => {}
        }
        line
    }
}

#[cfg(test)]
mod tests;
