//! Guests whose process ends while no agent looks, and whose hints are lost too.

use super::super::harness::{World, names, start};
use super::*;

/// The agent dies, then what is done to the machine, then `handles.json` is gone, then another
/// agent.
async fn away(world: &mut World, policy: RestartPolicy, done: impl AsyncFnOnce(&World)) {
    let mut wanted = assignment_of(1, 1, 1, Power::Running);
    wanted.shape.as_mut().unwrap().restart = policy;
    world.assign(wanted).await;
    world.settles(1, Phase::Running).await;
    world.idle().await;
    world.agent.shutdown(Duration::from_secs(1)).await;
    done(&*world).await;
    assert!(world.kernel.set_file(&names(1).dir, &part(file::HANDLES), None));
    world.kernel.clear_trace();
    world.kernel.new_agent();
    world.agent = start(&world.kernel).await;
}

async fn crash(world: &World) {
    assert!(world.kernel.crash(&names(1).jail, ExitStatus::Signal(9)));
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_ended_while_away_without_hints_is_not_started_against_its_policy() {
    let mut world = World::new().await;
    away(&mut world, RestartPolicy::Never, crash).await;
    let report = world.settles(1, Phase::Crashed).await;
    assert!(report.exit.as_ref().unwrap().crashed);
    assert!(!traced(&world, "launcher"), "{:#?}", world.kernel.trace());
    // The image's loop device was in the hints only: it is found again as nobody's.
    sweep_all(&world).await;
    assert_eq!(world.left_beside_files(), Vec::<String>::new());
    // And it stays so, until somebody wants another boot.
    world.restart().await;
    world.settles(1, Phase::Crashed).await;
    let mut again = assignment_of(1, 1, 2, Power::Running);
    again.boot_number = 2;
    world.assign(again).await;
    world.settles(1, Phase::Running).await;
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_ended_while_away_without_hints_is_started_again_by_its_policy() {
    for policy in [RestartPolicy::OnFailure, RestartPolicy::Always] {
        let mut world = World::new().await;
        away(&mut world, policy, crash).await;
        let report = world.settles(1, Phase::Running).await;
        assert_eq!(report.restart_count, 1, "{policy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_and_a_start_while_away_are_a_new_start() {
    let mut world = World::running().await;
    world.assign(assignment_of(1, 1, 2, Power::Stopped)).await;
    world.settles(1, Phase::Stopped).await;
    world.restart().await;
    world.assign(assignment_of(1, 1, 3, Power::Running)).await;
    world.settles(1, Phase::Running).await;
}

#[tokio::test(start_paused = true)]
async fn a_reboot_of_the_host_is_not_the_guests_end() {
    let mut world = World::new().await;
    away(&mut world, RestartPolicy::Never, async |world: &World| world.kernel.reboot()).await;
    // Nothing is started before the server has spoken, and then it is.
    let mut same = assignment_of(1, 1, 1, Power::Running);
    same.shape.as_mut().unwrap().restart = RestartPolicy::Never;
    world.assign(same).await;
    world.settles(1, Phase::Running).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_was_cut_short_is_made_again_wherever_it_was_cut() {
    // Counted over a whole start.
    let mut world = World::new().await;
    world.kernel.set_faults(FaultPlan::none());
    world.assign(assignment_of(1, 1, 1, Power::Running)).await;
    world.settles(1, Phase::Running).await;
    let started = world.kernel.trace().iter().any(|line| line.starts_with("vmm.start"));
    assert!(started, "{:#?}", world.kernel.trace());
    for nth in 1..=world.kernel.effects() {
        for lost in [false, true] {
            let mut world = World::new().await;
            world
                .kernel
                .set_faults(FaultPlan::none().with(At::nth(nth), InjectedFault::CrashAfter));
            let _ = tokio::time::timeout(
                Duration::from_secs(1),
                world.agent.accept(assignment_of(1, 1, 1, Power::Running)),
            )
            .await;
            world.kernel.crashed().await;
            world.kernel.set_faults(FaultPlan::none());
            if lost {
                world.kernel.set_file(&names(1).dir, &part(file::HANDLES), None);
            }
            world.kernel.new_agent();
            world.agent = start(&world.kernel).await;
            world.assign(assignment_of(1, 1, 1, Power::Running)).await;
            world.settles(1, Phase::Running).await;
            assert_eq!(world.kernel.violations(), Vec::<String>::new(), "after effect {nth}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_keeps_its_time_through_restarts_of_the_agent() {
    let mut world = World::running().await;
    world.kernel.crash(&names(1).jail, ExitStatus::Signal(9));
    let before = world.settles(1, Phase::Crashed).await;
    world.restart().await;
    let after = world.settles(1, Phase::Crashed).await;
    assert_eq!(after.phase_since, before.phase_since);
}
