//! What is done next, and what never is.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::assignment::{Exit, ExitCause, Halt, Merge, Started, merge};
use crate::handles::ProcessIdentity;
use crate::host::{
    BridgeFacts, BridgeSpec, DeviceNumber, FileId, GuestNet, JailFacts, LoopDevice, LoopFacts, Pid,
    Pin, RootDiskKind, SnapshotFacts, SnapshotFill, TapFacts, TapSpec, VmmKind,
};
use crate::jail::process::{WhyNot, WhyUnclear};
use crate::naming::Naming;
use crate::vm::fixtures::{assignment_of, vm_id};
use crate::vm::memory::{Attempt, Success};
use crate::vm::plan::network::NetWanted;
use crate::vm::probe::{NetSeen, Objects};

struct Case {
    record: Record,
    memory: Memory,
    handles: VmHandles,
    names: VmNames,
    net: NetWanted,
    may_start: bool,
    guest_agent: bool,
    now: Moment,
}

fn started(boot_number: u64, host_boot: &str) -> Started {
    Started { boot_number, host_boot: host_boot.to_owned() }
}

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

impl Case {
    fn new(power: Power) -> Self {
        let names = Naming::default().vm(vm_id(1));
        let Merge::Newer(mut record) = merge(None, assignment_of(1, 1, 1, power)) else {
            panic!("the first is newer")
        };
        record.progress.started = Some(started(1, ""));
        let network = record.assignment.shape.as_ref().unwrap().network.clone();
        let address = network.address;
        Self {
            record: *record,
            memory: Memory { collecting: false, ..Memory::default() },
            handles: VmHandles::default(),
            net: NetWanted {
                bridge: bridge_spec(),
                tap: TapSpec {
                    name: names.tap.clone(),
                    bridge: bridge_spec().name,
                    owner_uid: 200_002,
                },
                rules: GuestNet {
                    key: names.rules.clone(),
                    tap: Some(names.tap.clone()),
                    address: Some(address),
                    nat: true,
                    stale: false,
                },
                pin: Pin {
                    key: names.rules.clone(),
                    tap: names.tap.clone(),
                    mac: network.mac,
                    address,
                    uid: 200_002,
                },
            },
            names,
            may_start: true,
            guest_agent: false,
            now: at(1000),
        }
    }

    fn next(&self, probe: &Probe) -> Next {
        let wanted =
            Wanted::of(&self.record, self.may_start, Some(&self.net), Allocation::Reserved);
        let recorded = Recorded {
            progress: &self.record.progress,
            handles: &self.handles,
            memory: &self.memory,
            names: &self.names,
            guest_agent: self.guest_agent,
        };
        next(&wanted, &recorded, probe, self.now)
    }

    fn alive(&self, vmm: VmmState) -> Probe {
        Probe::Alive(Box::new(Alive {
            identity: ProcessIdentity {
                pid: Pid::new(10).unwrap(),
                start_ticks: 1,
                boot_id: String::new(),
            },
            vmm: Seen::Present(vmm),
            rules: Seen::Present(self.net.rules.clone()),
            pin: Seen::Present(self.net.pin.clone()),
            net: self.net_seen(),
            bounds: Seen::Absent,
        }))
    }

    fn net_seen(&self) -> NetSeen {
        NetSeen {
            bridge: Seen::Present(bridge_facts()),
            tap: Seen::Present(tap_facts(&self.names)),
            clash: None,
        }
    }

    fn policy(&mut self, policy: RestartPolicy) {
        self.record.assignment.shape.as_mut().unwrap().restart = policy;
    }
}

fn bridge_spec() -> BridgeSpec {
    BridgeSpec {
        name: Naming::default().bridge(),
        address: "10.64.0.1".parse().unwrap(),
        prefix: 20,
    }
}

fn bridge_facts() -> BridgeFacts {
    let BridgeSpec { address, prefix, .. } = bridge_spec();
    BridgeFacts { index: 7, addresses: vec![(address, prefix)], up: true }
}

fn tap_facts(names: &VmNames) -> TapFacts {
    let name = names.tap.clone();
    TapFacts { name, index: 8, master: Some(7), up: true, isolated: true, open: true }
}

