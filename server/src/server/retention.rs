//! Has the store let go of what is too old, a small step at a time, and says when the audit has
//! little room left.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::metrics::Metrics;
use crate::model::audit_room::{AskedBy, AuditRoom};
use crate::model::retention::Retention;
use crate::store::{Store, Tidied};

/// The shortest and the longest wait while there is more to do.
const PAUSE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// While there is more to do, this is at most one part in so many of what the store does.
const SHARE: u32 = 5;

/// While there is nothing more to do.
const REST: Duration = Duration::from_secs(30);

/// How often it is said that the audit has little room left.
const REMIND: SignedDuration = SignedDuration::from_hours(1);

/// Runs until it is stopped.
pub(super) async fn run(
    store: Store,
    clock: SharedClock,
    retention: Retention,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let mut wait = PAUSE[0];
    let mut warned = None;
    loop {
        let room = store.audit_room();
        metrics.audit(room);
        let now = clock.now();
        if is_to_be_warned_of(room, &mut warned, now) {
            tracing::warn!(
                records = room.records,
                limit = room.max,
                for_admins_alone_from = room.limit(AskedBy::Others),
                "the audit has little room left, and what needs a record is refused when it has \
                 none: raise limits.max_audit_records, or lower retention.audit_hours"
            );
        }
        // Cancel-safe: a sleep that is not over is no loss.
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(wait) => {}
        }
        wait = match store.tidy(retention, clock.now()).await {
            Ok(tidied) => pause(tidied),
            Err(error) => {
                tracing::warn!(error = %error, "what is too old can't be let go now");
                REST
            }
        };
    }
}

/// How long to wait after a step.
fn pause(tidied: Tidied) -> Duration {
    let [shortest, longest] = PAUSE;
    if tidied.more { (tidied.took * (SHARE - 1)).clamp(shortest, longest) } else { REST }
}

/// Whether to say that there is little room, which was last said then: once, and again after a
/// while.
fn is_to_be_warned_of(room: AuditRoom, warned: &mut Option<Timestamp>, now: Timestamp) -> bool {
    if !room.is_short() {
        *warned = None;
        return false;
    }
    // A clock that was set back is no reason to be silent.
    let lately = warned.is_some_and(|then| now.duration_since(then).abs() < REMIND);
    if !lately {
        *warned = Some(now);
    }
    !lately
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::at;

    #[test]
    fn while_there_is_more_to_do_the_store_has_most_of_its_time_for_others() {
        let after = |millis, more| {
            pause(Tidied { more, took: Duration::from_millis(millis), ..Tidied::default() })
        };
        assert_eq!(after(1, false), REST);
        assert_eq!(after(1, true), Duration::from_millis(100));
        assert_eq!(after(50, true), Duration::from_millis(200));
        assert_eq!(after(60_000, true), Duration::from_secs(1));
    }

    #[test]
    fn little_room_is_said_once_an_hour_and_anew_when_it_is_little_again() {
        let (mut warned, room) = (None, |records| AuditRoom { records, max: 10 });
        let mut said = |records, second| is_to_be_warned_of(room(records), &mut warned, at(second));
        let seconds = [(7, 0), (8, 30), (9, 60), (9, 3630), (7, 3660), (8, 3690)];
        let said: Vec<bool> = seconds.into_iter().map(|(r, second)| said(r, second)).collect();
        assert_eq!(said, [false, true, false, true, false, true]);
    }
}
