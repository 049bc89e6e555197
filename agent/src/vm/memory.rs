//! What a VM's task remembers in this life of the agent: attempts, failures, waits.
//!
//! None of it is needed to know what the host holds; losing it in a restart of the agent costs a
//! back-off or a deadline that begins anew. The task folds what it saw into it with
//! [`Memory::ended_by_itself`], and the outcome of an effect with [`Memory::done`] and
//! [`Memory::failed`]; all three are pure, the plan only reads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::assignment::{Exit, Power};
use crate::clock::Moment;
use crate::host::{Change, DeviceNumber, VmmKind};

use super::cow::CowVerdict;
use super::effect::EffectKind;
use crate::report::phase::{Fault, Reason};

/// First and longest wait between attempts.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A process that lived this long starts its back-off anew.
const STEADY: Duration = Duration::from_secs(60);

/// The wait after a number of failures in a row, from 1.
#[must_use]
pub fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    BACKOFF.0.saturating_mul(1 << doublings).min(BACKOFF.1)
}

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// The attempt to start that is under way.
    pub attempt: Option<Attempt>,
    /// The attempt to start that failed last.
    pub failure: Option<Failure>,
    /// Files that the failed attempt made, to be undone with it.
    pub undo: BTreeSet<EffectKind>,
    /// Steps outside an attempt that failed, until they succeed.
    pub steps: BTreeMap<EffectKind, Failure>,
    /// The guest was asked to shut down and has until then.
    pub stop_by: Option<Moment>,
    /// The process ended by itself, and that is not acted upon yet.
    pub ended: Option<Exit>,
    /// How the process last ended, to be shown.
    pub exit: Option<Exit>,
    /// Starts after ends by itself.
    pub restart: Restart,
    /// Output is being collected.
    pub collecting: bool,
    /// The last try to collect output failed, as by a lost answer, and may have begun all the same.
    pub may_collect: bool,
    /// What follows from how full the root disk of a VM with a process was when it was looked at.
    pub disk: Option<CowVerdict>,
    /// The metadata document that the VMM has, when we told it.
    pub metadata: Option<String>,
    /// Looks in a row that could not tell whether the process lives.
    pub unclear: u32,
    /// Looks in a row at a process whose API did not answer.
    pub mute: u32,
}

/// An attempt to start: all effects from the first check to the start of the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempt {
    /// The effects that succeeded.
    pub done: BTreeSet<EffectKind>,
    /// Those of them that made something.
    pub made: BTreeSet<EffectKind>,
    /// What the guest is to run under, once the host was checked.
    pub vmm: Option<VmmKind>,
    /// The root disk's device.
    pub root_device: Option<DeviceNumber>,
}

/// Something that failed, once or several times in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What happened the last time.
    pub fault: Fault,
    /// How often in a row.
    pub attempts: u32,
}

/// Back-off of restarts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restart {
    /// Ends by itself in a row.
    pub streak: u32,
    /// Not before this.
    pub not_before: Option<Moment>,
    /// Since when the present process runs.
    pub alive_since: Option<Moment>,
}

impl Memory {
    /// Notes that the process ended without being asked.
    pub fn ended_by_itself(&mut self, exit: Exit, now: Moment) {
        let steady = self.restart.alive_since.is_some_and(|since| since.until(now) >= STEADY);
        self.restart.streak = if steady { 1 } else { self.restart.streak + 1 };
        self.restart.not_before = Some(now.after(backoff(self.restart.streak)));
        self.exit = Some(exit.clone());
        self.ended = Some(exit);
        self.process_gone();
    }

    /// Notes that there is no process any more, however it ended.
    pub fn process_gone(&mut self) {
        self.restart.alive_since = None;
        self.stop_by = None;
        self.metadata = None;
        self.disk = None;
        self.steps.retain(|effect, _| {
            !matches!(
                effect,
                EffectKind::Kill
                    | EffectKind::Pause
                    | EffectKind::Resume
                    | EffectKind::PutMetadata
                    | EffectKind::GrowStore
                    | EffectKind::AskGuestAgent
            ) && !effect.makes_network()
        });
    }

    /// The network of the host is not what it was: what failed of this VM's is tried at once.
    pub fn network_changed(&mut self) {
        self.steps.retain(|effect, _| !effect.makes_network());
    }

    /// An effect is about to be performed on a VM without a process: a forward one begins an
    /// attempt to start, unless one is under way.
    pub fn begin(&mut self, effect: EffectKind) {
        if effect.is_forward() && self.attempt.is_none() {
            self.attempt = Some(Attempt::default());
            self.undo.clear();
        }
    }

