//! What this host is to hold of one VM, and which of two such assignments wins.
//!
//! All four mutating RPCs end here: [`merge`] keeps the newest `(epoch, generation)`, refuses an
//! older one, and takes the same one again as a wake-up. The result is written to `vm.json` before
//! the RPC is answered, so that an agent cut off from its server still knows what it was told.
//! Pure: `record` reads and writes the file. What can go wrong: a stale server, a late packet or
//! a restored backup; each is `Stale` and changes nothing.

use std::net::Ipv4Addr;
use std::time::Duration;

use banger_proto::ids::{Version, VmId};
use serde::{Deserialize, Serialize};

use crate::host::{ImageName, IoRates, MacAddress};

/// What one host is to hold of one VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Which VM.
    pub vm: VmId,
    /// Orders assignments.
    pub version: Version,
    /// Which power state is wanted.
    pub power: Power,
    /// The machine. `None` only when the VM is to be absent.
    pub shape: Option<Shape>,
    /// How long the guest has to shut down by itself.
    pub stop_grace: Duration,
    /// A process started for a lower number is ended, and another one started.
    pub boot_number: u64,
    /// A copy-on-write store made for a lower number is made anew.
    pub root_disk_number: u64,
    /// The trace it came from; may be empty.
    pub traceparent: String,
}

/// Which power state is wanted. Nobody can want "booting".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// The guest runs.
    Running,
    /// The guest is in memory, its vCPUs stopped.
    Paused,
    /// No process; the disks stay.
    Stopped,
    /// Nothing is left.
    Absent,
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// For people.
    pub name: String,
    /// Virtual processors, 1 to 32.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// The kernel.
    pub kernel: Image,
    /// The initial RAM disk.
    pub initrd: Option<Image>,
    /// The root file system.
    pub root_image: Image,
    /// Size of the copy-on-write store in MiB.
    pub root_disk_mib: u32,
    /// Size of the second disk in MiB; 0 means none.
    pub work_disk_mib: u32,
    /// The kernel's command line; empty means the usual one.
    pub boot_args: String,
    /// The metadata document, JSON text.
    pub metadata_json: Option<String>,
    /// How the guest is connected.
    pub network: GuestNetwork,
    /// Bounds on throughput.
    pub limits: Limits,
    /// Bounds on what it takes of the host.
    #[serde(default, skip_serializing_if = "Resources::are_usual")]
    pub resources: Resources,
    /// What to do when the process ends by itself.
    pub restart: RestartPolicy,
}

/// A file of the image directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Image {
    /// Its name.
    pub name: ImageName,
    /// The digest its content must have, 64 lower-case hexadecimal digits; `None`: any content.
    pub sha256: Option<String>,
}

impl Image {
    /// Whether two are known to be different files. A digest that only one of them has says
    /// nothing, and a disk is never dropped for that.
    #[must_use]
    pub fn differs(&self, other: &Self) -> bool {
        let digests = self.sha256.as_ref().zip(other.sha256.as_ref());
        self.name != other.name || digests.is_some_and(|(a, b)| a != b)
    }
}

/// How the guest is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestNetwork {
    /// The guest's address.
    pub address: Ipv4Addr,
    /// The bridge's address.
    pub gateway: Ipv4Addr,
    /// Of the subnet of both.
    pub prefix: u8,
    /// The guest's Ethernet address.
    pub mac: MacAddress,
    /// The guest's vsock address.
    pub vsock_cid: u32,
    /// Whether the guest reaches the uplink.
    pub nat: bool,
    /// `<name>.<domain>`; may be empty.
    pub dns_name: String,
}

/// Bounds on throughput; 0 means none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes a second, each disk.
    pub disk_bytes_per_second: u64,
    /// Operations a second, each disk.
    pub disk_ops_per_second: u64,
    /// Bytes a second the guest receives.
    pub net_rx_bytes_per_second: u64,
    /// Bytes a second the guest sends.
    pub net_tx_bytes_per_second: u64,
}

/// Bounds on what it takes of the host; 0 means none, or the usual share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Share of the processors.
    pub cpu_weight: u32,
    /// Processor time, in thousandths of a processor.
    pub cpu_millis: u32,
    /// Traffic with each device that its disks are on.
    pub io: IoRates,
}

