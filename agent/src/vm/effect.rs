//! Each change of the host that a VM may need, as data: one row for each.
//!
//! The plan names an effect, with what it decided of it; `apply` performs it. An effect is
//! idempotent, has a deadline and, where it makes something, an opposite. The order of the rows is
//! the one recipe: a start goes through them from the first to [`EffectKind::StartGuest`] and
//! performs those whose part is not there; a teardown goes the same way back ([`removals`]).

use std::time::Duration;

use crate::assignment::Exit;
use crate::host::{DeviceNumber, HostError, HostErrorKind, JailBounds, RootDiskKind, VmmKind};
use crate::report::phase::Reason;

use super::cow::Allocation;

/// What there is to know of an effect beside what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// For logs and metrics.
    pub name: &'static str,
    /// For people: reads well after "could not".
    pub step: &'static str,
    /// The part of the VM that it makes, changes or removes.
    pub part: Option<Part>,
    /// What undoes it, for an effect that makes something.
    pub undo: Option<EffectKind>,
    /// How long it may take. Past it the outcome is unknown and everything is looked at anew.
    pub deadline: Duration,
    /// The reason of a failure of which the host says nothing more than that it failed.
    pub reason: Reason,
}

const fn row(name: &'static str, step: &'static str) -> Row {
    let (deadline, reason) = (Duration::from_secs(30), Reason::ToolFailed);
    Row { name, step, part: None, undo: None, deadline, reason }
}

impl Row {
    /// It makes a part, and this removes it.
    const fn makes(self, part: Part, undo: EffectKind) -> Self {
        Self { part: Some(part), undo: Some(undo), ..self }
    }

    /// It changes or removes a part.
    const fn on(self, part: Part) -> Self {
        Self { part: Some(part), ..self }
    }

    const fn secs(self, seconds: u64) -> Self {
        Self { deadline: Duration::from_secs(seconds), ..self }
    }

    const fn reason(self, reason: Reason) -> Self {
        Self { reason, ..self }
    }
}

/// Makes of each row a kind, which is its key, and an effect, which carries what the plan decided.
macro_rules! effects {
    (@plain $name:ident) => { Some(Effect::$name) };
    (@plain $name:ident $data:tt) => { None };
    ($(
        $(#[$doc:meta])*
        $name:ident $(($data:ty))? $({ $($field:ident: $type:ty),* })? = $row:expr;
    )*) => {
        /// Which change of the host: the key of a row.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EffectKind {
            $($(#[$doc])* $name,)*
        }

        /// One change of the host for one VM.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Effect {
            $($(#[$doc])* $name $(($data))? $({
                $(
                    /// What the plan decided.
                    $field: $type
                ),*
            })?,)*
        }

        impl EffectKind {
            /// Every kind, in the order of the rows.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// What there is to know of it.
            #[must_use]
            pub const fn row(self) -> Row {
                match self {
                    $(Self::$name => $row,)*
                }
            }

            /// The effect, where the plan has nothing to decide but to perform it.
            #[must_use]
            pub const fn plain(self) -> Option<Effect> {
                match self {
                    $(Self::$name => effects!(@plain $name $(($data))? $({ $($field),* })?),)*
                }
            }
        }

        impl Effect {
            /// Which it is.
            #[must_use]
            pub const fn kind(&self) -> EffectKind {
                match self {
                    $(Self::$name { .. } => EffectKind::$name,)*
                }
            }
        }
    };
}

