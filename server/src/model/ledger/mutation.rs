//! What can be asked of the ledger, what it answers, and why it refuses.
//!
//! The edge and the reconciler make [`Submission`]s; the store's writer hands each to the ledger.
//! Ids, times and secrets are made by the caller, so that deciding is a function of values.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::ids::{HostId, VmId};
use jiff::Timestamp;

use crate::model::history::HistoryEvent;
use crate::model::host::HostRecord;
use crate::model::image::ImageRecord;
use crate::model::intent::{Desired, VmIntent};
use crate::model::inventory::SweepRecord;
use crate::model::labels::Labels;
use crate::model::placement::Unsuitable;
use crate::model::spec::{SpecProblem, VmSpec};

/// A mutation with who asked for it and when.
#[derive(Debug, Clone)]
pub struct Submission {
    /// What is to change.
    pub mutation: Mutation,
    /// Who asks: a principal of the API, or `host <name>`, or `banger-server`.
    pub actor: String,
    /// W3C trace context of the request; empty when it has none.
    pub traceparent: String,
    /// When it was asked.
    pub at: Timestamp,
}

/// A VM as requests name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VmRef {
    /// By id.
    Id(VmId),
    /// By the name of a living VM.
    Name(String),
}

impl std::fmt::Display for VmRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            // Debug form: a reference from outside may hold anything.
            Self::Name(name) => write!(f, "{name:?}"),
        }
    }
}

/// A host as requests name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostRef {
    /// By id.
    Id(HostId),
    /// By name.
    Name(String),
}

impl std::fmt::Display for HostRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => write!(f, "{name:?}"),
        }
    }
}

/// Etag of a request: when it is given it must be the present one.
pub type IfMatch = Option<String>;

/// What can be asked.
#[derive(Debug, Clone)]
pub enum Mutation {
    /// Have a VM.
    CreateVm(CreateVm),
    /// Give a VM another spec.
    UpdateVm {
        /// Which.
        vm: VmRef,
        /// Precondition.
        etag: IfMatch,
        /// The whole new spec.
        spec: Arc<VmSpec>,
        /// Allow one restart where a changed field needs a stopped VM.
        allow_restart: bool,
    },
    /// Want another power state.
    SetPower {
        /// Which.
        vm: VmRef,
        /// Precondition.
        etag: IfMatch,
        /// Which state, and on which terms.
        power: Power,
    },
    /// Want a VM gone.
    DeleteVm {
        /// Which.
        vm: VmRef,
        /// Precondition.
        etag: IfMatch,
    },
    /// Nothing of a VM is left on its host: forget it. Refused unless it is wanted absent.
    Forget {
        /// Which.
        vm: VmId,
    },
    /// Look for a host for one VM that has none.
    Place {
        /// Which.
        vm: VmId,
    },
    /// Look for hosts for VMs that have none, oldest first, at most 1000 with one mutation.
    PlacePending,
    /// Write down what hosts report. Lines of VMs that are gone meanwhile are written too.
    Record {
        /// The lines, in order.
        events: Vec<HistoryEvent>,
    },
    /// Write down a sweep that was asked for, or what came of it.
    RecordSweep(SweepRecord),
    /// Keep a join token.
    CreateJoinToken(JoinToken),
    /// Admit a host.
    JoinHost(JoinHost),
    /// Change a host's labels or address.
    UpdateHost {
        /// Which.
        host: HostRef,
        /// Precondition.
        etag: IfMatch,
        /// The whole new set.
        labels: Labels,
        /// `None`: as it is.
        agent_address: Option<String>,
    },
    /// Keep further VMs off a host, or let them on again.
    SetCordon {
        /// Which.
        host: HostRef,
        /// Precondition.
        etag: IfMatch,
        /// Whether to keep them off.
        cordoned: bool,
    },
    /// Forget a host that holds no VMs.
    DeleteHost {
        /// Which.
        host: HostRef,
        /// Precondition.
        etag: IfMatch,
    },
    /// Give a name to a content that is here.
    PutImage {
        /// The image.
        image: Arc<ImageRecord>,
        /// Also when the name stands for other content.
        replace: bool,
    },
    /// Forget the name of an image that no VM uses by it.
    DeleteImage {
        /// Which.
        name: String,
    },
    /// Say which contents are referred to. Changes nothing; asked of the writer, so that the answer
    /// stands on nothing that is not stored.
    KeptContents,
}

