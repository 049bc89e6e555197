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

use super::process::Process;
use super::space::Space;
use crate::host::{
    BackingFile, Capacity, DeviceNumber, DmName, ExitStatus, FileId, GuestKey, GuestNet, HostError,
    HostErrorKind, Hub, ImageName, JailId, LinkName, LoopDevice, PathPart, Pid, Pin, RootDiskKind,
    TapName, VmmKind,
};

/// The format of a saved state.
pub(crate) const FORMAT: u32 = 1;

/// How many exit statuses are kept for whoever asks later.
pub(crate) const EXITS_KEPT: usize = 1024;

/// The machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) format: u32,
    /// Tells machines apart in boot ids.
    pub(crate) machine: u64,
    pub(crate) boots: u32,
    pub(crate) boot_unix_seconds: u64,
    /// The life of the agent; raised by each restart of it.
    pub(crate) life: u64,
    pub(crate) last_ticks: u64,
    pub(crate) next_pid: u32,
    pub(crate) next_link: u32,
    pub(crate) capacity: SavedCapacity,
    pub(crate) uplink: Option<LinkName>,
    pub(crate) forwarding: bool,
    pub(crate) space: Space,
    pub(crate) dirs: BTreeMap<PathPart, BTreeMap<PathPart, u64>>,
    pub(crate) images: BTreeMap<ImageName, FakeImage>,
    pub(crate) loops: BTreeMap<LoopDevice, Loop>,
    pub(crate) loop_numbers: Numbers,
    pub(crate) snapshots: BTreeMap<DmName, Snapshot>,
    pub(crate) dm_numbers: Numbers,
    pub(crate) links: BTreeMap<String, FakeLink>,
    pub(crate) rules: BTreeMap<GuestKey, Rule>,
    #[serde(default)]
    pub(crate) pins: BTreeMap<GuestKey, Pin>,
    pub(crate) jails: BTreeMap<JailId, FakeJail>,
    pub(crate) processes: BTreeMap<Pid, Process>,
    /// Guests that do not hear Ctrl-Alt-Del.
    pub(crate) deaf_guests: BTreeSet<JailId>,
    /// VMMs whose API does not answer.
    pub(crate) hung_vmms: BTreeSet<JailId>,
    /// Jails in which somebody mounted something.
    #[serde(default)]
    pub(crate) mounts: BTreeSet<JailId>,

    /// What new guests run under, and how they get their root disk.
    #[serde(default)]
    pub(crate) vmm: VmmKind,
    #[serde(default)]
    pub(crate) root_disks: RootDiskKind,

    /// Guests have a guest agent.
    #[serde(skip)]
    pub(crate) guests_answer: bool,
    #[serde(skip)]
    pub(crate) preflight: Option<HostErrorKind>,
    /// What this life of the agent collects, and where to.
    #[serde(skip)]
    pub(crate) collectors: BTreeMap<JailId, PathPart>,
    /// Who follows which console.
    #[serde(skip)]
    pub(crate) consoles: BTreeMap<JailId, std::sync::Arc<Hub>>,
    /// What this life of the agent knows of the firewall.
    #[serde(skip)]
    pub(crate) firewall: FirewallMemory,
    /// What this life of the agent knows of the pins.
    #[serde(skip)]
    pub(crate) pin_memory: PinMemory,
    /// Networks that the machine uses beside the guests'.
    #[serde(default)]
    pub(crate) networks: Vec<(Ipv4Addr, u8, String)>,
    /// Raised by every change of links, rules and routes, and how far the agent has heard of it.
    #[serde(skip)]
    pub(crate) net_changes: u64,
    /// What guests have sent and received, by tap.
    #[serde(skip)]
    pub(crate) traffic: BTreeMap<String, crate::host::Traffic>,
    #[serde(skip)]
    pub(crate) net_heard: u64,
    /// Raised when somebody flushes the rules.
    #[serde(skip)]
    pub(crate) flushes: u64,
    /// How children of this life of the agent ended.
    #[serde(skip)]
    pub(crate) exits: HashMap<(Pid, u64), ExitStatus>,
    #[serde(skip)]
    pub(crate) exit_order: VecDeque<(Pid, u64)>,
    #[serde(skip)]
    pub(crate) violations: Vec<String>,
    // Indexes, made anew on loading.
    #[serde(skip)]
    pub(crate) loops_of: HashMap<u64, BTreeSet<LoopDevice>>,
    #[serde(skip)]
    pub(crate) members: HashMap<JailId, BTreeSet<Pid>>,
    /// The VMM that was started last as a user.
    #[serde(skip)]
    pub(crate) vmm_of_user: HashMap<u32, Pid>,
    #[serde(skip)]
    pub(crate) snapshot_of: HashMap<DeviceNumber, DmName>,
}

