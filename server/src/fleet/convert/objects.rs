//! The agent's messages about its host's objects, and what they mean here.
//!
//! Used by the gRPC link only. As with every message of an agent, form is not believed: an id that
//! does not parse is a broken protocol. A kind or a state that this server does not know is one
//! too, so that nothing is shown as what it is not; a reason to keep something may be newer.

use std::time::Duration;

use banger_proto::agent_v1 as wire;
use banger_proto::ids::VmId;
use banger_proto::words;

use super::{Unreadable, span};
use crate::model::inventory::{
    HostObject, KeptReason, ObjectKind, RecordedOwner, SweepOutcome, SweepPolicy,
};

pub(in crate::fleet) fn ids(claimed: &[VmId]) -> Vec<String> {
    claimed.iter().map(VmId::to_string).collect()
}

pub(in crate::fleet) fn object(object: wire::HostObject) -> Result<HostObject, Unreadable> {
    let kind = match object.kind() {
        wire::ObjectKind::Process => ObjectKind::Process,
        wire::ObjectKind::Cgroup => ObjectKind::Cgroup,
        wire::ObjectKind::Jail => ObjectKind::Jail,
        wire::ObjectKind::Mount => ObjectKind::Mount,
        wire::ObjectKind::Rule => ObjectKind::Rule,
        wire::ObjectKind::Tap => ObjectKind::Tap,
        wire::ObjectKind::Dm => ObjectKind::Dm,
        wire::ObjectKind::Loop => ObjectKind::Loop,
        wire::ObjectKind::Directory => ObjectKind::Directory,
        wire::ObjectKind::Unspecified => return Err(Unreadable("object's kind")),
    };
    let standing = match object.state() {
        wire::ObjectState::Owned => RecordedOwner::Owned,
        wire::ObjectState::PendingRemoval => RecordedOwner::Leaving,
        wire::ObjectState::Shared => RecordedOwner::Shared,
        wire::ObjectState::Orphan => RecordedOwner::Orphan,
        wire::ObjectState::Unclear => RecordedOwner::Unclear,
        wire::ObjectState::Unspecified => return Err(Unreadable("object's state")),
    };
    let vm = match object.vm_id.as_str() {
        "" => None,
        id => Some(id.parse().map_err(|_| Unreadable("object's VM id"))?),
    };
    Ok(HostObject {
        kind,
        standing,
        vm,
        name: words::name(object.name),
        age: object.age.map(duration).transpose()?,
        size_bytes: object.size_bytes,
        detail: words::sentence(object.detail),
        orphan_for: object.orphan_for.map(duration).transpose()?,
    })
}

pub(in crate::fleet) fn policy(
    policy: Option<wire::SweepPolicy>,
) -> Result<SweepPolicy, Unreadable> {
    let policy = policy.ok_or(Unreadable("sweep policy"))?;
    Ok(SweepPolicy {
        grace: duration(policy.grace.unwrap_or_default())?,
        budget_per_hour: policy.budget_per_hour,
        budget_left: policy.budget_left,
        automatic: policy.automatic,
    })
}

pub(in crate::fleet) fn swept(answer: wire::SweepResponse) -> Result<SweepOutcome, Unreadable> {
    let missing = || Unreadable("object");
    let removed = answer.removed.into_iter().map(object).collect::<Result<_, _>>()?;
    let kept = answer.kept.into_iter().map(|kept| {
        let why = reason(kept.reason());
        Ok((object(kept.object.ok_or_else(missing)?)?, why, words::sentence(kept.message)))
    });
    let failed = answer.failed.into_iter().map(|failed| {
        Ok((object(failed.object.ok_or_else(missing)?)?, words::sentence(failed.message)))
    });
    Ok(SweepOutcome {
        removed,
        kept: kept.collect::<Result<_, _>>()?,
        failed: failed.collect::<Result<_, _>>()?,
        not_listed: answer.not_listed,
        policy: policy(answer.policy)?,
    })
}

const fn reason(reason: wire::KeptReason) -> KeptReason {
    match reason {
        wire::KeptReason::GracePeriod => KeptReason::GracePeriod,
        wire::KeptReason::BudgetSpent => KeptReason::BudgetSpent,
        wire::KeptReason::Unclear => KeptReason::Unclear,
        wire::KeptReason::Claimed => KeptReason::Claimed,
        wire::KeptReason::ProcessStays => KeptReason::ProcessStays,
        wire::KeptReason::MountedByOthers => KeptReason::MountedByOthers,
        wire::KeptReason::FoundOwner => KeptReason::FoundOwner,
        wire::KeptReason::Unspecified => KeptReason::Other,
    }
}

fn duration(duration: prost_types::Duration) -> Result<Duration, Unreadable> {
    span(duration).ok_or(Unreadable("length of time"))
}

#[cfg(test)]
mod tests;