    /// Notes an effect that succeeded.
    pub fn done(&mut self, effect: EffectKind, change: Change, context: &Success<'_>) {
        self.steps.remove(&effect);
        if let Some(attempt) = self.attempt.as_mut().filter(|_| effect.is_forward()) {
            attempt.done.insert(effect);
            if change == Change::Made {
                attempt.made.insert(effect);
            }
        }
        match effect {
            EffectKind::CollectOutputs => (self.collecting, self.may_collect) = (true, false),
            EffectKind::StopOutputs => (self.collecting, self.may_collect) = (false, false),
            EffectKind::Launch => self.ended = None,
            EffectKind::Configure | EffectKind::PutMetadata => {
                self.metadata = context.metadata.map(str::to_owned);
            }
            EffectKind::StartGuest => {
                self.attempt = None;
                self.failure = None;
                self.undo.clear();
                self.restart.alive_since = Some(context.now);
            }
            EffectKind::AskGuestAgent | EffectKind::AskGuestToStop => {
                self.stop_by = Some(context.now.after(context.stop_grace))
            }
            EffectKind::Kill => self.process_gone(),
            EffectKind::MarkHalted => self.ended = None,
            EffectKind::MarkBooted => {
                // A new number starts without the debts of the old one.
                self.failure = None;
                self.ended = None;
                self.restart = Restart::default();
            }
            EffectKind::RemoveCowFile => {
                self.undo.remove(&EffectKind::MakeCowFile);
            }
            EffectKind::RemoveWorkDisk => {
                self.undo.remove(&EffectKind::MakeWorkDisk);
            }
            _ => {}
        }
    }

    /// Notes an effect that failed. A forward one ends the attempt, which is then undone, and so
    /// does one that was to make room for a new root disk.
    pub fn failed(&mut self, effect: EffectKind, reason: Reason, message: String, now: Moment) {
        let mut fault = Fault::new(reason, effect.row().step, message);
        self.may_collect |= effect == EffectKind::CollectOutputs;
        let of_an_attempt = effect.is_forward()
            || matches!(
                effect,
                EffectKind::RemoveCowFile | EffectKind::RemoveRootCopy | EffectKind::MarkRootDisk
            );
        if of_an_attempt && self.attempt.is_some() {
            self.attempt_failed(fault, now);
            return;
        }
        match effect {
            // Whatever kept the guest from being asked: it is ended without.
            EffectKind::AskGuestToStop => self.stop_by = Some(now),
            _ => {
                let attempts = self.steps.get(&effect).map_or(0, |failure| failure.attempts) + 1;
                fault.retry_at = Some(now.after(backoff(attempts)));
                self.steps.insert(effect, Failure { fault, attempts });
            }
        }
    }

    /// Ends the attempt: what it made is to be undone, and tried again later where that can help.
    pub fn attempt_failed(&mut self, mut fault: Fault, now: Moment) {
        let attempt = self.attempt.take().unwrap_or_default();
        self.undo.extend(
            attempt.made.into_iter().filter(|effect| {
                matches!(effect, EffectKind::MakeCowFile | EffectKind::MakeWorkDisk)
            }),
        );
        let attempts = self.failure.as_ref().map_or(0, |failure| failure.attempts) + 1;
        if fault.reason.retry_can_help() {
            fault.retry_at = Some(now.after(backoff(attempts)));
        }
        self.failure = Some(Failure { fault, attempts });
    }

    /// A newer assignment came: what failed for the old one is tried at once, and a guest that
    /// was asked to shut down gets no more time than the newer assignment gives.
    pub fn assignment_changed(&mut self, power: Power, stop_grace: Duration, now: Moment) {
        self.stop_by = self.stop_by.map(|by| by.min(now.after(stop_grace)));
        self.failure = None;
        self.steps.clear();
        match power {
            Power::Running | Power::Paused => {}
            Power::Stopped | Power::Absent => {
                self.ended = None;
                self.restart =
                    Restart { alive_since: self.restart.alive_since, ..Restart::default() };
            }
        }
    }

    /// The VM is as wanted and runs: a stop that was under way is not any more.
    pub fn running_as_wanted(&mut self) {
        self.stop_by = None;
        self.failure = None;
    }

    /// Whether a step may be tried now: it never failed, or its wait is over.
    #[must_use]
    pub fn step_due(&self, effect: EffectKind, now: Moment) -> bool {
        self.steps
            .get(&effect)
            .and_then(|failure| failure.fault.retry_at)
            .is_none_or(|retry_at| retry_at <= now)
    }
}

/// What an effect's success is folded in with.
#[derive(Debug, Clone, Copy)]
pub struct Success<'a> {
    /// When.
    pub now: Moment,
    /// Of the assignment.
    pub stop_grace: Duration,
    /// The document in force.
    pub metadata: Option<&'a str>,
}

#[cfg(test)]
mod tests;
