//! Places for work that goes as slowly as others like: a registry, whoever uploads, a host that is
//! sent an image.
//!
//! There are few places, and whoever is slow for long would hold them. So one that has had its turn
//! leaves its place when others wait, and goes on among the long ones; of these there are few, too,
//! and the one that has been there longest gives way to the next. Nobody waits longer for a place
//! than the turns of those before, and nobody is given up while there is room for all. The
//! alternative, a least pace, is met by whoever knows it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// All places.
#[derive(Debug)]
pub struct Lanes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    places: Arc<Semaphore>,
    turn: Duration,
    waiting: AtomicUsize,
    /// Rung when somebody begins to wait.
    came: Notify,
    /// Those that have left their places, the longest first.
    long: Mutex<VecDeque<(u64, CancellationToken)>>,
    most_long: usize,
    serial: AtomicU64,
}

/// A place, or one among the long ones. Given back when it is dropped.
#[derive(Debug)]
pub struct Lane {
    shared: Arc<Shared>,
    place: Option<OwnedSemaphorePermit>,
    begun: Instant,
    long: Option<(u64, CancellationToken)>,
}

/// Counts as one that waits until it is dropped.
struct Waits<'a>(&'a Shared);

impl<'a> Waits<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.waiting.fetch_add(1, Ordering::SeqCst);
        shared.came.notify_waiters();
        Self(shared)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Lanes {
    /// So many places, each good for a turn when others wait, and so many after that.
    pub fn new(places: usize, most_long: usize, turn: Duration) -> Self {
        Self(Arc::new(Shared {
            places: Arc::new(Semaphore::new(places.max(1))),
            turn,
            waiting: AtomicUsize::new(0),
            came: Notify::new(),
            long: Mutex::default(),
            most_long: most_long.max(1),
            serial: AtomicU64::new(0),
        }))
    }

    /// A place, when there is one.
    pub async fn take(&self) -> Lane {
        let shared = Arc::clone(&self.0);
        let places = Arc::clone(&shared.places);
        let place = match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => Some(place),
            Err(_) => {
                let _waits = Waits::begin(&shared);
                // Never closed: it always comes.
                places.acquire_owned().await.ok()
            }
        };
        Lane { shared, place, begun: Instant::now(), long: None }
    }
}

impl Lane {
    /// Ends when this is to give way to others. To be waited for beside the work. Cancel-safe: what
    /// it has become it stays.
    pub async fn given_up(&mut self) {
        loop {
            if let Some((_, given_up)) = &self.long {
                return given_up.cancelled().await;
            }
            sleep_until(self.begun + self.shared.turn).await;
            let shared = Arc::clone(&self.shared);
            let mut came = std::pin::pin!(shared.came.notified());
            // Before the look, so that nobody who comes after it is missed.
            came.as_mut().enable();
            if shared.waiting.load(Ordering::SeqCst) == 0 {
                came.await;
            } else {
                self.become_long();
            }
        }
    }

    fn become_long(&mut self) {
        let number = self.shared.serial.fetch_add(1, Ordering::Relaxed);
        let given_up = CancellationToken::new();
        {
            let mut long = self.shared.long.lock();
            while long.len() >= self.shared.most_long
                && let Some((_, longest)) = long.pop_front()
            {
                longest.cancel();
            }
            long.push_back((number, given_up.clone()));
        }
        self.long = Some((number, given_up));
        self.place = None;
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some((number, _)) = &self.long {
            self.shared.long.lock().retain(|(other, _)| other != number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Duration = Duration::from_secs(60);

    /// Takes a place and holds it until it is given up. Answers after how long that was.
    async fn held(lanes: &Lanes) -> Duration {
        let mut lane = lanes.take().await;
        let begun = Instant::now();
        lane.given_up().await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_slow_leaves_a_place_to_those_that_wait_and_goes_on() {
        let lanes = Lanes::new(1, 2, TURN);
        let mut slow = lanes.take().await;
        let begun = Instant::now();
        // Cancel-safe: the place stays what it is.
        let next = tokio::select! {
            () = slow.given_up() => panic!("there is room among the long ones"),
            next = lanes.take() => next,
        };
        assert_eq!(begun.elapsed(), TURN);
        drop((next, slow));
        assert_eq!(lanes.0.long.lock().len(), 0, "what has ended is in nobody's way");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_given_up_while_nobody_waits() {
        let lanes = Lanes::new(2, 1, TURN);
        let both = async { tokio::join!(held(&lanes), held(&lanes)) };
        tokio::time::timeout(100 * TURN, both).await.expect_err("nobody is in their way");
    }

    #[tokio::test(start_paused = true)]
    async fn any_number_of_slow_ones_hold_up_a_quick_one_for_a_turn_and_the_longest_gives_way() {
        let lanes = Lanes::new(2, 2, TURN);
        // As many as there are places and as may be long, and one more.
        let slow = futures_util::future::join_all((0..5).map(|_| held(&lanes)));
        let quick = async {
            tokio::time::sleep(TURN / 2).await;
            let begun = Instant::now();
            drop(lanes.take().await);
            begun.elapsed()
        };
        // Cancel-safe: the places are this test's own.
        let quick = tokio::select! {
            _ = slow => panic!("the last are given up by nobody"),
            quick = quick => quick,
        };
        assert!(quick <= 3 * TURN, "{quick:?}");
        assert_eq!(lanes.0.waiting.load(Ordering::SeqCst), 0);
    }
}