impl Resources {
    /// Whether nothing is asked for, so that a record is as an earlier version wrote it.
    fn are_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// What to do when the process ends though it should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    /// Leave it.
    Never,
    /// Start it again when it crashed.
    OnFailure,
    /// Start it again however it ended.
    Always,
}

/// How far the host has come with what cannot be read back from the kernel. Kept in `vm.json`
/// beside the assignment, because losing it would lose or repeat a change of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The boot number that no older process is left of.
    pub boot_number: u64,
    /// The number the copy-on-write store was made for.
    pub root_disk_number: u64,
    /// The image the copy-on-write store belongs to: over another one it would be garbage.
    pub root_image: Option<Image>,
    /// The process ended by itself, for this boot number.
    pub halt: Option<Halt>,
    /// The guest was started, and nobody has wanted it down since.
    #[serde(default)]
    pub started: Option<Started>,
    /// The boot of the host in which the server last spoke of the VM: in another one nothing is
    /// started for it.
    #[serde(default)]
    pub told_in_boot: String,
}

/// A guest that was seen to run: when its process is found gone by an agent that has no other
/// memory of it, it has ended by itself, and the restart policy says what follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The boot number it was started for.
    pub boot_number: u64,
    /// The boot of the host it ran in: a reboot ends every process, and is not the guest's doing.
    pub host_boot: String,
}

/// A process that ended by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halt {
    /// The boot number it was started for.
    pub boot_number: u64,
    /// How it ended.
    pub exit: Exit,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Nobody asked for it, and it was no shutdown of the guest: a signal, a status other than 0, a
    /// kernel that panicked, an end that nothing explains, or one that nobody saw.
    pub crashed: bool,
    /// Exit status.
    pub code: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
    /// A sentence.
    pub message: String,
    /// When it was noticed.
    pub at: jiff::Timestamp,
    /// What it came of.
    #[serde(default)]
    pub cause: ExitCause,
}

/// What the end of a process came of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitCause {
    /// An agent that did not look for it wrote it down.
    #[default]
    Unknown,
    /// It was to end: by an assignment, or because its start had failed.
    Asked,
    /// The guest shut down or rebooted by itself, and said so.
    GuestShutdown,
    /// The guest's kernel panicked.
    GuestPanic,
    /// The VMM ended as it does after a shutdown, and nobody asked for or heard of one.
    Unexplained,
    /// The VMM failed or was killed.
    VmmEnded,
}

impl ExitCause {
    /// As sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Asked => "ASKED_FOR",
            Self::GuestShutdown => "GUEST_SHUTDOWN",
            Self::GuestPanic => "GUEST_PANIC",
            Self::Unexplained => "UNEXPLAINED_END",
            Self::VmmEnded => "VMM_ENDED",
        }
    }
}

/// What is known of one VM's assignment: the content of `vm.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The newest accepted.
    pub assignment: Assignment,
    /// How far it has come.
    pub progress: Progress,
}

impl Record {
    /// Whether the VM refers to an image of this name, or its root disk lies over it.
    #[must_use]
    pub fn names(&self, image: &ImageName) -> bool {
        let shape = self.assignment.shape.as_ref();
        let wanted = shape.into_iter().flat_map(|shape| {
            [Some(&shape.kernel), Some(&shape.root_image), shape.initrd.as_ref()]
        });
        let under_its_disk = [self.progress.root_image.as_ref()];
        wanted.chain(under_its_disk).flatten().any(|used| used.name == *image)
    }

    /// Whether the process has to be ended and started once.
    #[must_use]
    pub fn reboot_pending(&self) -> bool {
        self.assignment.boot_number > self.progress.boot_number
    }

    /// Whether the copy-on-write store has to be made anew.
    #[must_use]
    pub fn root_disk_pending(&self) -> bool {
        let Some(shape) = &self.assignment.shape else { return false };
        self.assignment.root_disk_number > self.progress.root_disk_number
            || self
                .progress
                .root_image
                .as_ref()
                .is_some_and(|image| image.differs(&shape.root_image))
    }

