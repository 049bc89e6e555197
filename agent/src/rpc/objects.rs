//! `ListObjects` and `Sweep`: the inventory of the host's objects, and the removal of what is
//! nobody's, as messages.
//!
//! Driven by the service. What can go wrong: the host cannot be read, or a message names VMs by
//! something that is no id.

use std::collections::BTreeSet;
use std::time::Duration;

use banger_proto::agent_v1 as wire;
use banger_proto::ids::VmId;

use super::convert::{self, WireError};
use crate::inventory::sweep::{Asker, Fate, Kept, Listed, Policy, Swept};
use crate::inventory::{Kind, Standing};

/// Objects in one message.
pub(super) const PART: usize = 500;

/// Objects that stay or failed, listed in one answer to a sweep.
const LISTED: usize = 1500;

/// The longest text of one object, in bytes. Paths are at most 4096; a message has to hold many.
const LONGEST: usize = 200;

/// VMs a server may claim: more than a host can hold.
const MAX_CLAIMED: usize = 100_000;

/// The longest name of who asked, in bytes.
const MAX_ACTOR: usize = 256;

pub(super) fn claimed(ids: &[String]) -> Result<BTreeSet<VmId>, WireError> {
    let field = "claimed_vm_ids";
    if ids.len() > MAX_CLAIMED {
        return Err(WireError {
            field: field.to_owned(),
            problem: format!("more than {MAX_CLAIMED}"),
        });
    }
    ids.iter().map(|id| convert::vm_id(field, id)).collect()
}

pub(super) fn asker(request: wire::SweepRequest) -> Result<Asker, WireError> {
    let claimed = claimed(&request.claimed_vm_ids)?;
    Ok(Asker::People { actor: clipped(request.actor, MAX_ACTOR), claimed })
}

pub(super) fn parts(objects: Vec<Listed>, policy: Policy) -> Vec<wire::ListObjectsResponse> {
    let mut parts: Vec<wire::ListObjectsResponse> = objects
        .chunks(PART)
        .map(|part| wire::ListObjectsResponse {
            objects: part.iter().map(object).collect(),
            policy: None,
        })
        .collect();
    if parts.is_empty() {
        parts.push(wire::ListObjectsResponse::default());
    }
    if let Some(last) = parts.last_mut() {
        last.policy = Some(policy_to_wire(policy));
    }
    parts
}

pub(super) fn swept(swept: Vec<Swept>, policy: Policy) -> wire::SweepResponse {
    let mut answer =
        wire::SweepResponse { policy: Some(policy_to_wire(policy)), ..Default::default() };
    for (listed, fate) in swept {
        let row = object(&listed);
        match fate {
            Fate::Removed => answer.removed.push(row),
            Fate::Kept(why) if answer.kept.len() < LISTED => answer.kept.push(wire::KeptObject {
                object: Some(row),
                reason: reason(&why).into(),
                message: clipped(why.to_string(), LONGEST),
            }),
            Fate::Failed(why) if answer.failed.len() < LISTED => {
                let message = clipped(why, LONGEST);
                answer.failed.push(wire::FailedObject { object: Some(row), message });
            }
            Fate::Kept(_) | Fate::Failed(_) => answer.not_listed += 1,
        }
    }
    answer
}

const fn reason(kept: &Kept) -> wire::KeptReason {
    match kept {
        Kept::Grace { .. } => wire::KeptReason::GracePeriod,
        Kept::Budget { .. } => wire::KeptReason::BudgetSpent,
        Kept::Unclear(_) => wire::KeptReason::Unclear,
        Kept::Claimed => wire::KeptReason::Claimed,
        Kept::ProcessStays(_) => wire::KeptReason::ProcessStays,
        Kept::Mounted => wire::KeptReason::MountedByOthers,
        Kept::FoundOwner => wire::KeptReason::FoundOwner,
    }
}

fn policy_to_wire(policy: Policy) -> wire::SweepPolicy {
    wire::SweepPolicy {
        grace: Some(duration(policy.settings.grace)),
        budget_per_hour: policy.settings.budget_per_hour,
        budget_left: policy.budget_left,
        automatic: policy.settings.automatic,
    }
}

fn object(listed: &Listed) -> wire::HostObject {
    let object = &listed.object;
    let (state, why) = match &object.standing {
        Standing::Owned => (wire::ObjectState::Owned, None),
        Standing::Leaving => (wire::ObjectState::PendingRemoval, None),
        Standing::Shared => (wire::ObjectState::Shared, None),
        Standing::Orphan | Standing::Lost => (wire::ObjectState::Orphan, None),
        Standing::Unclear(why) => (wire::ObjectState::Unclear, Some(why)),
    };
    wire::HostObject {
        kind: kind(object.kind()).into(),
        name: clipped(object.name.clone(), LONGEST),
        vm_id: object.vm.map(|vm| vm.to_string()).unwrap_or_default(),
        state: state.into(),
        age: object.age.map(duration),
        size_bytes: object.size_bytes,
        detail: clipped(why.unwrap_or(&object.detail).clone(), LONGEST),
        orphan_for: listed.orphan_for.map(duration),
    }
}

const fn kind(kind: Kind) -> wire::ObjectKind {
    match kind {
        Kind::Process => wire::ObjectKind::Process,
        Kind::Cgroup => wire::ObjectKind::Cgroup,
        Kind::Jail => wire::ObjectKind::Jail,
        Kind::Mount => wire::ObjectKind::Mount,
        Kind::Rule => wire::ObjectKind::Rule,
        Kind::Tap => wire::ObjectKind::Tap,
        Kind::Dm => wire::ObjectKind::Dm,
        Kind::Loop => wire::ObjectKind::Loop,
        Kind::Directory => wire::ObjectKind::Directory,
    }
}

fn duration(time: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(time.subsec_nanos()).unwrap_or(0),
    }
}

/// Text of at most so many bytes; what was cut is marked.
fn clipped(mut text: String, longest: usize) -> String {
    if text.len() > longest {
        let end = (0..=longest - 3).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests;
