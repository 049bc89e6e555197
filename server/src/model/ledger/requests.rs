//! Deciding a request that names itself: once, and again as things stand.
//!
//! What was done is remembered for a while, also where it has changed nothing: its repetition
//! could change something then. So how many are remembered is bounded, by the rules of the audit
//! ([`AuditRoom`]): what needs one more is refused, and none goes before its time, for whoever asks
//! again would be done it twice.

use std::collections::HashMap;

use super::audited::audited;
use super::{AnyMutation, Change, Decided, HostRef, Ledger, Outcome, Refusal, VmRef};
use crate::model::audit_room::{AskedBy, AuditRoom};
use crate::model::caller::Caller;
use crate::model::project::ProjectName;
use crate::model::request::{DoneRequest, RequestId, RequestKey, RequestTarget};
use crate::model::token::is_id;

/// Requests known to be done: those of the present group, and those that the writer has looked up
/// for it. Not all there ever were: they are in the database.
pub(super) type Done = HashMap<RequestId, DoneRequest>;

/// How many requests are remembered, of each party and in all.
#[derive(Debug, Clone, Default)]
pub(super) struct Remembered {
    all: u64,
    of_parties: HashMap<String, u64>,
}

impl Remembered {
    pub(super) fn count(&mut self, party: &str) {
        self.all += 1;
        match self.of_parties.get_mut(party) {
            Some(count) => *count += 1,
            None => drop(self.of_parties.insert(party.to_owned(), 1)),
        }
    }

    /// Those of a project that is gone are nobody's.
    pub(super) fn leave(&mut self, project: &ProjectName) {
        let count = self.of_parties.remove(&Caller::party_of(project)).unwrap_or(0);
        *self.of_parties.entry(String::new()).or_default() += count;
    }
}

impl Ledger {
    /// What a mutation comes to that may have been asked for before, when its request has a key,
    /// with the record of who asked for it.
    ///
    /// # Errors
    /// Why it is refused. What was refused is not remembered: nothing was done.
    pub fn decide_once(
        &self,
        caller: &Caller,
        mutation: &AnyMutation,
        request: Option<&RequestKey>,
    ) -> Result<Decided, Refusal> {
        let done = request.and_then(|key| Some((key, self.done.get(&key.id)?)));
        if let Some((key, done)) = done {
            self.check_caller(caller)?;
            return self.again(key, mutation, done, caller);
        }
        let mut decided = self.decide(caller, mutation)?;
        decided.changes.extend(audited(caller, mutation, request, &decided));
        self.check_audit_room(caller, mutation, &decided)?;
        if let Some(key) = request
            && let Some(target) = target_of(&decided.outcome)
        {
            self.check_request_room(caller, mutation)?;
            let (project, party) = (caller.only().cloned(), caller.party());
            let done = DoneRequest { key: *key, target, project, party, at: caller.at };
            decided.changes.push(Change::Request(done));
        }
        Ok(decided)
    }

    /// How much room there is for requests that are remembered.
    pub fn request_room(&self) -> AuditRoom {
        AuditRoom { records: self.remembered.all, max: self.config.max_requests }
    }

    /// Tells how many requests are remembered of each party: what was let go is no decision.
    pub fn set_remembered(&mut self, of_parties: HashMap<String, u64>) {
        self.remembered = Remembered { all: of_parties.values().sum(), of_parties };
    }

    /// Refuses what would have to be remembered and has no room. Not a revocation, which ends a
    /// flood, as in the audit.
    fn check_request_room(&self, caller: &Caller, mutation: &AnyMutation) -> Result<(), Refusal> {
        if matches!(mutation, AnyMutation::RevokeToken(revoke) if !revoke.keep_made) {
            return Ok(());
        }
        let (room, by) = (self.request_room(), AskedBy::of(caller));
        let share = self.remembered.of_parties.get(&caller.party()).copied().unwrap_or(0);
        if by == AskedBy::Others && !room.has_share_for(share, 1) {
            let whose = match caller.only() {
                Some(project) => format!("project {project}"),
                None => caller.actor.to_string(),
            };
            return Err(Refusal::RequestShareFull { whose });
        }
        match room.has_for(1, by) {
            true => Ok(()),
            false => Err(Refusal::RequestsFull { limit: room.limit(by) }),
        }
    }

    /// Tells the ledger of requests found done in the database.
    pub fn note_done(&mut self, requests: impl IntoIterator<Item = DoneRequest>) {
        self.done.extend(requests.into_iter().map(|done| (done.key.id, done)));
    }

