//! Each change of the host that a VM may need, as data.
//!
//! The plan names one, `apply` performs it. An effect is idempotent, has a deadline and, where it
//! makes something, an opposite. The order of the variants is the order of building; teardown is
//! the order of the second half.

use std::time::Duration;

/// One change of the host for one VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Find out whether a guest can be started here at all. Changes nothing.
    CheckHost,
    /// Find out whether the images are there and are what the spec says. Changes nothing.
    CheckImages,
    /// Find out whether the host's disk has room for what the VM's disks lack. Changes nothing.
    CheckRoom,
    /// Attach the shared root image, read-only.
    AttachBase,
    /// Make the store of what the guest writes over its root image.
    MakeCowFile,
    /// Make the root disk as a copy of the root image, where there are no snapshots.
    CopyRootDisk,
    /// Make the second disk.
    MakeWorkDisk,
    /// Attach the copy-on-write store.
    AttachCow,
    /// Join base and store to the root disk.
    CreateSnapshot,
    /// Make the tap on the bridge.
    EnsureTap,
    /// Put the guest's rules into our chains.
    EnsureRules,
    /// Build the jail.
    BuildJail,
    /// Begin to collect console, log and metrics.
    CollectOutputs,
    /// Start the jailer, which becomes the VMM.
    Launch,
    /// Tell the VMM its machine.
    Configure,
    /// Start the guest.
    StartGuest,

    /// Stop the guest's vCPUs.
    Pause,
    /// Let the guest's vCPUs run again.
    Resume,
    /// Replace the metadata document.
    PutMetadata,
    /// Make the copy-on-write store of a guest that runs larger.
    GrowStore,

    /// Press Ctrl-Alt-Del in the guest.
    AskGuestToStop,
    /// End the process, and wait until it is dead.
    Kill,

    /// Take the last of the output and stop collecting.
    StopOutputs,
    /// Remove the jail.
    RemoveJail,
    /// Take the guest's rules out of our chains.
    RemoveRules,
    /// Remove the tap.
    RemoveTap,
    /// Remove the root disk.
    RemoveSnapshot,
    /// Detach the copy-on-write store.
    DetachCow,
    /// Let the shared root image go; detach it when nobody uses it.
    ReleaseBase,
    /// Remove the copy-on-write store.
    RemoveCowFile,
    /// Remove the root disk that is a copy.
    RemoveRootCopy,
    /// Remove the second disk.
    RemoveWorkDisk,
    /// Remove the VM's directory, the record included.
    RemoveDir,

    /// Note that no process of an older boot number is left.
    MarkBooted,
    /// Note that no store of an older root disk number is left.
    MarkRootDisk,
    /// Note that the guest runs, so that a later agent knows that it did.
    MarkStarted,
    /// Note that the process ended by itself and stays down.
    MarkHalted,
}

impl Effect {
    /// Every effect.
    pub const ALL: [Self; 37] = [
        Self::CheckHost,
        Self::CheckImages,
        Self::CheckRoom,
        Self::AttachBase,
        Self::MakeCowFile,
        Self::CopyRootDisk,
        Self::MakeWorkDisk,
        Self::AttachCow,
        Self::CreateSnapshot,
        Self::EnsureTap,
        Self::EnsureRules,
        Self::BuildJail,
        Self::CollectOutputs,
        Self::Launch,
        Self::Configure,
        Self::StartGuest,
        Self::Pause,
        Self::Resume,
        Self::PutMetadata,
        Self::GrowStore,
        Self::AskGuestToStop,
        Self::Kill,
        Self::StopOutputs,
        Self::RemoveJail,
        Self::RemoveRules,
        Self::RemoveTap,
        Self::RemoveSnapshot,
        Self::DetachCow,
        Self::ReleaseBase,
        Self::RemoveCowFile,
        Self::RemoveRootCopy,
        Self::RemoveWorkDisk,
        Self::RemoveDir,
        Self::MarkBooted,
        Self::MarkRootDisk,
        Self::MarkStarted,
        Self::MarkHalted,
    ];