    /// Whether a guest that is to run was started in this boot of the host and nothing that was
    /// asked for explains that it has no process.
    #[must_use]
    pub fn ran_in(&self, host_boot: &str) -> bool {
        let wanted = matches!(self.assignment.power, Power::Running | Power::Paused);
        let started = self.progress.started.as_ref().is_some_and(|started| {
            started.boot_number == self.assignment.boot_number && started.host_boot == host_boot
        });
        wanted
            && started
            && self.halt().is_none()
            && !self.reboot_pending()
            && !self.root_disk_pending()
    }

    /// Whether a process that lives has to end, for good or for another one.
    #[must_use]
    pub fn must_end(&self) -> bool {
        match self.assignment.power {
            Power::Stopped | Power::Absent => true,
            Power::Running | Power::Paused => self.reboot_pending() || self.root_disk_pending(),
        }
    }

    /// The sentence that refuses an assignment which gives a guest that runs on another identity on
    /// the network: it keeps the one that it was booted with, and pinned to another it could send
    /// nothing.
    #[must_use]
    pub fn refuses_identity(&self, offered: &Assignment) -> Option<String> {
        let (held, new) = (self.assignment.shape.as_ref()?, offered.shape.as_ref()?);
        let (held, new) = (&held.network, &new.network);
        let goes_on = matches!(offered.power, Power::Running | Power::Paused)
            && offered.boot_number <= self.progress.boot_number
            && offered.version > self.assignment.version;
        let identity = |net: &GuestNetwork| (net.address, net.mac, net.vsock_cid);
        (goes_on && identity(held) != identity(new)).then(|| {
            format!(
                "its guest runs with the address {} ({}) and is to have {} ({}): stop it before, and \
                 start it again",
                held.address, held.mac, new.address, new.mac
            )
        })
    }

    /// The halt that counts for the assignment.
    #[must_use]
    pub fn halt(&self) -> Option<&Halt> {
        self.progress.halt.as_ref().filter(|halt| halt.boot_number == self.assignment.boot_number)
    }
}

/// What [`merge`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merge {
    /// Newer: to be written, then acted upon.
    Newer(Box<Record>),
    /// The same version again: only wakes.
    Same,
    /// Older than what is held; nothing changes.
    Stale {
        /// The highest seen.
        seen: Version,
    },
}

/// Merges an assignment into what is held of the same VM.
#[must_use]
pub fn merge(held: Option<&Record>, offered: Assignment) -> Merge {
    let Some(held) = held else { return Merge::Newer(Box::new(first(offered))) };
    match offered.version.cmp(&held.assignment.version) {
        std::cmp::Ordering::Less => Merge::Stale { seen: held.assignment.version },
        std::cmp::Ordering::Equal => Merge::Same,
        std::cmp::Ordering::Greater => {
            let mut record = Record { assignment: offered, progress: held.progress.clone() };
            match record.assignment.power {
                // Wanting it stopped is knowing that it does not run: a later start is a new one.
                Power::Stopped | Power::Absent => {
                    record.progress.halt = None;
                    record.progress.started = None;
                }
                Power::Running | Power::Paused => {}
            }
            if record.assignment.power == Power::Absent && record.assignment.shape.is_none() {
                // A delete names the VM only; the shape says which image to let go.
                record.assignment.shape.clone_from(&held.assignment.shape);
            }
            if record.progress.root_image.is_none() {
                record.progress.root_image =
                    record.assignment.shape.as_ref().map(|shape| shape.root_image.clone());
            }
            Merge::Newer(Box::new(record))
        }
    }
}

/// With no record nothing is known to be pending: a process or a store found is taken to be of
/// the numbers wanted now, because missing information never destroys.
fn first(assignment: Assignment) -> Record {
    let progress = Progress {
        boot_number: assignment.boot_number,
        root_disk_number: assignment.root_disk_number,
        root_image: assignment.shape.as_ref().map(|shape| shape.root_image.clone()),
        halt: None,
        started: None,
        told_in_boot: String::new(),
    };
    Record { assignment, progress }
}

#[cfg(test)]
mod tests;
