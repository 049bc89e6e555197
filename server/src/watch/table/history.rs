//! Which observed changes are lines of a VM's history.
//!
//! A line says what a host reported: that the VM entered a lasting state, that a new agent took
//! over its process, that its root disk was made larger, or that its root disk or network is in
//! trouble. Steps on the way (preparing, starting) and the comings and goings of knowledge
//! (unknown) are no lines: with many VMs on a host that flaps they would drown the rest. And no VM
//! gets more than [`LINES_PER_HOUR`] lines an hour in this way, whatever its host says: the one
//! after them says that the others are left out.

use jiff::Timestamp;

use super::{Sight, Told, VmRecord};
use crate::model::history::{EventKind, HistoryEvent};
use crate::model::observed::{DiskTrouble, NetworkTrouble, ObservedVm, Phase};
use crate::model::status::VmState;

/// Most lines of one VM's history that its host can cause in an hour of the server's clock. A VM
/// that fails, or crashes and is started again, makes about half as many.
pub(super) const LINES_PER_HOUR: u16 = 120;

/// The lines that may be written, of those that follow from a change. Answers what is to be
/// remembered.
pub(super) fn bounded(
    told: Told,
    record: &VmRecord,
    lines: Vec<HistoryEvent>,
    now: Timestamp,
    out: &mut Vec<HistoryEvent>,
) -> Told {
    let hour = now.as_second().div_euclid(3600);
    let mut told = if told.hour == hour { told } else { Told { hour, lines: 0 } };
    for event in lines {
        if told.lines < LINES_PER_HOUR {
            out.push(event);
        } else if told.lines == LINES_PER_HOUR {
            let message =
                format!("more than {LINES_PER_HOUR} lines within an hour; the others are left out");
            out.push(HistoryEvent {
                kind: EventKind::LinesLeftOut,
                ..line(record, record.state(), now, "", message)
            });
        }
        told.lines = told.lines.saturating_add(1);
    }
    told
}

/// The lines that follow from one change of a record, with what was seen of the VM before.
///
/// `started_at` is when this server started. What the first inventory shows has most likely been
/// recorded by the server before, so that it counts only when it is newer than this server, or a
/// failure, or an adoption: of those the store leaves out what it tells of already.
pub(super) fn of_change(
    before: Option<Sight>,
    record: &VmRecord,
    started_at: Timestamp,
) -> Vec<HistoryEvent> {
    let mut lines = Vec::new();
    let Some(vm) = record.seen() else { return lines };
    if let Some(adopted_at) = vm.adopted_at
        && before.and_then(|before| before.adopted_at) != Some(adopted_at)
    {
        let pid = vm.process.map_or(0, |process| process.pid);
        let message = format!("a new agent took over the running process {pid}");
        lines.push(line(record, VmState::Running, adopted_at, "ADOPTED", message));
    }
    if let Some(before) = before {
        of_root_disk(before, vm, record, &mut lines);
        of_network(before, vm, record, &mut lines);
    }
    let Some(state) = lasting(vm.phase) else { return lines };
    let entered = match before {
        Some(before) => before.phase != vm.phase || before.phase_since != vm.phase_since,
        None => vm.phase_since >= started_at || is_failure(state),
    };
    // An adopted process was running all along.
    let adopted = vm.adopted_at.is_some()
        && state == VmState::Running
        && before.is_none_or(|before| before.process == vm.process);
    if entered && !adopted {
        let (reason, message) = (record.status.reason.clone(), record.status.message.clone());
        lines.push(line(record, state, vm.phase_since, &reason, message));
    }
    lines
}

fn of_root_disk(before: Sight, vm: &ObservedVm, record: &VmRecord, lines: &mut Vec<HistoryEvent>) {
    let mut add = |kind, reason: &str, message| {
        lines.push(HistoryEvent {
            kind,
            ..line(record, VmState::Running, vm.observed_at, reason, message)
        });
    };
    let (was, is) = (before.store_sectors, vm.devices.cow_total_sectors);
    // A store of another process may be another store.
    if was > 0 && is > was && vm.process.is_some() && before.process == vm.process {
        let mib = |sectors: u64| sectors.div_ceil(2048);
        let message = format!("from {} to {} MiB", mib(was), mib(is));
        add(EventKind::RootDiskGrown, "", message);
    }
    let trouble = vm.fault.as_ref().and_then(|fault| DiskTrouble::of(&fault.reason));
    match (before.disk, trouble, &vm.fault) {
        (before, Some(now), Some(fault)) if before != Some(now) => {
            add(EventKind::RootDiskAlarm, &fault.reason, record.status.message.clone());
        }
        // A VM without a process has no store that could fill up; what became of it is its own
        // line.
        (Some(_), None, _) if vm.process.is_some() => {
            add(EventKind::RootDiskAlarmOver, "", String::new());
        }
        (_, _, _) => {}
    }
}

fn of_network(before: Sight, vm: &ObservedVm, record: &VmRecord, lines: &mut Vec<HistoryEvent>) {
    let mut add = |kind, reason: &str, message| {
        lines.push(HistoryEvent {
            kind,
            ..line(record, VmState::Running, vm.observed_at, reason, message)
        });
    };
    match (before.network, NetworkTrouble::of_vm(vm), &vm.fault) {
        (before, Some(now), Some(fault)) if before != Some(now) => {
            add(EventKind::NetworkDegraded, &fault.reason, record.status.message.clone());
        }
        // Of a VM without a process its own line says what became of it.
        (Some(_), None, _) if vm.process.is_some() => {
            add(EventKind::NetworkDegradedOver, "", String::new());
        }
        (_, _, _) => {}
    }
}

fn lasting(phase: Phase) -> Option<VmState> {
    match phase {
        Phase::Running => Some(VmState::Running),
        Phase::Paused => Some(VmState::Paused),
        Phase::Stopped => Some(VmState::Stopped),
        Phase::Crashed => Some(VmState::Crashed),
        Phase::Failed => Some(VmState::Failed),
        Phase::Preparing | Phase::Starting | Phase::Stopping | Phase::Deleting | Phase::Unclear => {
            None
        }
    }
}

fn is_failure(state: VmState) -> bool {
    matches!(state, VmState::Crashed | VmState::Failed)
}

fn line(
    record: &VmRecord,
    state: VmState,
    at: Timestamp,
    reason: &str,
    message: String,
) -> HistoryEvent {
    let host = record.host.as_ref().map_or("?", |host| host.record.name.as_str());
    HistoryEvent {
        vm: record.id(),
        generation: record.intent.generation,
        kind: EventKind::Entered(state),
        reason: reason.to_owned(),
        message,
        actor: format!("host {host}"),
        at,
    }
}
