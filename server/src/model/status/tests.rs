use std::sync::Arc;

use banger_proto::ids::VmId;

use super::*;
use crate::model::fixtures::{at, create, join, submission, token, vm_id};
use crate::model::host::{HostHealth, HostRecord};
use crate::model::ledger::{Ledger, LedgerConfig, Mutation, Outcome};
use crate::model::observed::{DevicesSeen, ExitSeen};
use crate::model::placement::NoHost;

const EPOCH: Epoch = Epoch(1);

fn intent(desired: Desired, generation: u64) -> VmIntent {
    let ledger = Ledger::new(LedgerConfig::default());
    let decided = ledger.decide(&submission(Mutation::CreateVm(create(1, "web"))));
    let Ok(Outcome::Vm { intent, .. }) = decided.map(|decided| decided.outcome) else {
        panic!("not created")
    };
    let mut intent = VmIntent::clone(&intent);
    intent.desired = desired;
    intent.generation = Generation(generation);
    intent
}

fn placed(desired: Desired, generation: u64) -> VmIntent {
    VmIntent { host: Some(record().id), pending: None, ..intent(desired, generation) }
}

fn record() -> Arc<HostRecord> {
    let mut ledger = Ledger::new(LedgerConfig::default());
    let kept = ledger.decide(&submission(Mutation::CreateJoinToken(token("t")))).expect("kept");
    ledger.apply(&kept.changes);
    let joined = ledger.decide(&submission(Mutation::JoinHost(join(1, "t", "one"))));
    match joined.map(|decided| decided.outcome) {
        Ok(Outcome::Host(record)) => record,
        other => panic!("{other:?}"),
    }
}

fn host(state: HostState) -> HostView {
    let health = HostHealth { state, since: at(50), ..HostHealth::connecting(at(50)) };
    HostView { record: record(), health, facts: None }
}

fn seen(phase: Phase, generation: u64) -> ObservedVm {
    let version = Version { epoch: EPOCH, generation: Generation(generation) };
    ObservedVm {
        accepted: version,
        settled: version,
        phase,
        fault: None,
        observed_at: at(20),
        phase_since: at(10),
        process: None,
        boot_id: String::new(),
        exit: None,
        restart_count: 0,
        adopted_at: None,
        guest: None,
        devices: DevicesSeen::default(),
        next_attempt_at: None,
        name: "web".to_owned(),
    }
}

fn status(intent: &VmIntent, seen: Observation, state: HostState) -> VmStatus {
    let host = host(state);
    VmStatus::of(intent, &seen, StatusContext { epoch: EPOCH, host: Some(&host), trouble: None })
}

fn shown(desired: Desired, vm: ObservedVm) -> VmStatus {
    status(&placed(desired, 1), Observation::Present(Box::new(vm)), HostState::Online)
}

fn ended(crashed: bool) -> Option<ExitSeen> {
    let message = "exited with status 0".to_owned();
    Some(ExitSeen { crashed, code: Some(0), signal: None, message, time: None })
}

#[test]
fn without_a_host_a_vm_is_pending_and_says_why() {
    let intent = VmIntent { pending: Some(NoHost::NoneHasRoom), ..intent(Desired::Running, 1) };
    let context = StatusContext { epoch: EPOCH, host: None, trouble: None };
    let status = VmStatus::of(&intent, &Observation::Absent, context);
    assert_eq!((status.state, &*status.reason), (VmState::Pending, "NO_HOST_HAS_ROOM"));
    assert!(status.message.contains("web"), "{}", status.message);
}

#[test]
fn unless_the_host_is_online_everything_on_it_is_unknown() {
    for (state, reason) in [
        (HostState::Connecting, "HOST_NOT_YET_SEEN"),
        (HostState::Suspect, "HOST_UNREACHABLE"),
        (HostState::Offline, "HOST_UNREACHABLE"),
    ] {
        for phase in [Phase::Running, Phase::Stopped, Phase::Failed, Phase::Deleting] {
            let present = Observation::Present(Box::new(seen(phase, 1)));
            let status = status(&placed(Desired::Running, 1), present, state);
            assert_eq!((status.state, &*status.reason), (VmState::Unknown, reason));
            assert_eq!(status.unknown_since, Some(at(50)));
            assert!(status.message.contains("host one"), "{}", status.message);
        }
    }
}

#[test]
fn unknown_says_since_when_from_the_observation() {
    let lost = Observation::Unknown { since: at(7), why: UnknownWhy::HostUnreachable };
    let offline = status(&placed(Desired::Running, 1), lost, HostState::Offline);
    assert_eq!((offline.unknown_since, offline.since), (Some(at(7)), at(7)));
}

