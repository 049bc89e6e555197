//! Kernel objects and directories of banger on a host, and whose they are in the fleet. Pure.
//!
//! An agent says what its host holds and what its own records say of that; [`whose`] joins it with
//! what the server knows of the VM: an object of a VM that is placed elsewhere, or of none that the
//! server knows, is neither owned nor an orphan, and is not touched by anybody.

use std::time::Duration;

use banger_proto::ids::{HostId, VmId};
use jiff::Timestamp;
use uuid::Uuid;

/// Kinds of objects, in the order of lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// A VMM.
    Process,
    /// A guest's control group.
    Cgroup,
    /// A jail's directory.
    Jail,
    /// Something mounted in one of banger's directories.
    Mount,
    /// A guest's firewall rules.
    Rule,
    Tap,
    /// A root disk.
    Dm,
    /// A loop device.
    Loop,
    /// A VM's directory.
    Directory,
}

impl ObjectKind {
    /// The word shown.
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

/// Whose an object is by the records of its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordedOwner {
    /// A VM with a record there.
    Owned,
    /// A VM with a record there that is to be absent.
    Leaving,
    /// All that use an image.
    Shared,
    /// Nobody's.
    Orphan,
    /// It cannot be told.
    Unclear,
}

/// One object as its agent tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostObject {
    pub kind: ObjectKind,
    pub name: String,
    /// The VM that owns it or that it is named after.
    pub vm: Option<VmId>,
    /// Whose it is by the records of the host.
    pub standing: RecordedOwner,
    /// How old it is, where that is known.
    pub age: Option<Duration>,
    /// Its size in bytes, where it has one.
    pub size_bytes: u64,
    /// What more there is to say.
    pub detail: String,
    /// How long it has been nobody's.
    pub orphan_for: Option<Duration>,
}

/// When and how much orphans are removed on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepPolicy {
    /// How long an object has to be an orphan.
    pub grace: Duration,
    /// Removals in any hour.
    pub budget_per_hour: u32,
    /// What is left of them.
    pub budget_left: u32,
    /// Whether the agent removes orphans by itself.
    pub automatic: bool,
}

/// Why an object that nobody owns stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptReason {
    /// It has not been an orphan for long enough.
    GracePeriod,
    /// As much was removed as may be.
    BudgetSpent,
    /// It cannot be told whose it is.
    Unclear,
    /// The server knows its VM.
    Claimed,
    /// A process of its VM stays.
    ProcessStays,
    /// Somebody else mounted it.
    MountedByOthers,
    /// It got an owner meanwhile.
    FoundOwner,
    /// One that this server does not know.
    Other,
}

/// What came of a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepOutcome {
    /// What was removed, or would be.
    pub removed: Vec<HostObject>,
    /// What stays, and why.
    pub kept: Vec<(HostObject, KeptReason, String)>,
    /// What could not be removed, and why.
    pub failed: Vec<(HostObject, String)>,
    /// How many more stay or could not be removed.
    pub not_listed: u32,
    /// What the agent goes by.
    pub policy: SweepPolicy,
}

/// A sweep that somebody asked for, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepRecord {
    /// Tells it from others.
    pub id: Uuid,
    pub host: HostId,
    /// When it was asked for.
    pub at: Timestamp,
    pub actor: String,
    /// How many objects were removed.
    pub removed: u32,
    /// How many stay.
    pub kept: u32,
    /// How many could not be removed.
    pub failed: u32,
    /// Why it is not known what came of it; empty when it is.
    pub message: String,
}

/// Whose an object is for the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// Its VM is placed on this host and held there.
    Owned,
    /// Its VM is going.
    PendingRemoval,
    /// All that use an image.
    Shared,
    /// Nobody's.
    Orphan,
    /// It cannot be told.
    Unclear,
    /// The server has its VM on this other host, or on none.
    ClaimedElsewhere(Option<HostId>),
    /// The agent holds its VM, and the server knows no such VM.
    Unclaimed,
}

/// What the server knows of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub name: String,
    /// Where it is placed.
    pub host: Option<HostId>,
    /// Whether it is wanted absent.
    pub leaving: bool,
}

/// Whose an object on host `here` is, with a sentence where that needs one.
pub fn whose(
    object: &HostObject,
    here: HostId,
    claim: Option<&Claim>,
) -> (Whose, Option<&'static str>) {
    match (object.standing, claim) {
        (RecordedOwner::Shared, _) => (Whose::Shared, None),
        (_, Some(Claim { host, .. })) if *host != Some(here) => {
            (Whose::ClaimedElsewhere(*host), None)
        }
        (RecordedOwner::Unclear, _) => (Whose::Unclear, None),
        (RecordedOwner::Leaving, _)
        | (RecordedOwner::Owned | RecordedOwner::Orphan, Some(Claim { leaving: true, .. })) => {
            (Whose::PendingRemoval, None)
        }
        (RecordedOwner::Owned, Some(_)) => (Whose::Owned, None),
        (RecordedOwner::Owned, None) => (Whose::Unclaimed, None),
        (RecordedOwner::Orphan, Some(_)) => {
            (Whose::Unclear, Some("the server has its VM on this host, which has no record of it"))
        }
        (RecordedOwner::Orphan, None) => (Whose::Orphan, None),
    }
}

#[cfg(test)]
mod tests;
