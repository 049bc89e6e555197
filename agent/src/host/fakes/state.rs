//! What the fake machine holds. Plain data that can be saved, and the small moves that keep its
//! parts in step.
//!
//! Driven by the seams and by staging, always under the kernel's one lock. Everything is found by
//! name or number; only a list looks at everything.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::machine::Process;
use super::space::Space;
use crate::host::{
    BackingFile, Capacity, DeviceNumber, DmName, ExitStatus, FileId, GuestKey, GuestNet, HostError,
    HostErrorKind, Hub, ImageName, JailId, LinkName, LoopDevice, PathPart, Pid, RootDiskKind,
    TapName, VmmKind,
};

/// The format of a saved state.
pub(super) const FORMAT: u32 = 1;

/// How many exit statuses are kept for whoever asks later.
pub(super) const EXITS_KEPT: usize = 1024;

/// The machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) format: u32,
    /// Tells machines apart in boot ids.
    pub(super) machine: u64,
    pub(super) boots: u32,
    pub(super) boot_unix_seconds: u64,
    /// The life of the agent; raised by each restart of it.
    pub(super) life: u64,
    pub(super) last_ticks: u64,
    pub(super) next_pid: u32,
    pub(super) next_link: u32,
    pub(super) capacity: SavedCapacity,
    pub(super) uplink: Option<LinkName>,
    pub(super) forwarding: bool,
    pub(super) space: Space,
    pub(super) dirs: BTreeMap<PathPart, BTreeMap<PathPart, u64>>,
    pub(super) images: BTreeMap<ImageName, Image>,
    pub(super) loops: BTreeMap<LoopDevice, Loop>,
    pub(super) loop_numbers: Numbers,
    pub(super) snapshots: BTreeMap<DmName, Snapshot>,
    pub(super) dm_numbers: Numbers,
    pub(super) links: BTreeMap<String, Link>,
    pub(super) rules: BTreeMap<GuestKey, Rule>,
    pub(super) jails: BTreeMap<JailId, Jail>,
    pub(super) processes: BTreeMap<Pid, Process>,
    /// Guests that do not hear Ctrl-Alt-Del.
    pub(super) deaf_guests: BTreeSet<JailId>,
    /// VMMs whose API does not answer.
    pub(super) hung_vmms: BTreeSet<JailId>,
    /// Jails in which somebody mounted something.
    #[serde(default)]
    pub(super) mounts: BTreeSet<JailId>,

    /// What new guests run under, and how they get their root disk.
    #[serde(default)]
    pub(super) vmm: VmmKind,
    #[serde(default)]
    pub(super) root_disks: RootDiskKind,

    /// Guests have a guest agent.
    #[serde(skip)]
    pub(super) guests_answer: bool,
    #[serde(skip)]
    pub(super) preflight: Option<HostErrorKind>,
    /// What this life of the agent collects, and where to.
    #[serde(skip)]
    pub(super) collectors: BTreeMap<JailId, PathPart>,
    /// Who follows which console.
    #[serde(skip)]
    pub(super) consoles: BTreeMap<JailId, std::sync::Arc<Hub>>,
    /// What this life of the agent knows of the firewall.
    #[serde(skip)]
    pub(super) firewall: FirewallMemory,
    /// Raised when somebody flushes the rules.
    #[serde(skip)]
    pub(super) flushes: u64,
    /// How children of this life of the agent ended.
    #[serde(skip)]
    pub(super) exits: HashMap<(Pid, u64), ExitStatus>,
    #[serde(skip)]
    pub(super) exit_order: VecDeque<(Pid, u64)>,
    #[serde(skip)]
    pub(super) violations: Vec<String>,
    // Indexes, made anew on loading.
    #[serde(skip)]
    pub(super) loops_of: HashMap<u64, BTreeSet<LoopDevice>>,
    #[serde(skip)]
    pub(super) members: HashMap<JailId, BTreeSet<Pid>>,
    #[serde(skip)]
    pub(super) snapshot_of: HashMap<DeviceNumber, DmName>,
}

/// [`Capacity`] in a form that can be saved.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct SavedCapacity {
    pub(super) vcpus: u32,
    pub(super) memory_mib: u64,
    pub(super) disk_mib: u64,
}

impl From<Capacity> for SavedCapacity {
    fn from(capacity: Capacity) -> Self {
        let Capacity { vcpus, memory_mib, disk_mib } = capacity;
        Self { vcpus, memory_mib, disk_mib }
    }
}

