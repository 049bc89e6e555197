//! What the server does for each VM now: the whole decision. Pure.
//!
//! From intent, observation and what is [known](Known) of the host to one [`Decision`] per VM. The
//! same function serves the driver of a host and the placement task, which do what it says and make
//! no choice of their own, and `ExplainVm`, which only says it. Rules, in this order:
//!
//! 1. A VM without a host is placed, or forgotten when it is wanted absent.
//! 2. Nothing is sent to a host that can't be reached, and nothing is concluded about it.
//! 3. What is not known is not acted on.
//! 4. An agent that holds a newer version than ours is never told an older one.
//! 5. An agent that holds an older version, or nothing, is told ours; until it says that it holds
//!    it, it is told again.
//! 6. An agent that holds our version is left to its work, unless its host was rebooted and it
//!    waits for our word to start anything.
//! 7. A VM wanted absent is forgotten only when its host holds nothing of it and has confirmed the
//!    delete. A create that we sent, or a life of the server before us, may still arrive though the
//!    inventory has nothing: what comes after the confirmation is refused as old.
//! 8. One step at a time for a VM, and none again before what came of the last one can be seen, or
//!    before its back-off is over.
//! 9. What is to run is told only to a host that has its images; those it lacks are brought first.
//!
//! The driver may have no room to send all at once. That delays a step and changes nothing of it.

use std::sync::Arc;

use banger_proto::ids::{Epoch, Version, VmId};
use tokio::time::Instant;

use super::attempts::{Attempts, Pause, Step};
use super::needs::{self, Fetch, HostImages};
use crate::fleet::link::Command;
use crate::model::host::{HostHealth, HostState, HostView};
use crate::model::intent::{Desired, VmIntent};
use crate::model::observed::{Observation, ObservedVm, Phase, UnknownWhy};
use crate::watch::VmRecord;

/// One VM as the plan sees it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// What is wanted.
    pub intent: &'a Arc<VmIntent>,
    /// What is known.
    pub observation: &'a Observation,
}

impl<'a> Subject<'a> {
    pub(super) fn of(record: &'a VmRecord) -> Self {
        Self { intent: &record.intent, observation: &record.observation }
    }
}

/// What the plan goes by beside the VM.
#[derive(Debug)]
pub struct Known<'a> {
    /// The host that the VM is placed on; `None` when it has none.
    pub host: Option<&'a HostView>,
    /// Whether its session is up and its inventory complete.
    pub connected: bool,
    /// What it has of the images that VMs need.
    pub images: &'a HostImages,
    /// What was tried for its VMs.
    pub attempts: &'a Attempts,
    /// Of the store.
    pub epoch: Epoch,
    /// What back-offs are measured by.
    pub now: Instant,
}

/// What the server does for one VM.
#[derive(Debug, Clone)]
pub enum Decision {
    /// Nothing: the host has what is wanted.
    InSync,
    /// Tell the agent.
    Send(Command),
    /// Bring images to the host; the agent is told when it has them all.
    Fetch(Command, Fetch),
    /// Have the agent delete what its host already shows nothing of, so that nothing comes late.
    ConfirmGone(Command),
    /// Drop the intent: nothing of the VM is left.
    Forget,
    /// Look for a host.
    Place,
    /// Nothing before this time; then the step.
    WaitUntil {
        at: Instant,
        /// What is done then, if it is still to be done.
        step: Step,
        /// Why not now.
        pause: Pause,
    },
    /// Nothing yet.
    Wait(WaitReason),
    /// Nothing, and waiting alone won't help.
    Blocked(BlockedReason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitReason {
    /// Nothing is known, and why.
    Unknown(UnknownWhy),
    /// A step is under way and has no answer yet.
    UnderWay,
    /// The agent holds the newest version and has not finished.
    AgentAtWork,
    /// The agent will try again by itself after a failure.
    AgentRetries,
}

/// What is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockedReason {
    /// The agent holds a newer version than this server's.
    AgentHasNewer {
        /// The version it holds.
        seen: Version,
    },
    /// The agent failed and won't try again by itself.
    AgentGaveUp,
    /// The process ended by itself, and the restart policy leaves it so.
    EndedByItself,
    /// The guest runs as is wanted, and something of it is not as it is to be; the agent can't mend
    /// that.
    Degraded,
    /// The agent can't tell whether the process it found is this VM's.
    ProcessUnclear,
}

impl Decision {
    /// Whether something is left to do for the server, now or after a wait of its own.
    pub fn needs_the_server(&self) -> bool {
        match self {
            Self::Send(_)
            | Self::Fetch(..)
            | Self::ConfirmGone(_)
            | Self::Forget
            | Self::Place
            | Self::WaitUntil { .. }
            | Self::Wait(WaitReason::UnderWay) => true,
            Self::InSync
            | Self::Wait(
                WaitReason::Unknown(_) | WaitReason::AgentAtWork | WaitReason::AgentRetries,
            )
            | Self::Blocked(_) => false,
        }
    }
}

/// Decides for the VMs of one host, or for those without one, in their order.
pub fn plan_host<'a>(
    subjects: impl IntoIterator<Item = Subject<'a>>,
    known: &Known<'_>,
) -> Vec<(VmId, Decision)> {
    subjects.into_iter().map(|subject| (subject.intent.id, decide(subject, known))).collect()
}

