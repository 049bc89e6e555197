//! What the host holds of banger's, joined with what the records say. Pure.
//!
//! Driven by the inventory that the server asks for and by the sweep: both see the host by this one
//! function, [`join()`], so that nothing is removed that was not listed as nobody's. An object is
//! ours by its name and its place (see [`crate::naming`]): what merely looks similar (another tag,
//! another prefix, another directory, a process in somebody else's root) is not in the list at all.
//! The supervisor reads the host for it; when one list cannot be read there is no inventory, never
//! a shorter one. [`sweep`] says what is to become of what nobody owns.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use banger_proto::ids::VmId;

use crate::host::{
    DirFacts, DmName, GuestKey, ImageName, JailId, JailSurvey, LoopFacts, MountFacts, PathPart,
    Pid, ProcessFacts, SnapshotFacts, TapName,
};

mod join;
pub mod sweep;

pub use self::join::{Frame, join};

/// Kinds of objects, in the order in which they can be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A VMM in one of our jails.
    Process,
    /// A guest's control group.
    Cgroup,
    /// A jail's directory and its symlinks in the runtime directory.
    Jail,
    /// Something that somebody mounted in one of our directories.
    Mount,
    /// A guest's firewall rules, and what pins it to its tap.
    Rule,
    /// A tap.
    Tap,
    /// A root disk.
    Dm,
    /// A loop device.
    Loop,
    /// A VM's scratch directory.
    Directory,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Process,
        Self::Cgroup,
        Self::Jail,
        Self::Mount,
        Self::Rule,
        Self::Tap,
        Self::Dm,
        Self::Loop,
        Self::Directory,
    ];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Cgroup => "cgroup",
            Self::Jail => "jail",
            Self::Mount => "mount",
            Self::Rule => "rule",
            Self::Tap => "tap",
            Self::Dm => "dm",
            Self::Loop => "loop",
            Self::Directory => "directory",
        }
    }
}

/// Whose an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// A VM with a record here owns it.
    Owned,
    /// Of a VM with a record here that is to be absent.
    Leaving,
    /// An image's loop device in use.
    Shared,
    /// Nobody's.
    Orphan,
    /// Nobody's, with a process or a directory among what is left: people decide, not the agent.
    Lost,
    /// It cannot be told; nothing is done.
    Unclear(String),
}

/// What a removal takes hold of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A process.
    Process(ProcessFacts),
    /// A control group.
    Cgroup(JailId),
    /// A jail.
    Jail(JailId),
    /// A mount.
    Mount(MountFacts),
    /// A guest's rules.
    Rule(GuestKey),
    /// A tap.
    Tap(TapName),
    /// A snapshot.
    Dm(DmName),
    /// A loop device over a file of one VM.
    Loop(LoopFacts),
    /// The loop device over an image, which VMs share.
    Image(LoopFacts, ImageName),
    /// A scratch directory.
    Directory(PathPart),
}

impl Target {
    /// Of which kind it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Process(_) => Kind::Process,
            Self::Cgroup(_) => Kind::Cgroup,
            Self::Jail(_) => Kind::Jail,
            Self::Mount(_) => Kind::Mount,
            Self::Rule(_) => Kind::Rule,
            Self::Tap(_) => Kind::Tap,
            Self::Dm(_) => Kind::Dm,
            Self::Loop(_) | Self::Image(..) => Kind::Loop,
            Self::Directory(_) => Kind::Directory,
        }
    }
}

/// One object of banger's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name, unique among those of its kind.
    pub name: String,
    /// What it is.
    pub target: Target,
    /// The VM that owns it or that it is named after.
    pub vm: Option<VmId>,
    /// Whose it is.
    pub standing: Standing,
    /// How old it is, where the kernel or the file system tells.
    pub age: Option<Duration>,
    /// Its size in bytes, where it has one.
    pub size_bytes: u64,
    /// Whether a process has it open: whoever that is needs it.
    pub in_use: bool,
    /// What more there is to say; may be empty.
    pub detail: String,
}

/// Tells an object from one that has its name later.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    kind: Kind,
    name: String,
    mark: (u64, u64),
}

impl Object {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.target.kind()
    }

    /// Its identity. A pid or a loop device's number that belongs to another process or file now is
    /// another object.
    #[must_use]
    pub fn key(&self) -> Key {
        let mark = match &self.target {
            Target::Process(process) => (process.start_ticks, 0),
            Target::Loop(facts) | Target::Image(facts, _) => {
                (facts.backing.device, facts.backing.inode)
            }
            Target::Cgroup(_)
            | Target::Jail(_)
            | Target::Mount(_)
            | Target::Rule(_)
            | Target::Tap(_)
            | Target::Dm(_)
            | Target::Directory(_) => (0, 0),
        };
        Key { kind: self.kind(), name: self.name.clone(), mark }
    }

    /// Whether nobody owns it.
    #[must_use]
    pub const fn is_orphan(&self) -> bool {
        matches!(self.standing, Standing::Orphan | Standing::Lost)
    }
}

/// What the operating system lists that is banger's or may be.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Processes that say they are VMMs, each with the jail that it names.
    pub processes: Vec<(ProcessFacts, JailId)>,
    /// Those of them that are in the control group of that jail.
    pub members: BTreeSet<Pid>,
    /// Jails and control groups.
    pub jails: Vec<JailSurvey>,
    /// Mounts in our directories.
    pub mounts: Vec<MountFacts>,
    /// Rules by guest.
    pub rules: BTreeMap<GuestKey, usize>,
    /// Guests of which anything is pinned to a tap.
    pub pins: BTreeSet<GuestKey>,
    /// Taps with our prefix.
    pub taps: Vec<TapName>,
    /// Those of them that a process has open.
    pub open_taps: BTreeSet<TapName>,
    /// Snapshots with our prefix.
    pub snapshots: Vec<SnapshotFacts>,
    /// Loop devices over files in our directories.
    pub loops: Vec<LoopFacts>,
    /// Scratch directories.
    pub dirs: Vec<DirFacts>,
}

/// How the agent holds a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It is to be there.
    Kept,
    /// It is to be absent.
    Leaving,
}

/// What the records say.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// VMs with a record, or with one that is being written.
    pub held: BTreeMap<VmId, Hold>,
    /// VMs of which something was found at the start and whose record is lost.
    pub lost: BTreeSet<VmId>,
    /// Images that a VM uses or is about to.
    pub images: BTreeSet<ImageName>,
    /// VMs that the server knows: taps are known by their names, and an image that one of their
    /// disks stands on is in use.
    pub claimed: BTreeSet<VmId>,
}

#[cfg(test)]
mod tests;
