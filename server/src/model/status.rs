//! What a user is shown of a VM, and why.
//!
//! [`VmStatus::of`] is the only place where wish, observation and host health meet. Its result is
//! never stored: it is computed again whenever one of the three changes. What the agent says in
//! detail (process, devices, exit) is not repeated here; the edge takes it from the observation.

use std::borrow::Cow;
use std::fmt;

use banger_proto::ids::{Epoch, Generation, Version};
use jiff::Timestamp;

use super::host::{HostState, HostView};
use super::intent::{Desired, VmIntent};
use super::observed::{ExitCause, ExitSeen, Fault, Observation, ObservedVm, Phase, UnknownWhy};

/// What a VM is seen to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VmState {
    /// No host yet.
    Pending,
    /// The host is making disks, tap and jail, or has not begun.
    Preparing,
    /// The process is being started and configured.
    Starting,
    /// The guest runs.
    Running,
    /// The guest's vCPUs are stopped.
    Paused,
    /// The guest is being stopped.
    Stopping,
    /// No process, disks kept.
    Stopped,
    /// The process ended though it should run.
    Crashed,
    /// A step failed.
    Failed,
    /// Being taken apart.
    Deleting,
    /// Nothing is known at present.
    Unknown,
    /// Nothing of it is left.
    Deleted,
}

impl VmState {
    /// Every state, in the order of the API.
    pub const ALL: [Self; 12] = [
        Self::Pending,
        Self::Preparing,
        Self::Starting,
        Self::Running,
        Self::Paused,
        Self::Stopping,
        Self::Stopped,
        Self::Crashed,
        Self::Failed,
        Self::Deleting,
        Self::Unknown,
        Self::Deleted,
    ];

    /// The word shown, counted and stored in the history.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Preparing => "PREPARING",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
            Self::Crashed => "CRASHED",
            Self::Failed => "FAILED",
            Self::Deleting => "DELETING",
            Self::Unknown => "UNKNOWN",
            Self::Deleted => "DELETED",
        }
    }
}

impl fmt::Display for VmState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why the server can't get its intent to an agent that it reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Reason code, such as `AGENT_REFUSED`.
    pub reason: &'static str,
    /// The same as a sentence.
    pub message: String,
}

/// What a status is computed from, beside intent and observation.
#[derive(Debug, Clone, Copy)]
pub struct StatusContext<'a> {
    /// Of the server's store.
    pub epoch: Epoch,
    /// The host the VM is placed on.
    pub host: Option<&'a HostView>,
    /// What keeps the intent from its agent, if something does.
    pub trouble: Option<&'a Trouble>,
    /// The version that the host was last seen to have reached, while nothing is known.
    pub last_settled: Option<Version>,
}

/// What a user is shown of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmStatus {
    /// What it is seen to be.
    pub state: VmState,
    /// Reason code from a closed list; empty where the state needs none.
    pub reason: Cow<'static, str>,
    /// The same as a sentence naming VM, host, step and what was left behind.
    pub message: String,
    /// When the state was entered.
    pub since: Timestamp,
    /// The generation of intent the host has reached; zero for none. While nothing is known: the
    /// one it had reached when it was last seen by this server.
    pub observed_generation: Generation,
    /// Since when nothing is known, in state `UNKNOWN`.
    pub unknown_since: Option<Timestamp>,
}

impl VmStatus {
    /// What follows from wish, observation and host health.
    pub fn of(intent: &VmIntent, seen: &Observation, context: StatusContext<'_>) -> Self {
        if intent.host.is_none() {
            return without_host(intent);
        }
        if let Some(unknown) = unknown(intent, seen, context) {
            return unknown;
        }
        match seen {
            Observation::Unknown { since, why } => nothing_known(intent, context, *since, *why),
            Observation::Absent => not_begun(intent, context),
            Observation::Present(vm) => present(intent, vm, context),
        }
    }

    /// Of a VM of which nothing is left.
    pub fn deleted(last: &VmIntent, at: Timestamp) -> Self {
        Self {
            state: VmState::Deleted,
            reason: Cow::Borrowed(""),
            message: String::new(),
            since: at,
            observed_generation: last.generation,
            unknown_since: None,
        }
    }