/// Decides for one VM.
pub fn decide(subject: Subject<'_>, known: &Known<'_>) -> Decision {
    let Subject { intent, observation } = subject;
    let host = match (intent.host, known.host) {
        (None, _) => {
            return match intent.desired {
                Desired::Absent => Decision::Forget,
                Desired::Running | Desired::Paused | Desired::Stopped => Decision::Place,
            };
        }
        (Some(_), None) => {
            return Decision::Wait(WaitReason::Unknown(UnknownWhy::HostNotYetSeen));
        }
        (Some(_), Some(host)) => host,
    };
    if let Some(why) = unreachable(&host.health, known.connected) {
        return Decision::Wait(WaitReason::Unknown(why));
    }
    let version = Version { epoch: known.epoch, generation: intent.generation };
    match observation {
        Observation::Unknown { why, .. } => Decision::Wait(WaitReason::Unknown(*why)),
        Observation::Absent => match intent.desired {
            Desired::Absent if known.attempts.is_confirmed_gone(intent.id) => {
                when_due(intent, Step::Forget, known, || Decision::Forget)
            }
            Desired::Absent => when_due(intent, Step::Send, known, || {
                Decision::ConfirmGone(Command { version, intent: Arc::clone(intent) })
            }),
            Desired::Running | Desired::Paused | Desired::Stopped => {
                send(intent, version, host, known)
            }
        },
        Observation::Present(vm) if vm.is_to_be_told(intent.desired, version) => {
            send(intent, version, host, known)
        }
        Observation::Present(vm) if vm.accepted > version => {
            Decision::Blocked(BlockedReason::AgentHasNewer { seen: vm.accepted })
        }
        Observation::Present(vm) => at_work(intent.desired, vm, version),
    }
}

fn unreachable(health: &HostHealth, connected: bool) -> Option<UnknownWhy> {
    match health.state {
        HostState::Online if connected => None,
        HostState::Connecting => Some(UnknownWhy::HostNotYetSeen),
        HostState::Revoked => Some(UnknownWhy::HostRevoked),
        // Online without a connection: it was heard a moment ago, and its health follows in
        // seconds.
        HostState::Online | HostState::Suspect | HostState::Offline => {
            Some(UnknownWhy::HostUnreachable)
        }
    }
}

fn send(intent: &Arc<VmIntent>, version: Version, host: &HostView, known: &Known<'_>) -> Decision {
    when_due(intent, Step::Send, known, || {
        let command = Command { version, intent: Arc::clone(intent) };
        match needs::missing(intent, &host.record.name, known.images, known.now) {
            Some(fetch) => Decision::Fetch(command, fetch),
            None => Decision::Send(command),
        }
    })
}

/// The step, if no other is under way and it is not too early for this one.
fn when_due(
    intent: &VmIntent,
    step: Step,
    known: &Known<'_>,
    decision: impl FnOnce() -> Decision,
) -> Decision {
    if known.attempts.is_under_way(intent.id) {
        return Decision::Wait(WaitReason::UnderWay);
    }
    match known.attempts.not_before(intent.id, intent.generation, step) {
        Some((at, pause)) if at > known.now => Decision::WaitUntil { at, step, pause },
        Some(_) | None => decision(),
    }
}

/// The agent holds our version: how far is it?
fn at_work(desired: Desired, vm: &ObservedVm, version: Version) -> Decision {
    let retrying =
        vm.next_attempt_at.is_some() || vm.fault.as_ref().is_some_and(|fault| fault.retrying);
    let ended = |reason| {
        if retrying { Decision::Wait(WaitReason::AgentRetries) } else { Decision::Blocked(reason) }
    };
    match vm.phase {
        Phase::Unclear => Decision::Blocked(BlockedReason::ProcessUnclear),
        Phase::Failed => ended(BlockedReason::AgentGaveUp),
        Phase::Crashed if desired.wants_process() => ended(BlockedReason::EndedByItself),
        Phase::Stopped if desired.wants_process() && vm.settled >= version => {
            ended(BlockedReason::EndedByItself)
        }
        Phase::Running | Phase::Paused
            if vm.fault.is_some() && vm.settled >= version && desired != Desired::Absent =>
        {
            ended(BlockedReason::Degraded)
        }
        Phase::Preparing
        | Phase::Starting
        | Phase::Running
        | Phase::Paused
        | Phase::Stopping
        | Phase::Stopped
        | Phase::Crashed
        | Phase::Deleting => {
            // A VM wanted absent is in sync when it is gone, not before.
            if vm.settled >= version && desired != Desired::Absent {
                Decision::InSync
            } else {
                Decision::Wait(WaitReason::AgentAtWork)
            }
        }
    }
}

#[cfg(test)]
mod tests;