/// A VM to create.
#[derive(Debug, Clone)]
pub struct CreateVm {
    /// The id it gets: chosen by the client, or made by the edge.
    pub id: VmId,
    /// Whether the client chose the id: only then may it be taken.
    pub id_is_given: bool,
    /// The request id when it is not the id.
    pub request_id: Option<VmId>,
    /// Checked name; empty: made from the id.
    pub name: String,
    /// The wanted shape.
    pub spec: Arc<VmSpec>,
    /// The wanted power state; not [`Desired::Absent`].
    pub desired: Desired,
}

/// A wish for a power state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Run.
    Start {
        /// The VM was seen to have ended by itself: make a new process though it is wanted running
        /// already.
        again: bool,
    },
    /// Stop.
    Stop {
        /// How long the guest has to shut down by itself.
        grace: Duration,
    },
    /// Stop and start once.
    Reboot {
        /// How long the guest has to shut down by itself.
        grace: Duration,
        /// Make the root disk anew.
        reset_root_disk: bool,
    },
    /// Pause.
    Pause,
    /// Run again after a pause.
    Resume,
}

/// A join token as it is stored: never its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Public part, finds the row.
    pub id: String,
    /// sha256 of the secret part.
    pub secret_sha256: [u8; 32],
    /// The only name a host may join with; `None`: any.
    pub host_name: Option<String>,
    /// Not good from then on.
    pub expires_at: Timestamp,
    /// The host it was used for, and the sha256 of the key that host presented.
    pub used_for: Option<(HostId, [u8; 32])>,
}

/// A host to admit.
#[derive(Debug, Clone)]
pub struct JoinHost {
    /// Public part of the token.
    pub token_id: String,
    /// sha256 of the secret part presented.
    pub secret_sha256: [u8; 32],
    /// sha256 of the public key in the certificate request: the same key may use the token again,
    /// because its first answer may have been lost.
    pub key_sha256: [u8; 32],
    /// The id a new host gets.
    pub new_id: HostId,
    /// Set when a known host joins again.
    pub known_id: Option<HostId>,
    /// Checked name.
    pub name: String,
    /// Checked `address:port`.
    pub agent_address: String,
    /// Checked labels.
    pub labels: Labels,
    /// When the certificate that is about to be signed expires.
    pub certificate_expires_at: Timestamp,
}

/// What a mutation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The VM as it is wanted now.
    Vm {
        /// The row.
        intent: Arc<VmIntent>,
        /// Whether the mutation changed anything.
        changed: bool,
    },
    /// The VM is gone; this is its last row.
    VmGone(Arc<VmIntent>),
    /// VMs without a host were looked at.
    Placed {
        /// How many were placed by this mutation.
        placed: usize,
        /// How many are left without a host.
        pending: usize,
    },
    /// The lines were written.
    Recorded,
    /// The host as it is now.
    Host(Arc<HostRecord>),
    /// The host is gone; this is its last row.
    HostGone(Arc<HostRecord>),
    /// The token is kept.
    TokenKept,
    /// The image as it is now.
    Image {
        /// The row.
        image: Arc<ImageRecord>,
        /// Whether the mutation changed anything.
        changed: bool,
    },
    /// The name is forgotten; this is its last row.
    ImageGone(Arc<ImageRecord>),
    /// The digests of all contents that are referred to.
    KeptContents(BTreeSet<String>),
}

