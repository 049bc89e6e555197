//! Whom a look at the network wakes; and that drift is mended: on the fake kernel, and by the same
//! agent on the real one, in a network namespace.

use std::sync::Arc;

use super::*;
use crate::assignment::Power;
use crate::host::Host;
use crate::host::fakes::{FakeKernel, Oracle};
use crate::report::phase::{Phase, Reason};
use crate::supervisor::harness::{World, names};
use crate::vm::fixtures::{assignment_of, vm_id};

mod real;

fn bridge() -> LinkName {
    crate::naming::Naming::default().bridge()
}

fn picture(vms: &[(u32, bool)]) -> Picture {
    let part = |has_rules: bool| {
        let rules = GuestNet {
            key: names(1).rules,
            tap: None,
            address: None,
            nat: true,
            stale: !has_rules,
        };
        GuestPart { rules: Some(rules), ..GuestPart::default() }
    };
    let vms = vms.iter().map(|(n, has_rules)| (vm_id(*n), part(*has_rules))).collect();
    Picture { vms, ..Picture::default() }
}

#[test]
fn a_look_wakes_those_whose_part_changed_and_those_it_sees_first() {
    let before = picture(&[(1, true), (2, true)]);
    let nobody = BTreeSet::new();
    assert_eq!(wakes(&before, &before, &nobody), Wakes::Some(vec![]));
    let now = picture(&[(1, true), (2, false), (3, true)]);
    assert_eq!(wakes(&before, &now, &nobody), Wakes::Some(vec![vm_id(2), vm_id(3)]));
}

#[test]
fn two_looks_that_are_equal_and_bad_wake_all_the_same() {
    let bad = picture(&[(1, true), (2, false)]);
    assert_eq!(wakes(&bad, &bad, &[vm_id(2)].into()), Wakes::Some(vec![vm_id(2)]));
}

#[test]
fn however_slow_a_look_is_the_next_comes_within_the_usual_time() {
    assert_eq!(pause(Duration::ZERO), LEAST);
    assert_eq!(pause(Duration::from_millis(100)), Duration::from_secs(2));
    assert_eq!(pause(Duration::from_secs(3)), MOST);
    assert!(MOST < USUAL);
}

#[test]
fn what_all_share_wakes_all() {
    let before = picture(&[(1, true)]);
    let facts = BridgeFacts { index: 7, addresses: vec![], up: true };
    let now = Picture { bridge: Some(facts), ..before.clone() };
    assert_eq!(wakes(&before, &now, &BTreeSet::new()), Wakes::All);
    let now = Picture { uplinks: vec![LinkName::new("eth1").unwrap()], ..before.clone() };
    assert_eq!(wakes(&before, &now, &BTreeSet::new()), Wakes::All);
    let now = Picture { clash: Some("10.64.0.0/24".to_owned()), ..before.clone() };
    assert_eq!(wakes(&before, &now, &BTreeSet::new()), Wakes::All);
}

/// Two VMs that run, and time for every look that follows from their start.
async fn two() -> World {
    let mut world = World::running().await;
    world.assign(assignment_of(2, 1, 1, Power::Running)).await;
    world.settles_well(2, Phase::Running).await;
    world.passes(Duration::from_secs(15)).await;
    world
}

fn as_made(kernel: &FakeKernel) -> bool {
    let objects = kernel.objects();
    [1, 2].into_iter().all(|n| {
        let names = names(n);
        objects.contains(&format!("rule {}", names.rules))
            && kernel.is_port(&names.tap, &bridge())
            && kernel.rule_uplink(&names.rules) == kernel.uplink()
    }) && kernel.bridge_address(&bridge()) == Some("10.64.0.1".parse().unwrap())
        && kernel.forwards()
}

/// Something is undone behind the agent's back, and it is back before `within`, with the same
/// processes and nothing else changed.
async fn mended(within: u64, undo: impl FnOnce(&FakeKernel)) {
    let mut world = two().await;
    let oracle = Oracle::look(&world.kernel)
        .guarding(&world.kernel, &names(1).jail)
        .guarding(&world.kernel, &names(2).jail);
    assert!(as_made(&world.kernel));
    undo(&world.kernel);
    assert!(!as_made(&world.kernel), "the test undid nothing");
    world.passes(Duration::from_secs(within)).await;
    assert!(as_made(&world.kernel), "{:#?}", world.kernel.objects());
    for n in [1, 2] {
        let report = world.report(vm_id(n)).unwrap();
        assert_eq!((report.phase, &report.fault), (Phase::Running, &None));
    }
    assert_eq!(oracle.broken(&world.kernel, &Default::default()), []);
    assert_eq!(world.broken().await, []);
}

