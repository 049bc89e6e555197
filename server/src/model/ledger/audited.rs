//! The records of a change: made with the decision, so that they are stored with what was decided
//! or not at all. What else than its object a change takes along has a record each.
//!
//! A new mutation does not compile until it is said here what its record is about.

use std::collections::HashMap;

use super::{AnyMutation, Change, Decided, Edit, JoinToken, Ledger, Outcome, Refusal, Revoked};
use crate::model::audit::{
    AuditEffect, AuditObject, AuditOutcome, AuditRecord, AuditStep, AuditedKind,
};
use crate::model::audit_room::{AskedBy, AuditRoom};
use crate::model::caller::Caller;
use crate::model::project::ProjectName;
use crate::model::request::RequestKey;
use crate::model::token::TokenRecord;

/// The records of what was decided for a call: none where nothing changes, and none of what the
/// server does by itself.
pub(super) fn audited(
    caller: &Caller,
    mutation: &AnyMutation,
    request: Option<&RequestKey>,
    decided: &Decided,
) -> Vec<Change> {
    if decided.changes.is_empty() {
        return Vec::new();
    }
    let record = AuditRecord::of(caller, AuditStep::Done, AuditOutcome::ok());
    let Some((object, mut record)) = object_of(mutation, &decided.outcome).zip(record) else {
        return Vec::new();
    };
    record.object = Some(object.clone());
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
    let others = others(mutation, decided).into_iter().map(|(effect, other)| {
        let because_of = Some((effect, object.clone()));
        AuditRecord { object: Some(other), because_of, ..record.clone() }
    });
    let others: Vec<AuditRecord> = others.collect();
    std::iter::once(record).chain(others).map(|record| Change::Audit(record.into())).collect()
}

impl Ledger {
    /// How much room there is for records of who did what.
    pub fn audit_room(&self) -> AuditRoom {
        AuditRoom { records: self.audit_records, max: self.config.max_audit }
    }

    /// Tells how many records there are, and how many of the callers of each project: what was let
    /// go is no decision.
    pub fn set_audit_records(&mut self, records: u64, shares: HashMap<ProjectName, u64>) {
        self.audit_records = records;
        self.audit_shares = shares;
    }

    /// Takes a record over.
    pub(super) fn count_audit(&mut self, record: &AuditRecord) {
        self.audit_records += 1;
        if let Some(project) = record.share() {
            *self.audit_shares.entry(project.clone()).or_default() += 1;
        }
    }

    /// Refuses what would need more records than there is room for. What has ended or was refused
    /// is written in any case: there was room for its beginning, or it has a bound of its own. So
    /// is a revocation, which ends a flood, and the token of an admin where nobody has one; but
    /// not one that keeps what was made, of which the same tokens can be kept again and again.
    pub(super) fn check_audit_room(
        &self,
        caller: &Caller,
        mutation: &AnyMutation,
        decided: &Decided,
    ) -> Result<(), Refusal> {
        match mutation {
            // As that of a token.
            AnyMutation::AddToken(_) | AnyMutation::RevokeHost(_) => return Ok(()),
            AnyMutation::RevokeToken(revoke) if !revoke.keep_made => return Ok(()),
            _ => {}
        }
        let needs = |change: &&Change| match change {
            Change::Audit(record) => match record.step {
                AuditStep::Done | AuditStep::Began => true,
                AuditStep::Ended | AuditStep::Refused | AuditStep::LeftOut(_) => false,
            },
            _ => false,
        };
        let needed = decided.changes.iter().filter(needs).count() as u64;
        let by = AskedBy::of(caller);
        let room = self.audit_room();
        if needed == 0 {
            return Ok(());
        }
        if let Some(project) = caller.only() {
            let share = self.audit_shares.get(project).copied().unwrap_or(0);
            if !room.has_share_for(share, needed) {
                return Err(Refusal::AuditShareFull { project: project.to_string() });
            }
        }
        match room.has_for(needed, by) {
            true => Ok(()),
            false => Err(Refusal::AuditFull { limit: room.limit(by) }),
        }
    }
}

