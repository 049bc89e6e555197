//! Room for the disks: asked for before anything is made, reserved when they are, and more of it
//! for a store that fills up.
//!
//! How much follows from spec and image, and for one that grows from the plan. Room is asked for at
//! the moment it is taken, since all VMs of the host share it: a guard, reckoned in
//! [`crate::vm::cow`], that lets the effect fail and chooses nothing. What can go wrong: the host's
//! disk has no room; then a VM that is to start does not, and one that runs keeps the store it has
//! and says so.

use super::{Done, Failed, Hands, Learnt, Trouble};
use crate::assignment::Shape;
use crate::host::{
    Change, HostError, HostErrorKind, HostResult, ImageFacts, ImageName, PathPart, RootDiskKind,
};
use crate::naming::{self, part};
use crate::report::phase::Reason;
use crate::vm::cow::{self, Allocation, CowLevel};
use crate::vm::plan::start::bytes_of;

/// Whether there is room for what the VM's disks lack.
pub(super) async fn check_room(hands: &Hands<'_>, root: RootDiskKind) -> Result<Change, Trouble> {
    let (new, free) = missing(hands, hands.shape()?, root).await?;
    cow::admit_start(new, free, &hands.settings.disks)
        .map_err(|no_room| Failed::new(Reason::DiskFull, no_room.to_string()))?;
    Ok(Change::AlreadySo)
}

/// What the disks are to take on the host's disk and do not yet, and what is free there.
async fn missing(hands: &Hands<'_>, shape: &Shape, root: RootDiskKind) -> HostResult<(u64, u64)> {
    let base = image(hands, &shape.root_image.name).await?;
    let root = match root {
        RootDiskKind::Copy => {
            let copy = cow::copy_size(bytes_of(shape.root_disk_mib), base.size_bytes);
            lacking(hands, naming::file::ROOT, copy).await?
        }
        RootDiskKind::Snapshot => {
            let store = cow::first_size(bytes_of(shape.root_disk_mib), base.size_bytes);
            lacking(hands, naming::file::COW, store).await?
        }
    };
    let work = lacking(hands, naming::file::WORK, bytes_of(shape.work_disk_mib)).await?;
    let room = hands.host.files.room().await?;
    Ok((root.saturating_add(work), room.free_bytes))
}

/// What a root disk is made of.
pub(super) async fn image(hands: &Hands<'_>, name: &ImageName) -> HostResult<ImageFacts> {
    let found = hands.host.images.observe(name).await?;
    found.ok_or_else(|| HostError::new(HostErrorKind::NotFound, "find the root image", name))
}

async fn lacking(hands: &Hands<'_>, file: &'static str, wanted: u64) -> HostResult<u64> {
    let found = hands.host.files.observe(&hands.names.dir, &part(file)).await?;
    Ok(match found {
        Some(found) if hands.settings.disks.sparse && found.size_bytes >= wanted => 0,
        Some(found) => wanted.saturating_sub(found.allocated_bytes),
        None => wanted,
    })
}

pub(super) async fn make(hands: &Hands<'_>, allocation: Allocation) -> Result<Change, Trouble> {
    let shape = hands.shape()?;
    let base = hands.attached(&naming::base(shape.root_image.name.clone())).await?;
    let bytes = cow::first_size(bytes_of(shape.root_disk_mib), base.size_bytes);
    Ok(ensure(hands, &part(naming::file::COW), bytes, allocation).await?)
}

pub(super) async fn make_work_disk(
    hands: &Hands<'_>,
    allocation: Allocation,
) -> Result<Change, Trouble> {
    let (file, bytes) = (part(naming::file::WORK), bytes_of(hands.shape()?.work_disk_mib));
    // Its VMM may have made it longer.
    let cut = hands.host.files.shorten(&hands.names.dir, &file, bytes).await?;
    Ok(cut.and(ensure(hands, &file, bytes, allocation).await?))
}

/// Makes a disk's file, or grows it.
pub(super) async fn ensure(
    hands: &Hands<'_>,
    file: &PathPart,
    bytes: u64,
    allocation: Allocation,
) -> HostResult<Change> {
    let files = &hands.host.files;
    match allocation {
        Allocation::Sparse => files.ensure_sparse(&hands.names.dir, file, bytes).await,
        Allocation::Reserved => files.ensure_reserved(&hands.names.dir, file, bytes).await,
    }
}

/// Makes the store of a guest that runs this large, if the host has the room. The kernel takes the
/// new size of the loop device at the next write; the snapshot is not touched.
pub(super) async fn grow(
    hands: &Hands<'_>,
    bytes: u64,
    allocation: Allocation,
) -> Result<Done, Failed> {
    // Whatever the cause: that the store is filling up is what a person has to know.
    let failed = |error: HostError| Failed::new(Reason::RootDiskNearlyFull, error.chain());
    let file = part(naming::file::COW);
    let found = hands.host.files.observe(&hands.names.dir, &file).await.map_err(failed)?;
    let has = found.map_or(0, |found| found.allocated_bytes);
    let room = hands.host.files.room().await.map_err(failed)?;
    cow::admit_growth(bytes.saturating_sub(has), room.free_bytes, &hands.settings.disks)
        .map_err(|no_room| Failed::new(Reason::RootDiskNearlyFull, no_room.to_string()))?;
    ensure(hands, &file, bytes, allocation).await.map_err(failed)?;
    let cow = hands.attached(&hands.names.cow()).await.map_err(failed)?;
    let change = hands.host.loops.refresh_size(cow.device, cow.backing).await.map_err(failed)?;
    let level = level(hands).await.map_err(failed)?;
    tracing::info!(vm = %hands.vm, bytes, "the copy-on-write store was made larger");
    Ok(Done { change, learnt: level.map(Learnt::Level) })
}

async fn level(hands: &Hands<'_>) -> HostResult<Option<CowLevel>> {
    let facts = hands.host.snapshots.observe(&hands.names.snapshot).await?;
    Ok(facts.map(|facts| CowLevel::of(&facts)))
}
