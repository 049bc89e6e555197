use std::sync::Arc;

use banger_proto::ids::VmId;

use super::*;
use crate::model::fixtures::{at, caller, create, join, token, vm_id};
use crate::model::host::{HostHealth, HostRecord};
use crate::model::ledger::{AnyMutation, CreateJoinToken, Ledger, LedgerConfig, Outcome};
use crate::model::observed::{DevicesSeen, ExitCause, ExitSeen};
use crate::model::placement::NoHost;

const EPOCH: Epoch = Epoch(1);

fn intent(desired: Desired, generation: u64) -> VmIntent {
    let ledger = Ledger::new(LedgerConfig::default());
    let decided = ledger.decide(&caller(), &AnyMutation::CreateVm(create(1, "web")));
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
    let kept = ledger
        .decide(&caller(), &AnyMutation::CreateJoinToken(CreateJoinToken(token("t"))))
        .expect("kept");
    ledger.apply(&kept.changes);
    let joined = ledger.decide(&caller(), &AnyMutation::JoinHost(join(1, "t", "one")));
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
        guest_address: None,
        limits: None,
        devices: DevicesSeen::default(),
        next_attempt_at: None,
        name: "web".to_owned(),
    }
}

fn status(intent: &VmIntent, seen: Observation, state: HostState) -> VmStatus {
    let host = host(state);
    VmStatus::of(
        intent,
        &seen,
        StatusContext { epoch: EPOCH, host: Some(&host), trouble: None, last_settled: None },
    )
}

fn shown(desired: Desired, vm: ObservedVm) -> VmStatus {
    status(&placed(desired, 1), Observation::Present(Box::new(vm)), HostState::Online)
}

fn ended(crashed: bool) -> Option<ExitSeen> {
    let message = "exited with status 0".to_owned();
    let cause = if crashed { ExitCause::VmmEnded } else { ExitCause::GuestShutdown };
    Some(ExitSeen { cause, crashed, code: Some(0), signal: None, message, time: None })
}

