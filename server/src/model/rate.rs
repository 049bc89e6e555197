//! How often somebody may do something: a token bucket.
//!
//! Pure: the time is an argument, since whenever, of a clock that only goes on. In whole numbers,
//! so that nothing is lost however often it is asked.

use std::time::Duration;

/// For how long nobody has called who may call as often at once as in this time otherwise.
const BURST_SECONDS: u64 = 10;

/// What one call takes out of a bucket; a bucket gains as many in each microsecond as there may be
/// calls a second.
const CALL: u64 = 1_000_000;

/// How full a bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    left: u64,
    filled: Duration,
}

impl Bucket {
    /// A full one.
    pub fn full(per_second: u32, now: Duration) -> Self {
        Self { left: Self::holds(per_second), filled: now }
    }

    /// Takes one call out.
    ///
    /// # Errors
    /// There is none; how long until there is.
    pub fn take(&mut self, per_second: u32, now: Duration) -> Result<(), Duration> {
        self.fill(per_second, now);
        match self.left.checked_sub(CALL) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                let lacking = (CALL - self.left).div_ceil(u64::from(per_second).max(1));
                Err(Duration::from_micros(lacking))
            }
        }
    }

    /// Whether nobody would miss it: the next would be as full.
    pub fn is_full(&mut self, per_second: u32, now: Duration) -> bool {
        self.fill(per_second, now);
        self.left == Self::holds(per_second)
    }

    fn fill(&mut self, per_second: u32, now: Duration) {
        let elapsed = now.saturating_sub(self.filled).as_micros();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        // What is less than a microsecond counts the next time.
        self.filled = self.filled.saturating_add(Duration::from_micros(elapsed));
        let gained = elapsed.saturating_mul(u64::from(per_second));
        self.left = self.left.saturating_add(gained).min(Self::holds(per_second));
    }

    fn holds(per_second: u32) -> u64 {
        u64::from(per_second) * BURST_SECONDS * CALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 5;

    fn taken(bucket: &mut Bucket, now: Duration) -> usize {
        (0..1000).take_while(|_| bucket.take(RATE, now).is_ok()).count()
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = Duration::from_secs(7);
        let at = |millis| start + Duration::from_millis(millis);
        let mut bucket = Bucket::full(RATE, start);
        assert_eq!(taken(&mut bucket, start), 50);
        assert_eq!(bucket.take(RATE, start), Err(Duration::from_millis(200)));
        assert_eq!(bucket.take(RATE, at(150)), Err(Duration::from_millis(50)));
        assert_eq!(bucket.take(RATE, at(200)), Ok(()));
        assert_eq!(taken(&mut bucket, at(1200)), 5);
        // However small the steps, nothing is lost, and it never holds more than its burst.
        let micros = |n: u64| at(1200) + Duration::from_nanos(n * 1500);
        let calls = (1..=1_000_000).filter(|n| bucket.take(RATE, micros(*n)).is_ok()).count();
        assert_eq!(calls, 7, "in a second and a half");
        assert!(!bucket.is_full(RATE, at(3000)) && bucket.is_full(RATE, at(60_000)));
        assert_eq!(taken(&mut bucket, at(3_600_000)), 50);
    }
}
