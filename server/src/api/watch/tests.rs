use futures_util::FutureExt as _;
use jiff::Timestamp;
use prost::Message as _;

use bytes::{Bytes, BytesMut};

mod model;

use super::encode::*;
use super::*;
use crate::clock::ManualClock;
use crate::fleet::observed::{FleetSink as _, Sighting};
use crate::model::filter::{HostFilter, VmFilter};
use crate::model::host::HostState;
use crate::model::ledger::Change;
use crate::model::observed::{
    ExitCause, ExitSeen, Fault, GuestSeen, LimitsSeen, ObservedVm, Phase, ProcessSeen,
};
use crate::model::placement::Overcommit;
use crate::testing::{
    EPOCH, at, facts, health, host_id, host_record, intent, seen, version, vm_id,
};
use crate::watch::{ChangeBatch, ChangeKind, Changes, Limits, View, VmRecord, Watched};

fn event(kind: ChangeKind, name_len: usize) -> Bytes {
    let mut out = BytesMut::new();
    let vm = v1::Vm { name: "n".repeat(name_len), ..v1::Vm::default() };
    let (r#type, revision) = (kind_number(kind).into(), u64::MAX);
    put_message(&mut out, &v1::WatchEvent { r#type, revision, vm: Some(vm), host: None });
    out.freeze()
}

fn host_event(name: &str, revision: u64) -> Bytes {
    let mut out = BytesMut::new();
    let host = v1::Host { name: name.to_owned(), revision, ..v1::Host::default() };
    let event = v1::WatchEvent { r#type: 1, revision, vm: None, host: Some(host) };
    put_message(&mut out, &event);
    out.freeze()
}

#[test]
fn a_host_is_the_end_of_its_event_whatever_its_length() {
    for revision in [1, 127, 128, u64::MAX] {
        for name in ["", "b0", &"n".repeat(200), &"n".repeat(20_000)] {
            let parts = [
                Bytes::from_static(&[0x0a]),
                thing_of(&host_event(name, revision)),
                tail(FrameShape::Hosts, Some(Revision(revision)), true),
            ];
            let bytes: Vec<u8> = parts.iter().flatten().copied().collect();
            let response = v1::WatchHostsResponse::decode(bytes.as_slice()).expect("fields");
            assert_eq!(response.hosts.len(), 1);
            assert_eq!(response.hosts[0].name, name);
            assert_eq!((response.revision, response.initial_state_complete), (revision, true));
        }
    }
}

#[test]
fn of_a_host_that_comes_and_goes_in_one_batch_its_last_change_alone_is_told() {
    let (lines, _) = tokio::sync::mpsc::channel(1);
    let clock = Arc::new(ManualClock::at(at(0)));
    let view = View::new(EPOCH, Revision(1000), clock, lines, Limits::default());
    view.committed(&[Change::put(host_record(1))]);
    let host = Watched::Host(Arc::new(view.host(host_id(1)).expect("it has joined")));
    let id = host_id(1).to_string();
    let style = Style { domain: "d".into(), overcommit: Overcommit::default() };
    let wants = Wants::from(HostFilter::default());
    let (added, removed) = (ChangeKind::Added, ChangeKind::Removed);
    for (first, last) in [(added, removed), (removed, added), (ChangeKind::Modified, removed)] {
        let batch = ChangeBatch {
            changes: Changes::Own(vec![(first, host.clone()), (last, host.clone())]),
            revision: Some(Revision(1001)),
            completes_initial_state: false,
            bookmark: false,
        };
        let frames = frames_of(&style, &batch, &wants, Audience::ALL[0], FrameShape::Hosts);
        let bytes: Vec<u8> =
            frames.iter().flat_map(|one| one.parts.iter().flatten()).copied().collect();
        let told = v1::WatchHostsResponse::decode(bytes.as_slice()).expect("fields");
        let hosts: Vec<_> = told.hosts.into_iter().map(|host| host.id).collect();
        let all = vec![id.clone()];
        let expected = if last == removed { (vec![], all) } else { (all, vec![]) };
        assert_eq!((hosts, told.removed_host_ids), expected, "{first:?}, {last:?}");
    }
}

#[test]
fn an_event_of_a_vm_is_the_same_for_both_calls_that_tell_it() {
    let vm = v1::Vm { name: "web".to_owned(), ..v1::Vm::default() };
    for kind in [ChangeKind::Added, ChangeKind::Modified, ChangeKind::Removed] {
        let number: i32 = kind_number(kind).into();
        let one = v1::WatchEvent { r#type: number, revision: 7, vm: Some(vm.clone()), host: None };
        let other = v1::VmEvent { r#type: number, revision: 7, vm: Some(vm.clone()) };
        assert_eq!(one.encode_to_vec(), other.encode_to_vec());
        let names = (one.r#type().as_str_name(), other.r#type().as_str_name());
        assert_eq!(
            names.0.trim_start_matches("CHANGE_TYPE"),
            names.1.trim_start_matches("VM_EVENT_TYPE")
        );
    }
}

fn decode(parts: &[Bytes]) -> v1::WatchVmsResponse {
    let bytes: Vec<u8> = parts.iter().flatten().copied().collect();
    v1::WatchVmsResponse::decode(bytes.as_slice()).expect("fields, one after the other")
}

#[test]
fn a_response_is_the_concatenation_of_its_fields() {
    let parts = [
        event(ChangeKind::Added, 3),
        event(ChangeKind::Removed, 300),
        tail(FrameShape::Events, Some(Revision(7)), true),
    ];
    let response = decode(&parts);
    assert_eq!(response.events.len(), 2);
    assert_eq!(response.events[1].r#type(), v1::VmEventType::Removed);
    assert_eq!((response.revision, response.initial_state_complete), (7, true));
}

#[test]
fn an_event_can_be_shown_as_another_kind_whatever_its_length() {
    let kinds = [ChangeKind::Added, ChangeKind::Modified, ChangeKind::Removed];
    // Lengths of one, two and three bytes.
    for name_len in [0, 1, 100, 130, 20_000] {
        for from in kinds {
            for to in kinds {
                let shown = as_kind(&event(from, name_len), to);
                assert_eq!(shown, event(to, name_len), "{from:?} as {to:?} at {name_len}");
            }
        }
    }
}

#[test]
fn a_response_within_the_state_at_the_start_has_no_revision() {
    assert_eq!(tail(FrameShape::Events, None, false).len(), 0);
    let response = decode(&[tail(FrameShape::Events, Some(Revision(3)), false)]);
    assert_eq!((response.revision, response.initial_state_complete), (3, false));
}

#[test]
fn a_batch_is_split_by_what_it_weighs_and_each_response_says_where_it_ends() {
    for (ordered, complete) in [(true, false), (false, true)] {
        let mut packer = Packer::new(ordered, FrameShape::Events);
        for n in 1..=30 {
            packer.push(event(ChangeKind::Added, 150_000), Revision(n));
        }
        packer.close(Some(Revision(99)), complete);
        let responses: Vec<_> = packer.full.iter().map(|frame| decode(&frame.parts)).collect();
        assert!(responses.len() > 3, "{}", responses.len());
        let mut told = 0;
        for (n, response) in responses.iter().enumerate() {
            assert!(response.encoded_len() <= FRAME_BYTES + 64, "{}", response.encoded_len());
            told += response.events.len() as u64;
            let last = n + 1 == responses.len();
            let revision = match (last, ordered) {
                (true, _) => 99,
                (false, true) => told,
                (false, false) => 0,
            };
            assert_eq!(
                (response.revision, response.initial_state_complete),
                (revision, last && complete)
            );
        }
        assert_eq!(told, 30, "each is told once");
    }
}

#[test]
fn one_event_that_is_larger_than_a_response_is_one_response() {
    let mut packer = Packer::new(true, FrameShape::Events);
    packer.push(event(ChangeKind::Added, 2 * FRAME_BYTES), Revision(1));
    packer.push(event(ChangeKind::Added, 2 * FRAME_BYTES), Revision(2));
    packer.close(Some(Revision(2)), false);
    let events: Vec<_> =
        packer.full.iter().map(|frame| decode(&frame.parts).events.len()).collect();
    assert_eq!(events, [1, 1]);
}

// === what is an event, and for whom ===

/// A view with VM 1 on a host that says this of it.
fn view_of(vm: ObservedVm) -> Arc<View> {
    let (lines, _) = tokio::sync::mpsc::channel(64);
    let clock = Arc::new(ManualClock::at(at(0)));
    let view = View::new(EPOCH, Revision(1000), clock, lines, Limits::default());
    view.committed(&[Change::put(host_record(1)), Change::put(Arc::new(intent(1)))]);
    view.host_facts(host_id(1), Arc::new(facts()));
    let listed = [(vm_id(1), Box::new(vm))];
    view.inventory(host_id(1), listed.into_iter().collect(), health(HostState::Online));
    view
}

fn a_time(second: i64) -> Option<Timestamp> {
    Some(at(second))
}

/// One that runs and is in trouble, and one that has crashed.
fn seen_ones() -> [ObservedVm; 2] {
    let fault = Fault {
        reason: "TOOL_FAILED".to_owned(),
        step: "make".to_owned(),
        message: "it did not work".to_owned(),
        left_behind: vec!["tap t0".to_owned()],
        retrying: true,
    };
    let exit = ExitSeen {
        cause: ExitCause::VmmEnded,
        crashed: true,
        code: Some(1),
        signal: None,
        message: "it ended; its console ends: a secret".to_owned(),
        time: a_time(3),
    };
    let guest = GuestSeen {
        agent_version: "1".to_owned(),
        boot_id: "b".to_owned(),
        hostname: "h".to_owned(),
        ready_at: None,
        connected: true,
        transport: "vsock".to_owned(),
    };
    let process = ProcessSeen { pid: 7, start_ticks: 8, start_time: None };
    let runs = ObservedVm {
        fault: Some(fault),
        guest: Some(guest),
        process: Some(process),
        ..*seen(Phase::Running, 1)
    };
    [runs, ObservedVm { exit: Some(exit), ..*seen(Phase::Crashed, 1) }]
}

fn edit<T>(of: &mut Option<T>, change: impl FnOnce(&mut T)) {
    if let Some(of) = of {
        change(of);
    }
}

type Difference = (&'static str, fn(&mut ObservedVm));

/// Each of all that can be different in what an agent says.
fn differences() -> Vec<Difference> {
    // A field that is new does not compile until it is below.
    let ObservedVm {
        accepted: _,
        settled: _,
        phase: _,
        fault: _,
        observed_at: _,
        phase_since: _,
        process: _,
        boot_id: _,
        exit: _,
        restart_count: _,
        adopted_at: _,
        guest: _,
        devices: _,
        next_attempt_at: _,
        name: _,
        guest_address: _,
        limits: _,
    } = *seen(Phase::Running, 1);
    vec![
        ("nothing", |_| {}),
        ("accepted, lower", |vm| vm.accepted = version(0)),
        ("accepted, higher", |vm| vm.accepted = version(9)),
        ("settled", |vm| vm.settled = version(0)),
        ("phase", |vm| vm.phase = Phase::Paused),
        ("phase_since", |vm| vm.phase_since = at(40)),
        ("fault", |vm| vm.fault = None),
        ("fault.reason", |vm| edit(&mut vm.fault, |f| f.reason.push('X'))),
        ("fault.step", |vm| edit(&mut vm.fault, |f| f.step.push('x'))),
        ("fault.message", |vm| edit(&mut vm.fault, |f| f.message.push('x'))),
        ("fault.left_behind", |vm| edit(&mut vm.fault, |f| f.left_behind.clear())),
        ("fault.retrying", |vm| edit(&mut vm.fault, |f| f.retrying = false)),
        ("process", |vm| vm.process = None),
        ("process.pid", |vm| edit(&mut vm.process, |p| p.pid = 99)),
        ("boot_id", |vm| vm.boot_id.push('x')),
        ("exit", |vm| vm.exit = None),
        ("exit.cause", |vm| edit(&mut vm.exit, |e| e.cause = ExitCause::GuestPanic)),
        ("exit.crashed", |vm| edit(&mut vm.exit, |e| e.crashed = false)),
        ("exit.code", |vm| edit(&mut vm.exit, |e| e.code = None)),
        ("exit.signal", |vm| edit(&mut vm.exit, |e| e.signal = Some(9))),
        ("the end of the console", |vm| edit(&mut vm.exit, |e| e.message.push('x'))),
        ("exit.message", |vm| edit(&mut vm.exit, |e| e.message.insert(0, 'x'))),
        ("exit.time", |vm| edit(&mut vm.exit, |e| e.time = None)),
        ("restart_count", |vm| vm.restart_count = 4),
        ("adopted_at", |vm| vm.adopted_at = a_time(5)),
        ("guest", |vm| vm.guest = None),
        ("guest.connected", |vm| edit(&mut vm.guest, |g| g.connected = false)),
        ("devices", |vm| vm.devices.tap.push('x')),
        ("next_attempt_at", |vm| vm.next_attempt_at = a_time(99)),
        ("name", |vm| vm.name.push('x')),
        ("limits", |vm| vm.limits = Some(LimitsSeen::default())),
        ("guest_address", |vm| vm.guest_address = Some([10, 0, 0, 1].into())),
    ]
}

/// What is told of a VM, but for what is different without being news.
fn told(record: &VmRecord, to: Audience) -> v1::Vm {
    let mut vm = convert::vm(record, "d", to);
    vm.revision = 0;
    vm.status.as_mut().expect("a status").observed_at = None;
    vm
}

#[test]
fn a_report_is_an_event_for_those_alone_who_are_told_something_else_by_it() {
    let mut hidden_from_some = 0;
    for base in seen_ones() {
        for (what, change) in differences() {
            let view = view_of(base.clone());
            let before = view.get(vm_id(1)).expect("it is there");
            let start = view.revision();
            let mut vm = ObservedVm { observed_at: at(30), ..base.clone() };
            change(&mut vm);
            view.observed(host_id(1), vec![Sighting::Vm(vm_id(1), Box::new(vm))]);
            let after = view.get(vm_id(1)).expect("it is there");
            let mut watcher = view.watch(Some(start), VmFilter::default(), "ann").expect("known");
            let batch = watcher.next().now_or_never().map(|batch| batch.expect("it goes on"));
            let seen_by = batch.map(|batch| match batch.changes {
                Changes::Shared { segments, .. } => segments[0].events()[0].seen_by,
                Changes::Own(own) => panic!("from the ring: {own:?}"),
            });
            for to in Audience::ALL {
                let differs = told(&before, to) != told(&after, to);
                let is_event = seen_by.is_some_and(|audiences| audiences.has(to));
                assert_eq!(is_event, differs, "{what} of a VM that is {:?}", base.phase);
                hidden_from_some += usize::from(!is_event && seen_by.is_some());
            }
            let news = seen_by.is_some();
            assert_eq!(news, before.revision != after.revision, "{what}");
            assert_eq!(news, before.observed_at != after.observed_at, "{what}");
        }
    }
    assert!(hidden_from_some > 0, "some of it is not for everybody");
}