impl From<SavedCapacity> for Capacity {
    fn from(capacity: SavedCapacity) -> Self {
        let SavedCapacity { vcpus, memory_mib, disk_mib } = capacity;
        Self { vcpus, memory_mib, disk_mib }
    }
}

/// Numbers given out lowest first, as the kernel does for devices.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Numbers {
    next: u32,
    free: BTreeSet<u32>,
}

impl Numbers {
    pub(super) fn take(&mut self) -> u32 {
        self.free.pop_first().unwrap_or_else(|| {
            let number = self.next;
            self.next += 1;
            number
        })
    }

    pub(super) fn give_back(&mut self, number: u32) {
        self.free.insert(number);
    }
}

/// An image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Image {
    pub(super) inode: u64,
    pub(super) kind: SavedKind,
    pub(super) sha256: String,
    /// Whether the digest was computed in this or an earlier life.
    pub(super) digested: bool,
}

/// [`crate::host::ImageKind`] in a form that can be saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum SavedKind {
    Kernel,
    Root,
    Other,
}

/// An attached loop device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Loop {
    pub(super) inode: u64,
    pub(super) file: BackingFile,
    pub(super) read_only: bool,
    pub(super) size_bytes: u64,
    pub(super) holders: BTreeSet<u32>,
}

/// A device-mapper snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Snapshot {
    pub(super) minor: u32,
    pub(super) base: LoopDevice,
    pub(super) cow: LoopDevice,
    pub(super) size_bytes: u64,
    /// By VMMs.
    pub(super) open_count: u32,
    /// By somebody else, such as udev.
    pub(super) held: bool,
    /// A write found no room in the store. Of this snapshot alone: another over the same store
    /// begins without.
    #[serde(default)]
    pub(super) overflowed: bool,
}

/// A network interface.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) kind: LinkKind,
}

/// What an interface is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum LinkKind {
    Bridge { address: Ipv4Addr, prefix: u8 },
    Tap { owner_uid: u32, master: Option<u32>, up: bool, open: Option<Pid> },
    Other,
}

/// The rules of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rule {
    pub(super) tap: TapName,
    pub(super) address: Ipv4Addr,
    pub(super) nat: bool,
}

impl Rule {
    pub(super) fn guest_net(&self, key: &GuestKey) -> GuestNet {
        GuestNet {
            key: key.clone(),
            tap: Some(self.tap.clone()),
            address: Some(self.address),
            nat: self.nat,
        }
    }
}

/// What one life of the agent knows of the firewall.
#[derive(Debug, Clone, Default)]
pub(super) struct FirewallMemory {
    /// What was asked for, and what was found at first; `None` before the first change.
    pub(super) wanted: Option<BTreeMap<GuestKey, Rule>>,
    /// The last look; `None` before the first.
    pub(super) seen: Option<BTreeMap<GuestKey, Rule>>,
    /// The flushes the last change knew of.
    pub(super) flushes: u64,
}

/// A jail, wholly or in part.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Jail {
    pub(super) root: Option<u64>,
    #[serde(default)]
    pub(super) vmm: VmmKind,
    pub(super) uid: u32,
    pub(super) entries: BTreeMap<PathPart, Entry>,
    pub(super) cgroup: bool,
    pub(super) api_link: ApiLink,
    pub(super) vsock_link: bool,
    /// The API socket's file, with the process that made it, dead or alive.
    pub(super) socket: Option<Pid>,
    pub(super) pidfile: Option<Vec<u8>>,
}

impl Jail {
    pub(super) fn is_nothing(&self) -> bool {
        self.root.is_none() && !self.cgroup && !self.vsock_link && self.api_link == ApiLink::Missing
    }
}

/// Something in a jail's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Entry {
    File {
        inode: u64,
        write: bool,
    },
    Device(DeviceNumber),
    Fifo,
    /// Made by the jailer or the VMM.
    Theirs,
}

/// What lies at the API socket's place in the runtime directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ApiLink {
    #[default]
    Missing,
    NotALink,
    /// Into the jail.
    Ours,
    Elsewhere(PathBuf),
}

/// The file system with images, scratch directories and jails.
pub(super) const DEVICE: u64 = 0xfd01;

/// The identity of a file by its inode.
pub(super) const fn file_id(inode: u64) -> FileId {
    FileId { device: DEVICE, inode }
}

/// A refusal with a reason for people.
pub(super) fn refuse(
    kind: HostErrorKind,
    verb: &'static str,
    object: impl fmt::Display,
    why: impl Into<String>,
) -> HostError {
    HostError::new(kind, verb, object).detail(why)
}

