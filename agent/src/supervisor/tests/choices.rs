//! The life of VMs on a host that runs QEMU, or makes root disks as copies; and on one that
//! chooses otherwise than it did.

use std::time::Duration;

use crate::assignment::{Assignment, Power};
use crate::host::fakes::{At, FakeKernel, FaultPlan, InjectedFault};
use crate::host::{HostErrorKind, RootDiskKind, VmmKind};
use crate::naming::{file, part};
use crate::report::phase::Phase;
use crate::rpc::Assigned;
use crate::supervisor::harness::{World, names};
use crate::vm::fixtures::{assignment_of, version, vm_id};

/// A machine without KVM and without device-mapper.
fn modest() -> FakeKernel {
    let kernel = FakeKernel::new();
    kernel.set_vmm(VmmKind::Qemu);
    kernel.set_root_disks(RootDiskKind::Copy);
    kernel
}

fn wanted(generation: u64, power: Power) -> Assignment {
    let mut assignment = assignment_of(1, 1, generation, power);
    if let Some(shape) = &mut assignment.shape {
        shape.work_disk_mib = 32;
    }
    assignment
}

async fn is_there(world: &World, name: &'static str) -> bool {
    let host = world.kernel.host();
    host.files.observe(&names(1).dir, &part(name)).await.unwrap().is_some()
}