// A digest takes a second for each GiB, so that checking images and copying get the longest;
// reserving room takes as long as the file system needs to find it.
effects! {
    /// Find out whether a guest can be started here at all, and under which VMM. Changes nothing.
    CheckHost = row("check_host", "check whether the host can start guests");
    /// Find out whether the images are there and are what the spec says. Changes nothing.
    CheckImages = row("check_images", "check the images").secs(300);
    /// Find out whether the host's disk has room for what the VM's disks lack. Changes nothing.
    CheckRoom(RootDiskKind) = row("check_room", "check for room on the disk");
    /// Attach the shared root image, read-only.
    AttachBase = row("attach_base", "attach the root image's loop device")
        .makes(Part::Base, EffectKind::ReleaseBase);
    /// Make the store of what the guest writes over its root image.
    MakeCowFile(Allocation) = row("make_cow_file", "make the copy-on-write store")
        .makes(Part::CowFile, EffectKind::RemoveCowFile).secs(60);
    /// Make the root disk as a copy of the root image, where there are no snapshots.
    CopyRootDisk(Allocation) = row("copy_root_disk", "copy the root image")
        .makes(Part::RootCopy, EffectKind::RemoveRootCopy).secs(300);
    /// Make the second disk.
    MakeWorkDisk(Allocation) = row("make_work_disk", "make the work disk")
        .makes(Part::WorkFile, EffectKind::RemoveWorkDisk).secs(60);
    /// Attach the copy-on-write store.
    AttachCow = row("attach_cow", "attach the copy-on-write loop device")
        .makes(Part::CowLoop, EffectKind::DetachCow);
    /// Join base and store to the root disk.
    CreateSnapshot = row("create_snapshot", "create the root disk")
        .makes(Part::Snapshot, EffectKind::RemoveSnapshot);
    /// Make the bridge of all guests, with its address.
    EnsureBridge = row("ensure_bridge", "make the bridge").on(Part::Bridge);
    /// Make the tap on the bridge.
    EnsureTap = row("ensure_tap", "make the tap").makes(Part::Tap, EffectKind::RemoveTap);
    /// Pin the guest's addresses to its tap.
    PinAddress = row("pin_address", "pin the guest's address to its tap")
        .makes(Part::Pin, EffectKind::UnpinAddress);
    /// Put the guest's rules into our chains.
    EnsureRules = row("ensure_rules", "put the firewall rules in place")
        .makes(Part::Rules, EffectKind::RemoveRules);
    /// Build the jail of this VMM, with this root disk in it.
    BuildJail { root: RootDisk, vmm: VmmKind } = row("build_jail", "build the jail")
        .makes(Part::Jail, EffectKind::RemoveJail).secs(60);
    /// Begin to collect console, log and metrics.
    CollectOutputs = row("collect_outputs", "collect console and log")
        .makes(Part::Outputs, EffectKind::StopOutputs);
    /// Start the jailer, which becomes the VMM; `again` after a process that ended by itself.
    Launch { again: bool, vmm: VmmKind } = row("launch", "start the VMM")
        .makes(Part::Process, EffectKind::Kill).reason(Reason::VmmStartFailed);
    /// Tell the VMM its machine.
    Configure(VmmKind) = row("configure", "configure the VMM")
        .on(Part::Process).reason(Reason::VmmConfigureFailed);
    /// Start the guest.
    StartGuest = row("start_guest", "start the guest")
        .on(Part::Process).reason(Reason::VmmConfigureFailed);

    /// Stop the guest's vCPUs.
    Pause = row("pause", "pause the guest")
        .makes(Part::Process, EffectKind::Resume).secs(10).reason(Reason::VmmUnresponsive);
    /// Let the guest's vCPUs run again.
    Resume = row("resume", "resume the guest")
        .makes(Part::Process, EffectKind::Pause).secs(10).reason(Reason::VmmUnresponsive);
    /// Replace the metadata document.
    PutMetadata = row("put_metadata", "replace the metadata")
        .on(Part::Process).secs(10).reason(Reason::VmmUnresponsive);
    /// Hold the processes of a guest that runs to these bounds.
    HoldBounds(JailBounds) = row("hold_bounds", "hold the VM to its limits")
        .on(Part::Process).secs(10).reason(Reason::LimitsNotHeld);
    /// Make the copy-on-write store of a guest that runs this many bytes large.
    GrowStore { bytes: u64, allocation: Allocation } =
        row("grow_store", "make the copy-on-write store larger")
        .on(Part::CowFile).secs(60);

    /// Ask the guest to shut down, by its guest agent.
    AskGuestAgent = row("ask_guest_agent", "ask the guest agent to shut the guest down")
        .on(Part::Process).secs(10).reason(Reason::VmmUnresponsive);
    /// Ask the guest to shut down where no guest agent does.
    AskGuestToStop(StopSignal) = row("ask_guest_to_stop", "ask the guest to shut down")
        .on(Part::Process).secs(10).reason(Reason::VmmUnresponsive);
    /// End the process, and wait until it is dead.
    Kill = row("kill", "end the VMM process").on(Part::Process);

    /// Take the last of the output and stop collecting.
    StopOutputs = row("stop_outputs", "stop collecting console and log").on(Part::Outputs);
    /// Remove the jail.
    RemoveJail = row("remove_jail", "remove the jail").on(Part::Jail).secs(60);
    /// Take the guest's rules out of our chains.
    RemoveRules = row("remove_rules", "remove the firewall rules").on(Part::Rules);
    /// Take the guest's pin away.
    UnpinAddress = row("unpin_address", "remove the pin of the guest's address").on(Part::Pin);
    /// Remove the tap.
    RemoveTap = row("remove_tap", "remove the tap").on(Part::Tap);
    /// Remove the root disk.
    RemoveSnapshot = row("remove_snapshot", "remove the root disk").on(Part::Snapshot).secs(60);
    /// Detach the copy-on-write store.
    DetachCow = row("detach_cow", "detach the copy-on-write loop device").on(Part::CowLoop);
    /// Let the shared root image go; detach it when nobody uses it.
    ReleaseBase = row("release_base", "let go of the root image's loop device").on(Part::Base);
    /// Remove the copy-on-write store.
    RemoveCowFile = row("remove_cow_file", "remove the copy-on-write store")
        .on(Part::CowFile).secs(120);
    /// Remove the root disk that is a copy.
    RemoveRootCopy = row("remove_root_copy", "remove the copy of the root image")
        .on(Part::RootCopy).secs(120);
    /// Remove the second disk.
    RemoveWorkDisk = row("remove_work_disk", "remove the work disk").on(Part::WorkFile).secs(120);
    /// Remove the VM's directory, the record included.
    RemoveDir = row("remove_dir", "remove the VM's directory").on(Part::Directory).secs(120);

    /// Note that no process of an older boot number is left.
    MarkBooted = row("mark_booted", "note the boot number");
    /// Note that no store of an older root disk number is left.
    MarkRootDisk = row("mark_root_disk", "note the root disk number");
    /// Note that the guest runs, so that a later agent knows that it did.
    MarkStarted = row("mark_started", "note that the guest runs");
    /// Note how the process ended by itself, and that it stays down.
    MarkHalted(Exit) = row("mark_halted", "note that the process ended");
}

