//! What a VM may take of its host: held from the start, changed while it runs, put back when
//! somebody undoes it, and said where the host cannot hold it. On the fake kernel.

use std::time::Duration;

use super::harness::{World, names};
use super::*;
use crate::host::{BoundsSeen, IoRates};
use crate::report::phase::Reason;
use crate::vm::fixtures::{assignment_of, vm_id};

/// VM 1 with half a processor and bounded writes.
fn limited(generation: u64) -> Assignment {
    let mut assignment = assignment_of(1, 1, generation, Power::Running);
    let shape = assignment.shape.as_mut().expect("a shape");
    shape.resources.cpu_millis = 500;
    shape.resources.io.write_bytes = 1 << 20;
    assignment
}

async fn bounds_of(world: &World) -> BoundsSeen {
    let seen = world.kernel.host().jails.bounds(&[names(1).jail]).await.expect("is read");
    seen.into_iter().next().expect("one for one")
}

async fn sees(
    world: &World,
    what: &str,
    holds: impl Fn(&VmReport) -> bool + Send + Sync + 'static,
) {
    let seen = world.agent.reporter().wait_for(vm_id(1), move |r| r.is_some_and(&holds));
    let seen = tokio::time::timeout(Duration::from_secs(3600), seen).await;
    seen.unwrap_or_else(|_| panic!("not {what}: {:#?}", world.report(vm_id(1))))
        .expect("it holds of a report");
}

fn is_limited(seen: &BoundsSeen) -> bool {
    let writes = IoRates { write_bytes: 1 << 20, ..IoRates::default() };
    let io = seen.io.as_ref().is_some_and(|io| io.len() == 1 && io[0].1 == writes);
    seen.cpu_millis == Some(500) && io
}

#[tokio::test(start_paused = true)]
async fn limits_are_there_from_the_start_and_are_shown_as_the_kernel_holds_them() {
    let mut world = World::new().await;
    world.assign(limited(1)).await;
    let report = world.settles_well(1, Phase::Running).await;
    assert!(is_limited(&bounds_of(&world).await));
    assert_eq!(report.bounds, Some(bounds_of(&world).await));
    assert_eq!(report.bounds.as_ref().map(BoundsSeen::missing), Some(vec![]));
}

#[tokio::test(start_paused = true)]
async fn limits_change_while_the_guest_runs_and_its_process_stays() {
    let mut world = World::running().await;
    let before = world.report(vm_id(1)).expect("it runs");
    world.assign(limited(2)).await;
    sees(&world, "limited", |r| r.bounds.as_ref().is_some_and(is_limited)).await;
    world.assign(assignment_of(1, 1, 3, Power::Running)).await;
    sees(&world, "free again", |r| r.bounds.as_ref().is_some_and(|b| b.cpu_millis == Some(0)))
        .await;
    let after = world.report(vm_id(1)).expect("it runs");
    assert_eq!((&after.process, after.phase), (&before.process, Phase::Running));
    assert_eq!(bounds_of(&world).await.io, Some(vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_somebody_undid_is_put_back() {
    let mut world = World::new().await;
    world.assign(limited(1)).await;
    world.settles_well(1, Phase::Running).await;
    world.passes(Duration::from_secs(30)).await;
    let free = BoundsSeen { cpu_millis: Some(0), memory_bytes: Some(0), ..bounds_of(&world).await };
    world.kernel.tamper_with_bounds(&names(1).jail, free);
    world.passes(Duration::from_secs(30)).await;
    let seen = bounds_of(&world).await;
    assert!(is_limited(&seen) && seen.memory_bytes.is_some_and(|bytes| bytes > 0), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_the_host_can_not_hold_is_a_reason_and_the_guest_runs() {
    let mut world = World::new().await;
    world.assign(limited(1)).await;
    world.settles_well(1, Phase::Running).await;
    world.passes(Duration::from_secs(30)).await;
    let none = BoundsSeen { cpu_weight: None, cpu_millis: None, ..bounds_of(&world).await };
    world.kernel.tamper_with_bounds(&names(1).jail, none);
    sees(&world, "said", |r| {
        let reason = r.fault.as_ref().map(|fault| fault.reason);
        r.phase == Phase::Running && reason == Some(Reason::LimitsNotHeld)
    })
    .await;
    // Who asks for no limit is not bothered.
    world.assign(assignment_of(1, 1, 2, Power::Running)).await;
    sees(&world, "well", |r| r.fault.is_none() && r.phase == Phase::Running).await;
}