#[tokio::test(start_paused = true)]
async fn a_vm_lives_its_whole_life_under_qemu_on_a_copy() {
    let mut world = World::on(modest()).await;
    world.assign(wanted(1, Power::Running)).await;
    let running = world.settles(1, Phase::Running).await;
    assert_eq!((running.devices.vmm, running.devices.root_disk), ("qemu", "copy"));
    assert!(is_there(&world, file::ROOT).await && !is_there(&world, file::COW).await);
    assert!(!world.kernel.objects().iter().any(|o| o.starts_with("dm ") || o.starts_with("loop ")));

    world.assign(wanted(2, Power::Paused)).await;
    world.settles(1, Phase::Paused).await;
    world.assign(wanted(3, Power::Running)).await;
    let resumed = world.settles(1, Phase::Running).await;
    assert_eq!(resumed.process, running.process);

    // Stopped by its own keyboard; the copy stays and is what it starts from again.
    world.assign(wanted(4, Power::Stopped)).await;
    let stopped = world.settles(1, Phase::Stopped).await;
    assert!(stopped.exit.as_ref().is_some_and(|exit| exit.code == Some(0)), "{stopped:?}");
    assert!(is_there(&world, file::ROOT).await);
    let copies = || {
        let trace = world.kernel.trace();
        trace.iter().filter(|line| line.starts_with("files.ensure_copy")).count()
    };
    assert_eq!(copies(), 1);
    world.assign(wanted(5, Power::Running)).await;
    world.settles(1, Phase::Running).await;

    let mut delete = wanted(6, Power::Absent);
    delete.shape = None;
    world.assign(delete).await;
    world.gone(1).await;
    world.idle().await;
    assert_eq!(world.left(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn disks_that_a_vmm_made_longer_are_as_long_as_they_are_to_be_at_the_next_start() {
    let mut world = World::on(modest()).await;
    world.assign(wanted(1, Power::Running)).await;
    world.settles(1, Phase::Running).await;
    let (host, dir) = (world.kernel.host(), names(1).dir);
    let length = async |name| {
        let found = host.files.observe(&dir, &part(name)).await.unwrap().unwrap();
        (found.size_bytes, found.allocated_bytes)
    };
    let root = length(file::ROOT).await;
    host.files.ensure_sparse(&dir, &part(file::ROOT), 15 << 40).await.unwrap();
    world.assign(wanted(2, Power::Stopped)).await;
    world.settles(1, Phase::Stopped).await;
    world.assign(wanted(3, Power::Running)).await;
    world.settles(1, Phase::Running).await;
    assert_eq!(length(file::ROOT).await, root);
}

#[tokio::test(start_paused = true)]
async fn without_any_hint_a_qemu_is_adopted_as_it_is() {
    let mut world = World::on(modest()).await;
    world.assign(wanted(1, Power::Running)).await;
    let before = world.settles(1, Phase::Running).await;
    world.agent.shutdown(Duration::from_secs(1)).await;
    assert!(world.kernel.set_file(&names(1).dir, &part(file::HANDLES), None));
    world.kernel.clear_trace();
    world.restart().await;
    let after = world.settles(1, Phase::Running).await;
    assert_eq!(after.process, before.process);
    assert!(after.adopted_at.is_some());
    assert_eq!((after.devices.vmm, after.devices.root_disk), ("qemu", "copy"));
    let trace = world.kernel.trace();
    assert!(!trace.iter().any(|line| line.starts_with("processes.signal")), "{trace:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_reset_of_the_root_disk_makes_a_new_copy_and_keeps_the_work_disk() {
    let mut world = World::on(modest()).await;
    world.assign(wanted(1, Power::Running)).await;
    world.settles(1, Phase::Running).await;
    let files = world.kernel.host().files;
    let id = async |name| files.observe(&names(1).dir, &part(name)).await.unwrap().unwrap().id;
    let (root, work) = (id(file::ROOT).await, id(file::WORK).await);
    let mut reset = wanted(2, Power::Running);
    reset.root_disk_number = 2;
    world.assign(reset).await;
    world.settles(1, Phase::Running).await;
    assert_ne!(id(file::ROOT).await, root);
    assert_eq!(id(file::WORK).await, work);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_chooses_otherwise_keeps_what_runs_and_its_disks() {
    let mut world = World::running().await;
    let before = world.report(vm_id(1)).unwrap();
    assert_eq!((before.devices.vmm, before.devices.root_disk), ("firecracker", "snapshot"));
    world.kernel.set_vmm(VmmKind::Qemu);
    world.kernel.set_root_disks(RootDiskKind::Copy);
    world.restart().await;
    let after = world.settles(1, Phase::Running).await;
    assert_eq!(after.process, before.process);
    assert_eq!(after.devices.vmm, "firecracker");

    // The next start is under the new VMM, and on the disk that the guest wrote to.
    let mut again = assignment_of(1, 1, 2, Power::Running);
    again.boot_number = 2;
    again.version = version(1, 2);
    world.assign(again).await;
    let restarted = world.settles(1, Phase::Running).await;
    assert_ne!(restarted.process, before.process);
    assert_eq!((restarted.devices.vmm, restarted.devices.root_disk), ("qemu", "snapshot"));
    assert!(!is_there(&world, file::ROOT).await);
}

/// Creates and deletes under a fault plan. Answers how many effects that took.
async fn create_then_delete(plan: FaultPlan, what: &str) -> u64 {
    let mut world = World::on(modest()).await;
    world.kernel.set_faults(plan);
    world.assign(wanted(1, Power::Running)).await;
    let running = world.settles(1, Phase::Running).await;
    assert_eq!(running.fault, None, "{what}");
    let mut delete = wanted(2, Power::Absent);
    delete.shape = None;
    while world.assign(delete.clone()).await != Assigned::Absent {
        world.gone(1).await;
    }
    let effects = world.kernel.effects();
    world.idle().await;
    assert_eq!(world.left(), Vec::<String>::new(), "{what}: {:#?}", world.kernel.trace());
    assert_eq!(world.kernel.violations(), Vec::<String>::new(), "{what}");
    effects
}

#[tokio::test(start_paused = true)]
async fn any_effect_that_fails_or_crashes_under_qemu_is_undone_or_taken_over() {
    let effects = create_then_delete(FaultPlan::none(), "no fault").await;
    assert!(effects > 15, "a create and a delete are more than {effects} effects");
    for fault in [
        InjectedFault::Fail(HostErrorKind::Other),
        InjectedFault::FailAfter(HostErrorKind::TimedOut),
        InjectedFault::CrashBefore,
        InjectedFault::CrashAfter,
        InjectedFault::Hang,
    ] {
        for n in 1..=effects {
            let plan = FaultPlan::none().with(At::nth(n), fault);
            create_then_delete(plan, &format!("{fault:?} at effect {n}")).await;
        }
    }
}
