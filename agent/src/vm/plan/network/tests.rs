//! What the network of a running guest lacks: each part alone, and what stands on it.

use std::time::Duration;

use super::*;
use crate::handles::ProcessIdentity;
use crate::host::{BridgeFacts, Pid, TapFacts, VmmState};
use crate::naming::Naming;
use crate::vm::fixtures::vm_id;
use crate::vm::probe::NetSeen;

const NOW: Moment = Moment(Duration::from_secs(100));

fn wanted() -> NetWanted {
    let names = Naming::default().vm(vm_id(1));
    let bridge = BridgeSpec {
        name: Naming::default().bridge(),
        address: "10.64.0.1".parse().unwrap(),
        prefix: 20,
    };
    NetWanted {
        tap: TapSpec { name: names.tap.clone(), bridge: bridge.name.clone(), owner_uid: 200_002 },
        pin: Pin {
            key: names.rules.clone(),
            tap: names.tap.clone(),
            mac: "02:fc:0a:40:00:02".parse().unwrap(),
            address: "10.64.0.2".parse().unwrap(),
            uid: 200_002,
        },
        rules: GuestNet {
            key: names.rules,
            tap: Some(names.tap),
            address: Some("10.64.0.2".parse().unwrap()),
            nat: true,
            stale: false,
        },
        bridge,
    }
}

fn bridge() -> BridgeFacts {
    BridgeFacts { index: 7, addresses: vec![("10.64.0.1".parse().unwrap(), 20)], up: true }
}

fn tap() -> TapFacts {
    let name = wanted().tap.name;
    TapFacts { name, index: 8, master: Some(7), up: true, isolated: true, open: true }
}

fn alive(change: impl FnOnce(&mut Alive)) -> Alive {
    let mut alive = Alive {
        bounds: Seen::Absent,
        identity: ProcessIdentity {
            pid: Pid::new(10).unwrap(),
            start_ticks: 1,
            boot_id: String::new(),
        },
        vmm: Seen::Present(VmmState::Running),
        rules: Seen::Present(wanted().rules),
        pin: Seen::Present(wanted().pin),
        net: NetSeen { bridge: Seen::Present(bridge()), tap: Seen::Present(tap()), clash: None },
    };
    change(&mut alive);
    alive
}

fn mends(change: impl FnOnce(&mut Alive)) -> Vec<Effect> {
    let lacks = lacks(&wanted(), &alive(change), NOW);
    assert_eq!(lacks.fault, None);
    lacks.mend
}

fn fault(change: impl FnOnce(&mut Alive)) -> Reason {
    let lacks = lacks(&wanted(), &alive(change), NOW);
    assert_eq!(lacks.mend, [], "nothing is tried that cannot help");
    lacks.fault.expect("it is shown").reason
}

#[test]
fn a_network_that_is_as_it_was_made_lacks_nothing() {
    assert_eq!(lacks(&wanted(), &alive(|_| {}), NOW), Lacks::default());
}

#[test]
fn each_part_that_somebody_undid_is_mended_by_what_made_it() {
    let rules = [Effect::EnsureRules];
    assert_eq!(mends(|alive| alive.rules = Seen::Absent), rules);
    assert_eq!(mends(|alive| alive.pin = Seen::Absent), [Effect::PinAddress]);
    let stale = GuestNet { stale: true, ..wanted().rules };
    assert_eq!(mends(|alive| alive.rules = Seen::Present(stale)), rules);

    let made = [Effect::EnsureBridge];
    assert_eq!(mends(|alive| alive.net.bridge = Seen::Absent), made);
    for spoiled in [
        BridgeFacts { up: false, ..bridge() },
        BridgeFacts { addresses: vec![], ..bridge() },
        BridgeFacts { addresses: vec![("10.64.16.1".parse().unwrap(), 20)], ..bridge() },
    ] {
        assert_eq!(mends(|alive| alive.net.bridge = Seen::Present(spoiled.clone())), made);
    }
    for spoiled in [
        TapFacts { master: None, ..tap() },
        TapFacts { master: Some(99), ..tap() },
        TapFacts { up: false, ..tap() },
        TapFacts { isolated: false, ..tap() },
    ] {
        let seen = Seen::Present(spoiled.clone());
        assert_eq!(mends(|alive| alive.net.tap = seen), [Effect::EnsureTap], "{spoiled:?}");
    }
}

#[test]
fn isolation_is_mended_first_and_a_tap_waits_for_its_bridge() {
    let everything = mends(|alive| {
        alive.rules = Seen::Absent;
        alive.net.bridge = Seen::Absent;
        alive.net.tap = Seen::Present(TapFacts { master: None, ..tap() });
    });
    assert_eq!(everything, [Effect::EnsureRules, Effect::EnsureBridge]);
}

#[test]
fn what_nothing_mends_while_the_guest_runs_is_shown() {
    assert_eq!(fault(|alive| alive.net.tap = Seen::Absent), Reason::TapLost);
    let another = TapFacts { open: false, ..tap() };
    assert_eq!(fault(|alive| alive.net.tap = Seen::Present(another)), Reason::TapLost);
    let clash = Some("10.64.0.0/24 on eth0".to_owned());
    assert_eq!(fault(|alive| alive.net.clash = clash), Reason::SubnetInUse);
}

#[test]
fn what_cannot_be_read_is_neither_touched_nor_settled() {
    let unknown = || Seen::Unknown("no netlink socket".to_owned());
    assert_eq!(fault(|alive| alive.rules = Seen::Unknown("?".into())), Reason::NetworkDegraded);
    assert_eq!(fault(|alive| alive.net.bridge = unknown()), Reason::NetworkDegraded);
    assert_eq!(fault(|alive| alive.net.tap = Seen::Unknown("?".into())), Reason::NetworkDegraded);
}
