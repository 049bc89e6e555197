//! What was asked of a VM before it went, and comes after.

use super::super::harness::{World, names, start_with};
use super::*;
use crate::vm::fixtures::version;
use crate::vm::stale::StaleGuard;

async fn nothing_came_back(world: &World) {
    world.idle().await;
    assert_eq!(world.report(vm_id(1)), None);
    assert_eq!(world.left(), Vec::<String>::new());
    assert!(world.agent.owners().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_create_that_comes_after_the_delete_of_its_vm_is_refused_as_old() {
    let mut world = World::running().await;
    world.assign(assignment_of(1, 1, 2, Power::Absent)).await;
    world.gone(1).await;
    for power in [Power::Running, Power::Paused, Power::Stopped] {
        for generation in [1, 2] {
            let late = world.assign(assignment_of(1, 1, generation, power)).await;
            assert_eq!(late, Assigned::Stale(version(1, 2)), "{power:?} {generation}");
        }
    }
    nothing_came_back(&world).await;
    // Absent it is, whoever asks.
    for generation in [1, 2, 3] {
        let delete = assignment_of(1, 1, generation, Power::Absent);
        assert_eq!(world.assign(delete).await, Assigned::Absent);
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_that_a_delete_has_overtaken_is_refused_as_old() {
    let mut world = World::new().await;
    let delete = assignment_of(1, 1, 2, Power::Absent);
    assert_eq!(world.assign(delete).await, Assigned::Absent);
    let late = world.assign(assignment_of(1, 1, 1, Power::Running)).await;
    assert_eq!(late, Assigned::Stale(version(1, 2)));
    nothing_came_back(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_restored_database_with_a_new_epoch_brings_a_deleted_vm_back() {
    let mut world = World::running().await;
    world.assign(assignment_of(1, 1, 2, Power::Absent)).await;
    world.gone(1).await;
    let restored = world.assign(assignment_of(1, 2, 1, Power::Running)).await;
    assert_eq!(restored, Assigned::Accepted(version(2, 1)));
    world.settles(1, Phase::Running).await;
}

/// A server whose database was restored gives the next free address to a VM that it takes back.
#[tokio::test(start_paused = true)]
async fn a_guest_that_runs_keeps_its_address_until_its_next_boot() {
    let mut world = World::running().await;
    let moved = |epoch, generation, power| {
        let mut moved = assignment_of(1, epoch, generation, power);
        let network = &mut moved.shape.as_mut().unwrap().network;
        network.address = "10.64.0.9".parse().unwrap();
        network.vsock_cid = 9;
        moved
    };
    let before = world.report(vm_id(1)).unwrap();
    let refused = world.agent.accept(moved(2, 1, Power::Running)).await.unwrap_err();
    assert_eq!(refused.kind, HostErrorKind::Refused);
    assert!(refused.chain().contains("10.64.0.2"), "{}", refused.chain());
    world.idle().await;
    assert_eq!(world.report(vm_id(1)).unwrap().process, before.process);
    let host = world.kernel.host();
    let pin = host.pins.observe(&names(1).rules).await.unwrap().unwrap();
    assert_eq!(pin.address.to_string(), "10.64.0.2");
    // An older one is old, whatever it says; one that stops it is taken; a start follows.
    let old = world.agent.accept(moved(1, 0, Power::Running)).await.unwrap();
    assert_eq!(old, Assigned::Stale(version(1, 1)));
    world.assign(moved(2, 2, Power::Stopped)).await;
    world.settles(1, Phase::Stopped).await;
    world.assign(moved(2, 3, Power::Running)).await;
    world.settles(1, Phase::Running).await;
    let pin = host.pins.observe(&names(1).rules).await.unwrap().unwrap();
    assert_eq!(pin.address.to_string(), "10.64.0.9");
    // So is one that boots it.
    world.assign(Assignment { boot_number: 2, ..assignment_of(1, 2, 4, Power::Running) }).await;
    world.settles(1, Phase::Running).await;
    let pin = host.pins.observe(&names(1).rules).await.unwrap().unwrap();
    assert_eq!(pin.address.to_string(), "10.64.0.2");
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_agent_forgets_no_deleted_vm() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(crate::vm::stale::FILE);
    let open = || StaleGuard::open(&path, "ours", jiff::Timestamp::UNIX_EPOCH).unwrap();
    let mut world = World::new().await;
    world.agent.shutdown(Duration::from_secs(1)).await;
    world.agent = start_with(&world.kernel, |parts| parts.stale = open()).await;
    world.assign(assignment_of(1, 1, 1, Power::Running)).await;
    world.settles(1, Phase::Running).await;
    world.assign(assignment_of(1, 1, 2, Power::Absent)).await;
    world.gone(1).await;
    assert_eq!(world.assign(assignment_of(2, 1, 5, Power::Absent)).await, Assigned::Absent);
    world.agent.shutdown(Duration::from_secs(1)).await;
    world.kernel.new_agent();
    world.agent = start_with(&world.kernel, |parts| parts.stale = open()).await;
    let late = world.assign(assignment_of(1, 1, 1, Power::Running)).await;
    assert_eq!(late, Assigned::Stale(version(1, 2)));
    let late = world.assign(assignment_of(2, 1, 4, Power::Running)).await;
    assert_eq!(late, Assigned::Stale(version(1, 5)));
    nothing_came_back(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_create_and_the_delete_that_follows_it_at_once_leave_nothing_in_any_order() {
    for round in 0..20 {
        let mut world = World::new().await;
        let (create, delete) =
            (assignment_of(1, 1, 1, Power::Running), assignment_of(1, 1, 2, Power::Absent));
        let agent = world.agent.clone();
        let [first, second] = if round % 2 == 0 { [create, delete] } else { [delete, create] };
        let (first, second) = futures_util::join!(agent.accept(first), agent.accept(second));
        first.unwrap();
        second.unwrap();
        // The server asks until it is told that nothing is left.
        while world.assign(assignment_of(1, 1, 2, Power::Absent)).await != Assigned::Absent {
            world.gone(1).await;
        }
        nothing_came_back(&world).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_of_an_older_epoch_is_taken_once_a_newer_one_has_spoken() {
    let mut world = World::running().await;
    world.agent.shared().stale.raise(version(2, 0).epoch).await.unwrap();
    // Of a VM that is held, of one that nobody knows, and of a delete.
    for (n, power) in
        [(1, Power::Stopped), (1, Power::Absent), (2, Power::Running), (3, Power::Absent)]
    {
        let stale = world.assign(assignment_of(n, 1, 9, power)).await;
        assert_eq!(stale, Assigned::Stale(version(2, 0)), "VM {n}, {power:?}");
    }
    world.idle().await;
    assert_eq!(world.settles(1, Phase::Running).await.accepted, version(1, 1));
    assert_eq!(world.agent.owners().len(), 1);
    let newer = world.assign(assignment_of(1, 2, 1, Power::Stopped)).await;
    assert_eq!(newer, Assigned::Accepted(version(2, 1)));
    world.settles(1, Phase::Stopped).await;
}

#[tokio::test(start_paused = true)]
async fn an_accepted_assignment_raises_the_epoch_for_all() {
    let mut world = World::new().await;
    world.assign(assignment_of(1, 3, 1, Power::Running)).await;
    let stale = world.assign(assignment_of(2, 2, 1, Power::Running)).await;
    assert_eq!(stale, Assigned::Stale(version(3, 0)));
}
