//! What a driver remembers of each VM: what is under way, when it may be acted on again, and
//! whether its agent has confirmed a delete. Held in memory only.
//!
//! A command that was accepted is sent again only when its agent is not seen to hold it for a
//! while; one that failed, after a back-off. A newer generation starts afresh: nobody waits for the
//! back-off of a wish that is no longer theirs. So does the other step: a VM that its agent says is
//! gone is forgotten at once, however lately the agent has accepted the delete.
//!
//! A driver alone changes the [`Attempts`] of its host; the plan and `ExplainVm` read them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use banger_proto::ids::{Generation, HostId, VmId};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::fleet::backoff::Backoff;

/// How long the agent may take to be seen to hold what it has accepted, at first.
const SHORTEST_ECHO: Duration = Duration::from_secs(2);

/// What is done for a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Its agent is sent a command.
    Send,
    /// Its row is removed.
    Forget,
}

/// Why a step is not done again at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// It was done, and what came of it is not seen yet.
    NotSeenYet,
    Failed,
}

#[derive(Debug)]
struct Attempt {
    generation: Generation,
    step: Step,
    pause: Pause,
    not_before: Instant,
    failures: Backoff,
    echoes: Backoff,
}

/// The attempts of one driver.
#[derive(Debug, Default)]
pub struct Attempts {
    by_vm: HashMap<VmId, Attempt>,
    under_way: HashSet<VmId>,
    confirmed: HashSet<VmId>,
}

impl Attempts {
    /// From when on this step may be done for this generation of the VM, and why not before;
    /// `None`: at once.
    pub(super) fn not_before(
        &self,
        vm: VmId,
        generation: Generation,
        step: Step,
    ) -> Option<(Instant, Pause)> {
        self.by_vm
            .get(&vm)
            .filter(|attempt| (attempt.generation, attempt.step) == (generation, step))
            .map(|attempt| (attempt.not_before, attempt.pause))
    }

    /// Whether a step for the VM has begun and its outcome is not known yet.
    pub(super) fn is_under_way(&self, vm: VmId) -> bool {
        self.under_way.contains(&vm)
    }

    /// Whether the agent has taken the delete of this VM, or answered that it holds nothing of it:
    /// whatever of an earlier word is still on its way, it refuses.
    pub(super) fn is_confirmed_gone(&self, vm: VmId) -> bool {
        self.confirmed.contains(&vm)
    }

    /// A step for these VMs begins.
    pub(super) fn begin(&mut self, vms: impl IntoIterator<Item = VmId>) {
        self.under_way.extend(vms);
    }

    /// The step that was under way for the VM is over.
    pub(super) fn end(&mut self, vm: VmId) {
        self.under_way.remove(&vm);
    }

    /// The agent has confirmed that the VM is to be gone.
    pub(super) fn confirm_gone(&mut self, vm: VmId) {
        self.confirmed.insert(vm);
    }

    /// The VM's row is removed.
    pub(super) fn forgotten(&mut self, vm: VmId) {
        self.confirmed.remove(&vm);
    }

    /// It was done: look away until that can be seen.
    pub(super) fn accepted(&mut self, vm: VmId, generation: Generation, step: Step, now: Instant) {
        let attempt = self.of(vm, generation, step, now);
        attempt.failures.reset();
        attempt.pause = Pause::NotSeenYet;
        attempt.not_before = now + attempt.echoes.next_delay();
    }

    /// It failed: try again later. Answers how often it has failed.
    pub(super) fn failed(
        &mut self,
        vm: VmId,
        generation: Generation,
        step: Step,
        now: Instant,
    ) -> u32 {
        let attempt = self.of(vm, generation, step, now);
        attempt.pause = Pause::Failed;
        attempt.not_before = now + attempt.failures.next_delay();
        attempt.failures.tries()
    }

    /// Lets go of when to act on all VMs but these, which still need something.
    pub(super) fn keep(&mut self, vms: &HashSet<VmId>) {
        self.by_vm.retain(|vm, _| vms.contains(vm));
    }

    /// Lets go of what was confirmed of all VMs but these, which are on the host.
    pub(super) fn keep_confirmed(&mut self, placed: &HashSet<VmId>) {
        self.confirmed.retain(|vm| placed.contains(vm));
    }

    /// A new session has begun: what failed for want of a connection may be tried at once.
    pub(super) fn new_session(&mut self) {
        self.by_vm.clear();
    }

    fn of(&mut self, vm: VmId, generation: Generation, step: Step, now: Instant) -> &mut Attempt {
        let seed = vm.uuid().as_u128();
        let fresh = || Attempt {
            generation,
            step,
            pause: Pause::NotSeenYet,
            not_before: now,
            failures: Backoff::for_commands(seed),
            echoes: Backoff::new(SHORTEST_ECHO, 15 * SHORTEST_ECHO, seed),
        };
        let attempt = self.by_vm.entry(vm).or_insert_with(fresh);
        if (attempt.generation, attempt.step) != (generation, step) {
            *attempt = fresh();
        }
        attempt
    }
}

/// The attempts of all drivers, by host.
#[derive(Debug, Default)]
pub(super) struct AllAttempts {
    by_host: Mutex<HashMap<HostId, Arc<Mutex<Attempts>>>>,
}

impl AllAttempts {
    pub(super) fn of(&self, host: HostId) -> Arc<Mutex<Attempts>> {
        Arc::clone(self.by_host.lock().entry(host).or_default())
    }

    /// The host is gone.
    pub(super) fn forget(&self, host: HostId) {
        self.by_host.lock().remove(&host);
    }
}

#[cfg(test)]
mod tests;
