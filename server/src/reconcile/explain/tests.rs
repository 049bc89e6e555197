use std::sync::Arc;

use tokio::sync::mpsc;

use super::*;
use crate::clock::ManualClock;
use crate::fleet::observed::{FleetSink as _, Sighting};
use crate::model::host::{HostHealth, HostState};
use crate::model::intent::VmIntent;
use crate::model::ledger::Change;
use crate::model::observed::{Fault, Phase};
use crate::reconcile::attempts::Attempts;
use crate::reconcile::needs::HostImages;
use crate::reconcile::plan::Known;
use crate::testing::{EPOCH, at, facts, health, host_id, host_record, intent, seen, vm_id};
use crate::watch::{Limits, View};

fn explained(intent: VmIntent, seen: Option<Box<ObservedVm>>, state: HostState) -> Explanation {
    explained_when_heard(intent, seen, state, at(1))
}

fn explained_when_heard(
    intent: VmIntent,
    seen: Option<Box<ObservedVm>>,
    state: HostState,
    heard: Timestamp,
) -> Explanation {
    let clock = Arc::new(ManualClock::at(at(0)));
    let (lines, _history) = mpsc::channel(8);
    let first = banger_proto::ids::Revision(0);
    let view = View::new(EPOCH, first, clock, lines, Limits::default());
    view.committed(&[Change::put(host_record(1)), Change::put(Arc::new(intent))]);
    view.host_facts(host_id(1), Arc::new(facts()));
    view.inventory(host_id(1), std::collections::BTreeMap::new(), health(HostState::Online));
    if let Some(seen) = seen {
        view.observed(host_id(1), vec![Sighting::Vm(vm_id(1), seen)]);
    }
    view.host_health(host_id(1), HostHealth { last_seen: Some(heard), ..health(state) });
    let host = view.host(host_id(1)).expect("it is there").view;
    let record = view.get(vm_id(1)).expect("it is there");
    let instant = Instant::now();
    let known = Known {
        host: Some(&*host),
        connected: true,
        images: &HostImages::default(),
        attempts: &Attempts::default(),
        epoch: EPOCH,
        now: instant,
    };
    let subject = Subject { intent: &record.intent, observation: &record.observation };
    in_words(&record, Some(&*host), &decide(subject, &known), EPOCH, at(61), instant)
}

#[test]
fn a_host_that_was_heard_a_moment_ago_is_said_so_however_long_its_vm_is_unchanged() {
    let running = Some(seen(Phase::Running, 1));
    let explanation = explained_when_heard(intent(1), running, HostState::Online, at(60));
    let text = explanation.sentences.join("\n");
    assert!(text.contains("host host-1 is ONLINE, last heard 1 s ago"), "{text}");
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
        assert!(text.contains("the desired state of VM vm-1 is RUNNING (generation 1)"), "{text}");
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