/// [`Capacity`] in a form that can be saved.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct SavedCapacity {
    pub(crate) vcpus: u32,
    pub(crate) memory_mib: u64,
    pub(crate) disk_mib: u64,
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
pub(crate) struct Numbers {
    next: u32,
    free: BTreeSet<u32>,
}

impl Numbers {
    pub(crate) fn take(&mut self) -> u32 {
        self.free.pop_first().unwrap_or_else(|| {
            let number = self.next;
            self.next += 1;
            number
        })
    }

    pub(crate) fn give_back(&mut self, number: u32) {
        self.free.insert(number);
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FakeImage {
    pub(crate) inode: u64,
    pub(crate) kind: SavedKind,
    pub(crate) sha256: String,
    /// Whether the digest was computed in this or an earlier life.
    pub(crate) digested: bool,
}

/// [`crate::host::ImageKind`] in a form that can be saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SavedKind {
    Kernel,
    Root,
    Other,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Loop {
    pub(crate) inode: u64,
    pub(crate) file: BackingFile,
    pub(crate) read_only: bool,
    pub(crate) size_bytes: u64,
    pub(crate) holders: BTreeSet<u32>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) minor: u32,
    pub(crate) base: LoopDevice,
    pub(crate) cow: LoopDevice,
    pub(crate) size_bytes: u64,
    /// By VMMs.
    pub(crate) open_count: u32,
    /// By somebody else, such as udev.
    pub(crate) held: bool,
    /// A write found no room in the store. Of this snapshot alone: another over the same store
    /// begins without.
    #[serde(default)]
    pub(crate) overflowed: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FakeLink {
    pub(crate) index: u32,
    pub(crate) kind: LinkKind,
}

const fn yes() -> bool {
    true
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LinkKind {
    Bridge {
        /// `None` once somebody has taken it away.
        address: Option<Ipv4Addr>,
        prefix: u8,
        #[serde(default = "yes")]
        up: bool,
    },
    Tap {
        owner_uid: u32,
        master: Option<u32>,
        up: bool,
        #[serde(default = "yes")]
        isolated: bool,
        open: Option<Pid>,
    },
    Other,
}

/// The rules of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) tap: TapName,
    pub(crate) address: Ipv4Addr,
    pub(crate) nat: bool,
    /// The device that they were made for.
    #[serde(default)]
    pub(crate) uplink: Option<LinkName>,
}

impl Rule {
    pub(crate) fn guest_net(&self, key: &GuestKey, stale: bool) -> GuestNet {
        GuestNet {
            key: key.clone(),
            tap: Some(self.tap.clone()),
            address: Some(self.address),
            nat: self.nat,
            stale,
        }
    }
}

/// What one life of the agent knows of the firewall.
#[derive(Debug, Clone, Default)]
pub(crate) struct FirewallMemory {
    /// What was asked for, and what was found at first; `None` before the first change.
    pub(crate) wanted: Option<BTreeMap<GuestKey, Rule>>,
    /// The last look; `None` before the first.
    pub(crate) seen: Option<BTreeMap<GuestKey, Rule>>,
    /// Whose rules are not what would be made now, by the last look.
    pub(crate) stale: BTreeSet<GuestKey>,
    /// The flushes the last change knew of.
    pub(crate) flushes: u64,
}

/// What one life of the agent knows of the pins.
#[derive(Debug, Clone, Default)]
pub(crate) struct PinMemory {
    /// What was asked for, and what was found at first; `None` before the first change.
    pub(crate) wanted: Option<BTreeMap<GuestKey, Pin>>,
    /// The last look; `None` before the first.
    pub(crate) seen: Option<BTreeMap<GuestKey, Pin>>,
    /// The flushes the last change knew of.
    pub(crate) flushes: u64,
}

/// A jail, wholly or in part.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct FakeJail {
    pub(crate) root: Option<u64>,
    #[serde(default)]
    pub(crate) vmm: VmmKind,
    pub(crate) uid: u32,
    pub(crate) entries: BTreeMap<PathPart, JailEntry>,
    pub(crate) cgroup: bool,
    /// What the group is held to.
    #[serde(default)]
    pub(crate) bounds: Option<crate::host::BoundsSeen>,
    pub(crate) api_link: ApiLink,
    pub(crate) vsock_link: bool,
    /// The API socket's file, with the process that made it, dead or alive.
    pub(crate) socket: Option<Pid>,
    pub(crate) pidfile: Option<Vec<u8>>,
}

impl FakeJail {
    pub(crate) fn is_nothing(&self) -> bool {
        self.root.is_none() && !self.cgroup && !self.vsock_link && self.api_link == ApiLink::Missing
    }
}

/// Something in a jail's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum JailEntry {
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
pub(crate) enum ApiLink {
    #[default]
    Missing,
    NotALink,
    /// Into the jail.
    Ours,
    Elsewhere(PathBuf),
}

/// The file system with images, scratch directories and jails.
pub(crate) const DEVICE: u64 = 0xfd01;

/// The identity of a file by its inode.
pub(crate) const fn file_id(inode: u64) -> FileId {
    FileId { device: DEVICE, inode }
}

/// A refusal with a reason for people.
pub(crate) fn refuse(
    kind: HostErrorKind,
    verb: &'static str,
    object: impl fmt::Display,
    why: impl Into<String>,
) -> HostError {
    HostError::new(kind, verb, object).detail(why)
}

impl State {
    /// A machine booted an hour before `now`.
    pub(crate) fn new(machine: u64, now: u64) -> Self {
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
            pins: BTreeMap::new(),
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
            pin_memory: PinMemory::default(),
            networks: Vec::new(),
            net_changes: 0,
            traffic: BTreeMap::new(),
            net_heard: 0,
            flushes: 0,
            exits: HashMap::new(),
            exit_order: VecDeque::new(),
            violations: Vec::new(),
            loops_of: HashMap::new(),
            members: HashMap::new(),
            vmm_of_user: HashMap::new(),
            snapshot_of: HashMap::new(),
        };
        state.add_demo_images();
        state
    }