fn nothing() -> Objects {
    Objects {
        why: WhyNot::SocketMissing,
        jail: Seen::Absent,
        rules: Seen::Absent,
        pin: Seen::Absent,
        bridge: Seen::Absent,
        tap: Seen::Absent,
        snapshot: Seen::Absent,
        cow_loop: Seen::Absent,
        base_held: false,
        cow_file: Seen::Absent,
        root_copy: Seen::Absent,
        work_file: Seen::Absent,
        new_root_disks: RootDiskKind::Snapshot,
    }
}

fn everything(case: &Case) -> Objects {
    let number = DeviceNumber { major: 253, minor: 0 };
    Objects {
        why: WhyNot::SocketMissing,
        jail: Seen::Present(JailFacts { vmm: None, root: None, cgroup: false }),
        rules: Seen::Present(case.net.rules.clone()),
        bridge: Seen::Present(bridge_facts()),
        tap: Seen::Present(tap_facts(&case.names)),
        pin: Seen::Present(case.net.pin.clone()),
        snapshot: Seen::Present(SnapshotFacts {
            name: case.names.snapshot.clone(),
            device: number,
            open_count: 0,
            base: number,
            cow: number,
            size_sectors: 1,
            fill: SnapshotFill::Used { used: 1, total: 2 },
        }),
        cow_loop: Seen::Present(LoopFacts {
            device: LoopDevice(4),
            backing_path: "root.cow".into(),
            backing: FileId { device: 1, inode: 1 },
            read_only: false,
            size_bytes: 64 << 20,
            holders: vec!["dm-0".to_owned()],
        }),
        base_held: true,
        cow_file: Seen::Present(64 << 20),
        root_copy: Seen::Absent,
        work_file: Seen::Present(0),
        new_root_disks: RootDiskKind::Snapshot,
    }
}

fn exit(crashed: bool) -> Exit {
    Exit {
        cause: ExitCause::default(),
        crashed,
        code: None,
        signal: None,
        message: String::new(),
        at: jiff::Timestamp::UNIX_EPOCH,
    }
}

/// Performs a plan on paper: every effect succeeds and does what it says.
fn walk(case: &mut Case, mut objects: Objects) -> (Vec<EffectKind>, Option<Next>) {
    let full = everything(case);
    let mut effects = Vec::new();
    for _ in 0..60 {
        let effect = match case.next(&Probe::Dead(Box::new(objects.clone()))) {
            Next::Do(effect) => effect.kind(),
            rest => return (effects, Some(rest)),
        };
        effects.push(effect);
        case.memory.begin(effect);
        let done = Success { now: case.now, stop_grace: Duration::ZERO, metadata: None };
        case.memory.done(effect, crate::host::Change::Made, &done);
        match effect {
            EffectKind::CheckHost => {
                case.memory.attempt.as_mut().unwrap().vmm = Some(VmmKind::Firecracker);
            }
            EffectKind::AttachBase => objects.base_held = true,
            EffectKind::MakeCowFile => objects.cow_file = full.cow_file.clone(),
            EffectKind::MakeWorkDisk => objects.work_file = Seen::Present(u64::MAX),
            EffectKind::AttachCow => objects.cow_loop = full.cow_loop.clone(),
            EffectKind::CreateSnapshot => objects.snapshot = full.snapshot.clone(),
            EffectKind::EnsureTap => objects.tap = full.tap.clone(),
            EffectKind::EnsureBridge => objects.bridge = full.bridge.clone(),
            EffectKind::PinAddress => objects.pin = full.pin.clone(),
            EffectKind::EnsureRules => objects.rules = full.rules.clone(),
            EffectKind::BuildJail => objects.jail = full.jail.clone(),
            EffectKind::RemoveJail => objects.jail = Seen::Absent,
            EffectKind::RemoveRules => objects.rules = Seen::Absent,
            EffectKind::UnpinAddress => objects.pin = Seen::Absent,
            EffectKind::RemoveTap => objects.tap = Seen::Absent,
            EffectKind::RemoveSnapshot => objects.snapshot = Seen::Absent,
            EffectKind::DetachCow => objects.cow_loop = Seen::Absent,
            EffectKind::ReleaseBase => objects.base_held = false,
            EffectKind::RemoveCowFile => objects.cow_file = Seen::Absent,
            EffectKind::RemoveWorkDisk => objects.work_file = Seen::Absent,
            EffectKind::MarkBooted => {
                case.record.progress.boot_number = case.record.assignment.boot_number;
            }
            EffectKind::MarkRootDisk => {
                case.record.progress.root_disk_number = case.record.assignment.root_disk_number;
            }
            EffectKind::Launch | EffectKind::RemoveDir => return (effects, None),
            _ => {}
        }
    }
    panic!("the plan never comes to an end: {effects:?}")
}