    fn plain(state: VmState, since: Timestamp, observed_generation: Generation) -> Self {
        Self {
            state,
            reason: Cow::Borrowed(""),
            message: String::new(),
            since,
            observed_generation,
            unknown_since: None,
        }
    }
}

fn without_host(intent: &VmIntent) -> VmStatus {
    if intent.desired == Desired::Absent {
        return VmStatus::plain(VmState::Deleting, intent.updated_at, Generation(0));
    }
    let mut status = VmStatus::plain(VmState::Pending, intent.created_at, Generation(0));
    if let Some(why) = intent.pending {
        status.reason = Cow::Borrowed(why.reason());
        status.message = format!("VM {} waits for a host: {}", intent.name, why.sentence());
    }
    status
}

/// The `UNKNOWN` that follows from the host's health, whatever was seen before.
fn unknown(intent: &VmIntent, seen: &Observation, context: StatusContext<'_>) -> Option<VmStatus> {
    let host = context.host?;
    let why = match host.health.state {
        HostState::Online => return None,
        HostState::Connecting => UnknownWhy::HostNotYetSeen,
        HostState::Suspect | HostState::Offline => UnknownWhy::HostUnreachable,
        HostState::Revoked => UnknownWhy::HostRevoked,
    };
    // Since when is what the observation says, if it says so: it may be older than the newest step
    // from suspect to offline.
    let since = match seen {
        Observation::Unknown { since, .. } => *since,
        Observation::Absent | Observation::Present(_) => host.health.since,
    };
    Some(nothing_known(intent, context, since, why))
}

fn nothing_known(
    intent: &VmIntent,
    context: StatusContext<'_>,
    since: Timestamp,
    why: UnknownWhy,
) -> VmStatus {
    let mut message = format!(
        "nothing is known of VM {} on {}: {}",
        intent.name,
        host_name(context.host),
        why.sentence()
    );
    if intent.desired == Desired::Absent {
        message.push_str("; it is deleted when the host is back");
    }
    VmStatus {
        state: VmState::Unknown,
        reason: Cow::Borrowed(why.reason()),
        message,
        since,
        observed_generation: context
            .last_settled
            .map_or(Generation(0), |settled| reached(settled, context.epoch)),
        unknown_since: Some(since),
    }
}

/// The host was asked and holds nothing of the VM.
fn not_begun(intent: &VmIntent, context: StatusContext<'_>) -> VmStatus {
    let state = match intent.desired {
        Desired::Absent => VmState::Deleting,
        Desired::Running | Desired::Paused | Desired::Stopped => VmState::Preparing,
    };
    let mut status = VmStatus::plain(state, intent.updated_at, Generation(0));
    add_trouble(&mut status, context.trouble);
    status
}

fn present(intent: &VmIntent, vm: &ObservedVm, context: StatusContext<'_>) -> VmStatus {
    let state = state_of(vm.phase, intent.desired);
    let since = if state == VmState::Deleting && vm.phase != Phase::Deleting {
        intent.updated_at
    } else {
        vm.phase_since
    };
    let mut status = VmStatus::plain(state, since, reached(vm.settled, context.epoch));
    let newest = Version { epoch: context.epoch, generation: intent.generation };
    if let Some(fault) = &vm.fault {
        status.reason = Cow::Owned(fault.reason.clone());
        status.message = fault_sentence(intent, context.host, fault);
    } else if vm.accepted > newest {
        status.reason = Cow::Borrowed("AGENT_HAS_NEWER_GENERATION");
        status.message = format!(
            "the agent of {} holds version {} of VM {}, newer than the server's {newest}; raise the \
             server's epoch if its store was restored from a backup",
            host_name(context.host),
            vm.accepted,
            intent.name,
        );
    } else if let Some((reason, message)) = ended(intent, vm, state, newest) {
        status.reason = Cow::Borrowed(reason);
        status.message = message;
    }
    match vm.phase {
        Phase::Unclear => {
            status.unknown_since = Some(vm.phase_since);
            if status.reason.is_empty() {
                status.reason = Cow::Borrowed("PROCESS_UNCLEAR");
            }
        }
        Phase::Preparing
        | Phase::Starting
        | Phase::Running
        | Phase::Paused
        | Phase::Stopping
        | Phase::Stopped
        | Phase::Crashed
        | Phase::Failed
        | Phase::Deleting => {}
    }
    add_trouble(&mut status, context.trouble);
    status
}

