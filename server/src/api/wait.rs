//! Waiting until a VM has reached a state of at least a generation, or can't reach it any more.
//!
//! Level-triggered: each change of the VM, and of that VM only, has it looked at again, and what
//! is there already is answered at once. The verdict on one look is [`verdict`], which is pure.

use std::sync::Arc;
use std::time::Duration;

use banger_proto::ids::Generation;
use tokio::time::timeout;

use crate::model::intent::Desired;
use crate::model::status::{VmState, VmStatus};
use crate::watch::{View, VmRecord};

/// How long a wait lasts when nothing was said.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest wait that can be asked for.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// The state was reached.
    Reached,
    /// A step failed, or the process ended and is not started again.
    Failed,
    /// A newer intent leads elsewhere, or the VM is gone.
    Superseded,
    /// The time was up first.
    Timeout,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitTarget {
    state: VmState,
    /// Whether the state is the one that was wanted when the wait began.
    wanted: bool,
    generation: Generation,
    /// Whether the guest is to be ready, too.
    guest_ready: bool,
}

impl WaitTarget {
    /// From a request, seen against the VM when it came. Without a state it is the one that is
    /// wanted; without a generation the present one.
    pub fn of(record: &VmRecord, state: Option<VmState>, generation: Option<Generation>) -> Self {
        let wanted_state = state_of(record.intent.desired);
        let state = state.unwrap_or(wanted_state);
        Self {
            state,
            wanted: state == wanted_state,
            generation: generation.unwrap_or(record.intent.generation),
            guest_ready: false,
        }
    }

    /// Waits for the word of the guest agent, too, if so asked: the state alone is not enough then,
    /// and it is RUNNING, whatever else is wanted. A guest that is paused answers nothing.
    pub fn ready(self, guest_ready: bool) -> Self {
        if guest_ready { Self { guest_ready, state: VmState::Running, ..self } } else { self }
    }

    /// Whether the guest is as ready as it is to be.
    fn is_ready_in(&self, record: &VmRecord) -> bool {
        !self.guest_ready || record.seen().is_some_and(|vm| vm.guest.is_some())
    }
}

/// The state that a wish leads to.
fn state_of(desired: Desired) -> VmState {
    match desired {
        Desired::Running => VmState::Running,
        Desired::Paused => VmState::Paused,
        Desired::Stopped => VmState::Stopped,
        Desired::Absent => VmState::Deleted,
    }
}

/// Whether an agent says of this state for which generation it holds.
fn is_settled(state: VmState) -> bool {
    match state {
        VmState::Running
        | VmState::Paused
        | VmState::Stopped
        | VmState::Crashed
        | VmState::Failed => true,
        VmState::Pending
        | VmState::Preparing
        | VmState::Starting
        | VmState::Stopping
        | VmState::Deleting
        | VmState::Unknown
        | VmState::Deleted => false,
    }
}

/// How the wait ends with the VM as it is now; `None`: it goes on.
pub fn verdict(target: &WaitTarget, record: &VmRecord) -> Option<Waited> {
    let (intent, status) = (&record.intent, &record.status);
    if status.state == VmState::Deleted {
        let reached = target.state == VmState::Deleted;
        return Some(if reached { Waited::Reached } else { Waited::Superseded });
    }
    let settled = status.observed_generation >= target.generation;
    let in_time =
        if is_settled(status.state) { settled } else { intent.generation >= target.generation };
    if status.state == target.state && in_time && target.is_ready_in(record) {
        return Some(Waited::Reached);
    }
    // From here on: can it still come?
    let leads_to = state_of(intent.desired);
    if target.guest_ready && leads_to != VmState::Running {
        return Some(Waited::Superseded);
    }
    if intent.generation > target.generation && target.wanted && leads_to != target.state {
        return Some(Waited::Superseded);
    }
    if leads_to == VmState::Deleted
        && !matches!(target.state, VmState::Deleted | VmState::Deleting | VmState::Unknown)
    {
        return Some(Waited::Superseded);
    }
    // A failed step ends the wait even while the agent retries: whoever waits is told why now, not
    // after its time has run out. A process that a policy starts again is still on its way.
    let failed = status.state == VmState::Failed;
    let gave_up = record.seen().is_some_and(|vm| {
        vm.next_attempt_at.is_none() && !vm.fault.as_ref().is_some_and(|fault| fault.retrying)
    });
    // A guest that shut itself down, and whose policy leaves it so, does not come back either.
    let ended = match status.state {
        VmState::Crashed => true,
        VmState::Stopped => intent.desired.wants_process(),
        _ => false,
    };
    ((failed || (ended && gave_up)) && settled && target.state != status.state)
        .then_some(Waited::Failed)
}

/// Waits. Answers how it ended and the VM as it was then; `None` when the server is shutting down.
pub async fn wait_vm(
    view: &Arc<View>,
    record: Arc<VmRecord>,
    target: WaitTarget,
    patience: Duration,
) -> Option<(Arc<VmRecord>, Waited)> {
    let wait = view.wait(record.id());
    let mut last = record;
    let ended = {
        let last = &mut last;
        let looking = wait.until(|now| {
            *last = match now {
                Some(record) => Arc::clone(record),
                None => deleted(last),
            };
            verdict(&target, last)
        });
        // Cancel-safe: looking changes nothing but what was seen last.
        tokio::select! {
            ended = timeout(patience, looking) => Some(ended.unwrap_or(Waited::Timeout)),
            () = view.draining() => None,
        }
    };
    ended.map(|ended| (last, ended))
}

/// The VM as it is once nothing of it is left.
fn deleted(last: &Arc<VmRecord>) -> Arc<VmRecord> {
    if last.status.state == VmState::Deleted {
        return Arc::clone(last);
    }
    let mut record = VmRecord::clone(last);
    // When exactly is told by the stream and the history; here only that it was after this.
    record.status = VmStatus::deleted(&record.intent, last.intent.updated_at);
    record.observation = crate::model::observed::Observation::Absent;
    Arc::new(record)
}

#[cfg(test)]
mod tests;