#[test]
fn a_vm_is_built_in_the_order_of_the_design() {
    let (effects, _) = walk(&mut Case::new(Power::Running), nothing());
    assert_eq!(
        effects,
        [
            EffectKind::CheckHost,
            EffectKind::CheckImages,
            EffectKind::CheckRoom,
            EffectKind::AttachBase,
            EffectKind::MakeCowFile,
            EffectKind::AttachCow,
            EffectKind::CreateSnapshot,
            EffectKind::EnsureBridge,
            EffectKind::EnsureTap,
            EffectKind::PinAddress,
            EffectKind::EnsureRules,
            EffectKind::BuildJail,
            EffectKind::CollectOutputs,
            EffectKind::Launch,
        ]
    );
}

#[test]
fn after_the_launch_the_vmm_is_configured_and_then_the_guest_started() {
    let mut case = Case::new(Power::Running);
    case.memory.attempt = Some(Attempt { vmm: Some(VmmKind::Qemu), ..Attempt::default() });
    let alive = case.alive(VmmState::NotStarted);
    assert_eq!(case.next(&alive), Next::Do(Effect::Configure(VmmKind::Qemu)));
    case.memory.attempt.as_mut().unwrap().done.insert(EffectKind::Configure);
    assert_eq!(case.next(&alive), Next::Do(Effect::StartGuest));
}

#[test]
fn output_whose_collection_failed_is_stopped_before_the_vm_goes_as_it_may_have_begun() {
    let mut case = Case::new(Power::Absent);
    case.memory.attempt = Some(Attempt::default());
    let why = "its answer was lost".to_owned();
    case.memory.failed(EffectKind::CollectOutputs, Reason::ToolFailed, why, case.now);
    assert!(!case.memory.collecting, "nobody said that it has begun");
    let objects = everything(&case);
    let (effects, _) = walk(&mut case, objects);
    assert_eq!(effects.first(), Some(&EffectKind::StopOutputs), "{effects:?}");
}

#[test]
fn teardown_is_the_reverse_and_the_record_goes_last() {
    let mut case = Case::new(Power::Absent);
    case.memory.collecting = true;
    let objects = everything(&case);
    let (effects, _) = walk(&mut case, objects);
    assert_eq!(
        effects,
        [
            EffectKind::StopOutputs,
            EffectKind::RemoveJail,
            EffectKind::RemoveRules,
            EffectKind::UnpinAddress,
            EffectKind::RemoveTap,
            EffectKind::RemoveSnapshot,
            EffectKind::DetachCow,
            EffectKind::ReleaseBase,
            EffectKind::RemoveCowFile,
            EffectKind::RemoveWorkDisk,
            EffectKind::RemoveDir,
        ]
    );
}

#[test]
fn a_stopped_vm_keeps_its_disks_and_nothing_else() {
    let mut case = Case::new(Power::Stopped);
    let objects = everything(&case);
    let (effects, rest) = walk(&mut case, objects);
    assert_eq!(rest, Some(Next::Settled(Phase::Stopped)));
    assert!(!effects.contains(&EffectKind::RemoveCowFile));
    assert!(!effects.contains(&EffectKind::RemoveWorkDisk));
    assert!(effects.contains(&EffectKind::RemoveSnapshot));
}

