//! What one VM's task does when things go wrong, over the whole of it: sweeps of faults over every
//! operation, walks through arbitrary machines, and what holds of both.
//!
//! `make test` prints how many cases each sweep had: the lines `sweep … cases`.

use std::time::Duration;

use crate::assignment::{Power, RestartPolicy};
use crate::clock::Clock;
use crate::host::fakes::{At, FaultPlan, InjectedFault};
use crate::host::{ExitStatus, HostErrorKind};
use crate::report::phase::Phase;
use crate::supervisor::harness::{World, names, start_with};
use crate::vm::fixtures::vm_id;
use operation::wanted;

mod case;
mod company;
mod operation;
mod sweep;
mod walk;

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
        "pins.ensure",
        "firewall.ensure",
        "jails.ensure",
        "outputs.ensure",
        "launcher.launch",
        "vmm.configure",
        "vmm.start",
    ];
    for verb in verbs {
        let mut world = World::new().await;
        let fail = InjectedFault::Fail(HostErrorKind::NoSpace);
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
    let fail = InjectedFault::Fail(HostErrorKind::Other);
    world.kernel.set_faults(FaultPlan::none().with(At::verb("taps.ensure"), fail));
    let started = tokio::time::Instant::now();
    world.assign(wanted(1, Power::Running)).await;
    world.settles(1, Phase::Failed).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let attempts = world.kernel.trace().iter().filter(|l| l.starts_with("taps.ensure ")).count();
    let elapsed = started.elapsed();
    assert!((13..=17).contains(&attempts), "{attempts} attempts in {elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_vmm_that_ends_as_soon_as_it_runs_does_not_spin_and_is_counted() {
    let mut world = World::new().await;
    let mut always = wanted(1, Power::Running);
    if let Some(shape) = &mut always.shape {
        shape.restart = RestartPolicy::Always;
    }
    world.assign(always).await;
    let jail = names(1).jail;
    let begun = tokio::time::Instant::now();
    let hour = Duration::from_secs(3600);
    while begun.elapsed() < hour {
        world.settles(1, Phase::Running).await;
        world.kernel.crash(&jail, ExitStatus::Code(1));
        let crashed = world.sees(1, Phase::Crashed).await;
        assert!(crashed.next_attempt_at.is_some(), "it says when it tries again: {crashed:#?}");
        assert!(crashed.exit.as_ref().is_some_and(|exit| exit.code == Some(1)), "{crashed:#?}");
    }
    world.settles(1, Phase::Running).await;
    // 1, 2, 4 to 32 seconds, and from then on one each minute.
    let starts = world.kernel.trace().iter().filter(|l| l.starts_with("launcher.launch ")).count();
    assert!((60..=70).contains(&starts), "{starts} starts in an hour");
    let report = world.report(vm_id(1)).expect("it is reported");
    assert_eq!(report.restart_count as usize, starts - 1, "each is counted");
    // The count outlives the agent.
    world.restart().await;
    let report = world.settles(1, Phase::Running).await;
    assert_eq!(report.restart_count as usize, starts - 1);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_moves_no_vm_and_shortens_no_wait() {
    let mut world = World::running().await;
    let process = world.report(vm_id(1)).and_then(|report| report.process.clone());
    let today = Clock::system().now();
    for jump in [24 * 365 * 30, -24 * 365 * 30] {
        let there = today.checked_add(jiff::SignedDuration::from_hours(jump)).expect("a time");
        let (clock, hands) = Clock::manual(today);
        world.agent.shutdown(Duration::from_secs(1)).await;
        world.kernel.new_agent();
        world.agent = start_with(&world.kernel, |parts| parts.clock = clock).await;
        world.settles(1, Phase::Running).await;
        world.idle().await;
        world.kernel.set_faults(FaultPlan::none());
        hands.set(there);
        world.agent.wake_all();
        world.idle().await;
        assert_eq!(world.kernel.effects(), 0, "{jump} hours: {:#?}", world.kernel.trace());
        // Back-off is measured by the other clock.
        let fail = InjectedFault::Fail(HostErrorKind::Other);
        world.kernel.set_faults(FaultPlan::none().with(At::verb("vmm.pause"), fail));
        world.kernel.clear_trace();
        let generation = if jump > 0 { 2 } else { 4 };
        world.assign(wanted_plain(generation, Power::Paused)).await;
        world.idle().await;
        hands.set(today);
        world.agent.wake_all();
        world.idle().await;
        let trace = world.kernel.trace();
        let tries = trace.iter().filter(|line| line.starts_with("vmm.pause ")).count();
        assert_eq!(tries, 1, "{jump} hours: {trace:#?}");
        world.assign(wanted_plain(generation + 1, Power::Running)).await;
        let report = world.settles(1, Phase::Running).await;
        assert_eq!(report.process, process);
    }
}

/// As [`World::running`] made it.
fn wanted_plain(generation: u64, power: Power) -> crate::assignment::Assignment {
    crate::vm::fixtures::assignment_of(1, 1, generation, power)
}
