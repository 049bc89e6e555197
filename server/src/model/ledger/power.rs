//! Deciding about power: start, stop, reboot, pause, resume.
//!
//! ```text
//!              stop ┌─────────┐ start (a new process)
//!        ┌─────────▶│ Stopped │───────────┐
//!        │          └─────────┘           ▼
//!   ┌────────┐        pause          ┌─────────┐
//!   │ Paused │◀──────────────────────│ Running │⟲ reboot (a new process)
//!   └────────┘──────────────────────▶└─────────┘
//!                 resume, start
//! ```
//! A wish that is there already changes nothing and keeps the generation, so that a request can be
//! repeated. Whenever the next process must be a new one, the boot number is raised: an agent that
//! never saw the stop in between still does the right thing.

use std::sync::Arc;

use super::vms::{next, unchanged};
use super::{Change, Decided, Ledger, Outcome, Power, Refusal, SetPower, event};
use crate::model::caller::Caller;
use crate::model::history::EventKind;
use crate::model::intent::{DEFAULT_STOP_GRACE, Desired, VmIntent};

impl Ledger {
    pub(super) fn set_power(&self, asked: &SetPower, caller: &Caller) -> Result<Decided, Refusal> {
        let power = asked.power;
        let old = self.living(&asked.vm, asked.etag.as_deref(), caller)?;
        let Some((new, kind)) = wish(old, power, caller)? else {
            return Ok(unchanged(old));
        };
        let new = Arc::new(new);
        let message = match power {
            Power::Reboot { reset_root_disk: true, .. } => "with a new root disk".to_owned(),
            Power::Start { .. }
            | Power::Stop { .. }
            | Power::Reboot { .. }
            | Power::Pause
            | Power::Resume => String::new(),
        };
        let changes = vec![Change::put(Arc::clone(&new)), event(&new, kind, "", message, caller)];
        Ok(Decided { changes, outcome: Outcome::Vm { intent: new, changed: true } })
    }
}

/// The intent after the wish, or nothing when it is as wished already.
fn wish(
    old: &VmIntent,
    power: Power,
    caller: &Caller,
) -> Result<Option<(VmIntent, EventKind)>, Refusal> {
    let wrong = |wish, needed| Refusal::WrongDesiredState {
        name: old.name.clone(),
        desired: old.desired,
        wish,
        needed,
    };
    let mut new = next(old, caller);
    let kind = match power {
        Power::Start { again } => {
            match old.desired {
                Desired::Running if !again => return Ok(None),
                Desired::Running | Desired::Stopped => new.boot_number += 1,
                // Its process is there and goes on.
                Desired::Paused => {}
                Desired::Absent => return Err(wrong("start", Desired::Stopped)),
            }
            new.desired = Desired::Running;
            new.stop_grace = DEFAULT_STOP_GRACE;
            EventKind::StartRequested
        }
        Power::Stop { grace } => {
            // Asking again with less patience is another wish.
            if old.desired == Desired::Stopped && grace >= old.stop_grace {
                return Ok(None);
            }
            new.desired = Desired::Stopped;
            new.stop_grace = grace;
            EventKind::StopRequested
        }
        Power::Reboot { grace, reset_root_disk } => {
            if old.desired != Desired::Running {
                return Err(wrong("reboot", Desired::Running));
            }
            new.boot_number += 1;
            new.root_disk_number += u64::from(reset_root_disk);
            new.stop_grace = grace;
            EventKind::RebootRequested
        }
        Power::Pause => match old.desired {
            Desired::Paused => return Ok(None),
            Desired::Running => {
                new.desired = Desired::Paused;
                EventKind::PauseRequested
            }
            Desired::Stopped | Desired::Absent => return Err(wrong("pause", Desired::Running)),
        },
        Power::Resume => match old.desired {
            Desired::Running => return Ok(None),
            Desired::Paused => {
                new.desired = Desired::Running;
                EventKind::ResumeRequested
            }
            Desired::Stopped | Desired::Absent => return Err(wrong("resume", Desired::Paused)),
        },
    };
    Ok(Some((new, kind)))
}