/// Why a mutation is refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No VM with this id, no living VM with this name.
    #[error("there is no VM {0}")]
    VmNotFound(VmRef),
    /// No host with this id or name.
    #[error("there is no host {0}")]
    HostNotFound(HostRef),
    /// The id belongs to a VM that was created otherwise.
    #[error(
        "the id {id} is taken by VM {name}, which was created with another name, spec or state"
    )]
    VmIdTaken {
        /// The id.
        id: VmId,
        /// The name of the VM that has it.
        name: String,
    },
    /// The id belongs to a VM that was deleted; ids are never used again.
    #[error("the id {id} belongs to a VM that was deleted, and ids are never used again")]
    VmIdUsedUp {
        /// The id.
        id: VmId,
    },
    /// A living VM has the name.
    #[error("the name {name:?} is taken by VM {by}")]
    VmNameTaken {
        /// The name.
        name: String,
        /// The VM that has it.
        by: VmId,
    },
    /// A host has the name.
    #[error("the name {name:?} is taken by host {by}")]
    HostNameTaken {
        /// The name.
        name: String,
        /// The host that has it.
        by: HostId,
    },
    /// The etag is not the present one.
    #[error("the etag given is not the present one of {what}: it was changed meanwhile")]
    EtagMismatch {
        /// `VM <name>` or `host <name>`.
        what: String,
    },
    /// The VM is being deleted.
    #[error("VM {name} is being deleted")]
    VmDeleting {
        /// Which.
        name: String,
    },
    /// Changed fields need a stopped VM.
    #[error("VM {name} is wanted {desired}; these fields need a stopped VM or allow_restart: {}", fields.join(", "))]
    NeedsStoppedVm {
        /// Which.
        name: String,
        /// What is wanted of it.
        desired: Desired,
        /// The fields.
        fields: Vec<&'static str>,
    },
    /// Fields that can't be so, seen against what is there.
    #[error("{} of the request can't be accepted", count(.0))]
    InvalidFields(Vec<SpecProblem>),
    /// The wish does not fit the power state that is wanted now.
    #[error("VM {name} is wanted {desired}; to {wish} it, it must be wanted {needed}")]
    WrongDesiredState {
        /// Which.
        name: String,
        /// What is wanted of it.
        desired: Desired,
        /// The verb asked for.
        wish: &'static str,
        /// What would have to be wanted.
        needed: Desired,
    },
    /// A VM that is not wanted absent can't be forgotten.
    #[error("VM {name} is wanted {desired} and can't be forgotten")]
    NotAbsent {
        /// Which.
        name: String,
        /// What is wanted of it.
        desired: Desired,
    },
    /// The host still holds VMs.
    #[error("host {host} still holds {vms} VMs")]
    HostNotEmpty {
        /// Which.
        host: String,
        /// How many.
        vms: usize,
    },
    /// The host can't take the VM.
    #[error("host {host} can't take the VM: {why}")]
    HostUnsuitable {
        /// Which.
        host: String,
        /// Why.
        why: Unsuitable,
    },
    /// The join token is unknown, used or expired, or made for another host.
    #[error("the join token is {0}")]
    JoinTokenInvalid(&'static str),
    /// A stated limit is reached.
    #[error("the limit of {limit} {what} is reached")]
    LimitReached {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// No image with this name.
    #[error("there is no image {name:?}")]
    ImageNotFound {
        /// The name.
        name: String,
    },
    /// The name stands for other content.
    #[error("the name {name:?} is taken by an image with the sha256 {sha256}")]
    ImageNameTaken {
        /// The name.
        name: String,
        /// Of the content it stands for.
        sha256: String,
    },
    /// VMs use the image.
    #[error("image {name} is used by VM {}{}", vms.join(", "), and_more(*more))]
    ImageInUse {
        /// The name.
        name: String,
        /// Names of some of the VMs.
        vms: Vec<String>,
        /// How many further ones there are.
        more: usize,
    },
    /// The pool of guest subnets is used up.
    #[error("the pool of guest subnets {pool} has none left")]
    NoSubnetLeft {
        /// The pool.
        pool: String,
    },
}

fn and_more(more: usize) -> String {
    if more == 0 { String::new() } else { format!(" and {more} more") }
}

fn count(problems: &[SpecProblem]) -> String {
    match problems {
        [one] => format!("the field {}", one.field),
        many => format!("{} fields", many.len()),
    }
}
