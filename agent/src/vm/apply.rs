//! Performs one effect. Which effect, when, why and with what is the plan's: an effect carries what
//! was chosen, and nothing here takes another way than the one it names.
//!
//! What remains are guards: between plan and act the machine may have changed, and some things
//! only the act shows. A guard can let the effect fail and no more. They are: the host's disk has
//! no room for what a start or a store's growth needs (`stores`); an image is not the one that
//! the spec says (`images`); the snapshot that was made is over a store that was lost, or over a
//! loop device that was given to another file meanwhile, and is then taken away again (`disks`);
//! the VMM ended while it was configured (`process`). And an effect that finds itself done says
//! so: a VMM that runs is not started twice, what is not there is not removed, and a directory
//! with a newer assignment in it stays. What a removal is of is what the hint
//! names, or what the spec does where there is no hint (`release_base`): one object either way.
//!
//! Driven by the VM's task, under the effect's deadline, with [`Hands`] in place of the VM: what
//! the task is to remember of an effect comes back in [`Done`]. What can go wrong is whatever the
//! host verbs say; here it becomes a reason and a sentence. The handles are changed beside each
//! effect: before it for what will be made, after it for the numbers the kernel gave out.

use banger_proto::ids::VmId;

use crate::assignment::{Assignment, Exit, Halt, Progress, Record, Shape, Started};
use crate::clock::Clock;
use crate::guests::GuestChannel;
use crate::handles::{HandleCache, file};
use crate::host::{
    BackingFile, Change, DeviceNumber, Host, HostError, HostErrorKind, HostResult, LoopFacts,
    VmmKind,
};
use crate::naming::{self, VmNames, part};

use super::addresses::AddressHolders;
use super::bases::BaseUsers;
use super::cow::CowLevel;
use super::effect::Effect;
use super::plan::network::NetWanted;
use super::record::{DirRemoval, RecordCell};
use super::shared::Settings;
use crate::report::phase::Reason;

mod disks;
mod images;
mod process;
mod stores;

/// What to work with, beside the [`Eyes`](super::probe::Eyes) of the probe.
#[derive(Clone, Copy)]
pub struct Hands<'a> {
    /// Whose effect it is.
    pub vm: VmId,
    /// The machine.
    pub host: &'a Host,
    /// The VM's names.
    pub names: &'a VmNames,
    /// What was decided for all VMs.
    pub settings: &'a Settings,
    /// What is wanted, as the plan saw it.
    pub record: &'a Record,
    /// Where progress is noted.
    pub notes: &'a RecordCell,
    /// Hints to kernel objects.
    pub handles: &'a HandleCache,
    /// The network of the guest; `None` where the record has no shape.
    pub net: Option<&'a NetWanted>,
    /// The users of root images.
    pub bases: &'a BaseUsers,
    /// Who has which address.
    pub addresses: &'a AddressHolders,
    /// The guest agent.
    pub guest: &'a GuestChannel,
    /// The present boot of the host.
    pub boot_id: &'a str,
    /// Time.
    pub clock: &'a Clock,
}

impl Hands<'_> {
    fn shape(&self) -> Result<&Shape, Failed> {
        self.record.assignment.shape.as_ref().ok_or_else(no_shape)
    }

    fn net(&self) -> Result<&NetWanted, Failed> {
        self.net.ok_or_else(no_shape)
    }

    /// The loop device over a file, which has to be there.
    async fn attached(&self, file: &BackingFile) -> HostResult<LoopFacts> {
        let found = self.host.loops.observe(file).await?;
        found
            .ok_or_else(|| HostError::new(HostErrorKind::NotFound, "find the loop device of", file))
    }

    async fn flush_hints(&self) {
        file::try_flush(&*self.host.files, self.handles, self.names).await;
    }
}

fn no_shape() -> Failed {
    Failed::new(Reason::Internal, "the assignment has no shape")
}

