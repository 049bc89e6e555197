//! What the server would do for each VM now. Pure.
//!
//! From intent, observation and host health to one [`Decision`] per VM. The same function serves
//! the driver, which does what it says, and `ExplainVm`, which only says it. Rules, in this order:
//!
//! 1. A VM without a host is placed, or forgotten when it is wanted absent.
//! 2. Nothing is sent to a host that can't be reached, and nothing is concluded about it.
//! 3. What is not known is not acted on.
//! 4. An agent that holds a newer version than ours is never told an older one.
//! 5. An agent that holds an older version, or nothing, is told ours; until it says that it holds
//!    it, it is told again.
//! 6. An agent that holds our version is left to its work, unless its host was rebooted and it
//!    waits for our word to start anything.
//! 7. A VM wanted absent is forgotten only when its host, asked, holds nothing of it.

use std::sync::Arc;

use banger_proto::ids::{Epoch, Version, VmId};

use crate::fleet::link::Command;
use crate::model::host::{HostHealth, HostState};
use crate::model::intent::{Desired, VmIntent};
use crate::model::observed::{Observation, ObservedVm, Phase, UnknownWhy};

/// One VM as the plan sees it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// What is wanted.
    pub intent: &'a Arc<VmIntent>,
    /// What is known.
    pub observation: &'a Observation,
}

/// What the server would do for one VM.
#[derive(Debug, Clone)]
pub enum Decision {
    /// Nothing: the host has what is wanted.
    InSync,
    /// Tell the agent.
    Send(Command),
    /// Nothing yet.
    Wait(WaitReason),
    /// Nothing, and waiting alone won't help.
    Blocked(BlockedReason),
    /// Drop the intent: nothing of the VM is left.
    Forget,
    /// Look for a host.
    Place,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitReason {
    /// Nothing is known, and why.
    Unknown(UnknownWhy),
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
    /// The agent can't tell whether the process it found is this VM's.
    ProcessUnclear,
}

impl Decision {
    /// Whether it is something to do.
    pub fn is_action(&self) -> bool {
        match self {
            Self::Send(_) | Self::Forget | Self::Place => true,
            Self::InSync | Self::Wait(_) | Self::Blocked(_) => false,
        }
    }
}

/// Decides for the VMs of one host.
pub fn plan_host<'a>(
    subjects: impl IntoIterator<Item = Subject<'a>>,
    health: &HostHealth,
    epoch: Epoch,
) -> Vec<(VmId, Decision)> {
    subjects
        .into_iter()
        .map(|subject| (subject.intent.id, decide(subject, Some(health), epoch)))
        .collect()
}

/// Decides for one VM. `health` is of the host the VM is placed on.
pub fn decide(subject: Subject<'_>, health: Option<&HostHealth>, epoch: Epoch) -> Decision {
    let Subject { intent, observation } = subject;
    if intent.host.is_none() {
        return match intent.desired {
            Desired::Absent => Decision::Forget,
            Desired::Running | Desired::Paused | Desired::Stopped => Decision::Place,
        };
    }
    if let Some(why) = unreachable(health) {
        return Decision::Wait(WaitReason::Unknown(why));
    }
    let version = Version { epoch, generation: intent.generation };
    let send = || Decision::Send(Command { version, intent: Arc::clone(intent) });
    match observation {
        Observation::Unknown { why, .. } => Decision::Wait(WaitReason::Unknown(*why)),
        Observation::Absent => match intent.desired {
            Desired::Absent => Decision::Forget,
            Desired::Running | Desired::Paused | Desired::Stopped => send(),
        },
        Observation::Present(vm) if vm.is_to_be_told(intent.desired, version) => send(),
        Observation::Present(vm) if vm.accepted > version => {
            Decision::Blocked(BlockedReason::AgentHasNewer { seen: vm.accepted })
        }
        Observation::Present(vm) => at_work(intent.desired, vm, version),
    }
}

fn unreachable(health: Option<&HostHealth>) -> Option<UnknownWhy> {
    match health.map(|health| health.state) {
        Some(HostState::Online) => None,
        Some(HostState::Connecting) | None => Some(UnknownWhy::HostNotYetSeen),
        Some(HostState::Suspect | HostState::Offline) => Some(UnknownWhy::HostUnreachable),
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
