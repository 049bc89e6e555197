//! What is shown of a VM, computed from everything that is known of it. Pure.
//!
//! Driven by the VM's task after every plan; nothing reads it back to decide anything.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use crate::assignment::Power;
use crate::clock::Moment;
use crate::handles::ProcessIdentity;
use crate::host::{BootTime, SnapshotFill, VmmState};
use crate::report::VmReport;

use super::cow::{CowLevel, CowVerdict};
use super::effect::Effect;
use super::plan::{Next, Recorded, Waiting, Wanted};
use super::probe::{Probe, Seen};
use crate::report::phase::{Fault, Phase, Reason};

/// The phase that a plan amounts to.
#[must_use]
pub fn phase_of(wanted: &Wanted<'_>, recorded: &Recorded<'_>, probe: &Probe, next: &Next) -> Phase {
    match next {
        Next::Settled(phase) => *phase,
        Next::Stuck(fault) if fault.reason == Reason::ProcessUnclear => Phase::Unclear,
        Next::Stuck(_) if wanted.assignment.power == Power::Absent => Phase::Deleting,
        Next::Stuck(_) => match probe {
            Probe::Alive(alive) => of_vmm(&alive.vmm).unwrap_or(Phase::Failed),
            Probe::Dead(_) => Phase::Failed,
            Probe::Unclear(_) => Phase::Unclear,
        },
        Next::Do(_) | Next::WaitUntil(..) => under_way(wanted, recorded, probe, next),
    }
}

fn of_vmm(vmm: &Seen<VmmState>) -> Option<Phase> {
    match vmm {
        Seen::Present(VmmState::Running) => Some(Phase::Running),
        Seen::Present(VmmState::Paused) => Some(Phase::Paused),
        Seen::Present(VmmState::NotStarted) | Seen::Absent | Seen::Unknown(_) => None,
    }
}

fn under_way(wanted: &Wanted<'_>, recorded: &Recorded<'_>, probe: &Probe, next: &Next) -> Phase {
    let memory = recorded.memory;
    match (wanted.assignment.power, probe) {
        (_, Probe::Unclear(_)) => Phase::Unclear,
        (Power::Absent, _) => Phase::Deleting,
        (Power::Stopped, _) => Phase::Stopping,
        (Power::Running | Power::Paused, Probe::Alive(alive)) => {
            if wanted.must_end {
                Phase::Stopping
            } else if memory.attempt.is_some() {
                Phase::Starting
            } else if memory.failure.is_some() {
                Phase::Failed
            } else {
                of_vmm(&alive.vmm).unwrap_or(Phase::Starting)
            }
        }
        (Power::Running | Power::Paused, Probe::Dead(_)) => match next {
            Next::Do(Effect::Launch { .. }) => Phase::Starting,
            Next::Do(effect) if effect.kind().is_forward() => Phase::Preparing,
            _ if memory.failure.is_some() => Phase::Failed,
            Next::WaitUntil(_, Waiting::Restart) => Phase::Crashed,
            _ if memory.ended.is_some() => Phase::Crashed,
            _ if wanted.must_end => Phase::Stopping,
            _ => Phase::Preparing,
        },
    }
}

/// The fault to show: that of the plan, else that of the attempt that failed before, while what
/// is wrong lasts.
#[must_use]
pub fn fault_of(recorded: &Recorded<'_>, phase: Phase, next: &Next) -> Option<Fault> {
    let remembered = || recorded.memory.failure.as_ref().map(|failure| failure.fault.clone());
    match (next, phase) {
        (Next::Stuck(fault), _) => Some(fault.clone()),
        (_, Phase::Running | Phase::Paused) => recorded.memory.disk.and_then(fault_of_disk),
        (_, Phase::Failed) => remembered(),
        (_, Phase::Preparing | Phase::Starting) => remembered(),
        _ => None,
    }
}

