//! How often a signal that ends programs goes to the program in the guest before it ends this one.
//!
//! The program is a guest's, which may ignore whatever it is sent: whoever ends `banger` is not to
//! wait for it. Pure but for the clock.

use std::time::Duration;

use tokio::time::Instant;

/// SIGHUP, SIGINT and SIGTERM have these numbers on every Linux.
const HANGUP: u32 = 1;
const INTERRUPT: u32 = 2;
const TERMINATE: u32 = 15;

/// How many interrupts the program gets; the next is for us. Ctrl-C is typed at programs that go
/// on.
const INTERRUPTS: u32 = 2;

/// How long a program may take to end that was sent what is no question.
const GRACE: Duration = Duration::from_secs(10);

/// The signals so far.
#[derive(Debug, Default)]
pub(super) struct Ends {
    interrupts: u32,
    over: Option<Instant>,
}

/// What becomes of a signal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The program gets it.
    Passed,
    /// Whoever sent it has enough of waiting.
    Enough,
}

impl Ends {
    /// One more. SIGQUIT is the program's however often it comes: some answer it with what they do.
    pub(super) fn hear(&mut self, number: u32) -> Heard {
        let enough = match number {
            INTERRUPT => {
                self.interrupts += 1;
                self.interrupts > INTERRUPTS
            }
            TERMINATE | HANGUP => self.over.replace(Instant::now() + GRACE).is_some(),
            _ => false,
        };
        if enough { Heard::Enough } else { Heard::Passed }
    }

    /// Until the program has had its time. Cancel-safe.
    pub(super) async fn over(&self) {
        match self.over {
            Some(over) => tokio::time::sleep_until(over).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_program_that_ignores_every_signal_is_left_all_the_same() {
        for number in [TERMINATE, HANGUP] {
            let mut ends = Ends::default();
            assert_eq!(ends.hear(number), Heard::Passed);
            let began = Instant::now();
            ends.over().await;
            assert_eq!(began.elapsed(), GRACE);
            assert_eq!(ends.hear(number), Heard::Enough);
        }
        let mut ends = Ends::default();
        let heard = [INTERRUPT; 3].map(|number| ends.hear(number));
        assert_eq!(heard, [Heard::Passed, Heard::Passed, Heard::Enough]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_asks_a_program_for_something_goes_to_it_without_end() {
        const QUIT: u32 = 3;
        let mut ends = Ends::default();
        assert!((0..100).all(|_| ends.hear(QUIT) == Heard::Passed));
        let long = tokio::time::timeout(GRACE * 10, ends.over());
        assert!(long.await.is_err());
    }
}
