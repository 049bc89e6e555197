//! Loop devices and the root disk: the effects that stand on one another.
//!
//! What can go wrong beside the verbs themselves: the number of a loop device is given to another
//! file between two looks. So a device is used only with the identity of the file behind it, and
//! looked at again once the snapshot stands on it.

use super::{Done, Failed, Hands, Learnt, Trouble, stores};
use crate::assignment::Shape;
use crate::handles::LoopHandle;
use crate::host::{
    Change, HostError, HostErrorKind, HostResult, SnapshotFacts, SnapshotFill, SnapshotSpec,
};
use crate::naming;
use crate::report::phase::Reason;
use crate::vm::cow::{self, Allocation};
use crate::vm::plan::start::bytes_of;

/// The first effect that makes an object: from here on the file names all there will be.
pub(super) async fn attach_base(hands: &Hands<'_>) -> Result<Change, Trouble> {
    let image = naming::base(hands.shape()?.root_image.name.clone());
    let (base, cow) = (image.clone(), hands.names.cow());
    hands.handles.update(|handles| {
        handles.base_loop = Some(LoopHandle { file: base, attached: None });
        handles.cow_loop = Some(LoopHandle { file: cow, attached: None });
        handles.snapshot = Some(hands.names.snapshot.clone());
        handles.tap = Some(hands.names.tap.clone());
    });
    hands.flush_hints().await;
    let (facts, change) = hands.bases.attach(&*hands.host.loops, hands.vm, &image).await?;
    hands.handles.update(|handles| {
        handles.base_loop =
            Some(LoopHandle { file: image, attached: Some((facts.device, facts.backing)) });
    });
    Ok(change)
}

/// The first effect that makes an object, where the root disk is a copy.
pub(super) async fn copy_root(
    hands: &Hands<'_>,
    allocation: Allocation,
) -> Result<Change, Trouble> {
    let shape = hands.shape()?;
    hands.handles.update(|handles| handles.tap = Some(hands.names.tap.clone()));
    hands.flush_hints().await;
    let (dir, file) = (&hands.names.dir, naming::part(naming::file::ROOT));
    let image = &shape.root_image.name;
    let copied = hands.host.files.ensure_copy(dir, &file, image).await?;
    // As long as the spec says. Its holes are room that the guest may come to need, as those of a
    // store are. Never as long as the file says, which is its VMM's: a spec does not become
    // smaller.
    let image = stores::image(hands, image).await?;
    let size = cow::copy_size(bytes_of(shape.root_disk_mib), image.size_bytes);
    let cut = hands.host.files.shorten(dir, &file, size).await?;
    Ok(copied.and(cut).and(stores::ensure(hands, &file, size, allocation).await?))
}

pub(super) async fn attach_cow(hands: &Hands<'_>) -> HostResult<Change> {
    let (facts, change) = hands.host.loops.ensure_attached(&hands.names.cow(), false).await?;
    // The file may have been made larger while the device was attached.
    let resized = hands.host.loops.refresh_size(facts.device, facts.backing).await?;
    hands.handles.update(|handles| {
        handles.cow_loop = Some(LoopHandle {
            file: hands.names.cow(),
            attached: Some((facts.device, facts.backing)),
        });
    });
    Ok(change.and(resized))
}

/// Never over a store that was lost: the kernel would make the device, of which nothing can be
/// read, and the guest would be started on it.
pub(super) async fn create_snapshot(hands: &Hands<'_>) -> Result<Done, Trouble> {
    let (facts, change) = ensure_snapshot(hands, hands.shape()?).await?;
    if facts.fill == SnapshotFill::Invalid {
        let why = "the copy-on-write store could not be written once and is invalid; the root disk \
                   has to be reset";
        return Err(Failed::new(Reason::RootDiskLost, why).into());
    }
    Ok(Done { change, learnt: Some(Learnt::RootDevice(facts.device)) })
}

async fn ensure_snapshot(hands: &Hands<'_>, shape: &Shape) -> HostResult<(SnapshotFacts, Change)> {
    let image = naming::base(shape.root_image.name.clone());
    let base = hands.attached(&image).await?;
    let cow = hands.attached(&hands.names.cow()).await?;
    let spec = SnapshotSpec {
        name: hands.names.snapshot.clone(),
        base: base.device,
        base_bytes: cow::whole_sectors(base.size_bytes),
        cow: cow.device,
        tail: cow::tail(bytes_of(shape.root_disk_mib), base.size_bytes),
    };
    let (facts, change) = hands.host.snapshots.ensure(&spec).await?;
    // A number may have been given to another file between the two looks; now that the snapshot
    // stands on the device it cannot be any more.
    let still = hands.attached(&image).await?;
    if still.device != base.device || still.backing != base.backing {
        hands.host.snapshots.remove(&hands.names.snapshot).await?;
        return Err(HostError::new(HostErrorKind::Busy, "create snapshot", &spec.name)
            .detail("the root image's loop device changed meanwhile"));
    }
    Ok((facts, change))
}

pub(super) async fn detach_cow(hands: &Hands<'_>) -> HostResult<Change> {
    let Some(facts) = hands.host.loops.observe(&hands.names.cow()).await? else {
        return Ok(Change::AlreadySo);
    };
    let change = hands.host.loops.remove(facts.device, facts.backing).await?;
    hands.handles.update(|handles| handles.cow_loop = None);
    Ok(change)
}

pub(super) async fn release_base(hands: &Hands<'_>) -> HostResult<Change> {
    let handle = hands.handles.get().base_loop.map(|handle| handle.file);
    let wanted = || hands.shape().ok().map(|shape| naming::base(shape.root_image.name.clone()));
    let change = match handle.or_else(wanted) {
        Some(image) => hands.bases.release(&*hands.host.loops, hands.vm, &image).await?,
        None => Change::AlreadySo,
    };
    hands.handles.update(|handles| handles.base_loop = None);
    Ok(change)
}
