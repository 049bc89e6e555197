//! Performs one effect. Makes no choice: which effect, when and why is the plan's.
//!
//! Driven by the VM's task, under the effect's deadline. What can go wrong is whatever the host
//! verbs say; here it becomes a reason and a sentence. The handles are changed beside each
//! effect: before it for what will be made, after it for the numbers the kernel gave out.

use std::time::Duration;

use crate::assignment::{Halt, Record, Shape, Started};
use crate::handles::file;
use crate::host::{BridgeSpec, Change, GuestNet, HostErrorKind, HostResult, TapSpec};
use crate::naming::{self, part};

use super::effect::Effect;
use super::machine::Vm;
use super::phase::Reason;
use super::record::Removed;

mod disks;
mod images;
mod process;
mod stores;

pub use process::boot_args;

/// An effect that failed.
#[derive(Debug)]
pub struct Failed {
    /// What to do about it.
    pub reason: Reason,
    /// What happened, whole.
    pub message: String,
}

impl Failed {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Performs an effect for a VM.
///
/// # Errors
/// The effect was not performed, or only in part; repeating it, or its opposite, is safe.
pub async fn apply(vm: &mut Vm, record: &Record, effect: Effect) -> Result<Change, Failed> {
    // Those whose failures no kind of host error can tell.
    if effect == Effect::CheckImages {
        return images::check_images(vm, shape_of(record)?).await;
    }
    if effect == Effect::Configure {
        return process::configure(vm, shape_of(record)?).await;
    }
    if effect == Effect::CheckRoom {
        return stores::check_room(vm, shape_of(record)?).await;
    }
    if effect == Effect::CreateSnapshot {
        return disks::create_snapshot(vm, shape_of(record)?).await;
    }
    if effect == Effect::GrowStore {
        return stores::grow(vm).await;
    }
    let result = match effect {
        Effect::CheckHost => vm.host().facts.preflight().await.map(|()| Change::AlreadySo),
        Effect::AttachBase => disks::attach_base(vm, shape_of(record)?).await,
        Effect::MakeCowFile => stores::make(vm, shape_of(record)?).await,
        Effect::CopyRootDisk => disks::copy_root(vm, shape_of(record)?).await,
        Effect::MakeWorkDisk => stores::make_work_disk(vm, shape_of(record)?).await,
        Effect::AttachCow => disks::attach_cow(vm).await,
        Effect::EnsureTap => ensure_tap(vm, shape_of(record)?).await,
        Effect::EnsureRules => {
            let rules = rules_of(vm, record);
            match rules {
                Some(rules) => vm.host().firewall.ensure(&rules).await,
                None => vm.host().firewall.remove(&vm.names.rules).await,
            }
        }
        Effect::BuildJail => process::build_jail(vm, shape_of(record)?).await,
        Effect::CollectOutputs => vm.host().outputs.ensure(&vm.names.jail, &vm.names.dir).await,
        Effect::Launch => process::launch(vm, shape_of(record)?).await,
        Effect::CheckImages
        | Effect::Configure
        | Effect::CheckRoom
        | Effect::CreateSnapshot
        | Effect::GrowStore => Ok(Change::AlreadySo),
        Effect::StartGuest => process::start_guest(vm).await,
        Effect::Pause => vm.host().vmm.pause(&vm.names.jail).await.map(|()| Change::Made),
        Effect::Resume => {
            let resumed = vm.host().vmm.resume(&vm.names.jail).await;
            resumed.map(|()| {
                vm.guest.resumed();
                Change::Made
            })
        }
        Effect::PutMetadata => process::put_metadata(vm, record).await,
        Effect::AskGuestToStop => {
            process::note_ending(vm).await;
            process::ask_guest_to_stop(vm).await
        }
        Effect::Kill => process::kill(vm).await,
        Effect::StopOutputs => vm.host().outputs.remove(&vm.names.jail).await,
        Effect::RemoveJail => vm.host().jails.remove(&vm.names.jail).await,
        Effect::RemoveRules => vm.host().firewall.remove(&vm.names.rules).await,
        Effect::RemoveTap => {
            let change = vm.host().taps.remove(std::slice::from_ref(&vm.names.tap)).await;
            change.inspect(|_| vm.handles.update(|handles| handles.tap = None))
        }
        Effect::RemoveSnapshot => {
            let change = vm.host().snapshots.remove(&vm.names.snapshot).await;
            change.inspect(|_| vm.handles.update(|handles| handles.snapshot = None))
        }
        Effect::DetachCow => disks::detach_cow(vm).await,
        Effect::ReleaseBase => disks::release_base(vm, record).await,
        Effect::RemoveCowFile => {
            vm.host().files.remove(&vm.names.dir, &part(naming::file::COW)).await
        }
        Effect::RemoveRootCopy => {
            vm.host().files.remove(&vm.names.dir, &part(naming::file::ROOT)).await
        }
        Effect::RemoveWorkDisk => {
            vm.host().files.remove(&vm.names.dir, &part(naming::file::WORK)).await
        }
        Effect::RemoveDir => {
            let version = record.assignment.version;
            let now = vm.shared.clock.now();
            let removed = vm.record.remove(&*vm.shared.host.files, version, now).await;
            removed.map(|removed| {
                vm.gone = removed == Removed::Gone;
                Change::from_bool(vm.gone)
            })
        }
        Effect::MarkBooted => {
            let note = vm.record.note(&*vm.shared.host.files, |assignment, progress| {
                progress.boot_number = assignment.boot_number;
                progress.halt = None;
                progress.started = None;
            });
            note.await
        }
        Effect::MarkRootDisk => {
            let note = vm.record.note(&*vm.shared.host.files, |assignment, progress| {
                progress.root_disk_number = assignment.root_disk_number;
                progress.root_image =
                    assignment.shape.as_ref().map(|shape| shape.root_image.clone());
                progress.started = None;
            });
            note.await
        }
        Effect::MarkStarted => {
            let host_boot = vm.shared.boot_id.clone();
            let note = vm.record.note(&*vm.shared.host.files, |assignment, progress| {
                let boot_number = assignment.boot_number;
                progress.started = Some(Started { boot_number, host_boot });
            });
            note.await
        }
        Effect::MarkHalted => {
            let ended = vm.memory.ended.clone();
            let note = vm.record.note(&*vm.shared.host.files, |assignment, progress| {
                progress.halt =
                    ended.map(|exit| Halt { boot_number: assignment.boot_number, exit });
            });
            note.await
        }
    };
    result.map_err(|error| Failed::new(Reason::of(effect, &error), error.chain()))
}

fn shape_of(record: &Record) -> Result<&Shape, Failed> {
    record
        .assignment
        .shape
        .as_ref()
        .ok_or_else(|| Failed::new(Reason::Internal, "the assignment has no shape"))
}

/// The rules a guest of this record is to have.
#[must_use]
pub fn rules_of(vm: &Vm, record: &Record) -> Option<GuestNet> {
    record.assignment.shape.as_ref().map(|shape| GuestNet {
        key: vm.names.rules.clone(),
        tap: Some(vm.names.tap.clone()),
        address: Some(shape.network.address),
        nat: shape.network.nat,
    })
}

async fn ensure_tap(vm: &mut Vm, shape: &Shape) -> HostResult<Change> {
    let spec = TapSpec {
        name: vm.names.tap.clone(),
        bridge: vm.shared.naming.bridge(),
        owner_uid: uid(vm, shape),
    };
    match vm.host().taps.ensure(&spec).await {
        // The bridge is the host's, not the VM's: made once, by the first tap that misses it.
        Err(error) if error.kind == HostErrorKind::NotFound => {
            let bridge = BridgeSpec {
                name: spec.bridge.clone(),
                address: shape.network.gateway,
                prefix: shape.network.prefix,
            };
            vm.host().taps.ensure_bridge(&bridge).await?;
            vm.host().taps.ensure(&spec).await
        }
        answer => answer,
    }
}

/// Each VM runs as a user of its own: the base plus the place of its address in the subnet.
fn uid(vm: &Vm, shape: &Shape) -> u32 {
    let mask = u32::MAX.checked_shl(32 - u32::from(shape.network.prefix)).unwrap_or(0);
    vm.shared.settings.uid_base + (u32::from(shape.network.address) & !mask)
}

/// How long a hint is worth waiting for.
const HINTS_LIMIT: Duration = Duration::from_secs(10);

/// A hint that cannot be written, or not soon, is a warning: the kernel is asked instead. A disk
/// that hangs must not keep the VM's task, which is how it is stopped and deleted.
pub(super) async fn flush_hints(vm: &Vm) {
    let flush = file::flush(&*vm.shared.host.files, &vm.handles, &vm.names);
    match tokio::time::timeout(HINTS_LIMIT, flush).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(vm = %vm.id, error = error.chain(), "handles.json could not be written");
        }
        Err(_) => tracing::warn!(vm = %vm.id, "handles.json was not written in time"),
    }
}
