use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::reconcile::needs::ImageStanding;
use crate::testing::{
    EPOCH, at, facts, health, host_record, intent, seen, spec_of_root, version, wanting,
};

/// What is known of a host in this state, with nothing tried and no image of the server's.
struct Case {
    host: HostView,
    connected: bool,
    images: HostImages,
    attempts: Attempts,
    now: Instant,
}

impl Case {
    fn new(state: HostState) -> Self {
        let host = HostView {
            record: host_record(1),
            health: health(state),
            facts: Some(Arc::new(facts())),
        };
        Self {
            host,
            connected: state.is_online(),
            images: HostImages::default(),
            attempts: Attempts::default(),
            now: Instant::now(),
        }
    }

    fn decide(&self, intent: &VmIntent, observation: &Observation) -> Decision {
        let known = Known {
            host: intent.host.map(|_| &self.host),
            connected: self.connected,
            images: &self.images,
            attempts: &self.attempts,
            epoch: EPOCH,
            now: self.now,
        };
        decide(Subject { intent: &Arc::new(intent.clone()), observation }, &known)
    }
}

fn decided(intent: &VmIntent, observation: &Observation, state: HostState) -> Decision {
    Case::new(state).decide(intent, observation)
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
    let Decision::ConfirmGone(command) = online(&absent, &Observation::Absent) else {
        panic!("a create may still be on its way");
    };
    assert_eq!((command.version, command.intent.desired), (version(2), Desired::Absent));
    let mut confirmed = Case::new(HostState::Online);
    confirmed.attempts.confirm_gone(absent.id);
    assert!(matches!(confirmed.decide(&absent, &Observation::Absent), Decision::Forget));
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
    assert!(matches!(online(&unplaced, &Observation::Absent), Decision::Place));
}

#[test]
fn one_step_at_a_time_and_none_again_before_it_is_due() {
    let mut case = Case::new(HostState::Online);
    let running = intent(1);
    case.attempts.begin([running.id]);
    let decision = case.decide(&running, &Observation::Absent);
    assert!(matches!(decision, Decision::Wait(WaitReason::UnderWay)), "{decision:?}");
    assert!(decision.needs_the_server());
    case.attempts.end(running.id);
    case.attempts.failed(running.id, running.generation, Step::Send, case.now);
    let decision = case.decide(&running, &Observation::Absent);
    let Decision::WaitUntil { at, step: Step::Send, pause: Pause::Failed } = decision else {
        panic!("{decision:?}");
    };
    let newer = wanting(&running, Desired::Stopped);
    assert!(matches!(case.decide(&newer, &Observation::Absent), Decision::Send(_)));
    case.now = at;
    assert!(matches!(case.decide(&running, &Observation::Absent), Decision::Send(_)));
}

#[test]
fn a_delete_that_was_just_accepted_waits_for_nothing_once_the_host_shows_nothing() {
    let mut case = Case::new(HostState::Online);
    let absent = wanting(&intent(1), Desired::Absent);
    case.attempts.accepted(absent.id, absent.generation, Step::Send, case.now);
    let decision = case.decide(&absent, &Observation::Absent);
    assert!(matches!(decision, Decision::WaitUntil { pause: Pause::NotSeenYet, .. }));
    case.attempts.confirm_gone(absent.id);
    assert!(matches!(case.decide(&absent, &Observation::Absent), Decision::Forget));
}

#[test]
fn what_is_to_run_is_sent_when_its_images_are_there_and_what_is_to_stop_at_once() {
    let digest = "ab".repeat(32);
    let running = VmIntent { spec: spec_of_root(&digest), ..intent(1) };
    let mut case = Case::new(HostState::Online);
    let mut standing = |standing: Option<ImageStanding>| {
        let since = standing.map(|standing| (digest.clone(), standing)).into_iter().collect();
        case.images = HostImages::new(case.host.facts.as_ref(), since);
        case.decide(&running, &Observation::Absent)
    };
    let begun = |decision: Decision| match decision {
        Decision::Fetch(_, fetch) => fetch.begin,
        other => panic!("{other:?}"),
    };
    assert_eq!(begun(standing(None)), [digest.as_str()]);
    assert_eq!(begun(standing(Some(ImageStanding::Missing))), [digest.as_str()]);
    let coming = ImageStanding::Coming { sent: 1, of: 4 };
    assert!(begun(standing(Some(coming))).is_empty());
    let failed = |again| ImageStanding::Failed { error: "no room".to_owned(), again };
    let now = Instant::now();
    assert!(begun(standing(Some(failed(now + Duration::from_secs(60))))).is_empty());
    assert_eq!(begun(standing(Some(failed(now - Duration::from_secs(60))))), [digest.as_str()]);
    assert!(matches!(standing(Some(ImageStanding::Here)), Decision::Send(_)));
    let stopped = wanting(&running, Desired::Stopped);
    case.images = HostImages::default();
    assert!(matches!(case.decide(&stopped, &Observation::Absent), Decision::Send(_)));
}

#[test]
fn without_a_connection_nothing_is_sent_whatever_the_health_says() {
    let mut case = Case::new(HostState::Online);
    case.connected = false;
    for seen in [Observation::Absent, present(Phase::Running, 1)] {
        let decision = case.decide(&intent(1), &seen);
        // Of an agent that was heard a moment ago nobody says that it was never reached.
        let Decision::Wait(WaitReason::Unknown(UnknownWhy::HostUnreachable)) = decision else {
            panic!("{decision:?}");
        };
    }
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
            prop_assert!(!decision.needs_the_server(), "{:?}", decision);
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
            prop_assert_eq!(decision.needs_the_server(), needed, "{:?}", decision);
        }
    }

    /// Once the agent holds what it was sent, nothing more is sent.
    #[test]
    fn sending_is_enough_once_it_is_seen(
        intent in any_intent(), observation in any_observation(), phase in any_phase(),
    ) {
        if let Decision::Send(command) = online(&intent, &observation) {
            let now = present(phase, command.version.generation.0);
            prop_assert!(!online(&intent, &now).needs_the_server());
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
        let mut case = Case::new(HostState::Online);
        // Each fate costs a command; a VM may have to be placed, seen, sent once more, confirmed
        // and forgotten.
        let bound = fates.len() + 5;
        let mut fates = fates.into_iter();
        let mut rested = None;
        for step in 0..=bound {
            match case.decide(&intent, &observation) {
                Decision::ConfirmGone(command) => {
                    prop_assert_eq!(command.intent.desired, Desired::Absent);
                    prop_assert_eq!(&observation, &Observation::Absent);
                    case.attempts.confirm_gone(command.vm());
                }
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
                    prop_assert!(!case.decide(&intent, &observation).needs_the_server());
                    rested = Some(step);
                    break;
                }
                Decision::Fetch(..) | Decision::WaitUntil { .. } => {
                    return Err(TestCaseError::fail("no image is needed and nothing was tried"));
                }
            }
        }
        prop_assert!(rested.is_some(), "not at rest after {} steps: {:?}", bound, observation);
    }
}