#[tokio::test(start_paused = true)]
async fn rules_that_are_flushed_come_back_at_once() {
    mended(2, FakeKernel::flush_rules).await;
}

#[tokio::test(start_paused = true)]
async fn a_tap_off_its_bridge_or_no_longer_isolated_is_put_back_at_once() {
    mended(2, |kernel| assert!(kernel.spoil_tap(&names(1).tap, true))).await;
    mended(2, |kernel| assert!(kernel.spoil_tap(&names(1).tap, false))).await;
}

#[tokio::test(start_paused = true)]
async fn a_bridge_without_its_address_switched_off_or_gone_is_back_at_once_with_every_tap() {
    mended(2, |kernel| assert!(kernel.spoil_bridge(&bridge(), true))).await;
    mended(2, |kernel| assert!(kernel.lose_link("bgbr0"))).await;
    let mut world = two().await;
    world.kernel.spoil_bridge(&bridge(), false);
    world.passes(Duration::from_secs(2)).await;
    let host = world.kernel.host();
    assert!(host.taps.observe_bridge(&bridge()).await.unwrap().unwrap().up);
}

/// Each is undone again the moment it is mended, before the watch has looked anew; and so is every
/// other one after it.
#[tokio::test(start_paused = true)]
async fn what_is_undone_as_soon_as_it_is_mended_is_mended_again() {
    type Undo = (&'static str, fn(&FakeKernel));
    let undo: [Undo; 6] = [
        ("rules", FakeKernel::flush_rules),
        ("tap off", |kernel| assert!(kernel.spoil_tap(&names(1).tap, true))),
        ("not isolated", |kernel| assert!(kernel.spoil_tap(&names(1).tap, false))),
        ("no address", |kernel| assert!(kernel.spoil_bridge(&bridge(), true))),
        ("bridge down", |kernel| assert!(kernel.spoil_bridge(&bridge(), false))),
        ("no bridge", |kernel| assert!(kernel.lose_link("bgbr0"))),
    ];
    let mut world = two().await;
    let host = world.kernel.host();
    for (first, undo_first) in undo {
        for (second, undo_second) in undo {
            for undo in [undo_first, undo_second, undo_second] {
                undo(&world.kernel);
                let mut left = 1200;
                while !as_made(&world.kernel) || !is_up(&host).await || !is_port(&host).await {
                    left -= 1;
                    assert!(left > 0, "{first}, then {second}: {:#?}", world.kernel.objects());
                    world.passes(Duration::from_millis(10)).await;
                }
            }
        }
    }
    assert_eq!(world.broken().await, []);
}

async fn is_up(host: &Host) -> bool {
    let seen = host.taps.observe_bridge(&bridge()).await.unwrap();
    seen.is_some_and(|bridge| bridge.up)
}

async fn is_port(host: &Host) -> bool {
    let bridge = host.taps.observe_bridge(&bridge()).await.unwrap();
    let tap = host.taps.observe(&names(1).tap).await.unwrap();
    bridge.zip(tap).is_some_and(|(bridge, tap)| tap.is_port_of(&bridge))
}

#[tokio::test(start_paused = true)]
async fn an_uplink_that_moves_takes_the_rules_along_at_once() {
    mended(2, |kernel| kernel.set_uplink(LinkName::new("wlan0").ok())).await;
}

#[tokio::test(start_paused = true)]
async fn forwarding_that_is_switched_off_is_on_again_by_the_next_periodic_look() {
    mended(11, FakeKernel::stop_forwarding).await;
}

#[tokio::test(start_paused = true)]
async fn drift_while_the_agent_was_dead_is_mended_at_its_start() {
    let mut world = World::running().await;
    world
        .dead_while(vm_id(9), async |kernel| {
            kernel.flush_rules();
            kernel.lose_link("bgbr0");
        })
        .await;
    world.settles_well(1, Phase::Running).await;
    world.passes(Duration::from_secs(2)).await;
    assert!(world.kernel.is_port(&names(1).tap, &bridge()));
    assert!(world.kernel.objects().contains(&format!("rule {}", names(1).rules)));
}

async fn shows(world: &mut World, reason: Reason) {
    world.passes(Duration::from_secs(2)).await;
    let report = world.report(vm_id(1)).unwrap();
    assert_eq!(report.phase, Phase::Running, "the guest runs all the same");
    assert_eq!(report.fault.as_ref().map(|fault| fault.reason), Some(reason));
}

async fn well(world: &mut World) {
    world.passes(Duration::from_secs(2)).await;
    let report = world.report(vm_id(1)).unwrap();
    assert_eq!((report.phase, &report.fault), (Phase::Running, &None));
}

#[tokio::test(start_paused = true)]
async fn without_an_uplink_a_guest_is_degraded_until_there_is_one_again() {
    let mut world = two().await;
    world.kernel.set_uplink(None);
    shows(&mut world, Reason::NoUplink).await;
    world.passes(Duration::from_secs(300)).await;
    world.kernel.set_uplink(LinkName::new("eth7").ok());
    well(&mut world).await;
    assert!(as_made(&world.kernel));
}

#[tokio::test(start_paused = true)]
async fn a_guest_whose_tap_was_removed_is_degraded_until_it_is_rebooted() {
    let mut world = two().await;
    assert!(world.kernel.lose_link(names(1).tap.as_str()));
    shows(&mut world, Reason::TapLost).await;
    assert!(!world.kernel.objects().contains(&format!("tap {}", names(1).tap)));
    let mut reboot = assignment_of(1, 1, 2, Power::Running);
    reboot.boot_number = 2;
    world.assign(reboot).await;
    world.settles_well(1, Phase::Running).await;
    well(&mut world).await;
    assert!(as_made(&world.kernel));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_comes_to_use_the_guest_subnet_is_said_and_its_end_too() {
    let mut world = two().await;
    world.kernel.set_networks(&[("10.64.0.0".parse().unwrap(), 24, "eth0")]);
    shows(&mut world, Reason::SubnetInUse).await;
    let message = world.report(vm_id(1)).unwrap().fault.clone().unwrap().message;
    assert!(message.contains("10.64.0.0/24 on eth0"), "{message}");
    world.kernel.set_networks(&[]);
    well(&mut world).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_bridge_is_not_made_over_a_network_that_the_host_uses_now() {
    let mut world = two().await;
    world.kernel.set_networks(&[("10.64.0.0".parse().unwrap(), 24, "eth0")]);
    world.kernel.lose_link("bgbr0");
    shows(&mut world, Reason::SubnetInUse).await;
    assert_eq!(world.kernel.bridge_address(&bridge()), None);
    world.kernel.set_networks(&[]);
    well(&mut world).await;
    assert!(as_made(&world.kernel));
}

#[tokio::test(start_paused = true)]
async fn no_bridge_is_made_over_a_network_that_the_host_uses() {
    let kernel = FakeKernel::new();
    kernel.set_networks(&[("10.64.0.0".parse().unwrap(), 24, "eth0")]);
    let mut world = World::on(kernel).await;
    world.assign(assignment_of(1, 1, 1, Power::Running)).await;
    let report = world.sees(1, Phase::Failed).await;
    assert_eq!(report.fault.as_ref().unwrap().reason, Reason::SubnetInUse);
    assert_eq!(world.kernel.bridge_address(&bridge()), None);
    world.kernel.set_networks(&[]);
    world.settles_well(1, Phase::Running).await;
}

#[tokio::test(start_paused = true)]
async fn a_bridge_that_another_fleet_left_with_its_address_gets_ours_before_the_first_tap() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    let other = crate::host::BridgeSpec {
        name: bridge(),
        address: "10.99.0.1".parse().unwrap(),
        prefix: 20,
    };
    host.taps.ensure_bridge(&other).await.unwrap();
    let mut world = World::on(kernel).await;
    world.assign(assignment_of(1, 1, 1, Power::Running)).await;
    world.settles_well(1, Phase::Running).await;
    assert_eq!(world.kernel.bridge_address(&bridge()), Some("10.64.0.1".parse().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_network_at_rest_costs_no_effect() {
    let mut world = two().await;
    let before = world.kernel.effects();
    world.passes(Duration::from_secs(3600)).await;
    assert_eq!(world.kernel.effects(), before);
}

#[tokio::test(start_paused = true)]
async fn what_guests_send_and_receive_is_counted_and_is_no_change_of_any_vm() {
    let mut world = two().await;
    let before = world.report(vm_id(1)).expect("it runs");
    let sent = Traffic { sent_bytes: 7000, sent_packets: 7, ..Traffic::default() };
    world.kernel.set_traffic(&names(1).tap, sent);
    world.passes(Duration::from_secs(30)).await;
    let counted = world.agent.reporter().traffic();
    assert_eq!(counted.keys().copied().collect::<Vec<_>>(), [vm_id(1), vm_id(2)]);
    assert_eq!((counted[&vm_id(1)], counted[&vm_id(2)]), (sent, Traffic::default()));
    assert!(Arc::ptr_eq(&before, &world.report(vm_id(1)).expect("it runs")), "no report");
}