#[test]
fn every_start_begins_from_nothing() {
    let mut case = Case::new(Power::Running);
    let objects = everything(&case);
    let (effects, _) = walk(&mut case, objects);
    let check = effects.iter().position(|e| *e == EffectKind::CheckHost).unwrap();
    let teardown = [
        EffectKind::RemoveJail,
        EffectKind::RemoveRules,
        EffectKind::UnpinAddress,
        EffectKind::RemoveTap,
        EffectKind::RemoveSnapshot,
        EffectKind::DetachCow,
        EffectKind::ReleaseBase,
    ];
    assert_eq!(effects[..check], teardown);
    assert!(!effects.contains(&EffectKind::RemoveCowFile), "the disk is kept");
}

#[test]
fn an_unclear_process_stops_everything() {
    for power in [Power::Running, Power::Paused, Power::Stopped, Power::Absent] {
        let why = WhyUnclear::RootUnreadable { pid: Pid::new(9).unwrap() };
        let Next::Stuck(fault) = Case::new(power).next(&Probe::Unclear(why)) else {
            panic!("nothing may be done")
        };
        assert_eq!(fault.reason, Reason::ProcessUnclear);
        assert!(fault.retry_at.is_some());
    }
}

#[test]
fn a_running_guest_is_asked_to_stop_then_given_its_grace_then_ended() {
    let mut case = Case::new(Power::Stopped);
    let alive = case.alive(VmmState::Running);
    assert_eq!(case.next(&alive), Next::Do(Effect::AskGuestToStop(STOP_SIGNAL)));
    case.memory.stop_by = Some(at(1005));
    assert_eq!(case.next(&alive), Next::WaitUntil(at(1005), Waiting::GuestToShutDown));
    case.now = at(1005);
    assert_eq!(case.next(&alive), Next::Do(Effect::Kill));
}

#[test]
fn a_guest_agent_that_is_reached_is_asked_once_and_then_the_guest_by_other_means() {
    let mut case = Case::new(Power::Stopped);
    case.guest_agent = true;
    let alive = case.alive(VmmState::Running);
    assert_eq!(case.next(&alive), Next::Do(Effect::AskGuestAgent));
    let (silent, reason) = ("it is silent".to_owned(), Reason::VmmUnresponsive);
    case.memory.failed(EffectKind::AskGuestAgent, reason, silent, case.now);
    assert_eq!(case.next(&alive), Next::Do(Effect::AskGuestToStop(STOP_SIGNAL)));
    let grace = Duration::from_secs(5);
    case.memory.assignment_changed(Power::Stopped, grace, case.now);
    assert_eq!(case.next(&alive), Next::Do(Effect::AskGuestAgent), "a newer one is asked anew");
    let done = Success { now: case.now, stop_grace: grace, metadata: None };
    case.memory.done(EffectKind::AskGuestAgent, crate::host::Change::Made, &done);
    assert_eq!(case.next(&alive), Next::WaitUntil(at(1005), Waiting::GuestToShutDown));
}

#[test]
fn without_grace_a_guest_is_ended_at_once() {
    let mut case = Case::new(Power::Absent);
    case.record.assignment.stop_grace = Duration::ZERO;
    assert_eq!(case.next(&case.alive(VmmState::Running)), Next::Do(Effect::Kill));
}

#[test]
fn a_paused_guest_is_resumed_to_hear_that_it_should_stop() {
    let case = Case::new(Power::Stopped);
    assert_eq!(case.next(&case.alive(VmmState::Paused)), Next::Do(Effect::Resume));
}

#[test]
fn a_vmm_that_never_had_a_guest_is_ended_without_asking() {
    let case = Case::new(Power::Stopped);
    assert_eq!(case.next(&case.alive(VmmState::NotStarted)), Next::Do(Effect::Kill));
}

#[test]
fn pause_and_resume_follow_what_is_wanted() {
    let mut paused = Case::new(Power::Paused);
    paused.memory.collecting = true;
    assert_eq!(paused.next(&paused.alive(VmmState::Running)), Next::Do(Effect::Pause));
    assert_eq!(paused.next(&paused.alive(VmmState::Paused)), Next::Settled(Phase::Paused));
    let mut running = Case::new(Power::Running);
    running.memory.collecting = true;
    assert_eq!(running.next(&running.alive(VmmState::Paused)), Next::Do(Effect::Resume));
    assert_eq!(running.next(&running.alive(VmmState::Running)), Next::Settled(Phase::Running));
}

