//! Loop devices and the root disk: the effects that stand on one another.
//!
//! What can go wrong beside the verbs themselves: the number of a loop device is given to another
//! file between two looks. So a device is used only with the identity of the file behind it, and
//! looked at again once the snapshot stands on it.

use super::{Failed, flush_hints, stores};
use crate::assignment::{Record, Shape};
use crate::handles::LoopHandle;
use crate::host::{
    BackingFile, Change, HostError, HostErrorKind, HostResult, LoopFacts, SnapshotFacts,
    SnapshotFill, SnapshotSpec,
};
use crate::naming;
use crate::vm::effect::Effect;
use crate::vm::machine::Vm;
use crate::vm::phase::Reason;

/// The first effect that makes an object: from here on the file names all there will be.
pub(super) async fn attach_base(vm: &mut Vm, shape: &Shape) -> HostResult<Change> {
    let image = naming::base(shape.root_image.name.clone());
    let (base, cow) = (image.clone(), vm.names.cow());
    vm.handles.update(|handles| {
        handles.base_loop = Some(LoopHandle { file: base, attached: None });
        handles.cow_loop = Some(LoopHandle { file: cow, attached: None });
        handles.snapshot = Some(vm.names.snapshot.clone());
        handles.tap = Some(vm.names.tap.clone());
    });
    flush_hints(vm).await;
    let (facts, change) = vm.shared.bases.attach(&*vm.shared.host.loops, vm.id, &image).await?;
    vm.handles.update(|handles| {
        handles.base_loop =
            Some(LoopHandle { file: image, attached: Some((facts.device, facts.backing)) });
    });
    Ok(change)
}

/// The first effect that makes an object, where the root disk is a copy.
pub(super) async fn copy_root(vm: &mut Vm, shape: &Shape) -> HostResult<Change> {
    vm.handles.update(|handles| handles.tap = Some(vm.names.tap.clone()));
    flush_hints(vm).await;
    let (dir, file) = (&vm.names.dir, naming::part(naming::file::ROOT));
    let copied = vm.host().files.ensure_copy(dir, &file, &shape.root_image.name).await?;
    // Its holes are room that the guest may come to need, as those of a store are.
    let size = vm.host().files.observe(dir, &file).await?.map_or(0, |facts| facts.size_bytes);
    Ok(copied.and(stores::ensure(vm, &file, size).await?))
}

pub(super) async fn attach_cow(vm: &mut Vm) -> HostResult<Change> {
    let (facts, change) = vm.host().loops.ensure_attached(&vm.names.cow(), false).await?;
    // The file may have been made larger while the device was attached.
    let resized = vm.host().loops.refresh_size(facts.device, facts.backing).await?;
    vm.handles.update(|handles| {
        handles.cow_loop = Some(LoopHandle {
            file: vm.names.cow(),
            attached: Some((facts.device, facts.backing)),
        });
    });
    Ok(change.and(resized))
}

pub(super) async fn attached(vm: &Vm, file: &BackingFile) -> HostResult<LoopFacts> {
    vm.host()
        .loops
        .observe(file)
        .await?
        .ok_or_else(|| HostError::new(HostErrorKind::NotFound, "find the loop device of", file))
}

/// Never over a store that was lost: the kernel would make the device, of which nothing can be
/// read, and the guest would be started on it.
pub(super) async fn create_snapshot(vm: &mut Vm, shape: &Shape) -> Result<Change, Failed> {
    let failed =
        |error: HostError| Failed::new(Reason::of(Effect::CreateSnapshot, &error), error.chain());
    let (facts, change) = ensure_snapshot(vm, shape).await.map_err(failed)?;
    if facts.fill == SnapshotFill::Invalid {
        return Err(Failed::new(
            Reason::RootDiskLost,
            "the copy-on-write store could not be written once and is invalid; the root disk has to \
             be reset",
        ));
    }
    if let Some(attempt) = &mut vm.memory.attempt {
        attempt.root_device = Some(facts.device);
    }
    Ok(change)
}

async fn ensure_snapshot(vm: &Vm, shape: &Shape) -> HostResult<(SnapshotFacts, Change)> {
    let image = naming::base(shape.root_image.name.clone());
    let base = attached(vm, &image).await?;
    let cow = attached(vm, &vm.names.cow()).await?;
    let spec = SnapshotSpec {
        name: vm.names.snapshot.clone(),
        base: base.device,
        base_bytes: base.size_bytes & !511,
        cow: cow.device,
    };
    let (facts, change) = vm.host().snapshots.ensure(&spec).await?;
    // A number may have been given to another file between the two looks; now that the snapshot
    // stands on the device it cannot be any more.
    let still = attached(vm, &image).await?;
    if still.device != base.device || still.backing != base.backing {
        vm.host().snapshots.remove(&vm.names.snapshot).await?;
        return Err(HostError::new(HostErrorKind::Busy, "create snapshot", &spec.name)
            .detail("the root image's loop device changed meanwhile"));
    }
    Ok((facts, change))
}

pub(super) async fn detach_cow(vm: &Vm) -> HostResult<Change> {
    let Some(facts) = vm.host().loops.observe(&vm.names.cow()).await? else {
        return Ok(Change::AlreadySo);
    };
    let change = vm.host().loops.remove(facts.device, facts.backing).await?;
    vm.handles.update(|handles| handles.cow_loop = None);
    Ok(change)
}

pub(super) async fn release_base(vm: &Vm, record: &Record) -> HostResult<Change> {
    let handle = vm.handles.get().base_loop.map(|handle| handle.file);
    let shape = record.assignment.shape.as_ref();
    let wanted = || shape.map(|shape| naming::base(shape.root_image.name.clone()));
    let change = match handle.or_else(wanted) {
        Some(image) => vm.shared.bases.release(&*vm.shared.host.loops, vm.id, &image).await?,
        None => Change::AlreadySo,
    };
    vm.handles.update(|handles| handles.base_loop = None);
    Ok(change)
}
