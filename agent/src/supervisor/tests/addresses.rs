//! Two VMs with one address, as a server may ask for whose database was restored: one after the
//! other, however their effects meet.

use std::net::Ipv4Addr;

use super::super::harness::{World, names, start_with};
use super::*;
use crate::host::Pin;

/// VM 2 with the address of VM 1.
fn heir(generation: u64, power: Power) -> Assignment {
    let mut heir = assignment_of(2, 1, generation, power);
    let network = &mut heir.shape.as_mut().unwrap().network;
    network.address = Ipv4Addr::new(10, 64, 0, 2);
    network.vsock_cid = 4;
    heir
}

fn live(world: &World) -> Vec<u32> {
    let has = |n: &u32| world.kernel.process_of(&names(*n).jail).is_some();
    [1, 2].into_iter().filter(has).collect()
}

async fn pinned(world: &World) -> Vec<Pin> {
    let listed = world.kernel.host().pins.list().await.unwrap();
    listed.into_values().flatten().collect()
}

/// At no moment so far, and not now.
async fn one_at_most(world: &World, when: &str) {
    assert_eq!(world.kernel.violations(), Vec::<String>::new(), "{when}");
    assert!(live(world).len() <= 1, "{when}: {:?}", live(world));
    let pinned = pinned(world).await;
    assert!(!pinned.iter().any(|one| pinned.iter().any(|other| other.rivals(one))), "{when}");
}

async fn waits(world: &World, n: u32, when: &str) {
    let report = world.report(vm_id(n)).unwrap();
    let reason = report.fault.as_ref().map(|fault| fault.reason);
    assert_eq!(reason, Some(Reason::AddressInUse), "{when}: {report:#?}");
}

