//! Room for the disks: asked for before anything is made, reserved when they are, and more of it for
//! a store that fills up.
//!
//! How much, and whether it may be taken, is decided in [`crate::vm::store`]. What can go wrong: the
//! host's disk has no room; then a VM that is to start does not, and one that runs keeps the store it
//! has and says so.

use super::Failed;
use super::disks::attached;
use crate::assignment::Shape;
use crate::host::{Change, HostError, HostErrorKind, HostResult, PathPart, RootDiskKind};
use crate::naming::{self, part};
use crate::vm::effect::Effect;
use crate::vm::machine::Vm;
use crate::vm::phase::Reason;
use crate::vm::plan::start::bytes_of;
use crate::vm::store::{self, StoreLevel, Verdict};

/// Whether there is room for what the VM's disks lack.
pub(super) async fn check_room(vm: &Vm, shape: &Shape) -> Result<Change, Failed> {
    let (new, free) = missing(vm, shape)
        .await
        .map_err(|error| Failed::new(Reason::of(Effect::CheckRoom, &error), error.chain()))?;
    store::admit_start(new, free, &vm.shared.settings.disks)
        .map(|()| Change::AlreadySo)
        .map_err(|no_room| Failed::new(Reason::DiskFull, no_room.to_string()))
}

/// What the disks are to take on the host's disk and do not yet, and what is free there.
async fn missing(vm: &Vm, shape: &Shape) -> HostResult<(u64, u64)> {
    let image = &shape.root_image.name;
    let base = vm
        .host()
        .images
        .observe(image)
        .await?
        .ok_or_else(|| HostError::new(HostErrorKind::NotFound, "find the root image", image))?;
    let root = match root_disk_kind(vm).await? {
        RootDiskKind::Copy => lacking(vm, naming::file::ROOT, base.size_bytes).await?,
        RootDiskKind::Snapshot => {
            let store = store::first_size(bytes_of(shape.root_disk_mib), base.size_bytes);
            lacking(vm, naming::file::COW, store).await?
        }
    };
    let work = lacking(vm, naming::file::WORK, bytes_of(shape.work_disk_mib)).await?;
    let room = vm.host().files.room().await?;
    Ok((root.saturating_add(work), room.free_bytes))
}

/// How the root disk is made: as it is, or as the host makes new ones.
async fn root_disk_kind(vm: &Vm) -> HostResult<RootDiskKind> {
    let (files, dir) = (&vm.host().files, &vm.names.dir);
    if files.observe(dir, &part(naming::file::ROOT)).await?.is_some() {
        return Ok(RootDiskKind::Copy);
    }
    if files.observe(dir, &part(naming::file::COW)).await?.is_some() {
        return Ok(RootDiskKind::Snapshot);
    }
    vm.host().facts.root_disk_kind().await
}

async fn lacking(vm: &Vm, file: &'static str, wanted: u64) -> HostResult<u64> {
    let found = vm.host().files.observe(&vm.names.dir, &part(file)).await?;
    Ok(match found {
        Some(found) if vm.shared.settings.disks.sparse && found.size_bytes >= wanted => 0,
        Some(found) => wanted.saturating_sub(found.allocated_bytes),
        None => wanted,
    })
}

pub(super) async fn make(vm: &Vm, shape: &Shape) -> HostResult<Change> {
    let base = attached(vm, &naming::base(shape.root_image.name.clone())).await?;
    let bytes = store::first_size(bytes_of(shape.root_disk_mib), base.size_bytes);
    ensure(vm, &part(naming::file::COW), bytes).await
}

pub(super) async fn make_work_disk(vm: &Vm, shape: &Shape) -> HostResult<Change> {
    ensure(vm, &part(naming::file::WORK), bytes_of(shape.work_disk_mib)).await
}

/// Makes a disk's file, or grows it, with room for all of it unless the host holds more than it has.
pub(super) async fn ensure(vm: &Vm, file: &PathPart, bytes: u64) -> HostResult<Change> {
    let files = &vm.host().files;
    if vm.shared.settings.disks.sparse {
        files.ensure_sparse(&vm.names.dir, file, bytes).await
    } else {
        files.ensure_reserved(&vm.names.dir, file, bytes).await
    }
}

/// Makes the store of a guest that runs as large as its level asks for. The kernel takes the new
/// size of the loop device at the next write; the snapshot is not touched.
pub(super) async fn grow(vm: &Vm) -> Result<Change, Failed> {
    let failed = |error: HostError| {
        // Whatever the cause: that the store is filling up is what a person has to know.
        Failed::new(Reason::RootDiskNearlyFull, error.chain())
    };
    let policy = vm.shared.settings.disks;
    let Some(level) = look(vm).await.map_err(failed)? else { return Ok(Change::AlreadySo) };
    let Verdict::Grow(bytes) = store::judge(level, &policy) else {
        return Ok(Change::AlreadySo);
    };
    let file = part(naming::file::COW);
    let found = vm.host().files.observe(&vm.names.dir, &file).await.map_err(failed)?;
    let has = found.map_or(0, |found| found.allocated_bytes);
    let room = vm.host().files.room().await.map_err(failed)?;
    store::admit_growth(bytes.saturating_sub(has), room.free_bytes, &policy)
        .map_err(|no_room| Failed::new(Reason::RootDiskNearlyFull, no_room.to_string()))?;
    ensure(vm, &file, bytes).await.map_err(failed)?;
    let cow = attached(vm, &vm.names.cow()).await.map_err(failed)?;
    let resized = vm.host().loops.refresh_size(cow.device, cow.backing).await.map_err(failed)?;
    look(vm).await.map_err(failed)?;
    tracing::info!(vm = %vm.id, bytes, "the copy-on-write store was made larger");
    Ok(resized)
}

/// The level now, noted for whoever shows it.
async fn look(vm: &Vm) -> HostResult<Option<StoreLevel>> {
    let facts = vm.host().snapshots.observe(&vm.names.snapshot).await?;
    let level = facts.map(|facts| StoreLevel { fill: facts.fill, base: facts.size_sectors * 512 });
    if let Some(level) = level {
        vm.fill.set(level);
    }
    Ok(level)
}