    /// The boot id: a UUID in form, made of the machine and its boots.
    pub(crate) fn boot_id(&self) -> String {
        let machine = self.machine;
        format!(
            "{:08x}-{:04x}-4000-8000-{:012x}",
            machine >> 32 & 0xffff_ffff,
            machine >> 16 & 0xffff,
            (machine & 0xffff) << 32 | u64::from(self.boots)
        )
    }

    /// A new life of the agent.
    pub(crate) fn new_agent(&mut self) {
        self.life += 1;
        self.collectors.clear();
        self.consoles.clear();
        self.exits.clear();
        self.exit_order.clear();
        self.firewall = FirewallMemory { flushes: self.flushes, ..FirewallMemory::default() };
        self.pin_memory = PinMemory { flushes: self.flushes, ..PinMemory::default() };
    }

    /// Everything that a boot loses is lost; files stay.
    pub(crate) fn reboot(&mut self, now: u64) {
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
        self.pins.clear();
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
    pub(crate) fn reindex(&mut self) {
        for (device, attached) in &self.loops {
            self.loops_of.entry(attached.inode).or_default().insert(*device);
        }
        for (name, snapshot) in &self.snapshots {
            self.snapshot_of.insert(snapshot.number(), name.clone());
        }
        for (pid, process) in &self.processes {
            if process.vmm.is_some() {
                self.vmm_of_user.insert(process.user, *pid);
            }
            if let Some(jail) = process.jail.clone().filter(|_| !process.zombie) {
                self.members.entry(jail).or_default().insert(*pid);
            }
        }
    }

    /// The file behind a name.
    pub(crate) fn inode_of(&self, file: &BackingFile) -> Option<u64> {
        match file {
            BackingFile::Image(name) => self.images.get(name).map(|image| image.inode),
            BackingFile::Scratch { dir, file } => self.dirs.get(dir)?.get(file).copied(),
        }
    }
}