/// An effect that was performed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// Whether there was anything to do.
    pub change: Change,
    /// What the VM's task is to remember of it.
    pub learnt: Option<Learnt>,
}

/// What only the performance of an effect can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learnt {
    /// What the guest can be started under.
    CanRun(VmmKind),
    /// The device of the root disk that was made.
    RootDevice(DeviceNumber),
    /// What the process that was started runs under.
    Launched(VmmKind),
    /// How full the store is that was made larger.
    Level(CowLevel),
    /// The directory is removed.
    Gone,
}

impl From<Change> for Done {
    fn from(change: Change) -> Self {
        Self { change, learnt: None }
    }
}

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

/// A failure whose reason follows from the kind of a host error, or one that says its own.
enum Trouble {
    Verb(HostError),
    Said(Failed),
}

impl From<HostError> for Trouble {
    fn from(error: HostError) -> Self {
        Self::Verb(error)
    }
}

impl From<Failed> for Trouble {
    fn from(failed: Failed) -> Self {
        Self::Said(failed)
    }
}

/// Performs an effect for a VM.
///
/// # Errors
/// The effect was not performed, or only in part; repeating it, or its opposite, is safe.
pub async fn apply(hands: Hands<'_>, effect: &Effect) -> Result<Done, Failed> {
    perform(&hands, effect).await.map_err(|trouble| match trouble {
        Trouble::Verb(error) => Failed::new(effect.kind().reason_of(&error), error.chain()),
        Trouble::Said(failed) => failed,
    })
}

async fn perform(hands: &Hands<'_>, effect: &Effect) -> Result<Done, Trouble> {
    let Hands { host, names, .. } = *hands;
    let change = match effect {
        Effect::CheckHost => {
            host.facts.preflight().await?;
            let learnt = Some(Learnt::CanRun(host.facts.vmm_kind().await?));
            return Ok(Done { change: Change::AlreadySo, learnt });
        }
        Effect::CheckImages => images::check_images(hands).await?,
        Effect::CheckRoom(root) => stores::check_room(hands, *root).await?,
        Effect::AttachBase => disks::attach_base(hands).await?,
        Effect::MakeCowFile(allocation) => stores::make(hands, *allocation).await?,
        Effect::CopyRootDisk(allocation) => disks::copy_root(hands, *allocation).await?,
        Effect::MakeWorkDisk(allocation) => stores::make_work_disk(hands, *allocation).await?,
        Effect::AttachCow => disks::attach_cow(hands).await?,
        Effect::CreateSnapshot => return disks::create_snapshot(hands).await,
        Effect::EnsureBridge => host.taps.ensure_bridge(&hands.net()?.bridge).await?,
        Effect::EnsureTap => host.taps.ensure(&hands.net()?.tap).await?,
        Effect::PinAddress => {
            let pin = &hands.net()?.pin;
            hands.addresses.take(pin)?;
            host.pins.ensure(pin).await?
        }
        Effect::EnsureRules => host.firewall.ensure(&hands.net()?.rules).await?,
        Effect::BuildJail { root, vmm } => process::build_jail(hands, *root, *vmm).await?,
        Effect::CollectOutputs => host.outputs.ensure(&names.jail, &names.dir).await?,
        Effect::Launch { again, vmm } => return process::launch(hands, *again, *vmm).await,
        Effect::Configure(vmm) => process::configure(hands, *vmm).await?,
        Effect::StartGuest => process::start_guest(hands).await?,
        Effect::Pause => host.vmm.pause(&names.jail).await.map(|()| Change::Made)?,
        Effect::Resume => {
            host.vmm.resume(&names.jail).await?;
            hands.guest.resumed();
            Change::Made
        }
        Effect::PutMetadata => process::put_metadata(hands).await?,
        Effect::HoldBounds(bounds) => host.jails.bound(&names.jail, bounds).await?,
        Effect::GrowStore { bytes, allocation } => {
            return Ok(stores::grow(hands, *bytes, *allocation).await?);
        }
        Effect::AskGuestAgent => process::ask_guest_agent(hands).await?,
        Effect::AskGuestToStop(signal) => process::ask_guest_to_stop(hands, *signal).await?,
        Effect::Kill => process::kill(hands).await?,
        Effect::StopOutputs => host.outputs.remove(&names.jail).await?,
        Effect::RemoveJail => process::remove_jail(hands).await?,
        Effect::RemoveRules => host.firewall.remove(&names.rules).await?,
        Effect::UnpinAddress => host.pins.remove(&names.rules).await?,
        Effect::RemoveTap => {
            let change = host.taps.remove(std::slice::from_ref(&names.tap)).await?;
            hands.handles.update(|handles| handles.tap = None);
            change
        }
        Effect::RemoveSnapshot => {
            let change = host.snapshots.remove(&names.snapshot).await?;
            hands.handles.update(|handles| handles.snapshot = None);
            change
        }
        Effect::DetachCow => disks::detach_cow(hands).await?,
        Effect::ReleaseBase => disks::release_base(hands).await?,
        Effect::RemoveCowFile => remove_file(hands, naming::file::COW).await?,
        Effect::RemoveRootCopy => remove_file(hands, naming::file::ROOT).await?,
        Effect::RemoveWorkDisk => remove_file(hands, naming::file::WORK).await?,
        Effect::RemoveDir => return remove_dir(hands).await,
        Effect::MarkBooted => mark_booted(hands).await?,
        Effect::MarkRootDisk => mark_root_disk(hands).await?,
        Effect::MarkStarted => mark_started(hands).await?,
        Effect::MarkHalted(exit) => mark_halted(hands, exit).await?,
    };
    Ok(change.into())
}