    /// The answer to a repetition: the object as it stands.
    fn again(
        &self,
        key: &RequestKey,
        mutation: &AnyMutation,
        done: &DoneRequest,
        caller: &Caller,
    ) -> Result<Decided, Refusal> {
        let same = done.key.fingerprint == key.fingerprint;
        if !same || !self.may_mean(mutation, &done.target) || !self.is_for(done, caller) {
            return Err(Refusal::RequestIdTaken { id: key.id });
        }
        let gone = || Refusal::DoneAndGone { what: done.target.clone() };
        let outcome = match &done.target {
            RequestTarget::Token(id) => {
                Outcome::Token(self.tokens.get(id).cloned().ok_or_else(gone)?)
            }
            RequestTarget::Vm(id) => {
                let intent = self.vm(&VmRef::Id(*id)).cloned().ok_or_else(gone)?;
                Outcome::Vm { intent, changed: false }
            }
            RequestTarget::Host(id) if matches!(mutation, AnyMutation::BeginSweep(_)) => {
                Outcome::Sweep { host: *id, begins: false }
            }
            RequestTarget::Host(id) => {
                Outcome::Host(self.host(&HostRef::Id(*id)).cloned().ok_or_else(gone)?)
            }
            RequestTarget::Image(named) => {
                let image = self.image(named).cloned().ok_or_else(gone)?;
                Outcome::Image { image, changed: false }
            }
            RequestTarget::Project(name) => {
                Outcome::Project(self.projects.get(name).cloned().ok_or_else(gone)?)
            }
        };
        Ok(Decided { changes: Vec::new(), outcome })
    }

    /// Whether a repetition by this caller may be told what became of it: what it was about is
    /// there for them, or it was asked for by somebody who sees what they see. Of what is gone
    /// nobody else is told that it was.
    fn is_for(&self, done: &DoneRequest, caller: &Caller) -> bool {
        let Some(own) = caller.only() else { return true };
        let shown = match &done.target {
            RequestTarget::Vm(id) => {
                self.vm(&VmRef::Id(*id)).is_some_and(|vm| caller.sees(&vm.project))
            }
            RequestTarget::Image(named) => {
                self.image(named).is_some_and(|image| image.project == *own)
            }
            RequestTarget::Token(id) => {
                self.tokens.get(id).is_some_and(|token| self.sees_token(token, caller))
            }
            RequestTarget::Host(_) => caller.sees_hosts(),
            RequestTarget::Project(name) => self.has_project(name, caller),
        };
        shown || done.project.as_ref() == Some(own)
    }

    /// Whether what a mutation names can be this object: by its id, or by a name that is nobody
    /// else's now.
    fn may_mean(&self, mutation: &AnyMutation, target: &RequestTarget) -> bool {
        let vm = match mutation {
            AnyMutation::UpdateVm(update) => Some(&update.vm),
            AnyMutation::BindVm(bind) => Some(&bind.vm),
            AnyMutation::SetPower(wish) => Some(&wish.vm),
            AnyMutation::DeleteVm(delete) => Some(&delete.vm),
            _ => None,
        };
        let host = match mutation {
            AnyMutation::UpdateHost(update) => Some(&update.host),
            AnyMutation::SetCordon(cordon) => Some(&cordon.host),
            AnyMutation::DeleteHost(delete) => Some(&delete.host),
            AnyMutation::RevokeHost(revoke) => Some(&revoke.host),
            _ => None,
        };
        match (target, vm, host, mutation) {
            (RequestTarget::Vm(id), Some(VmRef::Id(named)), _, _) => named == id,
            (RequestTarget::Vm(id), Some(named), _, _) => {
                self.vm(named).is_none_or(|vm| vm.id == *id)
            }
            (RequestTarget::Host(id), _, Some(HostRef::Id(named)), _) => named == id,
            (RequestTarget::Host(id), _, Some(named), _) => {
                self.host(named).is_none_or(|host| host.id == *id)
            }
            (RequestTarget::Host(id), _, _, AnyMutation::BeginSweep(begin)) => begin.0.host == *id,
            (RequestTarget::Image(name), _, _, AnyMutation::DeleteImage(delete)) => {
                delete.image == *name
            }
            (RequestTarget::Project(name), _, _, AnyMutation::CreateProject(create)) => {
                create.0.name == *name
            }
            (RequestTarget::Project(name), _, _, AnyMutation::UpdateProject(update)) => {
                update.name == *name
            }
            (RequestTarget::Project(name), _, _, AnyMutation::DeleteProject(delete)) => {
                delete.0 == *name
            }
            (RequestTarget::Token(_), _, _, AnyMutation::CreateToken(_)) => true,
            (RequestTarget::Token(id), _, _, AnyMutation::RevokeToken(revoke)) => {
                if is_id(&revoke.token) {
                    revoke.token == *id
                } else {
                    self.token(&revoke.token).is_none_or(|token| token.id == *id)
                }
            }
            _ => false,
        }
    }
}

/// What an outcome is about; `None` where no request names itself.
fn target_of(outcome: &Outcome) -> Option<RequestTarget> {
    match outcome {
        Outcome::Vm { intent, .. } | Outcome::VmGone(intent) => Some(RequestTarget::Vm(intent.id)),
        Outcome::Host(record) | Outcome::HostGone(record) => Some(RequestTarget::Host(record.id)),
        Outcome::Sweep { host, .. } => Some(RequestTarget::Host(*host)),
        Outcome::Image { image, .. } | Outcome::ImageGone(image) => {
            Some(RequestTarget::Image(image.named()))
        }
        Outcome::Project(project) | Outcome::ProjectGone(project) => {
            Some(RequestTarget::Project(project.name.clone()))
        }
        Outcome::Token(token) => Some(RequestTarget::Token(token.id.clone())),
        Outcome::TokenGone(gone) => Some(RequestTarget::Token(gone.token.id.clone())),
        Outcome::Placed { .. } | Outcome::Recorded | Outcome::JoinTokenKept => None,
    }
}
