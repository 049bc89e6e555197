use proptest::prelude::*;

use super::*;
use crate::testing::{EPOCH, at, health, intent, seen, version, wanting};

fn decided(intent: &VmIntent, observation: &Observation, state: HostState) -> Decision {
    let intent = Arc::new(intent.clone());
    decide(Subject { intent: &intent, observation }, Some(&health(state)), EPOCH)
}

fn online(intent: &VmIntent, observation: &Observation) -> Decision {
    decided(intent, observation, HostState::Online)
}

fn present(phase: Phase, generation: u64) -> Observation {
    Observation::Present(seen(phase, generation))
}

fn unknown() -> Observation {
    Observation::Unknown { since: at(0), why: UnknownWhy::AwaitingInventory }
}

#[test]
fn what_a_host_does_not_hold_is_sent_and_what_it_holds_is_left_alone() {
    let running = intent(1);
    assert!(matches!(online(&running, &Observation::Absent), Decision::Send(_)));
    assert!(matches!(online(&running, &present(Phase::Running, 1)), Decision::InSync));
    let stopped = wanting(&running, Desired::Stopped);
    let Decision::Send(command) = online(&stopped, &present(Phase::Running, 1)) else {
        panic!("the agent holds an older generation");
    };
    assert_eq!((command.version, command.intent.desired), (version(2), Desired::Stopped));
}

#[test]
fn a_vm_is_forgotten_only_when_its_host_holds_nothing_of_it() {
    let absent = wanting(&intent(1), Desired::Absent);
    assert!(matches!(online(&absent, &Observation::Absent), Decision::Forget));
    assert!(matches!(online(&absent, &present(Phase::Running, 1)), Decision::Send(_)));
    assert!(matches!(
        online(&absent, &present(Phase::Deleting, 2)),
        Decision::Wait(WaitReason::AgentAtWork)
    ));
    assert!(matches!(online(&absent, &unknown()), Decision::Wait(_)));
    let never_placed = VmIntent { host: None, ..absent };
    assert!(matches!(online(&never_placed, &Observation::Absent), Decision::Forget));
}

#[test]
fn a_host_that_was_rebooted_and_waits_for_a_word_is_sent_the_same_version_again() {
    let running = intent(1);
    let mut waiting = seen(Phase::Stopped, 1);
    waiting.settled = Version::default();
    let Decision::Send(command) = online(&running, &Observation::Present(waiting.clone())) else {
        panic!("the agent waits for its server");
    };
    assert_eq!(command.version, version(1));
    let stopped = VmIntent { desired: Desired::Stopped, ..running };
    let decision = online(&stopped, &Observation::Present(waiting));
    assert!(matches!(decision, Decision::Wait(WaitReason::AgentAtWork)));
}

#[test]
fn a_vm_without_a_host_is_placed() {
    let unplaced = VmIntent { host: None, ..intent(1) };
    let unplaced = Arc::new(unplaced);
    let subject = Subject { intent: &unplaced, observation: &Observation::Absent };
    assert!(matches!(decide(subject, None, EPOCH), Decision::Place));
}

#[test]
fn an_agent_with_a_newer_version_is_never_told_an_older_one() {
    let decision = online(&intent(1), &present(Phase::Running, 2));
    let Decision::Blocked(BlockedReason::AgentHasNewer { seen }) = decision else {
        panic!("{decision:?}");
    };
    assert_eq!(seen, version(2));
    let mut older_epoch = seen_in_epoch(0, 9);
    assert!(matches!(online(&intent(1), &older_epoch), Decision::Send(_)));
    older_epoch = seen_in_epoch(2, 1);
    assert!(matches!(online(&intent(1), &older_epoch), Decision::Blocked(_)));
}

fn seen_in_epoch(epoch: u64, generation: u64) -> Observation {
    let mut vm = seen(Phase::Running, generation);
    vm.accepted.epoch = Epoch(epoch);
    Observation::Present(vm)
}

