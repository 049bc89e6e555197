//! One host's loop: look, plan, do, look again.
//!
//! What is done for a VM, when, and what it waits for is the [plan](super::plan)'s; here it is
//! carried out, and what came of it is remembered for the next plan.
//!
//! One task per host. It is woken by the view (an intent or an observation changed), by its own
//! flights coming back, and by a timer; it does not care which: every pass is the same. A pass
//! looks at the VMs for which the view says that the server has something to do, and every
//! [`FULL_PASS`] at all of them, so that a fault in that index heals by itself.
//!
//! Nothing waits for an agent here but flights, of which there are at most [`MAX_FLIGHTS`]; a VM is
//! in one at a time. Failures are per VM and tried again after a back-off.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::ids::{Generation, HostId, Version, VmId};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Parts;
use super::apply::{self, Landed, Landing};
use super::attempts::{Attempts, Step};
use super::needs::IMAGE_TRANSFER;
use super::plan::{Decision, Subject, plan_host};
use crate::fleet::link::{AgentLink, Command};
use crate::fleet::observed::{FleetSink as _, Sighting};
use crate::model::intent::Desired;
use crate::model::status::Trouble;
use crate::watch::VmRecord;

/// How often every VM of the host is looked at.
pub(super) const FULL_PASS: Duration = Duration::from_secs(30);

/// Calls to one agent at a time.
const MAX_FLIGHTS: usize = 4;

/// VMs in one flight at most.
const FLIGHT_VMS: usize = 256;

/// After a pass over many VMs the next one waits this long for each, so that a host with much
/// to do is looked at in larger steps. A hundred cost a millisecond.
const REST_PER_VM: Duration = Duration::from_micros(10);

/// A shorter rest is none: the timer counts milliseconds, and one VM must not wait for that.
const SHORTEST_REST: Duration = Duration::from_millis(1);

/// A command refused so often in a row is shown with its VM.
const FAILURES_SHOWN: u32 = 3;

type Flight = BoxFuture<'static, Vec<Landed>>;

pub(super) struct Driver {
    parts: Arc<Parts>,
    host: HostId,
    wake: Arc<Notify>,
    attempts: Arc<Mutex<Attempts>>,
    flights: FuturesUnordered<Flight>,
    was_ready: bool,
}

impl Driver {
    pub(super) fn new(parts: Arc<Parts>, host: HostId) -> Self {
        let wake = parts.view.driver_wake(host);
        let attempts = parts.knowledge.attempts(host);
        Self { parts, host, wake, attempts, flights: FuturesUnordered::new(), was_ready: false }
    }

