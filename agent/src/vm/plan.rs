//! What to do next for one VM. Pure: from values to a value.
//!
//! Driven by the VM's task, which looks, asks [`next`], performs the one effect, and looks again.
//! Rules:
//! - Missing information never destroys. A teardown needs positive evidence: the process is dead,
//!   and the intent says so or a start begins. An unclear process stops everything.
//! - Every start begins from nothing: what an earlier attempt, an earlier process or an earlier
//!   life of the agent left is torn down first, disks excepted. So a failed step, a crash and a
//!   restart of the agent take the same road, [`teardown`], and it is walked all the time.
//! - A step that fails blocks only what stands on it.

use std::time::Duration;

use crate::assignment::{Assignment, Power, Progress, Record, RestartPolicy};
use crate::clock::Moment;
use crate::handles::VmHandles;
use crate::host::{JailBounds, VmmState};
use crate::naming::VmNames;

use super::cow::{Allocation, CowVerdict};
use super::effect::{Effect, EffectKind, StopSignal};
use super::memory::{Failure, Memory};
use super::probe::{Alive, Probe, Seen};
use crate::report::phase::{Fault, Phase, Reason};

use self::network::NetWanted;

mod limits;
pub mod network;
pub mod start;
pub mod teardown;

/// When rules that could not be read are looked at again.
const RULES_AGAIN: Duration = Duration::from_secs(10);

/// How a guest is asked that has no guest agent. Ctrl-Alt-Del is a key of the keyboard that
/// Firecracker has on x86 only (its `docs/api_requests/actions.md`); elsewhere the VMM itself is
/// asked to end.
pub const STOP_SIGNAL: StopSignal =
    if cfg!(target_arch = "x86_64") { StopSignal::CtrlAltDel } else { StopSignal::Terminate };

/// What is wanted, joined with how far the host has come.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The newest accepted assignment.
    pub assignment: &'a Assignment,
    /// The process has to be ended and another one started.
    pub reboot: bool,
    /// The copy-on-write store has to be made anew.
    pub new_root_disk: bool,
    /// A process that lives has to end, for good or for another one.
    pub must_end: bool,
    /// Whether a process may be started in this life of the agent: after a reboot of the host not
    /// before the server has spoken.
    pub may_start: bool,
    /// The network the guest is to have.
    pub net: Option<&'a NetWanted>,
    /// How disks are made.
    pub allocation: Allocation,
    /// What its processes are to be held to, once it is known under what they run.
    pub bounds: Option<&'a JailBounds>,
}

impl<'a> Wanted<'a> {
    /// From the record.
    #[must_use]
    pub fn of(
        record: &'a Record,
        may_start: bool,
        net: Option<&'a NetWanted>,
        allocation: Allocation,
    ) -> Self {
        Self {
            assignment: &record.assignment,
            reboot: record.reboot_pending(),
            new_root_disk: record.root_disk_pending(),
            must_end: record.must_end(),
            may_start,
            net,
            allocation,
            bounds: None,
        }
    }
}

/// What is remembered: durable, as a hint, and in this life only.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// How far the host has come.
    pub progress: &'a Progress,
    /// Hints to kernel objects.
    pub handles: &'a VmHandles,
    /// This life's.
    pub memory: &'a Memory,
    /// For showing what is left behind.
    pub names: &'a VmNames,
    /// The guest agent is reached.
    pub guest_agent: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Perform one effect, then look again.
    Do(Effect),
    /// Nothing is left to do.
    Settled(Phase),
    /// Nothing can be done before a time.
    WaitUntil(Moment, Waiting),
    /// Failed at it; the fault says when it is tried again, if it is.
    Stuck(Fault),
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The guest was asked to shut down.
    GuestToShutDown,
    /// The process ended by itself and will be started again.
    Restart,
    /// A step failed and will be tried again.
    Retry,
}