impl State {
    /// A machine booted an hour before `now`.
    pub(super) fn new(machine: u64, now: u64) -> Self {
        let mut state = Self {
            format: FORMAT,
            machine,
            boots: 1,
            boot_unix_seconds: now.saturating_sub(3600),
            life: 1,
            last_ticks: 0,
            next_pid: 4000,
            next_link: 3,
            capacity: SavedCapacity {
                vcpus: 64,
                memory_mib: 256 * 1024,
                disk_mib: 4 * 1024 * 1024,
            },
            uplink: LinkName::new("eth0").ok(),
            forwarding: false,
            // As much as a simulated fleet may book: its disks take all of their length.
            space: Space::new(1 << 60),
            dirs: BTreeMap::new(),
            images: BTreeMap::new(),
            loops: BTreeMap::new(),
            loop_numbers: Numbers::default(),
            snapshots: BTreeMap::new(),
            dm_numbers: Numbers::default(),
            links: BTreeMap::new(),
            rules: BTreeMap::new(),
            jails: BTreeMap::new(),
            processes: BTreeMap::new(),
            deaf_guests: BTreeSet::new(),
            hung_vmms: BTreeSet::new(),
            vmm: VmmKind::default(),
            root_disks: RootDiskKind::default(),
            mounts: BTreeSet::new(),
            guests_answer: false,
            preflight: None,
            collectors: BTreeMap::new(),
            consoles: BTreeMap::new(),
            firewall: FirewallMemory::default(),
            flushes: 0,
            exits: HashMap::new(),
            exit_order: VecDeque::new(),
            violations: Vec::new(),
            loops_of: HashMap::new(),
            members: HashMap::new(),
            snapshot_of: HashMap::new(),
        };
        state.add_demo_images();
        state
    }

    /// The boot id: a UUID in form, made of the machine and its boots.
    pub(super) fn boot_id(&self) -> String {
        let machine = self.machine;
        format!(
            "{:08x}-{:04x}-4000-8000-{:012x}",
            machine >> 32 & 0xffff_ffff,
            machine >> 16 & 0xffff,
            (machine & 0xffff) << 32 | u64::from(self.boots)
        )
    }

    /// A new life of the agent.
    pub(super) fn new_agent(&mut self) {
        self.life += 1;
        self.collectors.clear();
        self.consoles.clear();
        self.exits.clear();
        self.exit_order.clear();
        self.firewall = FirewallMemory { flushes: self.flushes, ..FirewallMemory::default() };
    }

    /// Everything that a boot loses is lost; files stay.
    pub(super) fn reboot(&mut self, now: u64) {
        let pids: Vec<Pid> = self.processes.keys().copied().collect();
        for pid in pids {
            self.end_process(pid, ExitStatus::Unknown);
            self.processes.remove(&pid);
        }
        self.snapshots.clear();
        self.snapshot_of.clear();
        self.dm_numbers = Numbers::default();
        for (_, device) in std::mem::take(&mut self.loops) {
            self.space.detached(device.inode);
        }
        self.loops_of.clear();
        self.loop_numbers = Numbers::default();
        self.links.clear();
        self.next_link = 3;
        self.rules.clear();
        self.flushes += 1;
        self.forwarding = false;
        self.mounts.clear();
        for jail in self.jails.values_mut() {
            jail.cgroup = false;
            // The runtime directory lies in memory.
            jail.api_link = ApiLink::Missing;
            jail.vsock_link = false;
        }
        self.jails.retain(|_, jail| !jail.is_nothing());
        self.boots += 1;
        self.boot_unix_seconds = now;
        self.last_ticks = 0;
        self.next_pid = 400;
        self.new_agent();
    }

    /// Makes the indexes after loading.
    pub(super) fn reindex(&mut self) {
        for (device, attached) in &self.loops {
            self.loops_of.entry(attached.inode).or_default().insert(*device);
        }
        for (name, snapshot) in &self.snapshots {
            self.snapshot_of.insert(snapshot.number(), name.clone());
        }
        for (pid, process) in &self.processes {
            if let Some(jail) = process.jail.clone().filter(|_| !process.zombie) {
                self.members.entry(jail).or_default().insert(*pid);
            }
        }
    }

    /// The file behind a name.
    pub(super) fn inode_of(&self, file: &BackingFile) -> Option<u64> {
        match file {
            BackingFile::Image(name) => self.images.get(name).map(|image| image.inode),
            BackingFile::Scratch { dir, file } => self.dirs.get(dir)?.get(file).copied(),
        }
    }
}