async fn remove_file(hands: &Hands<'_>, file: &'static str) -> Result<Change, HostError> {
    hands.host.files.remove(&hands.names.dir, &part(file)).await
}

async fn remove_dir(hands: &Hands<'_>) -> Result<Done, Trouble> {
    let (version, now) = (hands.record.assignment.version, hands.clock.now());
    Ok(match hands.notes.remove(&*hands.host.files, version, now).await? {
        DirRemoval::Gone => Done { change: Change::Made, learnt: Some(Learnt::Gone) },
        DirRemoval::NewerAssignment => Change::AlreadySo.into(),
    })
}

async fn mark_booted(hands: &Hands<'_>) -> Result<Change, HostError> {
    let files = &*hands.host.files;
    let note = |assignment: &Assignment, progress: &mut Progress| {
        progress.boot_number = assignment.boot_number;
        progress.halt = None;
        progress.started = None;
    };
    hands.notes.note(files, note).await
}

async fn mark_root_disk(hands: &Hands<'_>) -> Result<Change, HostError> {
    let files = &*hands.host.files;
    let note = |assignment: &Assignment, progress: &mut Progress| {
        progress.root_disk_number = assignment.root_disk_number;
        progress.root_image = assignment.shape.as_ref().map(|shape| shape.root_image.clone());
        progress.started = None;
    };
    hands.notes.note(files, note).await
}

async fn mark_started(hands: &Hands<'_>) -> Result<Change, HostError> {
    let files = &*hands.host.files;
    let note = |assignment: &Assignment, progress: &mut Progress| {
        let (boot_number, host_boot) = (assignment.boot_number, hands.boot_id.to_owned());
        progress.started = Some(Started { boot_number, host_boot });
    };
    hands.notes.note(files, note).await
}

async fn mark_halted(hands: &Hands<'_>, exit: &Exit) -> Result<Change, HostError> {
    let files = &*hands.host.files;
    let note = |assignment: &Assignment, progress: &mut Progress| {
        progress.halt = Some(Halt { boot_number: assignment.boot_number, exit: exit.clone() });
    };
    hands.notes.note(files, note).await
}
