//! Every effect of a create and a delete fails, crashes the agent, hangs or is repeated, one at a
//! time; each time the VM comes to run, comes to be gone, and nothing is left over.

use std::time::Duration;

use crate::assignment::{Assignment, Power};
use crate::host::HostErrorKind;
use crate::host::fakes::{At, Fault, FaultPlan};
use crate::supervisor::Outcome;
use crate::supervisor::harness::World;
use crate::vm::fixtures::{assignment_of, vm_id};
use crate::vm::phase::Phase;

fn wanted(generation: u64, power: Power) -> Assignment {
    let mut assignment = assignment_of(1, 1, generation, power);
    if let Some(shape) = &mut assignment.shape {
        shape.work_disk_mib = 32;
        shape.metadata_json = Some("{}".to_owned());
    }
    assignment
}

/// Creates and deletes under a fault plan. Answers how many effects that took.
async fn create_then_delete(plan: FaultPlan, what: &str) -> u64 {
    let mut world = World::new().await;
    world.kernel.set_faults(plan);
    world.assign(wanted(1, Power::Running)).await;
    let running = world.settles(1, Phase::Running).await;
    assert_eq!(running.fault, None, "{what}");

    let mut delete = wanted(2, Power::Absent);
    delete.shape = None;
    // A server asks until it is told that nothing is left.
    while world.assign(delete.clone()).await != Outcome::Absent {
        world.gone(1).await;
    }
    let effects = world.kernel.effects();
    world.idle().await;
    assert_eq!(world.left(), Vec::<String>::new(), "{what}: {:#?}", world.kernel.trace());
    assert_eq!(world.kernel.violations(), Vec::<String>::new(), "{what}");
    assert_eq!(world.report(vm_id(1)), None, "{what}");
    effects
}

async fn sweep(fault: Fault) {
    let effects = create_then_delete(FaultPlan::none(), "no fault").await;
    assert!(effects > 20, "a create and a delete are more than {effects} effects");
    for n in 1..=effects {
        let plan = FaultPlan::none().with(At::nth(n), fault);
        create_then_delete(plan, &format!("{fault:?} at effect {n}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn any_effect_that_fails_is_undone_and_tried_again() {
    sweep(Fault::Fail(HostErrorKind::Other)).await;
}

#[tokio::test(start_paused = true)]
async fn any_effect_that_is_refused_as_busy_is_undone_and_tried_again() {
    sweep(Fault::Fail(HostErrorKind::Busy)).await;
}

#[tokio::test(start_paused = true)]
async fn any_effect_whose_answer_is_lost_is_looked_at_anew() {
    sweep(Fault::FailAfter(HostErrorKind::TimedOut)).await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_dies_before_any_effect_takes_over_where_it_was() {
    sweep(Fault::CrashBefore).await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_dies_after_any_effect_takes_over_where_it_was() {
    sweep(Fault::CrashAfter).await;
}

#[tokio::test(start_paused = true)]
async fn any_effect_that_hangs_is_given_up_at_its_deadline() {
    sweep(Fault::Hang).await;
}

#[tokio::test(start_paused = true)]
async fn any_effect_that_is_done_and_then_hangs_is_looked_at_anew() {
    sweep(Fault::HangAfter).await;
}

#[tokio::test(start_paused = true)]
async fn any_effect_may_be_repeated() {
    create_then_delete(FaultPlan::none().repeat_each(), "repeated").await;
}

#[tokio::test(start_paused = true)]
async fn two_faults_in_a_row_converge_too() {
    let effects = create_then_delete(FaultPlan::none(), "no fault").await;
    for n in 1..effects {
        let plan = FaultPlan::none()
            .with(At::nth(n), Fault::Fail(HostErrorKind::Other))
            .with(At::nth(n + 1), Fault::CrashAfter);
        create_then_delete(plan, &format!("failed at {n}, crashed after {}", n + 1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_pass_makes_no_change() {
    for power in [Power::Running, Power::Paused, Power::Stopped] {
        let mut world = World::new().await;
        world.assign(wanted(1, power)).await;
        let phase = match power {
            Power::Running => Phase::Running,
            Power::Paused => Phase::Paused,
            Power::Stopped | Power::Absent => Phase::Stopped,
        };
        world.settles(1, phase).await;
        world.idle().await;
        let before = world.kernel.objects();
        world.kernel.set_faults(FaultPlan::none());
        world.agent.wake_all();
        world.idle().await;
        assert_eq!(world.kernel.effects(), 0, "{power:?}: {:#?}", world.kernel.trace());
        // Nor does the first pass of another life, but for what belongs to a life of the agent
        // and for the document that a VMM may have lost.
        world.restart().await;
        world.settles(1, phase).await;
        world.idle().await;
        assert_eq!(world.kernel.objects(), before, "{power:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_keeps_failing_leaves_a_failed_vm_with_everything_undone() {
    let verbs = [
        "loops.ensure_attached",
        "files.ensure_reserved",
        "snapshots.ensure",
        "taps.ensure",
        "firewall.ensure",
        "jails.ensure",
        "outputs.ensure",
        "launcher.launch",
        "vmm.configure",
        "vmm.start",
    ];
    for verb in verbs {
        let mut world = World::new().await;
        let fail = Fault::Fail(HostErrorKind::NoSpace);
        world.kernel.set_faults(FaultPlan::none().with(At::verb(verb), fail));
        world.assign(wanted(1, Power::Running)).await;
        let failed = world.settles(1, Phase::Failed).await;
        let fault = failed.fault.as_ref().expect("a failed VM says why");
        assert_eq!(fault.reason.as_str(), "DISK_FULL", "{verb}");
        assert_eq!(fault.left_behind, Vec::<String>::new(), "{verb}");
        assert!(fault.retry_at.is_some() && failed.next_attempt_at.is_some(), "{verb}");
        assert_eq!(world.left_beside_files(), Vec::<String>::new(), "{verb}");
        let disks = |o: &String| o.ends_with(".cow") || o.ends_with(".img");
        assert!(!world.left().iter().any(disks), "{verb}: {:?}", world.left());
        world.kernel.set_faults(FaultPlan::none());
        world.settles(1, Phase::Running).await;
    }
}

#[tokio::test(start_paused = true)]
async fn retries_of_a_failed_start_come_further_and_further_apart() {
    let mut world = World::new().await;
    let fail = Fault::Fail(HostErrorKind::Other);
    world.kernel.set_faults(FaultPlan::none().with(At::verb("taps.ensure"), fail));
    let started = tokio::time::Instant::now();
    world.assign(wanted(1, Power::Running)).await;
    world.settles(1, Phase::Failed).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let attempts = world.kernel.trace().iter().filter(|l| l.starts_with("taps.ensure ")).count();
    let elapsed = started.elapsed();
    assert!((13..=17).contains(&attempts), "{attempts} attempts in {elapsed:?}");
}