/// What a guest that runs has to fear of its root disk. Nothing is stuck by it and nothing is tried
/// again: it lasts for as long as it is so.
fn fault_of_disk(verdict: CowVerdict) -> Option<Fault> {
    let step = "watch the root disk";
    match verdict {
        CowVerdict::Enough | CowVerdict::Grow(_) => None,
        CowVerdict::NearlyFull { used, total } => Some(Fault::new(
            Reason::RootDiskNearlyFull,
            step,
            format!(
                "{used} of {total} bytes of the copy-on-write store are in use, and it may not be \
                 made larger; once it is full the guest's writes fail"
            ),
        )),
        CowVerdict::Full => Some(Fault::new(
            Reason::RootDiskFull,
            step,
            "the copy-on-write store is full and the guest's writes fail; nothing written is lost; \
             once it may be larger, stop the VM and start it",
        )),
        CowVerdict::Lost => Some(Fault::new(
            Reason::RootDiskLost,
            step,
            "the copy-on-write store could not be written and is invalid; the root disk has to be \
             reset",
        )),
    }
}

/// When the agent does something by itself next.
#[must_use]
pub fn next_attempt(next: &Next) -> Option<Moment> {
    match next {
        Next::Stuck(fault) => fault.retry_at,
        Next::WaitUntil(at, Waiting::Restart | Waiting::Retry) => Some(*at),
        Next::WaitUntil(_, Waiting::GuestToShutDown) | Next::Do(_) | Next::Settled(_) => None,
    }
}

/// When a process started, from clock ticks since boot.
#[must_use]
pub fn started_at(identity: &ProcessIdentity, boot: BootTime) -> Option<Timestamp> {
    let ticks = boot.ticks_per_second.max(1);
    let whole = Duration::from_secs(identity.start_ticks / ticks);
    let rest = Duration::from_nanos(identity.start_ticks % ticks * (1_000_000_000 / ticks));
    let booted = Timestamp::from_second(i64::try_from(boot.unix_seconds).ok()?).ok()?;
    booted.checked_add(whole + rest).ok()
}

/// The last known level of a VM's copy-on-write store. Shared by the VM's task and by who looks at
/// all of them.
#[derive(Debug, Clone, Default)]
pub struct Level(Arc<Mutex<Known>>);

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    level: Option<CowLevel>,
    /// The numbers the kernel gave last: it gives none of a store that is full or lost.
    sectors: Option<(u64, u64)>,
}

impl Level {
    /// In sectors: used and in all.
    #[must_use]
    pub fn sectors(&self) -> Option<(u64, u64)> {
        self.0.lock().sectors
    }

    /// The level.
    #[must_use]
    pub fn get(&self) -> Option<CowLevel> {
        self.0.lock().level
    }

    /// Notes a level; whether it differs from what was noted in kind, or by a hundredth of the
    /// store or more, so that a guest that writes does not cause a report at every look. What the
    /// kernel could not say changes nothing.
    pub fn set(&self, level: CowLevel) -> bool {
        let mut known = self.0.lock();
        let sectors = match level.fill {
            SnapshotFill::Used { used, total } => Some((used, total)),
            SnapshotFill::Overflow | SnapshotFill::Invalid => known.sectors,
            SnapshotFill::Unclear => return false,
        };
        let moved = known.level.is_none_or(|before| match (before.fill, level.fill) {
            (
                SnapshotFill::Used { used: before, total: size },
                SnapshotFill::Used { used, total },
            ) => size != total || before.abs_diff(used) >= (total / 100).max(1),
            (before, now) => before != now,
        });
        if moved {
            *known = Known { level: Some(level), sectors };
        }
        moved
    }
}

/// Whether two reports differ in nothing a reader would miss: only in when they were made, or in
/// when a retry comes, by the hair that reckoning it anew makes.
#[must_use]
pub fn alike(a: &VmReport, b: &VmReport) -> bool {
    let close = match (a.next_attempt_at, b.next_attempt_at) {
        (Some(a), Some(b)) => a.duration_since(b).abs() < SignedDuration::from_millis(500),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    let retry = |report: &VmReport| report.fault.as_ref().and_then(|fault| fault.retry_at);
    let mut b = b.clone();
    b.observed_at = a.observed_at;
    b.next_attempt_at = a.next_attempt_at;
    if let Some(fault) = &mut b.fault {
        fault.retry_at = retry(a).or(fault.retry_at);
    }
    close && *a == b
}