#[tokio::test(start_paused = true)]
async fn of_two_creates_with_one_address_one_runs_and_the_other_waits_whichever_effect_is_late() {
    for nth in 1.. {
        let mut world = World::new().await;
        world.kernel.set_faults(FaultPlan::none().hang(nth));
        let agents = [world.agent.clone(), world.agent.clone()];
        let both = tokio::spawn(async move {
            let (first, second) = tokio::join!(
                agents[0].accept(assignment_of(1, 1, 1, Power::Running)),
                agents[1].accept(heir(1, Power::Running)),
            );
            first.and(second).unwrap();
        });
        world.idle().await;
        let late = world.kernel.hanging() > 0;
        one_at_most(&world, &format!("effect {nth} hangs")).await;
        world.kernel.release();
        both.await.unwrap();
        world.passes(Duration::from_secs(5)).await;
        let when = format!("effect {nth} was late");
        one_at_most(&world, &when).await;
        let [runs] = live(&world)[..] else { panic!("{when}: {:#?}", world.kernel.trace()) };
        let other = 3 - runs;
        waits(&world, other, &when).await;
        // And has its turn.
        let gone =
            if runs == 1 { assignment_of(1, 1, 2, Power::Absent) } else { heir(2, Power::Absent) };
        world.assign(gone).await;
        world.gone(runs).await;
        world.settles_well(other, Phase::Running).await;
        one_at_most(&world, &when).await;
        if !late {
            assert!(nth > 20, "{nth} effects are no two creates");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_beside_a_delete_waits_for_its_end_whichever_effect_of_it_is_late() {
    for nth in 1.. {
        let mut world = World::running().await;
        world.kernel.set_faults(FaultPlan::none().hang(nth));
        let agent = world.agent.clone();
        let delete = tokio::spawn(async move {
            agent.accept(assignment_of(1, 1, 2, Power::Absent)).await.unwrap();
        });
        world.idle().await;
        let late = world.kernel.hanging() > 0;
        let agent = world.agent.clone();
        let create = tokio::spawn(async move {
            agent.accept(heir(1, Power::Running)).await.unwrap();
        });
        world.idle().await;
        let when = format!("effect {nth} hangs");
        one_at_most(&world, &when).await;
        let mine = names(1);
        let is_left = pinned(&world).await.iter().any(|pin| pin.key == mine.rules)
            || world.kernel.objects_with(mine.jail.as_str()).iter().any(|o| o.starts_with("jail"));
        assert!(!is_left || !live(&world).contains(&2), "{when}: {:#?}", world.kernel.trace());
        world.kernel.release();
        delete.await.unwrap();
        create.await.unwrap();
        world.gone(1).await;
        world.settles_well(2, Phase::Running).await;
        one_at_most(&world, &when).await;
        if !late {
            assert!(nth > 8, "{nth} effects are no delete");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_guest_whose_pin_was_flushed_or_whose_tap_is_gone_keeps_its_address() {
    for what in ["flushed, and the agent is another", "the tap is gone"] {
        let mut world = World::running().await;
        let before = world.report(vm_id(1)).unwrap();
        // What would be put back stays away.
        let fail = InjectedFault::Fail(HostErrorKind::Other);
        let of_1 = |verb: &str| At::verb(verb).object(names(1).rules.as_str());
        let faults = FaultPlan::none().with(of_1("pins.ensure"), fail);
        if what == "the tap is gone" {
            assert!(world.kernel.lose_link(names(1).tap.as_str()));
            world.kernel.set_faults(faults);
        } else {
            world.agent.shutdown(Duration::from_secs(1)).await;
            world.kernel.flush_rules();
            world.kernel.new_agent();
            world.kernel.set_faults(faults);
            world.agent = start_with(&world.kernel, |_| {}).await;
        }
        world.agent.accept(heir(1, Power::Running)).await.unwrap();
        world.passes(Duration::from_secs(5)).await;
        one_at_most(&world, what).await;
        assert_eq!(world.report(vm_id(1)).unwrap().process, before.process, "{what}");
        waits(&world, 2, what).await;
        world.kernel.set_faults(FaultPlan::none());
        world.assign(assignment_of(1, 1, 2, Power::Absent)).await;
        world.gone(1).await;
        world.settles_well(2, Phase::Running).await;
        one_at_most(&world, what).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_only_stopped_keeps_nobody_from_its_address() {
    let mut world = World::running().await;
    world.assign(assignment_of(1, 1, 2, Power::Stopped)).await;
    world.settles(1, Phase::Stopped).await;
    world.assign(heir(1, Power::Running)).await;
    world.settles_well(2, Phase::Running).await;
    // And waits for it in its turn, over a restart of the agent too.
    for restarted in [false, true] {
        if restarted {
            world.restart().await;
        }
        let generation = 3 + u64::from(restarted);
        world.agent.accept(assignment_of(1, 1, generation, Power::Running)).await.unwrap();
        world.passes(Duration::from_secs(5)).await;
        waits(&world, 1, "stopped before").await;
        assert_eq!(live(&world), [2]);
        one_at_most(&world, "stopped before").await;
    }
}

/// Nothing says any more who VM 1 is, and its guest runs on.
#[tokio::test(start_paused = true)]
async fn a_lost_guest_keeps_its_user_from_others_also_while_nobody_can_tell_which_it_is() {
    for blind in [None, Some("jails.list"), Some("jails.members"), Some("processes.observe")] {
        let mut world = World::running().await;
        world.agent.shutdown(Duration::from_secs(1)).await;
        for name in [file::RECORD, file::HANDLES] {
            assert!(world.kernel.set_file(&names(1).dir, &part(name), None));
        }
        world.kernel.flush_rules();
        world.kernel.new_agent();
        if let Some(verb) = blind {
            let faults = FaultPlan::none().fail_reads(verb, HostErrorKind::Other);
            world.kernel.set_faults(faults);
        }
        world.agent = start_with(&world.kernel, |_| {}).await;
        let lost = world.kernel.process_of(&names(1).jail).unwrap();
        world.agent.accept(heir(1, Power::Running)).await.unwrap();
        for when in ["while it is lost", "once its user can be told"] {
            world.passes(Duration::from_secs(60)).await;
            // Without a look at its own processes it waits for that first.
            if when != "while it is lost" || matches!(blind, None | Some("jails.list")) {
                waits(&world, 2, &format!("{blind:?}: {when}")).await;
            }
            assert!(world.kernel.process_of(&names(2).jail).is_none(), "{blind:?}: {when}");
            assert_eq!(pinned(&world).await, [], "{blind:?}: {when}");
            world.kernel.set_faults(FaultPlan::none());
        }
        // Others have theirs for themselves.
        world.assign(assignment_of(3, 1, 1, Power::Running)).await;
        world.settles_well(3, Phase::Running).await;
        assert_eq!(world.kernel.process_of(&names(1).jail).unwrap().pid, lost.pid);
        world.assign(assignment_of(1, 1, 2, Power::Absent)).await;
        world.gone(1).await;
        world.settles_well(2, Phase::Running).await;
        let process = world.kernel.process_of(&names(2).jail).unwrap();
        assert_eq!(process.user, lost.user, "{blind:?}");
    }
}

/// A local user says to be of the jail, while its own process has not become its user yet.
#[tokio::test(start_paused = true)]
async fn a_stranger_who_says_to_be_a_lost_guest_frees_no_user_of_it() {
    let mut world = World::running().await;
    let user = world.kernel.process_of(&names(1).jail).unwrap().user.unwrap();
    world.agent.shutdown(Duration::from_secs(1)).await;
    for name in [file::RECORD, file::HANDLES] {
        assert!(world.kernel.set_file(&names(1).dir, &part(name), None));
    }
    world.kernel.flush_rules();
    world.kernel.new_agent();
    let id = names(1).jail.to_string();
    world.kernel.spawn_as(1000, "firecracker", &["firecracker", "--id", &id]);
    assert!(world.kernel.set_user(&names(1).jail, 0));
    world.agent = start_with(&world.kernel, |_| {}).await;
    world.agent.accept(heir(1, Power::Running)).await.unwrap();
    for when in ["while it is root's", "once it has its user"] {
        world.passes(Duration::from_secs(60)).await;
        waits(&world, 2, when).await;
        assert!(world.kernel.set_user(&names(1).jail, user));
    }
}

/// The record and the base of users say another one than the process was started as.
#[tokio::test(start_paused = true)]
async fn a_guest_that_was_not_looked_at_yet_keeps_the_user_that_it_runs_as() {
    const OTHERS: u32 = 300_000;
    let mut world = World::running().await;
    let user = world.kernel.process_of(&names(1).jail).unwrap().user.unwrap();
    world.agent.shutdown(Duration::from_secs(1)).await;
    assert!(world.kernel.set_file(&names(1).dir, &part(file::HANDLES), None));
    world.kernel.flush_rules();
    world.kernel.new_agent();
    let blind = FaultPlan::none().fail_reads("jails.observe", HostErrorKind::Other);
    world.kernel.set_faults(blind);
    world.agent = start_with(&world.kernel, |parts| parts.settings.uid_base = OTHERS).await;
    let addresses = &world.agent.0.shared.addresses;
    assert_eq!(addresses.user_of(&names(1).rules), Some(OTHERS + 2), "by its record");
    let taken = Pin {
        key: names(3).rules,
        tap: names(3).tap,
        mac: crate::host::MacAddress([2, 0xfc, 10, 64, 0, 9]),
        address: Ipv4Addr::new(10, 64, 0, 9),
        uid: user,
    };
    addresses.take(&taken).unwrap_err();
    addresses.take(&Pin { uid: OTHERS + 9, ..taken.clone() }).unwrap();
    addresses.release(&taken.key);
    // Once it was looked at it has its own.
    world.kernel.set_faults(FaultPlan::none());
    world.passes(Duration::from_secs(60)).await;
    let addresses = &world.agent.0.shared.addresses;
    assert_eq!(addresses.user_of(&names(1).rules), Some(user));
    assert!(!addresses.has_lost());
    addresses.take(&taken).unwrap_err();
}
