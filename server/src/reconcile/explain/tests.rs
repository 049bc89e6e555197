use std::sync::Arc;

use tokio::sync::mpsc;

use super::*;
use crate::clock::ManualClock;
use crate::fleet::observed::{FleetSink as _, Sighting};
use crate::model::host::HostState;
use crate::model::intent::VmIntent;
use crate::model::ledger::Change;
use crate::model::observed::{Fault, Phase};
use crate::testing::{EPOCH, at, facts, health, host_id, host_record, intent, seen, vm_id};
use crate::watch::{Limits, View};

fn explained(intent: VmIntent, seen: Option<Box<ObservedVm>>, state: HostState) -> Explanation {
    let clock = Arc::new(ManualClock::at(at(0)));
    let (lines, _history) = mpsc::channel(8);
    let first = banger_proto::ids::Revision(0);
    let view = View::new(EPOCH, first, clock, lines, Limits::default());
    view.committed(&[Change::PutHost(host_record(1)), Change::PutVm(Arc::new(intent))]);
    view.host_facts(host_id(1), Arc::new(facts()));
    view.inventory(host_id(1), std::collections::BTreeMap::new(), health(HostState::Online));
    if let Some(seen) = seen {
        view.observed(host_id(1), vec![Sighting::Vm(vm_id(1), seen)]);
    }
    if state != HostState::Online {
        view.host_health(host_id(1), health(state));
    }
    explain(&view.get(vm_id(1)).expect("it is there"), EPOCH, at(61))
}

#[test]
fn every_explanation_says_what_is_wanted_and_names_the_host() {
    let cases = [
        explained(intent(1), Some(seen(Phase::Running, 1)), HostState::Online),
        explained(intent(1), None, HostState::Online),
        explained(intent(1), Some(seen(Phase::Running, 2)), HostState::Online),
        explained(intent(1), Some(seen(Phase::Running, 1)), HostState::Offline),
    ];
    let decisions: Vec<_> = cases.iter().map(|case| case.decision).collect();
    assert_eq!(decisions, ["IN_SYNC", "SEND", "BLOCKED", "WAIT"]);
    for case in &cases {
        let text = case.sentences.join("\n");
        assert!(text.contains("VM vm-1 is wanted RUNNING (generation 1)"), "{text}");
        assert!(text.contains("host-1"), "{text}");
    }
    assert_eq!(cases[2].reason, "AGENT_HAS_NEWER_GENERATION");
    assert_eq!(cases[3].reason, "HOST_UNREACHABLE");
}

#[test]
fn a_failure_is_explained_with_its_step_and_what_was_left_behind() {
    let mut vm = seen(Phase::Failed, 1);
    vm.fault = Some(Fault {
        reason: "DEVICE_BUSY".to_owned(),
        step: "remove the snapshot".to_owned(),
        message: "dmsetup says busy".to_owned(),
        left_behind: vec!["dm banger-bg-1".to_owned()],
        retrying: false,
    });
    let explanation = explained(intent(1), Some(vm), HostState::Online);
    assert_eq!((explanation.decision, explanation.reason.as_str()), ("BLOCKED", "DEVICE_BUSY"));
    let text = explanation.sentences.join("\n");
    for part in
        ["remove the snapshot", "dmsetup says busy", "left behind: dm banger-bg-1", "60 s ago"]
    {
        assert!(text.contains(part), "{part} is missing from {text}");
    }
}

#[test]
fn a_vm_without_a_host_waits_for_one() {
    let unplaced = VmIntent {
        host: None,
        net: None,
        pending: Some(crate::model::placement::NoHost::NoneHasRoom),
        ..intent(1)
    };
    let explanation = explained(unplaced, None, HostState::Online);
    assert_eq!(explanation.decision, "WAIT");
    assert_eq!(explanation.reason, "NO_HOST_HAS_ROOM");
}