#[test]
fn a_higher_boot_number_ends_the_process_and_starts_another_once() {
    let mut case = Case::new(Power::Running);
    case.record.assignment.boot_number = 2;
    let alive = case.alive(VmmState::Running);
    assert_eq!(case.next(&alive), Next::Do(Effect::AskGuestToStop(STOP_SIGNAL)));
    let (effects, _) = walk(&mut case, nothing());
    assert_eq!(effects.first(), Some(&EffectKind::MarkBooted));
    assert_eq!(effects.last(), Some(&EffectKind::Launch));
    case.memory = Memory { collecting: true, ..Memory::default() };
    assert_eq!(case.next(&alive), Next::Do(Effect::MarkStarted));
    case.record.progress.started = Some(started(2, ""));
    assert_eq!(case.next(&alive), Next::Settled(Phase::Running));
}

#[test]
fn a_root_disk_is_not_given_up_before_the_image_of_the_new_one_is_there() {
    let mut case = Case::new(Power::Running);
    case.record.assignment.root_disk_number = 2;
    let kept = Objects { cow_file: Seen::Present(1), ..nothing() };
    case.memory.begin(EffectKind::CheckHost);
    let done = Success { now: case.now, stop_grace: Duration::ZERO, metadata: None };
    case.memory.done(EffectKind::CheckHost, crate::host::Change::AlreadySo, &done);
    case.memory.attempt.as_mut().expect("it is under way").vmm = Some(VmmKind::Firecracker);
    let dead = Probe::Dead(Box::new(kept));
    assert_eq!(case.next(&dead), Next::Do(Effect::CheckImages));
    let missing = "there is none of that name".to_owned();
    case.memory.failed(EffectKind::CheckImages, Reason::RootImageMissing, missing, case.now);
    let Next::Stuck(fault) = case.next(&dead) else { panic!("{:?}", case.next(&dead)) };
    assert_eq!(fault.reason, Reason::RootImageMissing);
    // Once it is there the old one goes; a failure at that is one of the start.
    case.now = fault.retry_at.expect("it may come");
    assert_eq!(case.next(&dead), Next::Do(Effect::CheckHost));
    case.memory.begin(EffectKind::CheckHost);
    for effect in [EffectKind::CheckHost, EffectKind::CheckImages] {
        case.memory.done(effect, crate::host::Change::AlreadySo, &done);
    }
    case.memory.attempt.as_mut().expect("it is under way").vmm = Some(VmmKind::Firecracker);
    assert_eq!(case.next(&dead), Next::Do(Effect::RemoveCowFile));
    case.memory.failed(EffectKind::RemoveCowFile, Reason::DiskFull, String::new(), case.now);
    assert!(case.memory.attempt.is_none(), "the attempt has failed");
}

#[test]
fn a_reset_of_the_root_disk_makes_the_store_anew_and_keeps_the_work_disk() {
    let mut case = Case::new(Power::Running);
    case.record.assignment.root_disk_number = 2;
    let objects = everything(&case);
    let (effects, _) = walk(&mut case, objects);
    let place = |effect| effects.iter().position(|e| *e == effect).unwrap();
    assert!(place(EffectKind::DetachCow) < place(EffectKind::RemoveCowFile));
    assert!(place(EffectKind::RemoveCowFile) < place(EffectKind::MarkRootDisk));
    assert!(place(EffectKind::MarkRootDisk) < place(EffectKind::MakeCowFile));
    assert!(!effects.contains(&EffectKind::RemoveWorkDisk));
}

#[test]
fn a_guest_that_runs_is_noted_once_for_each_boot_number_and_boot_of_the_host() {
    for (noted, marks) in [
        (None, true),
        (Some(started(1, "")), false),
        (Some(started(0, "")), true),
        (Some(started(1, "an earlier boot")), true),
    ] {
        let mut case = Case::new(Power::Running);
        case.memory.collecting = true;
        case.record.progress.started = noted;
        let next = case.next(&case.alive(VmmState::Running));
        let expected =
            if marks { Next::Do(Effect::MarkStarted) } else { Next::Settled(Phase::Running) };
        assert_eq!(next, expected, "{:?}", case.record.progress.started);
    }
}

