//! The record of a change: made with the decision, so that it is stored with what was decided or
//! not at all.
//!
//! A new mutation does not compile until it is said here what its record is about.

use super::{AnyMutation, Change, Decided, Outcome, Revoked};
use crate::model::audit::{AuditObject, AuditOutcome, AuditRecord, AuditStep, AuditedKind};
use crate::model::caller::Caller;
use crate::model::history::HistoryEvent;
use crate::model::request::RequestKey;

/// Write down what has begun, has ended or was refused, with what the history says of it.
#[derive(Debug, Clone)]
pub struct Audit {
    pub records: Vec<AuditRecord>,
    pub events: Vec<HistoryEvent>,
}

impl Audit {
    pub(super) fn decide(&self) -> Decided {
        let records = self.records.iter().cloned().map(|record| Change::Audit(record.into()));
        let events = self.events.iter().cloned().map(Change::Event);
        Decided { changes: records.chain(events).collect(), outcome: Outcome::Recorded }
    }
}

/// The record of what was decided for a call: none where nothing changes, and none of what the
/// server does by itself.
pub(super) fn audited(
    caller: &Caller,
    mutation: &AnyMutation,
    request: Option<&RequestKey>,
    decided: &Decided,
) -> Option<Change> {
    if decided.changes.is_empty() {
        return None;
    }
    let object = object_of(mutation, &decided.outcome)?;
    let mut record = AuditRecord::of(caller, AuditStep::Done, AuditOutcome::ok())?;
    record.object = Some(object);
    record.request_id = match (request, mutation) {
        (Some(key), _) => key.id.to_string(),
        // Its id is one that the client chose, or its request's.
        (None, AnyMutation::CreateVm(create)) => {
            let id = create.request_id.or(create.id_is_given.then_some(create.id));
            id.map(|id| id.to_string()).unwrap_or_default()
        }
        (None, _) => String::new(),
    };
    if let AnyMutation::JoinHost(join) = mutation {
        record.token_id.clone_from(&join.token_id);
    }
    Some(Change::Audit(record.into()))
}

/// What a mutation is about; `None` for notes, of which the record is made by who takes them.
fn object_of(mutation: &AnyMutation, outcome: &Outcome) -> Option<AuditObject> {
    match mutation {
        AnyMutation::CreateVm(_)
        | AnyMutation::UpdateVm(_)
        | AnyMutation::SetPower(_)
        | AnyMutation::DeleteVm(_)
        | AnyMutation::Forget(_)
        | AnyMutation::Place(_)
        | AnyMutation::JoinHost(_)
        | AnyMutation::UpdateHost(_)
        | AnyMutation::SetCordon(_)
        | AnyMutation::DeleteHost(_)
        | AnyMutation::PutImage(_)
        | AnyMutation::DeleteImage(_)
        | AnyMutation::CreateToken(_)
        | AnyMutation::RevokeToken(_) => of_outcome(outcome),
        AnyMutation::CreateJoinToken(create) => {
            let token = &create.0;
            let host = token.host_name.as_deref().unwrap_or_default();
            Some(AuditObject::new(AuditedKind::JoinToken, &token.id, host))
        }
        AnyMutation::PlacePending(_)
        | AnyMutation::Record(_)
        | AnyMutation::RecordSweep(_)
        | AnyMutation::NoteTokenUses(_)
        | AnyMutation::Audit(_) => None,
    }
}

fn of_outcome(outcome: &Outcome) -> Option<AuditObject> {
    match outcome {
        Outcome::Vm { intent, .. } | Outcome::VmGone(intent) => {
            Some(AuditObject::new(AuditedKind::Vm, intent.id, &intent.name))
        }
        Outcome::Host(host) | Outcome::HostGone(host) => {
            Some(AuditObject::new(AuditedKind::Host, host.id, &host.name))
        }
        Outcome::Image { image, .. } | Outcome::ImageGone(image) => {
            Some(AuditObject::new(AuditedKind::Image, &image.sha256, &image.name))
        }
        Outcome::Token(token) | Outcome::TokenGone(Revoked { token, .. }) => {
            Some(AuditObject::new(AuditedKind::Token, &token.id, &token.name))
        }
        Outcome::Placed { .. } | Outcome::Recorded | Outcome::JoinTokenKept => None,
    }
}
