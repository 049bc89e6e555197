//! Why a mutation is refused, a sentence each. Nothing was changed then.

use banger_proto::ids::{HostId, VmId};
use banger_proto::words::counted;

use super::{HostRef, VmRef};
use crate::model::access::Refused;
use crate::model::intent::Desired;
use crate::model::placement::Unsuitable;
use crate::model::project::OverQuota;
use crate::model::request::{RequestId, RequestTarget};
use crate::model::spec::{SpecProblem, SpecRefusal};

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
        id: VmId,
        /// The name of the VM that has it.
        name: String,
    },
    /// The id belongs to a VM that was deleted, or to one that is not the caller's; ids are never
    /// used again, and which of the two it is is not theirs to know.
    #[error("the id {id} is used up: it belongs to another VM, or to one that was deleted")]
    VmIdUsedUp { id: VmId },
    /// The request id was used for another request.
    #[error("the request_id {id} was used for another request")]
    RequestIdTaken { id: RequestId },
    /// The request was done before, and what it was about is gone since.
    #[error("the request was done before, and there is no {what} any more")]
    DoneAndGone {
        /// What it was about.
        what: RequestTarget,
    },
    /// A living VM has the name.
    #[error("the name {name:?} is taken by VM {by}")]
    VmNameTaken {
        name: String,
        /// The VM that has it.
        by: VmId,
    },
    #[error("the name {name:?} is taken by host {by}")]
    HostNameTaken {
        name: String,
        /// The host that has it.
        by: HostId,
    },
    /// The etag is not the present one.
    #[error("the etag is not the current one of {what}: somebody changed it meanwhile")]
    EtagMismatch {
        /// `VM <name>` or `host <name>`.
        what: String,
    },
    /// The VM is being deleted.
    #[error("VM {name} is being deleted")]
    VmDeleting { name: String },
    /// Changed fields need a stopped VM.
    #[error("the desired state of VM {name} is {desired}; these fields need a stopped VM or allow_restart: {}", fields.join(", "))]
    NeedsStoppedVm {
        name: String,
        /// What is wanted of it.
        desired: Desired,
        fields: Vec<&'static str>,
    },
    /// Fields that can't be so, seen against what is there.
    #[error("{} of the request can't be accepted", count(.0))]
    InvalidFields(Vec<SpecProblem>),
    /// The wish does not fit the power state that is wanted now.
    #[error("the desired state of VM {name} is {desired}; to {wish} it, it must be {needed}")]
    WrongDesiredState {
        name: String,
        /// What is wanted of it.
        desired: Desired,
        /// The verb asked for.
        wish: &'static str,
        /// What would have to be wanted.
        needed: Desired,
    },
    /// A VM that is not wanted absent can't be forgotten.
    #[error("the desired state of VM {name} is {desired}, so the server can't forget it")]
    NotAbsent {
        name: String,
        /// What is wanted of it.
        desired: Desired,
    },
    /// The host still holds VMs.
    #[error("host {host} still holds {}", counted(*vms as u64, "VM"))]
    HostNotEmpty {
        host: String,
        /// How many.
        vms: usize,
    },
    /// The key was a host's that was shut out.
    #[error("the key was that of host {host}, which was revoked, and is good for no host any more")]
    HostKeyRevoked {
        /// The name that it had.
        host: String,
    },
    /// The host can't take the VM.
    #[error("host {host} can't take the VM: {why}{}", and_also(also))]
    HostUnsuitable {
        host: String,
        why: Unsuitable,
        /// What else speaks against it.
        also: Vec<Unsuitable>,
    },
    /// The join token is unknown, used or expired, or made for another host.
    #[error("the join token is {0}")]
    JoinTokenInvalid(&'static str),
    /// The join token is for a host of one name, and a host with another came.
    #[error(
        "the join token is made for a host named {made_for:?}, and this one joins as {name:?}: \
         join with --name {made_for}, or make another token"
    )]
    JoinTokenForAnother {
        /// The name that the token is good for.
        made_for: String,
        /// The name that was asked for.
        name: String,
    },
    /// A stated limit is reached.
    #[error("the limit of {limit} {what} is reached")]
    LimitReached {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// There is no room for the record of it, and none goes before its time.
    #[error(
        "the limit of {limit} records of the audit is reached, so that nothing is changed that would \
         need one: raise limits.max_audit_records of the server, or lower retention.audit_hours"
    )]
    AuditFull {
        /// How many there may be when this caller asks.
        limit: u64,
    },
    /// The callers of a project have as many records as they may beside what is left for others.
    #[error(
        "the audit has no room for more records of callers of project {project}, so that nothing is \
         changed that would need one: ask an admin of the fleet"
    )]
    AuditShareFull { project: String },
    /// There is no room to remember it, and none goes before its time.
    #[error(
        "the limit of {limit} requests that are remembered is reached, so that nothing is done that \
         names itself: raise limits.max_requests of the server, or lower retention.requests_hours"
    )]
    RequestsFull {
        /// How many there may be when this caller asks.
        limit: u64,
    },
    /// A party has as many requests remembered as it may beside what is left for others.
    #[error(
        "no more requests of {whose} are remembered, so that nothing is done that names itself: ask \
         less often, or an admin of the fleet"
    )]
    RequestShareFull {
        /// The principal, or "project" and its name.
        whose: String,
    },
    /// No image with this name.
    #[error("there is no image {name:?}")]
    ImageNotFound { name: String },
    /// No kernel was named, and there is no image that would carry one.
    #[error("no kernel was named, and the server has no image {root:?} that would carry one")]
    NothingCarried {
        /// The root image, as asked for.
        root: String,
    },
    /// A spec names an image that neither the server nor any host has.
    #[error(
        "{field} names {name:?}, an image that neither the server nor any host has{}",
        meant(near)
    )]
    ImageNowhere {
        /// The field of the spec.
        field: &'static str,
        name: String,
        /// Names that may have been meant.
        near: Vec<String>,
    },
    /// The name stands for other content.
    #[error("the name {name:?} is taken by an image with the sha256 {sha256}")]
    ImageNameTaken {
        name: String,
        /// Of the content it stands for.
        sha256: String,
    },
    /// VMs use the image.
    #[error("image {name} is used by VM {}{}", vms.join(", "), and_more(*more))]
    ImageInUse {
        name: String,
        /// Names of some of the VMs.
        vms: Vec<String>,
        /// How many further ones there are.
        more: usize,
    },
    /// Other images are booted with the image.
    #[error("image {name} is what {} boots with", by.join(", "))]
    ImageCarried {
        name: String,
        /// Names of some of the images that carry it.
        by: Vec<String>,
    },
    /// No project has this name, or it is not the caller's.
    #[error("there is no project {name:?}")]
    ProjectNotFound { name: String },
    #[error("there is a project {name:?} already")]
    ProjectNameTaken { name: String },
    /// The name of a project that has gone. What is still told of its VMs, to a watch that resumes,
    /// would be told to the next by that name.
    #[error(
        "project {name:?} was deleted; its name can be given again once the server was restarted"
    )]
    ProjectNameUsed { name: String },
    #[error(
        "project {name} still has {} and {}",
        counted(*vms as u64, "VM"),
        counted(*images as u64, "image")
    )]
    ProjectNotEmpty {
        name: String,
        /// How many, those that are being deleted included.
        vms: usize,
        images: usize,
    },
    /// A VM or an image would take its project past its quota.
    #[error(
        "project {project} may have {} {}, {} of them are used, and this needs {}",
        passed.allowed, passed.what, passed.used, passed.wanted
    )]
    QuotaExceeded { project: String, passed: OverQuota },
    /// The project that is meant where none is named.
    #[error("the project {name} is always there")]
    ProjectStays { name: String },
    /// What was found is not for this caller's role.
    #[error("{0}")]
    NotPermitted(Refused),
    /// No token has this id, and none is held by this name.
    #[error("there is no token {token:?}")]
    TokenNotFound {
        /// As it was asked for.
        token: String,
    },
    #[error("the name {name:?} is taken by the token {by}")]
    TokenNameTaken {
        name: String,
        /// The id of the token that has it.
        by: String,
    },
    /// Whoever calls would keep what their own token, or one that it goes with, has made.
    #[error(
        "you call with token {token}, or with one that goes with it, and so you can't keep what it \
         has made: leave out keep_made, or have an admin do it whose token does not go with it"
    )]
    KeepsOwn {
        /// Its name.
        token: String,
    },
    /// The token that the caller calls with is there no longer.
    #[error("the bearer token has expired or was taken back")]
    CallerGone,
    /// The pool of guest subnets is used up.
    #[error("the pool of guest subnets {pool} has none left that the host does not use itself")]
    NoSubnetLeft { pool: String },
}

/// "Did you mean", if there is anything.
fn meant(near: &[String]) -> String {
    if near.is_empty() {
        return String::new();
    }
    let near: Vec<String> = near.iter().map(|name| format!("{name:?}")).collect();
    format!("; did you mean {}?", near.join(" or "))
}

impl Refusal {
    /// Of a spec that came to nothing when it was joined with the one that is there.
    pub(super) fn of_spec(refusal: SpecRefusal) -> Self {
        Self::InvalidFields(match refusal {
            SpecRefusal::Invalid(problems) => problems,
            SpecRefusal::NotImplemented(fields) => fields
                .into_iter()
                .map(|field| SpecProblem::new(field, "is not implemented yet"))
                .collect(),
        })
    }
}

fn and_also(also: &[Unsuitable]) -> String {
    also.iter().map(|why| format!("; {why}")).collect()
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
