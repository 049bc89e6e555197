use std::sync::Arc;

use super::*;
use crate::model::intent::VmIntent;
use crate::testing::{at, intent, subnet, version, vm_id};

fn net() -> GuestNet {
    GuestNet { subnet: subnet(1), dns_domain: "banger.internal".to_owned() }
}

fn wire_vm() -> wire::ObservedVm {
    wire::ObservedVm {
        vm_id: vm_id(1).to_string(),
        accepted: Some(wire::Version { epoch: 1, generation: 3 }),
        settled: Some(wire::Version { epoch: 1, generation: 2 }),
        phase: wire::Phase::Starting.into(),
        observed_at: Some(prost_types::Timestamp { seconds: at(1).as_second(), nanos: 0 }),
        phase_since: Some(prost_types::Timestamp { seconds: at(0).as_second(), nanos: 5 }),
        ..wire::ObservedVm::default()
    }
}

#[test]
fn an_assignment_leaves_nothing_open() {
    let command = Command { version: version(7), intent: Arc::new(intent(1)) };
    let assignment = assignment(&command, &net());
    assert_eq!(assignment.version, Some(wire::Version { epoch: 1, generation: 7 }));
    assert_eq!(assignment.desired(), wire::Power::Running);
    assert_eq!(assignment.stop_grace.map(|grace| grace.seconds), Some(10));
    let shape = assignment.shape.expect("a shape");
    assert_eq!((shape.vcpus, shape.memory_mib, shape.root_disk_mib), (1, 256, 1024));
    let network = shape.network.expect("a network");
    assert_eq!(network.gateway, "10.64.16.1");
    assert_eq!(network.guest_address, "10.64.16.3");
    assert_eq!(network.prefix_length, 20);
    assert!(network.nat);
    assert_eq!(network.dns_name, "vm-1.banger.internal");
    // Two projects may have a VM of this name on one host.
    let of_shop = VmIntent { project: crate::model::fixtures::project("shop"), ..intent(1) };
    let command = Command { version: version(7), intent: Arc::new(of_shop) };
    let shape = super::assignment(&command, &net()).shape.expect("a shape");
    let network = shape.network.expect("a network");
    assert_eq!(network.dns_name, "vm-1.shop.banger.internal");
}

#[test]
fn every_wish_has_its_power() {
    let wishes = [
        (Desired::Running, wire::Power::Running),
        (Desired::Paused, wire::Power::Paused),
        (Desired::Stopped, wire::Power::Stopped),
        (Desired::Absent, wire::Power::Absent),
    ];
    for (desired, expected) in wishes {
        let intent = Arc::new(VmIntent { desired, ..intent(1) });
        let command = Command { version: version(1), intent };
        assert_eq!(assignment(&command, &net()).desired(), expected);
    }
}

#[test]
fn what_an_agent_saw_is_read_whole() {
    let (id, seen) = observed(wire_vm()).expect("it can be read");
    assert_eq!(id, vm_id(1));
    assert_eq!((seen.accepted, seen.settled), (version(3), version(2)));
    assert_eq!(seen.phase, Phase::Starting);
    assert_eq!(seen.observed_at, at(1));
    assert_eq!(seen.phase_since.subsec_nanosecond(), 5);
}

#[test]
fn what_can_not_be_read_is_named() {
    type Breaks = fn(&mut wire::ObservedVm);
    let broken: [(&str, Breaks); 7] = [
        ("VM id", |vm| vm.vm_id = "../etc".to_owned()),
        ("phase", |vm| vm.phase = 99),
        ("phase", |vm| vm.phase = 0),
        ("observed_at", |vm| vm.observed_at = None),
        ("time", |vm| {
            vm.phase_since = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 });
        }),
        ("time", |vm| {
            vm.observed_at = Some(prost_types::Timestamp { seconds: -1, nanos: 0 });
        }),
        ("time", |vm| {
            vm.adopted_at = Some(prost_types::Timestamp { seconds: 1, nanos: i32::MIN });
        }),
    ];
    for (field, breaks) in broken {
        let mut vm = wire_vm();
        breaks(&mut vm);
        assert_eq!(observed(vm).expect_err(field), Unreadable(field));
    }
}

#[test]
fn an_event_of_a_newer_agent_is_as_good_as_a_heartbeat() {
    let response = wire::ObserveResponse { sequence: 4, event: None };
    let message = message(response).expect("it can be read");
    assert_eq!(message.sequence, 4);
    assert!(matches!(message.report, Report::Heartbeat));
}

#[test]
fn a_heartbeat_interval_of_nothing_or_less_is_not_believed() {
    let said = [(0, 0), (-1, 0), (1, -1), (i64::MIN, i32::MIN)];
    for (seconds, nanos) in said {
        let facts = facts(wire::HostFacts {
            heartbeat_interval: Some(prost_types::Duration { seconds, nanos }),
            ..wire::HostFacts::default()
        })
        .expect("the rest can be read");
        assert_eq!(facts.heartbeat_interval, DEFAULT_HEARTBEAT, "{seconds} s {nanos} ns");
    }
}

#[test]
fn capacities_that_no_machine_has_and_images_without_end_are_refused() {
    let image = || wire::ImageFile { name: "i".to_owned(), ..wire::ImageFile::default() };
    type Lies = fn(&mut wire::HostFacts);
    let lies: [Lies; 3] = [
        |facts| facts.vcpus = u32::MAX,
        |facts| facts.memory_mib = u64::MAX,
        |facts| facts.disk_mib = u64::MAX,
    ];
    for lie in lies {
        let mut said = wire::HostFacts::default();
        lie(&mut said);
        assert_eq!(facts(said).expect_err("no machine"), Unreadable("capacity"));
    }
    let images = vec![image(); MAX_HOST_IMAGES + 1];
    facts(wire::HostFacts { images, ..Default::default() }).expect_err("too many");
    let forged = wire::ImageFile { sha256: "../../etc/shadow".to_owned(), ..image() };
    facts(wire::HostFacts { images: vec![forged], ..Default::default() }).expect_err("no digest");
}

#[test]
fn whatever_an_agent_says_of_a_vm_is_short_and_steers_nothing() {
    let huge = || "\x1b]0;x\x07\u{202e}".repeat(400_000);
    let mut vm = wire_vm();
    vm.boot_id = huge();
    vm.name = huge();
    vm.fault = Some(wire::Fault {
        reason: huge(),
        step: huge(),
        message: huge(),
        left_behind: vec![huge(); 40],
        retrying: false,
    });
    vm.exit = Some(wire::Exit { message: huge(), ..wire::Exit::default() });
    vm.guest = Some(GuestStatus {
        agent_version: huge(),
        boot_id: huge(),
        hostname: huge(),
        transport: huge(),
        ..GuestStatus::default()
    });
    vm.devices = Some(wire::Devices {
        tap: huge(),
        api_socket: huge(),
        vmm: huge(),
        ..wire::Devices::default()
    });
    let (_, seen) = observed(vm).expect("it can be read");
    assert!(seen.weight() < 16 * 1024, "{}", seen.weight());
    let shown = format!("{seen:?}");
    assert!(!shown.contains("\\u{1b}") && !shown.contains("\\u{202e}"), "nothing steers");
}
