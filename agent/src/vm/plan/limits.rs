//! What a running guest is not held to, and what to do about it. Pure.
//!
//! A limit that the host has no controller for is a fault that lasts: whoever wrote it into the
//! spec has to know that it does not hold.

use super::RULES_AGAIN;
use crate::clock::Moment;
use crate::host::{BoundsSeen, JailBounds};
use crate::report::phase::{Fault, Reason};
use crate::vm::effect::Effect;
use crate::vm::probe::Seen;

const WATCH: &str = "watch the limits";

/// What is not as it is to be.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Unheld {
    /// What mends it.
    pub(super) mend: Option<Effect>,
    /// What nothing mends, or what can't be told.
    pub(super) fault: Option<Fault>,
}

/// What a guest that runs is not held to.
pub(super) fn lacks(wanted: &JailBounds, seen: &Seen<BoundsSeen>, now: Moment) -> Unheld {
    let seen = match seen {
        Seen::Present(seen) => seen,
        Seen::Absent => return Unheld::default(),
        Seen::Unknown(why) => {
            let fault = Fault {
                retry_at: Some(now.after(RULES_AGAIN)),
                ..Fault::new(Reason::LimitsNotHeld, WATCH, why)
            };
            return Unheld { mend: None, fault: Some(fault) };
        }
    };
    let unheld = wanted.unheld(seen);
    let fault = (!unheld.is_empty()).then(|| {
        let message = format!(
            "the host does not have what holds its limits of {} (controllers of the guests' control \
             group, or a device under its disks); the guest runs without them",
            unheld.join(" and ")
        );
        Fault::new(Reason::LimitsNotHeld, WATCH, message)
    });
    Unheld { mend: wanted.differs(seen).then(|| Effect::HoldBounds(wanted.clone())), fault }
}

#[cfg(test)]
mod tests;
