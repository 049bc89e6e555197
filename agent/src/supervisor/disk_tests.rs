//! Room on the host's disk, and how full root disks are: from the start to the growth, the alarm,
//! the full store and the lost one, on the fake kernel.

use std::time::Duration;

use super::harness::{World, names, start_with};
use super::*;
use crate::assignment::RestartPolicy;
use crate::host::fakes::{At, DEMO_ROOT, FakeKernel, FaultPlan, InjectedFault};
use crate::host::{ExitStatus, ImageName, SnapshotFill};
use crate::naming::{file, part};
use crate::report::phase::Reason;
use crate::vm::cow;
use crate::vm::fixtures::{assignment_of, vm_id};

const MIB: u64 = 1 << 20;

/// VM 1, with a store of so many MiB at first.
fn wanted(generation: u64, root_disk_mib: u32) -> Assignment {
    let mut assignment = assignment_of(1, 1, generation, Power::Running);
    assignment.shape.as_mut().expect("a shape").root_disk_mib = root_disk_mib;
    assignment
}

/// The length of the demo root image.
async fn base(kernel: &FakeKernel) -> u64 {
    let name = ImageName::new(DEMO_ROOT).expect("a name");
    kernel.host().images.observe(&name).await.expect("is read").expect("is there").size_bytes
}

async fn store_bytes(kernel: &FakeKernel) -> u64 {
    let names = names(1);
    let found = kernel.host().files.observe(&names.dir, &part(file::COW)).await.expect("is read");
    found.expect("is there").size_bytes
}

async fn fill_of(kernel: &FakeKernel) -> SnapshotFill {
    let found = kernel.host().snapshots.observe(&names(1).snapshot).await.expect("is read");
    found.expect("is there").fill
}

async fn sees_reason(world: &World, reason: Option<Reason>) -> Arc<VmReport> {
    let holds = move |report: Option<&VmReport>| {
        report.is_some_and(|r| {
            r.phase == Phase::Running && r.fault.as_ref().map(|fault| fault.reason) == reason
        })
    };
    let seen = world.agent.reporter().wait_for(vm_id(1), holds);
    let seen = tokio::time::timeout(Duration::from_secs(3600), seen).await;
    seen.unwrap_or_else(|_| panic!("not {reason:?}: {:#?}", world.report(vm_id(1))))
        .expect("it holds of a report")
}

#[tokio::test(start_paused = true)]
async fn a_host_without_room_makes_nothing_and_starts_the_vm_by_itself_once_it_has_some() {
    let mut world = World::new().await;
    world.kernel.set_disk_left(Some(cow::DiskPolicy::default().reserve));
    world.assign(wanted(1, 64)).await;
    let failed = world.settles(1, Phase::Failed).await;
    let fault = failed.fault.as_ref().expect("a failed VM says why");
    assert_eq!((fault.reason, fault.step), (Reason::DiskFull, "check for room on the disk"));
    assert!(fault.message.contains("bytes are free"), "{}", fault.message);
    assert_eq!(world.left_beside_files(), Vec::<String>::new());
    assert!(!world.left().iter().any(|o| o.ends_with(".cow")), "{:?}", world.left());
    world.kernel.set_disk_left(None);
    world.settles(1, Phase::Running).await;
}