#[test]
fn a_failure_is_waited_for_while_the_agent_retries_and_blocks_when_it_does_not() {
    let mut retrying = seen(Phase::Failed, 1);
    retrying.next_attempt_at = Some(at(9));
    let decision = online(&intent(1), &Observation::Present(retrying));
    assert!(matches!(decision, Decision::Wait(WaitReason::AgentRetries)), "{decision:?}");
    let blocked = [
        (Phase::Failed, BlockedReason::AgentGaveUp),
        (Phase::Crashed, BlockedReason::EndedByItself),
        (Phase::Stopped, BlockedReason::EndedByItself),
        (Phase::Unclear, BlockedReason::ProcessUnclear),
    ];
    for (phase, expected) in blocked {
        let decision = online(&intent(1), &present(phase, 1));
        let Decision::Blocked(reason) = decision else { panic!("{phase:?}: {decision:?}") };
        assert_eq!(reason, expected, "{phase:?}");
    }
    let stopped = wanting(&intent(1), Desired::Stopped);
    assert!(matches!(online(&stopped, &present(Phase::Stopped, 2)), Decision::InSync));
    assert!(matches!(online(&stopped, &present(Phase::Crashed, 2)), Decision::InSync));
}

#[test]
fn an_agent_that_has_accepted_and_not_settled_is_at_work() {
    let mut vm = seen(Phase::Preparing, 1);
    vm.settled = version(0);
    let decision = online(&intent(1), &Observation::Present(vm));
    assert!(matches!(decision, Decision::Wait(WaitReason::AgentAtWork)), "{decision:?}");
}

fn any_intent() -> impl Strategy<Value = VmIntent> {
    let desired = prop_oneof![
        Just(Desired::Running),
        Just(Desired::Paused),
        Just(Desired::Stopped),
        Just(Desired::Absent),
    ];
    (desired, 1..5_u64, any::<bool>()).prop_map(|(desired, generation, placed)| {
        let base = intent(1);
        VmIntent {
            desired,
            generation: banger_proto::ids::Generation(generation),
            host: base.host.filter(|_| placed),
            ..base
        }
    })
}

fn any_phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        Just(Phase::Preparing),
        Just(Phase::Starting),
        Just(Phase::Running),
        Just(Phase::Paused),
        Just(Phase::Stopping),
        Just(Phase::Stopped),
        Just(Phase::Crashed),
        Just(Phase::Failed),
        Just(Phase::Deleting),
        Just(Phase::Unclear),
    ]
}

fn any_observation() -> impl Strategy<Value = Observation> {
    prop_oneof![
        Just(unknown()),
        Just(Observation::Absent),
        (any_phase(), 0..6_u64, 0..6_u64).prop_map(|(phase, accepted, settled)| {
            let mut vm = seen(phase, accepted);
            vm.settled = version(settled.min(accepted));
            Observation::Present(vm)
        }),
    ]
}

fn any_state() -> impl Strategy<Value = HostState> {
    prop_oneof![
        Just(HostState::Connecting),
        Just(HostState::Online),
        Just(HostState::Suspect),
        Just(HostState::Offline),
    ]
}

