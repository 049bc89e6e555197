//! What was asked of a VM before it went, and comes after.

use super::super::harness::{World, start_with};
use super::*;
use crate::vm::fence::Fence;
use crate::vm::fixtures::version;

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
            assert_eq!(late, Outcome::Stale(version(1, 2)), "{power:?} {generation}");
        }
    }
    nothing_came_back(&world).await;
    // Absent it is, whoever asks.
    for generation in [1, 2, 3] {
        let delete = assignment_of(1, 1, generation, Power::Absent);
        assert_eq!(world.assign(delete).await, Outcome::Absent);
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_that_a_delete_has_overtaken_is_refused_as_old() {
    let mut world = World::new().await;
    let delete = assignment_of(1, 1, 2, Power::Absent);
    assert_eq!(world.assign(delete).await, Outcome::Absent);
    let late = world.assign(assignment_of(1, 1, 1, Power::Running)).await;
    assert_eq!(late, Outcome::Stale(version(1, 2)));
    nothing_came_back(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_restored_database_with_a_new_epoch_brings_a_deleted_vm_back() {
    let mut world = World::running().await;
    world.assign(assignment_of(1, 1, 2, Power::Absent)).await;
    world.gone(1).await;
    let restored = world.assign(assignment_of(1, 2, 1, Power::Running)).await;
    assert_eq!(restored, Outcome::Accepted(version(2, 1)));
    world.settles(1, Phase::Running).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_agent_forgets_no_deleted_vm() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(crate::vm::fence::FILE);
    let open = || Fence::open(&path, "ours", jiff::Timestamp::UNIX_EPOCH).unwrap();
    let mut world = World::new().await;
    world.agent.shutdown(Duration::from_secs(1)).await;
    world.agent = start_with(&world.kernel, |parts| parts.fence = open()).await;
    world.assign(assignment_of(1, 1, 1, Power::Running)).await;
    world.settles(1, Phase::Running).await;
    world.assign(assignment_of(1, 1, 2, Power::Absent)).await;
    world.gone(1).await;
    assert_eq!(world.assign(assignment_of(2, 1, 5, Power::Absent)).await, Outcome::Absent);
    world.agent.shutdown(Duration::from_secs(1)).await;
    world.kernel.new_agent();
    world.agent = start_with(&world.kernel, |parts| parts.fence = open()).await;
    let late = world.assign(assignment_of(1, 1, 1, Power::Running)).await;
    assert_eq!(late, Outcome::Stale(version(1, 2)));
    let late = world.assign(assignment_of(2, 1, 4, Power::Running)).await;
    assert_eq!(late, Outcome::Stale(version(1, 5)));
    nothing_came_back(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_create_and_the_delete_that_follows_it_at_once_leave_nothing_in_any_order() {
    for round in 0..20 {
        let mut world = World::new().await;
        let (create, delete) =
            (assignment_of(1, 1, 1, Power::Running), assignment_of(1, 1, 2, Power::Absent));
        let agent = world.agent.clone();
        let both = if round % 2 == 0 { vec![create, delete] } else { vec![delete, create] };
        for outcome in agent.accept(both).await {
            outcome.unwrap();
        }
        // The server asks until it is told that nothing is left.
        while world.assign(assignment_of(1, 1, 2, Power::Absent)).await != Outcome::Absent {
            world.gone(1).await;
        }
        nothing_came_back(&world).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_of_an_older_epoch_is_taken_once_a_newer_one_has_spoken() {
    let mut world = World::running().await;
    world.agent.shared().fence.raise(version(2, 0).epoch).await.unwrap();
    // Of a VM that is held, of one that nobody knows, and of a delete.
    for (n, power) in
        [(1, Power::Stopped), (1, Power::Absent), (2, Power::Running), (3, Power::Absent)]
    {
        let stale = world.assign(assignment_of(n, 1, 9, power)).await;
        assert_eq!(stale, Outcome::Stale(version(2, 0)), "VM {n}, {power:?}");
    }
    world.idle().await;
    assert_eq!(world.settles(1, Phase::Running).await.accepted, version(1, 1));
    assert_eq!(world.agent.owners().len(), 1);
    let newer = world.assign(assignment_of(1, 2, 1, Power::Stopped)).await;
    assert_eq!(newer, Outcome::Accepted(version(2, 1)));
    world.settles(1, Phase::Stopped).await;
}

#[tokio::test(start_paused = true)]
async fn an_accepted_wish_raises_the_epoch_for_all() {
    let mut world = World::new().await;
    world.assign(assignment_of(1, 3, 1, Power::Running)).await;
    let stale = world.assign(assignment_of(2, 2, 1, Power::Running)).await;
    assert_eq!(stale, Outcome::Stale(version(3, 0)));
}
