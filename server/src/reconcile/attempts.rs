//! When each VM may be acted on again.
//!
//! A command that was accepted is sent again only when its agent is not seen to hold it for a
//! while; one that failed, after a back-off. A newer generation starts afresh: nobody waits for the
//! back-off of a wish that is no longer theirs. So does the other step: a VM that its agent says is
//! gone is forgotten at once, however lately the agent has accepted the delete.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use banger_proto::ids::{Generation, VmId};
use tokio::time::Instant;

use crate::fleet::backoff::Backoff;

/// How long the agent may take to be seen to hold what it has accepted, at first.
const SHORTEST_ECHO: Duration = Duration::from_secs(2);

/// What is done for a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Its agent is sent a command.
    Send,
    /// Its row is removed.
    Forget,
}

#[derive(Debug)]
struct Attempt {
    generation: Generation,
    step: Step,
    not_before: Instant,
    failures: Backoff,
    echoes: Backoff,
}

/// The attempts of one driver.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    by_vm: HashMap<VmId, Attempt>,
}

impl Attempts {
    /// From when on this step may be done for this generation of the VM; `None`: at once.
    pub(super) fn not_before(
        &self,
        vm: VmId,
        generation: Generation,
        step: Step,
    ) -> Option<Instant> {
        self.by_vm
            .get(&vm)
            .filter(|attempt| (attempt.generation, attempt.step) == (generation, step))
            .map(|attempt| attempt.not_before)
    }

    /// The agent accepted: look away until it can be seen.
    pub(super) fn accepted(&mut self, vm: VmId, generation: Generation, step: Step, now: Instant) {
        let attempt = self.of(vm, generation, step, now);
        attempt.failures.reset();
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
        attempt.not_before = now + attempt.failures.next_delay();
        attempt.failures.tries()
    }

    /// Forgets all VMs but these, which still need something.
    pub(super) fn keep(&mut self, vms: &HashSet<VmId>) {
        self.by_vm.retain(|vm, _| vms.contains(vm));
    }

    /// A new session has begun: what failed for want of a connection may be tried at once.
    pub(super) fn clear(&mut self) {
        self.by_vm.clear();
    }

    fn of(&mut self, vm: VmId, generation: Generation, step: Step, now: Instant) -> &mut Attempt {
        let seed = vm.uuid().as_u128();
        let fresh = || Attempt {
            generation,
            step,
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

#[cfg(test)]
mod tests;