proptest! {
    #[test]
    fn an_unreachable_host_is_neither_told_nor_judged(
        intent in any_intent(), observation in any_observation(), state in any_state(),
    ) {
        let decision = decided(&intent, &observation, state);
        if intent.host.is_some() && (!state.is_online() || observation == unknown()) {
            prop_assert!(!decision.is_action(), "{:?}", decision);
        }
    }

    #[test]
    fn a_command_always_carries_the_newest_intent_and_goes_only_forward(
        intent in any_intent(), observation in any_observation(),
    ) {
        if let Decision::Send(command) = online(&intent, &observation) {
            prop_assert_eq!(command.version.generation, intent.generation);
            if let Observation::Present(vm) = &observation {
                prop_assert!(vm.accepted <= command.version);
                let waits_for_word = vm.phase == Phase::Stopped && vm.settled < vm.accepted;
                prop_assert!(vm.accepted < command.version || waits_for_word);
            }
        }
    }

    #[test]
    fn the_view_and_the_plan_agree_on_what_needs_the_server(
        intent in any_intent(), observation in any_observation(),
    ) {
        if intent.host.is_some() {
            let decision = online(&intent, &observation);
            let needed = crate::watch::needs_the_server(&intent, &observation, EPOCH);
            prop_assert_eq!(decision.is_action(), needed, "{:?}", decision);
        }
    }

    /// Once the agent holds what it was sent, nothing more is sent.
    #[test]
    fn sending_is_enough_once_it_is_seen(
        intent in any_intent(), observation in any_observation(), phase in any_phase(),
    ) {
        if let Decision::Send(command) = online(&intent, &observation) {
            let now = present(phase, command.version.generation.0);
            prop_assert!(!online(&intent, &now).is_action());
        }
    }
}

/// What becomes of a command.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// It never arrives, or its answer does not.
    Lost,
    /// The agent does what it is told, whole.
    Done,
    /// The agent notes it, and its host is rebooted before anything is started.
    Rebooted,
    /// The agent notes it, fails, and gives up.
    GaveUp,
}

fn any_fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate =
        prop_oneof![Just(Fate::Lost), Just(Fate::Done), Just(Fate::Rebooted), Just(Fate::GaveUp)];
    prop::collection::vec(fate, 0..8)
}

/// What is seen of a VM after a command met its fate.
fn after(command: &Command, fate: Fate, before: &Observation) -> Observation {
    let held = |phase, settled| {
        let mut vm = seen(phase, command.version.generation.0);
        vm.accepted = command.version;
        vm.settled = settled;
        Observation::Present(vm)
    };
    match (fate, command.intent.desired) {
        (Fate::Lost, _) => before.clone(),
        (Fate::Done, Desired::Absent) => Observation::Absent,
        (Fate::Done, Desired::Running) => held(Phase::Running, command.version),
        (Fate::Done, Desired::Paused) => held(Phase::Paused, command.version),
        (Fate::Done, Desired::Stopped) => held(Phase::Stopped, command.version),
        (Fate::Rebooted, _) => held(Phase::Stopped, Version::default()),
        (Fate::GaveUp, _) => held(Phase::Failed, command.version),
    }
}

proptest! {
    /// Whatever is wanted, whatever is seen and whatever becomes of the first commands: it ends,
    /// each command is for this VM alone, and at the end nothing more is sent.
    #[test]
    fn from_anything_seen_the_plan_comes_to_rest_and_is_silent_then(
        intent in any_intent(), first in any_observation(), fates in any_fates(),
    ) {
        let (mut intent, mut observation) = (intent, first);
        // Each fate costs a command; a VM may have to be placed, seen, sent once more and forgotten.
        let bound = fates.len() + 4;
        let mut fates = fates.into_iter();
        let mut rested = None;
        for step in 0..=bound {
            match online(&intent, &observation) {
                Decision::Send(command) => {
                    prop_assert_eq!(command.vm(), intent.id);
                    prop_assert_eq!(command.intent.generation, intent.generation);
                    observation = after(&command, fates.next().unwrap_or(Fate::Done), &observation);
                }
                Decision::Place => intent.host = crate::testing::intent(1).host,
                // The inventory comes: nothing of the VM is there.
                Decision::Wait(WaitReason::Unknown(_)) => observation = Observation::Absent,
                Decision::Forget => {
                    prop_assert_eq!(intent.desired, Desired::Absent);
                    prop_assert!(intent.host.is_none() || observation == Observation::Absent);
                    rested = Some(step);
                    break;
                }
                Decision::InSync | Decision::Wait(_) | Decision::Blocked(_) => {
                    prop_assert!(!online(&intent, &observation).is_action());
                    rested = Some(step);
                    break;
                }
            }
        }
        prop_assert!(rested.is_some(), "not at rest after {} steps: {:?}", bound, observation);
    }
}