/// What to do next for one VM.
#[must_use]
pub fn next(wanted: &Wanted<'_>, recorded: &Recorded<'_>, probe: &Probe, now: Moment) -> Next {
    match probe {
        Probe::Unclear(why) => Next::Stuck(Fault {
            retry_at: Some(now.after(super::memory::backoff(recorded.memory.unclear))),
            ..Fault::new(
                Reason::ProcessUnclear,
                "find the VMM process",
                format!("{why}; the VM is left as it is"),
            )
        }),
        Probe::Alive(alive) if ends(wanted, recorded, alive) => end(wanted, recorded, alive, now),
        Probe::Alive(alive) => run(wanted, recorded, alive, now),
        Probe::Dead(objects) => match wanted.assignment.power {
            Power::Absent => {
                teardown::everything(recorded, objects, now).unwrap_or(Next::Settled(Phase::Gone))
            }
            Power::Stopped => teardown::kernel_objects(recorded, objects, now)
                .or_else(|| wanted.reboot.then(|| step(recorded, Effect::MarkBooted, now)))
                .unwrap_or(Next::Settled(Phase::Stopped)),
            Power::Running | Power::Paused => start::next(wanted, recorded, objects, now),
        },
    }
}

/// Whether a live process has to end: because it is wanted so, or because it is the remains of
/// an attempt that failed or whose agent died before the guest ran. Such a process never had a
/// guest, so ending it loses nothing.
fn ends(wanted: &Wanted<'_>, recorded: &Recorded<'_>, alive: &Alive) -> bool {
    if wanted.must_end {
        return true;
    }
    if recorded.memory.attempt.is_some() {
        return false;
    }
    match &alive.vmm {
        Seen::Present(VmmState::NotStarted) => true,
        Seen::Present(VmmState::Running | VmmState::Paused) => false,
        // Its attempt failed in this life, and it never answered as running.
        Seen::Absent | Seen::Unknown(_) => recorded.memory.failure.is_some(),
    }
}

/// Whether the guest of a live process can be asked to shut down.
fn can_be_asked(wanted: &Wanted<'_>, recorded: &Recorded<'_>, alive: &Alive) -> bool {
    let has_guest = match &alive.vmm {
        Seen::Present(VmmState::Running | VmmState::Paused) => true,
        Seen::Present(VmmState::NotStarted) => false,
        Seen::Absent | Seen::Unknown(_) => {
            recorded.memory.attempt.is_none() && recorded.memory.failure.is_none()
        }
    };
    has_guest && !wanted.assignment.stop_grace.is_zero()
}

fn end(wanted: &Wanted<'_>, recorded: &Recorded<'_>, alive: &Alive, now: Moment) -> Next {
    let memory = recorded.memory;
    match memory.stop_by {
        None if can_be_asked(wanted, recorded, alive) => {
            let paused = alive.vmm == Seen::Present(VmmState::Paused);
            // A paused guest cannot hear the keys. If it cannot be resumed, it is asked all the
            // same, which fails too and leads on to the kill.
            if paused && !memory.steps.contains_key(&EffectKind::Resume) {
                return Next::Do(Effect::Resume);
            }
            // One that did not begin a shutdown is not asked again, and the guest by other means.
            if recorded.guest_agent && !memory.steps.contains_key(&EffectKind::AskGuestAgent) {
                return Next::Do(Effect::AskGuestAgent);
            }
            Next::Do(Effect::AskGuestToStop(STOP_SIGNAL))
        }
        Some(stop_by) if now < stop_by => Next::WaitUntil(stop_by, Waiting::GuestToShutDown),
        None | Some(_) => step(recorded, Effect::Kill, now),
    }
}