#[tokio::test(start_paused = true)]
async fn a_disk_full_to_the_last_byte_refuses_a_new_vm_and_leaves_no_directory() {
    let world = World::new().await;
    world.kernel.fill_disk();
    let refused = world.agent.accept(wanted(1, 64)).await.expect_err("there is no room");
    assert_eq!(refused.kind, HostErrorKind::NoSpace);
    assert_eq!(world.left(), Vec::<String>::new());
    // Room for the directory and none for the record.
    world.kernel.set_disk_left(None);
    let full = InjectedFault::Fail(HostErrorKind::NoSpace);
    world.kernel.set_faults(FaultPlan::none().with(At::verb("files.replace"), full));
    world.agent.accept(wanted(1, 64)).await.expect_err("there is no room");
    assert_eq!(world.left(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_disks_of_a_vm_that_runs_take_their_room_before_the_guest_does() {
    let mut world = World::new().await;
    let mut assignment = wanted(1, 64);
    assignment.shape.as_mut().expect("a shape").work_disk_mib = 8;
    world.assign(assignment).await;
    world.settles(1, Phase::Running).await;
    let store = store_bytes(&world.kernel).await;
    let base = base(&world.kernel).await;
    // The disk is as long as the spec says: its end lies behind all that the snapshot can use.
    let tail = cow::tail(64 * MIB, base).expect("the image is shorter");
    assert_eq!(store, cow::cover(base) + tail.bytes);
    assert_eq!((tail.offset, base + tail.bytes), (cow::cover(base), 64 * MIB));
    assert!(world.kernel.disk_used() >= store + 8 * MIB);
    // Whatever fills the host's disk, the guest can write all of its own.
    world.kernel.fill_disk();
    assert!(world.kernel.fill_snapshot(&names(1).snapshot, cow::cover(base) / 512));
    assert!(matches!(fill_of(&world.kernel).await, SnapshotFill::Used { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_store_grows_before_it_is_full_up_to_what_can_be_of_use() {
    let mut world = World::new().await;
    world.assign(wanted(1, 1)).await;
    world.settles(1, Phase::Running).await;
    assert_eq!(store_bytes(&world.kernel).await, MIB);
    assert!(world.kernel.fill_snapshot(&names(1).snapshot, MIB / 512 * 9 / 10));
    let whole = cow::cover(base(&world.kernel).await);
    let grown = |r: Option<&VmReport>| {
        r.and_then(|r| r.devices.cow_sectors).is_some_and(|(_, total)| total == whole / 512)
    };
    world.agent.reporter().wait_for(vm_id(1), grown).await.expect("it is reported");
    assert_eq!(store_bytes(&world.kernel).await, whole);
    let report = world.settles(1, Phase::Running).await;
    assert_eq!((report.fault.clone(), report.restart_count), (None, 0));
    // And never again.
    world.kernel.set_faults(FaultPlan::none());
    world.kernel.fill_snapshot(&names(1).snapshot, whole / 512);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.kernel.effects(), 0, "{:#?}", world.kernel.trace());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_has_no_room_to_grow_is_an_alarm_until_it_has() {
    let mut world = World::new().await;
    world.assign(wanted(1, 1)).await;
    world.settles(1, Phase::Running).await;
    world.kernel.fill_disk();
    world.kernel.fill_snapshot(&names(1).snapshot, MIB / 512 * 9 / 10);
    let alarm = sees_reason(&world, Some(Reason::RootDiskNearlyFull)).await;
    let fault = alarm.fault.as_ref().expect("an alarm");
    assert!(fault.message.contains("0 bytes are free"), "{}", fault.message);
    assert!(fault.retry_at.is_some(), "{fault:?}");
    world.kernel.set_disk_left(None);
    sees_reason(&world, None).await;
    assert_eq!(store_bytes(&world.kernel).await, cow::cover(base(&world.kernel).await));
}

#[tokio::test(start_paused = true)]
async fn a_store_at_its_bound_is_an_alarm_and_when_it_is_full_nothing_is_lost() {
    let mut world = World::new().await;
    world.agent.shutdown(Duration::from_secs(1)).await;
    let bounded = start_with(&world.kernel, |parts| parts.settings.disks.grow_to = Some(MIB));
    world.agent = bounded.await;
    world.assign(wanted(1, 1)).await;
    world.settles(1, Phase::Running).await;
    world.kernel.fill_snapshot(&names(1).snapshot, MIB / 512 * 9 / 10);
    sees_reason(&world, Some(Reason::RootDiskNearlyFull)).await;
    world.kernel.fill_snapshot(&names(1).snapshot, MIB / 512 + 1);
    sees_reason(&world, Some(Reason::RootDiskFull)).await;
    assert_eq!(fill_of(&world.kernel).await, SnapshotFill::Overflow);

    // With a larger bound and another start the guest has its disk again, and room.
    world.restart().await;
    let stopped = assignment_of(1, 1, 2, Power::Stopped);
    world.assign(stopped).await;
    world.settles(1, Phase::Stopped).await;
    world.assign(wanted(3, 1)).await;
    world.settles(1, Phase::Running).await;
    sees_reason(&world, None).await;
    let SnapshotFill::Used { used, total } = fill_of(&world.kernel).await else {
        panic!("the store is whole")
    };
    assert_eq!(used, MIB / 512, "what was written is there");
    let grown = |r: Option<&VmReport>| {
        r.and_then(|r| r.devices.cow_sectors).is_some_and(|(used, total)| used < total)
    };
    world.agent.reporter().wait_for(vm_id(1), grown).await.expect("it is reported");
    assert!(store_bytes(&world.kernel).await / 512 >= total);
}

#[tokio::test(start_paused = true)]
async fn a_root_disk_that_is_lost_is_said_and_never_started_over() {
    let mut world = World::new().await;
    world.agent.shutdown(Duration::from_secs(1)).await;
    world.agent = start_with(&world.kernel, |parts| parts.settings.disks.sparse = true).await;
    let mut assignment = wanted(1, 64);
    assignment.shape.as_mut().expect("a shape").restart = RestartPolicy::Always;
    world.assign(assignment.clone()).await;
    world.settles(1, Phase::Running).await;
    // A sparse store meets a full disk.
    world.kernel.fill_disk();
    assert!(!world.kernel.fill_snapshot(&names(1).snapshot, 4000));
    sees_reason(&world, Some(Reason::RootDiskLost)).await;

    // The guest cannot go on; whatever its policy, nothing is started on what is left.
    world.kernel.set_disk_left(None);
    world.kernel.crash(&names(1).jail, ExitStatus::Signal(6));
    let failed = world.settles(1, Phase::Failed).await;
    let fault = failed.fault.as_ref().expect("a failed VM says why");
    assert_eq!((fault.reason, fault.retry_at), (Reason::RootDiskLost, None));
    assert_eq!(world.left_beside_files(), Vec::<String>::new());
    assert!(world.left().iter().any(|o| o.ends_with(".cow")), "kept for whoever can use it");

    // Until somebody gives it up.
    assignment.version.generation.0 += 1;
    assignment.root_disk_number += 1;
    world.assign(assignment).await;
    let running = world.settles(1, Phase::Running).await;
    assert_eq!(running.fault, None);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_was_made_larger_survives_the_failure_of_a_later_step() {
    let mut world = World::new().await;
    let mut assignment = wanted(1, 1);
    assignment.shape.as_mut().expect("a shape").work_disk_mib = 8;
    world.assign(assignment.clone()).await;
    world.settles(1, Phase::Running).await;
    let mut stop = assignment.clone();
    stop.version.generation.0 += 1;
    stop.power = Power::Stopped;
    world.assign(stop).await;
    world.settles(1, Phase::Stopped).await;
    let host = world.kernel.host();
    let id = async |name| {
        let found = host.files.observe(&names(1).dir, &part(name)).await.expect("is read");
        found.map(|facts| facts.id)
    };
    let before = (id(file::COW).await, id(file::WORK).await);
    assert!(before.0.is_some() && before.1.is_some());

    let fail = InjectedFault::Fail(HostErrorKind::Other);
    world.kernel.set_faults(FaultPlan::none().with(At::verb("taps.ensure"), fail));
    let shape = assignment.shape.as_mut().expect("a shape");
    (shape.root_disk_mib, shape.work_disk_mib) = (2, 16);
    assignment.version.generation.0 += 2;
    world.assign(assignment).await;
    world.settles(1, Phase::Failed).await;
    assert_eq!((id(file::COW).await, id(file::WORK).await), before, "the guest's data is gone");
    world.kernel.set_faults(FaultPlan::none());
    world.settles(1, Phase::Running).await;
    assert_eq!((id(file::COW).await, id(file::WORK).await), before);
}