#[test]
fn a_host_that_holds_nothing_has_not_begun() {
    for (desired, state) in [
        (Desired::Running, VmState::Preparing),
        (Desired::Stopped, VmState::Preparing),
        (Desired::Absent, VmState::Deleting),
    ] {
        let status = status(&placed(desired, 1), Observation::Absent, HostState::Online);
        assert_eq!((status.state, status.observed_generation), (state, Generation(0)));
    }
}

#[test]
fn a_vm_that_is_wanted_absent_is_deleting_from_the_wish_on() {
    for phase in [Phase::Running, Phase::Stopping, Phase::Stopped, Phase::Crashed] {
        assert_eq!(shown(Desired::Absent, seen(phase, 1)).state, VmState::Deleting, "{phase:?}");
    }
    assert_eq!(shown(Desired::Absent, seen(Phase::Failed, 1)).state, VmState::Failed);
}

#[test]
fn a_generation_settled_in_an_older_epoch_counts_for_nothing() {
    let mut old = seen(Phase::Running, 9);
    old.settled.epoch = Epoch(0);
    old.accepted.epoch = Epoch(0);
    assert_eq!(shown(Desired::Running, old).observed_generation, Generation(0));
    let now = shown(Desired::Running, seen(Phase::Running, 1));
    assert_eq!(now.observed_generation, Generation(1));
}

#[test]
fn a_newer_generation_at_the_agent_is_shown() {
    let status = shown(Desired::Running, seen(Phase::Running, 2));
    assert_eq!(status.reason, "AGENT_HAS_NEWER_GENERATION");
}

#[test]
fn a_fault_is_told_with_vm_host_step_and_what_is_left() {
    let mut failed = seen(Phase::Failed, 1);
    failed.fault = Some(Fault {
        reason: "TOOL_FAILED".to_owned(),
        step: "make the snapshot".to_owned(),
        message: "dmsetup ended with status 1".to_owned(),
        left_behind: vec!["loop /dev/loop7".to_owned()],
        retrying: true,
    });
    let status = shown(Desired::Running, failed);
    assert_eq!((status.state, &*status.reason), (VmState::Failed, "TOOL_FAILED"));
    assert_eq!(
        status.message,
        "VM web on host one: make the snapshot: dmsetup ended with status 1; left behind: loop \
         /dev/loop7"
    );
}

#[test]
fn a_guest_that_shut_down_by_itself_is_told_from_one_that_was_stopped() {
    let stopped = ObservedVm { exit: ended(false), ..seen(Phase::Stopped, 1) };
    assert_eq!(shown(Desired::Running, stopped.clone()).reason, "GUEST_SHUTDOWN");
    assert_eq!(shown(Desired::Stopped, stopped).reason, "");
    let crashed = ObservedVm { exit: ended(true), ..seen(Phase::Crashed, 1) };
    assert_eq!(shown(Desired::Running, crashed).reason, "CRASHED");
}

#[test]
fn an_unclear_process_makes_the_vm_unknown() {
    let status = shown(Desired::Running, seen(Phase::Unclear, 1));
    assert_eq!((status.state, &*status.reason), (VmState::Unknown, "PROCESS_UNCLEAR"));
    assert_eq!(status.unknown_since, Some(at(10)));
}

#[test]
fn trouble_shows_where_the_state_has_no_reason_of_its_own() {
    let host = host(HostState::Online);
    let trouble = Trouble { reason: "AGENT_REFUSED", message: "no".to_owned() };
    let context = StatusContext { epoch: EPOCH, host: Some(&host), trouble: Some(&trouble) };
    let intent = placed(Desired::Running, 1);
    let status = VmStatus::of(&intent, &Observation::Absent, context);
    assert_eq!((status.state, &*status.reason), (VmState::Preparing, "AGENT_REFUSED"));
    let crashed = ObservedVm { exit: ended(true), ..seen(Phase::Crashed, 1) };
    let status = VmStatus::of(&intent, &Observation::Present(Box::new(crashed)), context);
    assert_eq!(status.reason, "CRASHED");
}

#[test]
fn a_deleted_vm_shows_nothing_but_that() {
    let last = intent(Desired::Absent, 3);
    assert_eq!(VmId::from_uuid(last.id.uuid()), vm_id(1));
    let status = VmStatus::deleted(&last, at(9));
    assert_eq!((status.state, status.observed_generation), (VmState::Deleted, Generation(3)));
}