/// The root disk that a jail is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootDisk {
    /// The file that is a copy of the image.
    Copy,
    /// The device of the snapshot.
    Device(DeviceNumber),
}

/// What asks a guest without a guest agent to shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// The keys.
    CtrlAltDel,
    /// SIGTERM to the VMM, which takes the guest with it.
    Terminate,
}

/// A part of one VM on its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Its hold on the loop device of its root image.
    Base,
    /// The copy-on-write store.
    CowFile,
    /// The root disk that is a copy.
    RootCopy,
    /// The second disk.
    WorkFile,
    /// The copy-on-write store's loop device.
    CowLoop,
    /// The root disk that is a snapshot.
    Snapshot,
    /// The bridge, which is all guests'.
    Bridge,
    /// The tap.
    Tap,
    /// What ties the guest to its tap.
    Pin,
    /// The guest's rules.
    Rules,
    /// The jail.
    Jail,
    /// What collects the outputs.
    Outputs,
    /// The VMM.
    Process,
    /// The directory, with the record.
    Directory,
}

impl Part {
    /// What it stands on: that is not removed before it. What still lives in a jail stays pinned,
    /// and its user without a network. All but the directory itself stand on the directory.
    #[must_use]
    pub const fn stands_on(self) -> &'static [Self] {
        match self {
            Self::Snapshot => &[Self::CowLoop, Self::Base, Self::CowFile],
            Self::CowLoop => &[Self::CowFile],
            Self::Jail => &[Self::Pin, Self::RootCopy, Self::WorkFile],
            Self::Base
            | Self::CowFile
            | Self::RootCopy
            | Self::WorkFile
            | Self::Bridge
            | Self::Tap
            | Self::Pin
            | Self::Rules
            | Self::Outputs
            | Self::Process
            | Self::Directory => &[],
        }
    }

    /// Whether it is a disk's file, which outlives the guest's process.
    #[must_use]
    pub const fn is_file(self) -> bool {
        matches!(self, Self::CowFile | Self::RootCopy | Self::WorkFile)
    }

    /// Whether it is of the network.
    #[must_use]
    pub const fn is_network(self) -> bool {
        matches!(self, Self::Bridge | Self::Tap | Self::Pin | Self::Rules)
    }
}

impl EffectKind {
    /// Whether it belongs to an attempt to start: its failure undoes the attempt.
    #[must_use]
    pub fn is_forward(self) -> bool {
        self <= Self::StartGuest
    }

    /// Whether it makes a part of the guest's network. These are also performed for a guest that
    /// runs, when somebody has undone what they made.
    #[must_use]
    pub fn makes_network(self) -> bool {
        self.is_forward() && self.row().part.is_some_and(Part::is_network)
    }

    /// The reason for a host verb that failed during it.
    #[must_use]
    pub const fn reason_of(self, error: &HostError) -> Reason {
        let row = self.row();
        match error.kind {
            HostErrorKind::MissingTool => Reason::ToolMissing,
            HostErrorKind::NoSpace => Reason::DiskFull,
            HostErrorKind::NotPermitted => Reason::NotRoot,
            HostErrorKind::NoUplink => Reason::NoUplink,
            HostErrorKind::KvmUnavailable => Reason::KvmUnavailable,
            HostErrorKind::SubnetTaken => Reason::SubnetInUse,
            HostErrorKind::AddressTaken => Reason::AddressInUse,
            HostErrorKind::NameTaken => match row.part {
                Some(Part::Bridge | Part::Tap) => Reason::TapNameTaken,
                _ => row.reason,
            },
            HostErrorKind::Busy => Reason::DeviceBusy,
            HostErrorKind::NotFound
            | HostErrorKind::Invalid
            | HostErrorKind::TimedOut
            | HostErrorKind::Refused
            | HostErrorKind::Other => row.reason,
        }
    }
}

/// What removes the parts of a VM without a process: the recipe backwards, and after it the files
/// of the disks. The directory is not among them.
pub fn removals() -> impl Iterator<Item = (Effect, Part)> {
    let made = || {
        let forward = EffectKind::ALL.iter().filter(|kind| kind.is_forward());
        forward.filter_map(|kind| {
            let row = kind.row();
            let part = row.part.filter(|part| *part != Part::Process)?;
            Some((row.undo?.plain()?, part))
        })
    };
    let on_the_host = made().rev().filter(|(_, part)| !part.is_file());
    on_the_host.chain(made().filter(|(_, part)| part.is_file()))
}

#[cfg(test)]
mod tests;