#[test]
fn a_note_that_fails_keeps_nothing_from_running_and_is_shown_when_it_fails_again() {
    let mut case = Case::new(Power::Running);
    case.memory.collecting = true;
    case.record.progress.started = None;
    let alive = case.alive(VmmState::Running);
    let fail = |case: &mut Case| {
        case.memory.failed(EffectKind::MarkStarted, Reason::DiskFull, "full".to_owned(), case.now);
    };
    fail(&mut case);
    let next = case.next(&alive);
    assert!(matches!(next, Next::WaitUntil(_, Waiting::Retry)), "{next:?}");
    case.record.assignment.power = Power::Paused;
    assert_eq!(case.next(&alive), Next::Do(Effect::Pause), "it holds up nothing else");
    case.record.assignment.power = Power::Running;
    case.now = at(2000);
    assert_eq!(case.next(&alive), Next::Do(Effect::MarkStarted));
    fail(&mut case);
    let next = case.next(&alive);
    assert!(matches!(&next, Next::Stuck(fault) if fault.reason == Reason::DiskFull), "{next:?}");
}

#[test]
fn after_a_crash_the_policy_decides() {
    for (policy, crashed, stays) in [
        (RestartPolicy::Never, true, true),
        (RestartPolicy::Never, false, true),
        (RestartPolicy::OnFailure, true, false),
        (RestartPolicy::OnFailure, false, true),
        (RestartPolicy::Always, true, false),
        (RestartPolicy::Always, false, false),
    ] {
        let mut case = Case::new(Power::Running);
        case.policy(policy);
        case.memory.ended_by_itself(exit(crashed), at(999));
        let next = case.next(&Probe::Dead(Box::new(nothing())));
        let halted = Effect::MarkHalted(exit(crashed));
        let expected = if stays { halted } else { Effect::CheckHost };
        assert_eq!(next, Next::Do(expected), "{policy:?}, crashed: {crashed}");
    }
}

#[test]
fn a_crashed_vm_that_stays_down_is_shown_crashed_and_a_clean_one_stopped() {
    for (crashed, phase) in [(true, Phase::Crashed), (false, Phase::Stopped)] {
        let mut case = Case::new(Power::Running);
        case.record.progress.halt = Some(Halt { boot_number: 1, exit: exit(crashed) });
        let next = case.next(&Probe::Dead(Box::new(nothing())));
        assert_eq!(next, Next::Settled(phase));
        case.record.assignment.boot_number = 2;
        let next = case.next(&Probe::Dead(Box::new(nothing())));
        assert_eq!(next, Next::Do(Effect::MarkBooted), "a new boot number starts anew");
    }
}

#[test]
fn a_restart_waits_for_its_back_off() {
    let mut case = Case::new(Power::Running);
    case.policy(RestartPolicy::Always);
    case.memory.ended_by_itself(exit(true), at(1000));
    let dead = Probe::Dead(Box::new(nothing()));
    assert_eq!(case.next(&dead), Next::WaitUntil(at(1001), Waiting::Restart));
    case.now = at(1001);
    assert_eq!(case.next(&dead), Next::Do(Effect::CheckHost));
}

#[test]
fn a_failed_start_is_undone_then_reported_then_tried_again() {
    let mut case = Case::new(Power::Running);
    case.memory.begin(EffectKind::CheckHost);
    let done = Success { now: case.now, stop_grace: Duration::ZERO, metadata: None };
    case.memory.done(EffectKind::MakeCowFile, crate::host::Change::Made, &done);
    let full = "no space".to_owned();
    case.memory.failed(EffectKind::AttachCow, Reason::DiskFull, full, case.now);
    let objects = Objects { base_held: true, cow_file: Seen::Present(1), ..nothing() };
    let (effects, rest) = walk(&mut case, objects);
    assert_eq!(effects, [EffectKind::ReleaseBase, EffectKind::RemoveCowFile]);
    let Some(Next::Stuck(fault)) = rest else { panic!("reported: {rest:?}") };
    assert_eq!(fault.reason, Reason::DiskFull);
    assert_eq!(fault.step, "attach the copy-on-write loop device");
    assert_eq!(fault.retry_at, Some(at(1001)));
    case.now = at(1001);
    assert_eq!(case.next(&Probe::Dead(Box::new(nothing()))), Next::Do(Effect::CheckHost));
}