/// What a mutation takes along or leaves that it is not about. Tokens that have expired and go with
/// the next that is made were good for nothing, so that nobody asks what became of them.
fn others(mutation: &AnyMutation, decided: &Decided) -> Vec<(AuditEffect, AuditObject)> {
    if let AnyMutation::DeleteProject(_) = mutation {
        let went = decided.changes.iter().filter_map(|change| match change {
            Change::Token(Edit::Remove { last, .. }) => Some(token(last)),
            _ => None,
        });
        return went.map(|object| (AuditEffect::WentAlong, object)).collect();
    }
    let (AnyMutation::RevokeToken(revoke), Outcome::TokenGone(gone)) = (mutation, &decided.outcome)
    else {
        return Vec::new();
    };
    let went = decided.changes.iter().filter_map(|change| match change {
        Change::Token(Edit::Remove { last, .. }) if last.id != gone.token.id => Some(token(last)),
        Change::JoinToken(Edit::Remove { last, .. }) => Some(join_token(last)),
        _ => None,
    });
    let went = went.map(|object| (AuditEffect::WentAlong, object));
    let kept = gone.made.iter().filter(|_| revoke.keep_made);
    went.chain(kept.map(|made| (AuditEffect::Kept, token(made)))).collect()
}

/// By the name that its calls have in the audit: `shop/ann` in a project.
fn token(token: &TokenRecord) -> AuditObject {
    AuditObject::new(AuditedKind::Token, &token.id, &token.principal())
}

/// Its name is that of the host that it is made for.
fn join_token(token: &JoinToken) -> AuditObject {
    let host = token.host_name.as_deref().unwrap_or_default();
    AuditObject::new(AuditedKind::JoinToken, &token.id, host)
}

/// What a mutation is about; `None` for notes, of which the record is made by who takes them.
fn object_of(mutation: &AnyMutation, outcome: &Outcome) -> Option<AuditObject> {
    match mutation {
        AnyMutation::CreateVm(_)
        | AnyMutation::UpdateVm(_)
        | AnyMutation::SetPower(_)
        | AnyMutation::DeleteVm(_)
        | AnyMutation::Forget(_)
        | AnyMutation::BindVm(_)
        | AnyMutation::Place(_)
        | AnyMutation::JoinHost(_)
        | AnyMutation::UpdateHost(_)
        | AnyMutation::SetCordon(_)
        | AnyMutation::RevokeHost(_)
        | AnyMutation::OfferCertificate(_)
        | AnyMutation::ConfirmCertificate(_)
        | AnyMutation::DeleteHost(_)
        | AnyMutation::PutImage(_)
        | AnyMutation::DeleteImage(_)
        | AnyMutation::CreateProject(_)
        | AnyMutation::UpdateProject(_)
        | AnyMutation::DeleteProject(_)
        | AnyMutation::CreateToken(_)
        | AnyMutation::AddToken(_)
        | AnyMutation::RevokeToken(_) => of_outcome(outcome),
        AnyMutation::CreateJoinToken(create) => Some(join_token(&create.0)),
        AnyMutation::PlacePending(_)
        | AnyMutation::Record(_)
        | AnyMutation::BeginSweep(_)
        | AnyMutation::RecordSweep(_)
        | AnyMutation::NoteTokenUses(_)
        | AnyMutation::KeepFirstCapacities(_)
        | AnyMutation::Audit(_) => None,
    }
}

fn of_outcome(outcome: &Outcome) -> Option<AuditObject> {
    match outcome {
        Outcome::Vm { intent, .. } | Outcome::VmGone(intent) => {
            Some(AuditObject::new(AuditedKind::Vm, intent.id, &intent.named().text()))
        }
        Outcome::Host(host) | Outcome::HostGone(host) => {
            Some(AuditObject::new(AuditedKind::Host, host.id, &host.name))
        }
        Outcome::Image { image, .. } | Outcome::ImageGone(image) => {
            Some(AuditObject::new(AuditedKind::Image, &image.sha256, &image.named().text()))
        }
        Outcome::Token(row) | Outcome::TokenGone(Revoked { token: row, .. }) => Some(token(row)),
        Outcome::Project(project) | Outcome::ProjectGone(project) => {
            let name = project.name.as_str();
            Some(AuditObject::new(AuditedKind::Project, name, name))
        }
        Outcome::Placed { .. }
        | Outcome::Sweep { .. }
        | Outcome::Recorded
        | Outcome::JoinTokenKept => None,
    }
}