fn state_of(phase: Phase, desired: Desired) -> VmState {
    if phase == Phase::Unclear {
        return VmState::Unknown;
    }
    if desired == Desired::Absent && phase != Phase::Failed {
        // From the wish on, not from the moment the agent begins.
        return VmState::Deleting;
    }
    match phase {
        Phase::Preparing => VmState::Preparing,
        Phase::Starting => VmState::Starting,
        Phase::Running => VmState::Running,
        Phase::Paused => VmState::Paused,
        Phase::Stopping => VmState::Stopping,
        Phase::Stopped => VmState::Stopped,
        Phase::Crashed => VmState::Crashed,
        Phase::Failed => VmState::Failed,
        Phase::Deleting => VmState::Deleting,
        Phase::Unclear => VmState::Unknown,
    }
}

/// A generation settled under an older epoch counts for nothing: after a restore from a backup the
/// same numbers stand for other wishes.
fn reached(settled: Version, epoch: Epoch) -> Generation {
    if settled.epoch == epoch { settled.generation } else { Generation(0) }
}

/// Why a VM without a fault has no process.
///
/// An end belongs to the wish under which it came: what ended because it was to, or under an older
/// wish than the newest, says nothing of what is wanted now.
fn ended(
    intent: &VmIntent,
    vm: &ObservedVm,
    state: VmState,
    newest: Version,
) -> Option<(&'static str, String)> {
    let exit = vm.exit.as_ref().filter(|exit| exit.cause != ExitCause::Asked)?;
    match state {
        VmState::Crashed => Some((reason_of(exit), with_restarts(vm, exit))),
        VmState::Stopped
            if intent.desired.wants_process() && !exit.crashed && vm.settled == newest =>
        {
            Some(("GUEST_SHUTDOWN", exit.message.clone()))
        }
        VmState::Pending
        | VmState::Preparing
        | VmState::Starting
        | VmState::Running
        | VmState::Paused
        | VmState::Stopping
        | VmState::Stopped
        | VmState::Failed
        | VmState::Deleting
        | VmState::Unknown
        | VmState::Deleted => None,
    }
}

fn reason_of(exit: &ExitSeen) -> &'static str {
    match exit.cause {
        ExitCause::GuestPanic => "GUEST_PANIC",
        ExitCause::Unexplained => "UNEXPLAINED_END",
        ExitCause::GuestShutdown => "GUEST_SHUTDOWN",
        ExitCause::Unknown | ExitCause::Asked | ExitCause::VmmEnded => "CRASHED",
    }
}

/// How it ended, how often it was started again so far, and when it is the next time.
fn with_restarts(vm: &ObservedVm, exit: &ExitSeen) -> String {
    let so_far = match vm.restart_count {
        0 => String::new(),
        1 => "; it was started again once so far".to_owned(),
        times => format!("; it was started again {times} times so far"),
    };
    let next = vm.next_attempt_at.map(|at| format!("; the next start is at {at:.0}"));
    format!("{}{so_far}{}", exit.message, next.unwrap_or_default())
}

fn fault_sentence(intent: &VmIntent, host: Option<&HostView>, fault: &Fault) -> String {
    let mut text = format!("VM {} on {}: ", intent.name, host_name(host));
    if !fault.step.is_empty() {
        text.push_str(&fault.step);
        text.push_str(": ");
    }
    text.push_str(&fault.message);
    if !fault.left_behind.is_empty() {
        text.push_str("; left behind: ");
        text.push_str(&fault.left_behind.join(", "));
    }
    text
}

fn add_trouble(status: &mut VmStatus, trouble: Option<&Trouble>) {
    if let Some(trouble) = trouble
        && status.reason.is_empty()
    {
        status.reason = Cow::Borrowed(trouble.reason);
        status.message.clone_from(&trouble.message);
    }
}

fn host_name(host: Option<&HostView>) -> String {
    match host {
        Some(host) => format!("host {}", host.record.name),
        None => "its host".to_owned(),
    }
}

#[cfg(test)]
mod tests;