#[test]
fn a_disk_that_was_there_before_survives_a_failed_start() {
    let mut case = Case::new(Power::Running);
    case.memory.begin(EffectKind::CheckHost);
    case.memory.failed(EffectKind::EnsureTap, Reason::TapNameTaken, String::new(), case.now);
    let objects = everything(&case);
    let (effects, _) = walk(&mut case, objects);
    assert!(!effects.contains(&EffectKind::RemoveCowFile), "{effects:?}");
}

#[test]
fn a_store_is_made_larger_while_the_guest_runs_and_what_fails_at_it_is_tried_again() {
    let mut case = Case::new(Power::Running);
    case.memory.collecting = true;
    let alive = case.alive(VmmState::Running);
    case.memory.disk = Some(CowVerdict::Enough);
    assert_eq!(case.next(&alive), Next::Settled(Phase::Running));
    let grow = Next::Do(Effect::GrowStore { bytes: 1 << 30, allocation: Allocation::Reserved });
    case.memory.disk = Some(CowVerdict::Grow(1 << 30));
    assert_eq!(case.next(&alive), grow);
    let reason = Reason::RootDiskNearlyFull;
    case.memory.failed(EffectKind::GrowStore, reason, "no room".to_owned(), case.now);
    let Next::Stuck(fault) = case.next(&alive) else { panic!("it is shown") };
    assert_eq!((fault.reason, fault.retry_at), (reason, Some(at(1001))));
    case.now = at(1001);
    assert_eq!(case.next(&alive), grow);
}

#[test]
fn a_full_or_lost_root_disk_is_no_reason_to_touch_the_guest() {
    for verdict in
        [CowVerdict::Full, CowVerdict::Lost, CowVerdict::NearlyFull { used: 1, total: 1 }]
    {
        let mut case = Case::new(Power::Running);
        case.memory.collecting = true;
        case.memory.disk = Some(verdict);
        assert_eq!(case.next(&case.alive(VmmState::Running)), Next::Settled(Phase::Running));
    }
}

#[test]
fn a_busy_device_blocks_only_what_stands_on_it_and_is_named() {
    let mut case = Case::new(Power::Absent);
    for _ in 0..3 {
        let busy = "busy".to_owned();
        case.memory.failed(EffectKind::RemoveSnapshot, Reason::DeviceBusy, busy, case.now);
    }
    let objects = everything(&case);
    let (effects, rest) = walk(&mut case, objects);
    assert_eq!(
        effects,
        [
            EffectKind::RemoveJail,
            EffectKind::RemoveRules,
            EffectKind::UnpinAddress,
            EffectKind::RemoveTap,
            EffectKind::RemoveWorkDisk
        ]
    );
    let Some(Next::Stuck(fault)) = rest else { panic!("shown: {rest:?}") };
    assert_eq!(fault.reason, Reason::DeviceBusy);
    assert!(fault.left_behind.contains(&format!("dm-device {}", case.names.snapshot)));
    assert!(fault.left_behind.contains(&"loop-device /dev/loop4".to_owned()));
    assert_eq!(fault.retry_at, Some(at(1004)));
}

#[test]
fn nothing_starts_before_the_server_has_spoken() {
    let mut case = Case::new(Power::Running);
    case.may_start = false;
    let dead = Probe::Dead(Box::new(nothing()));
    assert_eq!(case.next(&dead), Next::Settled(Phase::Stopped));
    let alive = case.alive(VmmState::Running);
    case.memory.collecting = true;
    assert_eq!(case.next(&alive), Next::Settled(Phase::Running), "what runs, runs on");
}