    /// For logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CheckHost => "check_host",
            Self::CheckImages => "check_images",
            Self::CheckRoom => "check_room",
            Self::AttachBase => "attach_base",
            Self::MakeCowFile => "make_cow_file",
            Self::CopyRootDisk => "copy_root_disk",
            Self::MakeWorkDisk => "make_work_disk",
            Self::AttachCow => "attach_cow",
            Self::CreateSnapshot => "create_snapshot",
            Self::EnsureTap => "ensure_tap",
            Self::EnsureRules => "ensure_rules",
            Self::BuildJail => "build_jail",
            Self::CollectOutputs => "collect_outputs",
            Self::Launch => "launch",
            Self::Configure => "configure",
            Self::StartGuest => "start_guest",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::PutMetadata => "put_metadata",
            Self::GrowStore => "grow_store",
            Self::AskGuestToStop => "ask_guest_to_stop",
            Self::Kill => "kill",
            Self::StopOutputs => "stop_outputs",
            Self::RemoveJail => "remove_jail",
            Self::RemoveRules => "remove_rules",
            Self::RemoveTap => "remove_tap",
            Self::RemoveSnapshot => "remove_snapshot",
            Self::DetachCow => "detach_cow",
            Self::ReleaseBase => "release_base",
            Self::RemoveCowFile => "remove_cow_file",
            Self::RemoveRootCopy => "remove_root_copy",
            Self::RemoveWorkDisk => "remove_work_disk",
            Self::RemoveDir => "remove_dir",
            Self::MarkBooted => "mark_booted",
            Self::MarkRootDisk => "mark_root_disk",
            Self::MarkStarted => "mark_started",
            Self::MarkHalted => "mark_halted",
        }
    }

    /// For people: reads well after "could not".
    #[must_use]
    pub const fn step(self) -> &'static str {
        match self {
            Self::CheckHost => "check whether the host can start guests",
            Self::CheckImages => "check the images",
            Self::CheckRoom => "check for room on the disk",
            Self::AttachBase => "attach the root image's loop device",
            Self::MakeCowFile => "make the copy-on-write store",
            Self::CopyRootDisk => "copy the root image",
            Self::MakeWorkDisk => "make the work disk",
            Self::AttachCow => "attach the copy-on-write loop device",
            Self::CreateSnapshot => "create the root disk",
            Self::EnsureTap => "make the tap",
            Self::EnsureRules => "put the firewall rules in place",
            Self::BuildJail => "build the jail",
            Self::CollectOutputs => "collect console and log",
            Self::Launch => "start the VMM",
            Self::Configure => "configure the VMM",
            Self::StartGuest => "start the guest",
            Self::Pause => "pause the guest",
            Self::Resume => "resume the guest",
            Self::PutMetadata => "replace the metadata",
            Self::GrowStore => "make the copy-on-write store larger",
            Self::AskGuestToStop => "ask the guest to shut down",
            Self::Kill => "end the VMM process",
            Self::StopOutputs => "stop collecting console and log",
            Self::RemoveJail => "remove the jail",
            Self::RemoveRules => "remove the firewall rules",
            Self::RemoveTap => "remove the tap",
            Self::RemoveSnapshot => "remove the root disk",
            Self::DetachCow => "detach the copy-on-write loop device",
            Self::ReleaseBase => "let go of the root image's loop device",
            Self::RemoveCowFile => "remove the copy-on-write store",
            Self::RemoveRootCopy => "remove the copy of the root image",
            Self::RemoveWorkDisk => "remove the work disk",
            Self::RemoveDir => "remove the VM's directory",
            Self::MarkBooted => "note the boot number",
            Self::MarkRootDisk => "note the root disk number",
            Self::MarkStarted => "note that the guest runs",
            Self::MarkHalted => "note that the process ended",
        }
    }

    /// What undoes it, for an effect that makes something.
    #[must_use]
    pub const fn opposite(self) -> Option<Self> {
        match self {
            Self::AttachBase => Some(Self::ReleaseBase),
            Self::MakeCowFile => Some(Self::RemoveCowFile),
            Self::CopyRootDisk => Some(Self::RemoveRootCopy),
            Self::MakeWorkDisk => Some(Self::RemoveWorkDisk),
            Self::AttachCow => Some(Self::DetachCow),
            Self::CreateSnapshot => Some(Self::RemoveSnapshot),
            Self::EnsureTap => Some(Self::RemoveTap),
            Self::EnsureRules => Some(Self::RemoveRules),
            Self::BuildJail => Some(Self::RemoveJail),
            Self::CollectOutputs => Some(Self::StopOutputs),
            Self::Launch => Some(Self::Kill),
            Self::Pause => Some(Self::Resume),
            Self::Resume => Some(Self::Pause),
            Self::CheckHost
            | Self::CheckImages
            | Self::CheckRoom
            | Self::Configure
            | Self::StartGuest
            | Self::PutMetadata
            | Self::GrowStore
            | Self::AskGuestToStop
            | Self::Kill
            | Self::StopOutputs
            | Self::RemoveJail
            | Self::RemoveRules
            | Self::RemoveTap
            | Self::RemoveSnapshot
            | Self::DetachCow
            | Self::ReleaseBase
            | Self::RemoveCowFile
            | Self::RemoveRootCopy
            | Self::RemoveWorkDisk
            | Self::RemoveDir
            | Self::MarkBooted
            | Self::MarkRootDisk
            | Self::MarkStarted
            | Self::MarkHalted => None,
        }
    }

    /// Whether it belongs to an attempt to start: its failure undoes the attempt.
    #[must_use]
    pub fn is_forward(self) -> bool {
        self <= Self::StartGuest
    }

    /// How long it may take. Past it the outcome is unknown and everything is looked at anew. A
    /// digest takes a second for each GiB, so that checking images and copying get the longest; reserving room
    /// takes as long as the file system needs to find it.
    #[must_use]
    pub const fn deadline(self) -> Duration {
        match self {
            Self::CheckImages | Self::CopyRootDisk => Duration::from_secs(300),
            Self::RemoveDir | Self::RemoveCowFile | Self::RemoveRootCopy | Self::RemoveWorkDisk => {
                Duration::from_secs(120)
            }
            Self::BuildJail | Self::RemoveJail | Self::RemoveSnapshot => Duration::from_secs(60),
            Self::AskGuestToStop | Self::Pause | Self::Resume | Self::PutMetadata => {
                Duration::from_secs(10)
            }
            Self::MakeCowFile | Self::MakeWorkDisk | Self::GrowStore => Duration::from_secs(60),
            Self::CheckHost
            | Self::CheckRoom
            | Self::AttachBase
            | Self::AttachCow
            | Self::CreateSnapshot
            | Self::EnsureTap
            | Self::EnsureRules
            | Self::CollectOutputs
            | Self::Launch
            | Self::Configure
            | Self::StartGuest
            | Self::Kill
            | Self::StopOutputs
            | Self::RemoveRules
            | Self::RemoveTap
            | Self::DetachCow
            | Self::ReleaseBase
            | Self::MarkBooted
            | Self::MarkRootDisk
            | Self::MarkStarted
            | Self::MarkHalted => Duration::from_secs(30),
        }
    }
}