fn run(wanted: &Wanted<'_>, recorded: &Recorded<'_>, alive: &Alive, now: Moment) -> Next {
    let memory = recorded.memory;
    if let Some(attempt) = &memory.attempt {
        // Launched by us a moment ago: what comes next is known without asking.
        let configured = attempt.done.contains(&EffectKind::Configure);
        return Next::Do(match attempt.vmm {
            _ if configured => Effect::StartGuest,
            Some(vmm) => Effect::Configure(vmm),
            None => Effect::CheckHost,
        });
    }
    // Also of a VMM that does not answer: its guest runs, and is kept apart from the others.
    let lacks = wanted.net.map(|net| network::lacks(net, alive, now)).unwrap_or_default();
    let mut waits = lacks.fault;
    let has_guest = alive.vmm != Seen::Present(VmmState::NotStarted);
    for effect in lacks.mend.into_iter().filter(|_| has_guest) {
        match step(recorded, effect, now) {
            Next::Stuck(fault) => waits = waits.or(Some(network::degraded(fault))),
            todo => return todo,
        }
    }
    let phase = match (&alive.vmm, wanted.assignment.power) {
        (Seen::Present(VmmState::Running), Power::Paused) => {
            return step(recorded, Effect::Pause, now);
        }
        (Seen::Present(VmmState::Paused), Power::Running) => {
            return step(recorded, Effect::Resume, now);
        }
        (Seen::Present(VmmState::Paused), _) => Phase::Paused,
        (Seen::Present(VmmState::Running), _) => Phase::Running,
        (Seen::Present(VmmState::NotStarted), _) => return step(recorded, Effect::Kill, now),
        (Seen::Absent, _) => return unresponsive(memory, "nobody listens on its API socket", now),
        (Seen::Unknown(why), _) => return unresponsive(memory, why, now),
    };
    let mut settled = Next::Settled(phase);
    if !is_marked(recorded.progress, wanted.assignment, alive) {
        match (step(recorded, Effect::MarkStarted, now), memory.steps.get(&EffectKind::MarkStarted))
        {
            // The guest runs all the same: one failure is not worth a word.
            (Next::Stuck(Fault { retry_at: Some(at), .. }), Some(Failure { attempts: 1, .. })) => {
                settled = Next::WaitUntil(at, Waiting::Retry);
            }
            (Next::Stuck(fault), _) => waits = waits.or(Some(fault)),
            (todo, _) => return todo,
        }
    }
    let mut wants = Vec::new();
    if !memory.collecting {
        wants.push(Effect::CollectOutputs);
    }
    if let Some(CowVerdict::Grow(bytes)) = memory.disk {
        wants.push(Effect::GrowStore { bytes, allocation: wanted.allocation });
    }
    let metadata = wanted.assignment.shape.as_ref().and_then(|s| s.metadata_json.as_ref());
    if metadata.is_some() && metadata != memory.metadata.as_ref() {
        wants.push(Effect::PutMetadata);
    }
    let limits = wanted.bounds.map(|bounds| limits::lacks(bounds, &alive.bounds, now));
    let limits = limits.unwrap_or_default();
    wants.extend(limits.mend);
    for effect in wants {
        match step(recorded, effect, now) {
            Next::Stuck(fault) => waits = waits.or(Some(fault)),
            todo => return todo,
        }
    }
    waits.or(limits.fault).map_or(settled, Next::Stuck)
}

/// Whether the record says that this guest runs: a later agent that finds no process, and no hint
/// to one, knows by it that the guest has ended and was not merely never started.
fn is_marked(progress: &Progress, assignment: &Assignment, alive: &Alive) -> bool {
    progress.started.as_ref().is_some_and(|started| {
        started.boot_number == assignment.boot_number && started.host_boot == alive.identity.boot_id
    })
}

fn unresponsive(memory: &Memory, why: &str, now: Moment) -> Next {
    Next::Stuck(Fault {
        retry_at: Some(now.after(super::memory::backoff(memory.mute))),
        ..Fault::new(Reason::VmmUnresponsive, "ask the VMM for its state", why)
    })
}

/// An effect outside an attempt, or the fault of its last failure until it is due again.
fn step(recorded: &Recorded<'_>, effect: Effect, now: Moment) -> Next {
    let kind = effect.kind();
    match recorded.memory.steps.get(&kind) {
        Some(Failure { fault, .. }) if !recorded.memory.step_due(kind, now) => {
            Next::Stuck(fault.clone())
        }
        _ => Next::Do(effect),
    }
}

/// Whether a process that ended by itself stays down.
#[must_use]
pub fn stays_down(policy: RestartPolicy, crashed: bool) -> bool {
    match policy {
        RestartPolicy::Never => true,
        RestartPolicy::OnFailure => !crashed,
        RestartPolicy::Always => false,
    }
}

#[cfg(test)]
mod tests;