#[test]
fn rules_flushed_by_hand_are_put_back_and_live_changes_reach_a_running_guest() {
    let mut case = Case::new(Power::Running);
    case.memory.collecting = true;
    let Probe::Alive(mut alive) = case.alive(VmmState::Running) else { panic!("alive") };
    alive.rules = Seen::Absent;
    assert_eq!(case.next(&Probe::Alive(alive.clone())), Next::Do(Effect::EnsureRules));
    alive.rules = Seen::Present(GuestNet { nat: false, ..case.net.rules.clone() });
    assert_eq!(case.next(&Probe::Alive(alive)), Next::Do(Effect::EnsureRules));
    let metadata = Some("{\"a\":1}".to_owned());
    case.record.assignment.shape.as_mut().unwrap().metadata_json = metadata.clone();
    let alive = case.alive(VmmState::Running);
    assert_eq!(case.next(&alive), Next::Do(Effect::PutMetadata));
    case.memory.metadata = metadata;
    assert_eq!(case.next(&alive), Next::Settled(Phase::Running));
}

#[test]
fn a_guest_that_runs_unpinned_is_pinned_without_being_stopped() {
    let mut case = Case::new(Power::Running);
    case.memory.collecting = true;
    let Probe::Alive(mut alive) = case.alive(VmmState::Running) else { panic!("alive") };
    // As an agent that knew no pins left it, or somebody who flushed them.
    alive.pin = Seen::Absent;
    assert_eq!(case.next(&Probe::Alive(alive.clone())), Next::Do(Effect::PinAddress));
    alive.pin = Seen::Present(Pin { uid: 1, ..case.net.pin.clone() });
    assert_eq!(case.next(&Probe::Alive(alive.clone())), Next::Do(Effect::PinAddress));
    alive.pin = Seen::Unknown("nft hangs".to_owned());
    let Next::Stuck(fault) = case.next(&Probe::Alive(alive)) else { panic!("it is not known") };
    assert!(fault.message.contains("nft hangs") && fault.retry_at.is_some(), "{fault:?}");
}

#[test]
fn no_guest_is_started_before_it_is_pinned() {
    let (effects, _) = walk(&mut Case::new(Power::Running), nothing());
    let place = |effect| effects.iter().position(|done| *done == effect);
    let (tap, pinned) = (place(EffectKind::EnsureTap), place(EffectKind::PinAddress));
    assert!(pinned.is_some() && tap < pinned, "{effects:?}");
    assert!(pinned < place(EffectKind::Launch), "{effects:?}");
}

#[test]
fn a_vmm_that_does_not_answer_is_left_alone_while_it_should_run() {
    let case = Case::new(Power::Running);
    let Probe::Alive(mut alive) = case.alive(VmmState::Running) else { panic!("alive") };
    alive.vmm = Seen::Unknown("timed out".to_owned());
    let Next::Stuck(fault) = case.next(&Probe::Alive(alive)) else { panic!("reported") };
    assert_eq!(fault.reason, Reason::VmmUnresponsive);
}

fn seen<T: Clone + std::fmt::Debug>(there: T) -> impl Strategy<Value = Seen<T>> {
    prop_oneof![Just(Seen::Present(there)), Just(Seen::Absent), Just(Seen::Unknown("?".into()))]
}

proptest! {
    /// Whatever is there or cannot be seen: a VM that should run, or stop, never loses a disk.
    #[test]
    fn no_disk_is_ever_removed_unless_the_vm_is_to_be_absent_or_its_root_disk_reset(
        stopped: bool,
        reboot: bool,
        failed: bool,
        jail in seen(()),
        snapshot in seen(()),
        cow in seen(64_u64 << 20),
        work in seen(0_u64),
    ) {
        let mut case = Case::new(if stopped { Power::Stopped } else { Power::Running });
        case.record.assignment.boot_number += u64::from(reboot);
        if failed {
            case.memory.begin(EffectKind::CheckHost);
            case.memory.failed(EffectKind::BuildJail, Reason::DiskFull, String::new(), at(900));
        }
        let full = everything(&case);
        let objects = Objects {
            jail: if jail.is_absent() { Seen::Absent } else { full.jail.clone() },
            snapshot: if snapshot.is_absent() { Seen::Absent } else { full.snapshot.clone() },
            cow_file: cow,
            work_file: work,
            ..full
        };
        let (effects, _) = walk(&mut case, objects);
        prop_assert!(!effects.contains(&EffectKind::RemoveCowFile));
        prop_assert!(!effects.contains(&EffectKind::RemoveWorkDisk));
        prop_assert!(!effects.contains(&EffectKind::RemoveDir));
    }
}
