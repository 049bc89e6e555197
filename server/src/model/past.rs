//! What the store can prove of the time before this life of the server: what came and what went,
//! and between which revisions.
//!
//! A stream that goes on after a revision of an earlier life is told by this what is new to it and
//! what is gone. States are not in here: none is durable, and each is told as it is now.

use banger_proto::ids::{HostId, Revision, VmId};

use super::project::ProjectName;

/// A thing that streams tell of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Thing {
    Vm(VmId),
    Host(HostId),
}

/// A thing that is gone, by all that is kept of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoneThing {
    pub thing: Thing,
    pub name: String,
    /// Of a VM.
    pub project: Option<ProjectName>,
}

/// One commit, as far as things came and went with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PastCommit {
    /// Whoever is at this revision or a lower one was told nothing of it.
    pub before: Revision,
    /// Whoever is at this one or a higher one was told all of it.
    pub after: Revision,
    pub made: Vec<Thing>,
    pub gone: Vec<GoneThing>,
}

/// What is known of the time before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// The first revision of the present epoch: lower ones are of a time that a restore has undone.
    pub epoch_floor: Revision,
    /// All that came or went after this revision is in `commits`.
    pub floor: Revision,
    /// Oldest first.
    pub commits: Vec<PastCommit>,
}
