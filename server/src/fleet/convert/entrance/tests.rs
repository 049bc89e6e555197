use super::*;
use crate::testing::{host_id, vm_id};

type Event = wire::observe_response::Event;

fn vm(n: usize, message: &str) -> wire::ObservedVm {
    let at = Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 0 });
    wire::ObservedVm {
        vm_id: vm_id(n as u128).to_string(),
        phase: wire::Phase::Running.into(),
        observed_at: at,
        phase_since: at,
        fault: Some(wire::Fault { message: message.to_owned(), ..wire::Fault::default() }),
        ..wire::ObservedVm::default()
    }
}

fn part(vms: Vec<wire::ObservedVm>) -> Event {
    Event::Inventory(wire::InventoryPart { vms, last: false })
}

fn begun() -> Entrance {
    Entrance::new(host_id(1), Instant::now())
}

fn say(entrance: &mut Entrance, event: Event) -> Result<Duration, Breach> {
    let response = wire::ObserveResponse { sequence: 1, event: Some(event) };
    entrance.take(response, Instant::now()).map(|(_, wait)| wait)
}

#[test]
fn an_inventory_without_end_is_ended_and_what_was_held_is_bounded() {
    let mut entrance = begun();
    let mut parts = 0;
    let breach = (0..).step_by(MAX_PART).find_map(|first| {
        parts += 1;
        let vms = (first..first + MAX_PART).map(|n| vm(n, "")).collect();
        say(&mut entrance, part(vms)).err()
    });
    assert_eq!(breach, Some(Breach::TooManyVms));
    assert!(entrance.held.len() <= MAX_VMS + 1, "{}", entrance.held.len());
    assert!(parts < 20, "{parts}");
}

#[test]
fn changes_of_ever_new_vms_are_ended_as_an_inventory_is() {
    let mut entrance = begun();
    let breach = (0..).find_map(|n| say(&mut entrance, Event::Vm(vm(n, ""))).err());
    assert_eq!(breach, Some(Breach::TooManyVms));
}

#[test]
fn an_agent_that_says_too_much_of_its_vms_is_ended() {
    let mut entrance = begun();
    let long = "x".repeat(1 << 20);
    let breach = (0..).find_map(|n| {
        let mut vm = vm(n, &long);
        let fault = vm.fault.get_or_insert_default();
        fault.left_behind = vec!["y".repeat(10_000); 100];
        vm.exit = Some(wire::Exit { message: long.clone(), ..wire::Exit::default() });
        say(&mut entrance, Event::Vm(vm)).err()
    });
    assert_eq!(breach, Some(Breach::TooHeavy));
    assert!(entrance.bytes < MAX_BYTES + (1 << 20));
}

#[test]
fn the_same_vm_told_for_ever_weighs_what_it_weighs_and_one_that_is_gone_nothing() {
    let mut entrance = begun();
    for n in 0..100_000 {
        say(&mut entrance, Event::Vm(vm(n % 2, "a sentence"))).expect("it is let in");
    }
    assert_eq!(entrance.held.len(), 2);
    for n in 0..2 {
        let gone = wire::VmGone { vm_id: vm_id(n).to_string(), version: None };
        say(&mut entrance, Event::Gone(gone)).expect("it is let in");
    }
    assert_eq!((entrance.held.len(), entrance.bytes), (0, 0));
}

#[test]
fn a_part_that_is_too_large_is_refused_before_it_is_read() {
    let vms = vec![wire::ObservedVm::default(); MAX_PART + 1];
    assert_eq!(say(&mut begun(), part(vms)), Err(Breach::LargePart(MAX_PART + 1)));
}

#[test]
fn another_host_than_the_certificate_names_is_refused() {
    let host_id = format!("\x1b[2J{}", "a".repeat(1 << 20));
    let facts = wire::HostFacts { host_id, ..wire::HostFacts::default() };
    let breach = say(&mut begun(), Event::Host(facts)).expect_err("another host");
    assert!(breach.to_string().len() < 200, "{breach}");
}

#[test]
fn a_vm_that_flaps_is_read_slowly_and_a_host_that_starts_all_of_its_vms_is_not() {
    let mut entrance = begun();
    let now = Instant::now();
    let mut say = |n: usize| {
        let response = wire::ObserveResponse { sequence: 1, event: Some(Event::Vm(vm(n, ""))) };
        entrance.take(response, now).expect("it is let in").1
    };
    // Each of 4,000 VMs goes through its five stages at once.
    let waits: Duration = (0..5).flat_map(|_| 0..4_000).map(&mut say).sum();
    assert_eq!(waits, Duration::ZERO);

    let mut entrance = begun();
    let mut say = |at| {
        let response = wire::ObserveResponse { sequence: 1, event: Some(Event::Vm(vm(1, ""))) };
        entrance.take(response, at).expect("it is let in").1
    };
    // As fast as the waits allow, for so many changes.
    let changes = 20_000;
    let mut at = now;
    for _ in 0..changes {
        at += say(at);
    }
    let took = at - now;
    assert!(took > Duration::from_secs(60), "{changes} changes of one VM took only {took:?}");
}