#[test]
fn without_a_host_a_vm_is_pending_and_says_why() {
    let intent = VmIntent { pending: Some(NoHost::NoneHasRoom), ..intent(Desired::Running, 1) };
    let context = StatusContext { epoch: EPOCH, host: None, trouble: None, last_settled: None };
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
fn an_end_is_told_by_what_it_came_of_with_restarts_and_back_off() {
    for (cause, reason) in [
        (ExitCause::GuestPanic, "GUEST_PANIC"),
        (ExitCause::Unexplained, "UNEXPLAINED_END"),
        (ExitCause::VmmEnded, "CRASHED"),
        (ExitCause::Unknown, "CRASHED"),
    ] {
        let exit = ended(true).map(|exit| ExitSeen { cause, ..exit });
        let crashed = ObservedVm { exit, ..seen(Phase::Crashed, 1) };
        let status = shown(Desired::Running, crashed.clone());
        assert_eq!((status.state, &*status.reason), (VmState::Crashed, reason));
        assert_eq!(status.message, "exited with status 0");
        let looping = ObservedVm { restart_count: 4, next_attempt_at: Some(at(90)), ..crashed };
        let words = shown(Desired::Running, looping).message;
        let told = format!(
            "exited with status 0; it was started again 4 times so far; the next \
                            start is at {:.0}",
            at(90)
        );
        assert_eq!(words, told);
    }
}

/// A VM between a server that wishes and an agent that takes wishes, acts, and reports: what is
/// true of its process, beside what was reported of it.
#[derive(Debug, Clone)]
struct Played {
    desired: Desired,
    generation: u64,
    /// What the agent holds: the wish and its number.
    taken: (Desired, u64),
    runs: bool,
    exit: Option<ExitSeen>,
    /// The generation in which the process last ended by itself, if that was the last end.
    ended_by_itself_in: Option<u64>,
    reports: Vec<(ObservedVm, Option<u64>)>,
}

#[derive(Debug, Clone, Copy)]
enum Move {
    Wish(Desired),
    /// The agent takes the newest wish and makes it so.
    Act,
    /// The guest shuts down by itself.
    ShutDown,
}

impl Played {
    fn new() -> Self {
        let mut played = Self {
            desired: Desired::Stopped,
            generation: 1,
            taken: (Desired::Stopped, 1),
            runs: false,
            exit: None,
            ended_by_itself_in: None,
            reports: Vec::new(),
        };
        played.report();
        played
    }

    fn report(&mut self) {
        let phase = match (self.runs, self.taken.0) {
            (true, Desired::Paused) => Phase::Paused,
            (true, _) => Phase::Running,
            (false, _) => Phase::Stopped,
        };
        let report = ObservedVm { exit: self.exit.clone(), ..seen(phase, self.taken.1) };
        self.reports.push((report, self.ended_by_itself_in));
    }

    fn make(&mut self, step: Move) {
        match step {
            Move::Wish(desired) => {
                self.desired = desired;
                self.generation += 1;
                return;
            }
            Move::Act => {
                let new = self.taken.1 != self.generation;
                self.taken = (self.desired, self.generation);
                if self.desired.wants_process() {
                    // One that ended by itself stays down until it is wished for anew.
                    self.runs |= new;
                    if self.runs {
                        self.ended_by_itself_in = None;
                    }
                } else if self.runs {
                    self.runs = false;
                    self.ended_by_itself_in = None;
                    self.exit = ended(false).map(|exit| ExitSeen {
                        cause: ExitCause::Asked,
                        code: None,
                        signal: Some(9),
                        ..exit
                    });
                }
            }
            Move::ShutDown => {
                if self.runs {
                    self.runs = false;
                    self.ended_by_itself_in = Some(self.taken.1);
                    self.exit = ended(false);
                }
            }
        }
        self.report();
    }
}

/// Of agents that do not say what an end came of, too.
#[test]
fn of_all_sequences_of_wishes_and_reports_only_an_end_under_the_newest_wish_is_told_as_one() {
    const MOVES: [Move; 5] = [
        Move::Wish(Desired::Running),
        Move::Wish(Desired::Paused),
        Move::Wish(Desired::Stopped),
        Move::Act,
        Move::ShutDown,
    ];
    let mut told = 0;
    let mut shown_at_all = 0;
    let (host, intent) = (host(HostState::Online), placed(Desired::Running, 1));
    let context =
        StatusContext { epoch: EPOCH, host: Some(&host), trouble: None, last_settled: None };
    for sequence in 0..5_usize.pow(6) {
        let mut played = Played::new();
        let mut rest = sequence;
        for _ in 0..6 {
            played.make(MOVES[rest % 5]);
            rest /= 5;
        }
        // The server has heard any of the reports as the last one.
        for (report, by_itself_in) in played.reports.iter().rev().take(3) {
            for says in [true, false] {
                let mut report = report.clone();
                if let Some(exit) = report.exit.as_mut().filter(|_| !says) {
                    exit.cause = ExitCause::Unknown;
                }
                let stopped = report.phase == Phase::Stopped;
                let intent = VmIntent {
                    desired: played.desired,
                    generation: Generation(played.generation),
                    ..intent.clone()
                };
                let status =
                    VmStatus::of(&intent, &Observation::Present(Box::new(report)), context);
                let right = stopped
                    && played.desired.wants_process()
                    && *by_itself_in == Some(played.generation);
                assert_eq!(status.reason == "GUEST_SHUTDOWN", right, "{played:#?}\n{status:?}");
                told += u32::from(right);
                shown_at_all += 1;
            }
        }
    }
    assert!(told > 300 && shown_at_all > 50_000, "{told} of {shown_at_all}");
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
    let context = StatusContext {
        epoch: EPOCH,
        host: Some(&host),
        trouble: Some(&trouble),
        last_settled: None,
    };
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

#[test]
fn what_a_host_had_reached_is_not_forgotten_while_nothing_is_known() {
    let intent = placed(Desired::Running, 2);
    let nothing = Observation::Unknown { since: at(9), why: UnknownWhy::HostUnreachable };
    let settled = |epoch| Version { epoch, generation: Generation(1) };
    for (last_settled, expected) in [
        (None, 0),
        (Some(settled(EPOCH)), 1),
        // Of a store that was restored since: the number stands for another wish.
        (Some(settled(Epoch(EPOCH.0 + 1))), 0),
    ] {
        let context = StatusContext { epoch: EPOCH, host: None, trouble: None, last_settled };
        let status = VmStatus::of(&intent, &nothing, context);
        assert_eq!(status.state, VmState::Unknown);
        assert_eq!(status.observed_generation, Generation(expected), "{last_settled:?}");
    }
}