    /// Runs until it is cancelled. Commands under way are dropped then: whether they arrived is
    /// seen by the next life of the server.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let mut next_full = Instant::now();
        loop {
            let now = Instant::now();
            let full = now >= next_full;
            if full {
                next_full = now + FULL_PASS;
            }
            let (looked_at, again) = self.pass(full, now);
            let next_look = again.map_or(next_full, |again| again.min(next_full));
            let rest =
                Some(REST_PER_VM.saturating_mul(looked_at)).filter(|rest| *rest >= SHORTEST_REST);
            let rest = rest.unwrap_or_default();
            // Cancel-safe: dropped only together with the driver.
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.until_look(now + rest, next_look) => {}
            }
        }
    }

    /// Waits until the rest after a pass is over, and then for a reason to look again: a wake-up, a
    /// flight that came back, also one during the rest, or the time.
    async fn until_look(&mut self, rested_at: Instant, next_look: Instant) {
        let wake = Arc::clone(&self.wake);
        let mut rested = rested_at <= Instant::now();
        let mut landed_meanwhile = false;
        while !(rested && landed_meanwhile) {
            // Cancel-safe: a wake-up not taken is kept by `Notify`, a flight stays in the set, and
            // the sleeps are made anew. No arm's body awaits.
            tokio::select! {
                () = wake.notified(), if rested => return,
                Some(landed) = self.flights.next() => {
                    self.land(landed);
                    landed_meanwhile = true;
                }
                () = sleep_until(rested_at), if !rested => rested = true,
                () = sleep_until(next_look), if rested => return,
            }
        }
    }

    /// One pass. Answers how many VMs it looked at, and when one of them may be acted on again.
    fn pass(&mut self, full: bool, now: Instant) -> (u32, Option<Instant>) {
        let link = self.parts.fleet.ready_link(self.host);
        let was_ready = std::mem::replace(&mut self.was_ready, link.is_some());
        let Some(link) = link else { return (0, None) };
        if !was_ready {
            self.attempts.lock().new_session();
            self.parts.delivery.new_session(self.host);
        }
        let Some(host) = self.parts.view.host(self.host) else { return (0, None) };
        let records = if full {
            self.parts.view.placed_on(self.host)
        } else {
            self.parts.view.unsettled(self.host)
        };
        let subjects = records.iter().map(|record| Subject::of(record));
        let knowledge = &self.parts.knowledge;
        let plan = knowledge.of(Some(&host.view), now, |known| plan_host(subjects, known));
        let mut soonest = None;
        let mut wait = |at| soonest = Some(soonest.map_or(at, |soonest: Instant| soonest.min(at)));
        let mut commands = Vec::new();
        let mut forgets = Vec::new();
        let mut needing = HashSet::new();
        for ((vm, decision), record) in plan.into_iter().zip(&records) {
            if decision.needs_the_server() {
                needing.insert(vm);
            }
            match decision {
                Decision::Send(command) => {
                    // Not still to be read when the agent reports that it runs.
                    if waits_for_images(record) {
                        self.parts.view.trouble(vm, command.version, None);
                    }
                    commands.push(command);
                }
                Decision::ConfirmGone(command) => commands.push(command),
                Decision::Fetch(command, fetch) => {
                    for digest in &fetch.begin {
                        self.parts.delivery.begin(self.host, &link, digest);
                    }
                    wait(fetch.again);
                    self.parts.view.trouble(vm, command.version, Some(fetch.trouble()));
                }
                Decision::Forget => forgets.push((vm, record.intent.generation)),
                Decision::WaitUntil { at, .. } => wait(at),
                // Only VMs without a host are placed, and those are not this driver's.
                Decision::Place | Decision::InSync | Decision::Wait(_) | Decision::Blocked(_) => {}
            }
        }
        {
            let mut attempts = self.attempts.lock();
            attempts.keep(&needing);
            if full {
                let placed: HashSet<VmId> = records.iter().map(|record| record.id()).collect();
                attempts.keep_confirmed(&placed);
            }
        }
        self.launch(&link, commands, forgets);
        let looked_at = u32::try_from(records.len()).unwrap_or(u32::MAX);
        self.parts.metrics.reconcile_pass(looked_at, now.elapsed());
        (looked_at, soonest)
    }

    /// Sends off what fits. What does not is planned again when a flight comes back.
    fn launch(
        &mut self,
        link: &Arc<dyn AgentLink>,
        mut commands: Vec<Command>,
        forgets: Vec<(VmId, Generation)>,
    ) {
        if !forgets.is_empty() && self.flights.len() < MAX_FLIGHTS {
            self.attempts.lock().begin(forgets.iter().map(|(vm, _)| *vm));
            let (store, clock) = (self.parts.store.clone(), Arc::clone(&self.parts.clock));
            self.flights.push(Box::pin(apply::forget(store, clock, forgets)));
        }
        while !commands.is_empty() && self.flights.len() < MAX_FLIGHTS {
            let rest = commands.split_off(commands.len().min(FLIGHT_VMS));
            let part = std::mem::replace(&mut commands, rest);
            self.attempts.lock().begin(part.iter().map(Command::vm));
            self.flights.push(Box::pin(apply::send(Arc::clone(link), part)));
        }
    }

    fn land(&mut self, landed: Vec<Landed>) {
        let now = Instant::now();
        let attempts = Arc::clone(&self.attempts);
        for Landed { vm, generation, outcome } in landed {
            let mut attempts = attempts.lock();
            attempts.end(vm);
            match outcome {
                Landing::Accepted { version, intent } => {
                    if intent.desired == Desired::Absent {
                        attempts.confirm_gone(vm);
                    }
                    attempts.accepted(vm, generation, Step::Send, now);
                    self.parts.view.trouble(vm, version, None);
                    let lag = self.parts.clock.now().duration_since(intent.updated_at);
                    self.parts.metrics.intent_delivered(lag.unsigned_abs());
                }
                Landing::Absent => {
                    // To be forgotten at once.
                    attempts.confirm_gone(vm);
                    self.parts.view.observed(self.host, vec![Sighting::Gone(vm)]);
                }
                Landing::Forgotten => {
                    attempts.forgotten(vm);
                    self.parts.delivery.tidy_soon();
                    attempts.accepted(vm, generation, Step::Forget, now);
                }
                Landing::Stale { version, seen } => {
                    attempts.failed(vm, generation, Step::Send, now);
                    let message = format!("the agent holds version {seen}, newer than {version}");
                    tracing::warn!(vm.id = %vm, host.id = %self.host, %seen, sent = %version,
                        "the agent holds a newer version than the server");
                    self.show(vm, version, "AGENT_HAS_NEWER_GENERATION", message);
                }
                Landing::Refused { version, reason, message } => {
                    attempts.failed(vm, generation, Step::Send, now);
                    tracing::warn!(vm.id = %vm, host.id = %self.host, why = message,
                        "the agent refused a command");
                    self.show(vm, version, reason.as_str(), message);
                }
                Landing::NoAnswer { message } => {
                    let failures = attempts.failed(vm, generation, Step::Send, now);
                    if failures >= FAILURES_SHOWN {
                        let version = Version { epoch: self.parts.epoch, generation };
                        self.show(vm, version, "AGENT_DOES_NOT_ANSWER", message);
                    }
                }
                Landing::NotForgotten { message } => {
                    attempts.failed(vm, generation, Step::Forget, now);
                    tracing::warn!(vm.id = %vm, why = message, "a VM can't be forgotten yet");
                }
            }
        }
    }

    fn show(&self, vm: VmId, version: Version, reason: &'static str, message: String) {
        self.parts.view.trouble(vm, version, Some(Trouble { reason, message }));
    }
}

fn waits_for_images(record: &VmRecord) -> bool {
    record.trouble.as_ref().is_some_and(|trouble| trouble.reason == IMAGE_TRANSFER)
}

#[cfg(test)]
mod tests;
