//! Deciding about the tokens of callers: names are unique among those that are good of the fleet or
//! of one project, and whatever has expired goes with the next that is made. With a token go the
//! join tokens that were made with it and that no host has used. With one that is taken back go the
//! tokens that were made with it, and with those, unless whoever takes it back keeps them: whoever
//! is shut out has no other door. Nobody keeps what their own token would take along, so that
//! whoever has stolen one can't cut what they made with it loose before it is taken back.
//!
//! A token that goes without those that it made (it has expired, or they are kept) leaves them to
//! the token that it would have gone with. So no chain is cut by what ends in its middle.
//!
//! Who may make and take back tokens was decided before: this is asked by admins only, of the fleet
//! or of a project, to whom no other tokens than its own are there. Whether the
//! token that somebody calls with is there still, and good, is asked here, with every decision:
//! nothing that is decided after a revocation is decided for whom it was taken from, nor after an
//! expiry or the reload of a token file for whose token or line that was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::{Change, Decided, JoinToken, Ledger, Outcome, Refusal, Revoked};
use crate::model::access::{Needed, Refused};
use crate::model::caller::{Caller, Grants, Role};
use crate::model::token::TokenRecord;

/// Most tokens that are good at one time.
const MAX_TOKENS: usize = 100_000;

/// Most of one project, whose admins make them: the others have room.
const MAX_TOKENS_OF_PROJECT: usize = 1_000;

/// Keep a token.
#[derive(Debug, Clone)]
pub struct CreateToken(pub Arc<TokenRecord>);

/// Keep a token beside all that there are, those that have expired included: the server makes the
/// first admin's at its start, when its clock may be wrong, and nothing goes by that then.
#[derive(Debug, Clone)]
pub struct AddToken(pub Arc<TokenRecord>);

/// Forget a token, so that it is good for nothing.
#[derive(Debug, Clone)]
pub struct RevokeToken {
    /// Its id, or the principal that it is of.
    pub token: String,
    /// Whether the tokens that were made with it stay.
    pub keep_made: bool,
}

/// Write down when tokens were used last. Those that are gone meanwhile are passed over.
#[derive(Debug, Clone)]
pub struct NoteTokenUses {
    /// By id.
    pub uses: Vec<(String, Timestamp)>,
}

impl Ledger {
    /// Every token, by id, those that have expired included.
    pub fn tokens(&self) -> impl Iterator<Item = &Arc<TokenRecord>> {
        self.tokens.iter()
    }

    /// Refuses whoever calls with a token that is gone or has expired, with what others have signed
    /// and has expired, or with a line of the token file that is gone. That a line is gone is the
    /// one thing that a decision goes by and that is not in here: the file is not, either.
    pub(super) fn check_caller(&self, caller: &Caller) -> Result<(), Refusal> {
        let good =
            |id: &Arc<str>| self.tokens.get(&**id).is_some_and(|token| token.is_good(caller.at));
        let vouched = caller.vouched.as_ref();
        let over = vouched.is_some_and(|vouched| vouched.expires_at <= caller.at);
        if caller.ended.is_set() || over || !caller.token.as_ref().is_none_or(good) {
            return Err(Refusal::CallerGone);
        }
        Ok(())
    }

    /// Every join token, by id, those that were used or have expired included.
    pub fn join_tokens(&self) -> impl Iterator<Item = &Arc<JoinToken>> {
        self.join_tokens.iter()
    }

    pub fn token_by_id(&self, id: &str) -> Option<&Arc<TokenRecord>> {
        self.tokens.get(id)
    }

    pub(super) fn token(&self, reference: &str) -> Option<&Arc<TokenRecord>> {
        let by_id = self.tokens.get(reference);
        by_id.or_else(|| self.tokens().find(|token| token.is_of(reference)))
    }

    /// Whether a token is there for this caller.
    pub(super) fn sees_token(&self, token: &TokenRecord, caller: &Caller) -> bool {
        match token.rights.project() {
            Some(project) => caller.sees(project),
            None => caller.only().is_none(),
        }
    }

    /// Whether this caller may make tokens with such rights, which are for a project that is there.
    fn check_rights(&self, token: &TokenRecord, caller: &Caller) -> Result<(), Refusal> {
        match (token.rights.project(), &caller.grants) {
            (Some(project), _) => self.check_project(project, caller),
            (None, Grants::To(has)) if has.project().is_some() => {
                Err(Refusal::NotPermitted(Refused::Role {
                    who: Arc::clone(&caller.actor),
                    has: has.clone(),
                    needed: Needed::Fleet(Role::Admin),
                }))
            }
            (None, Grants::To(_) | Grants::Open) => Ok(()),
        }
    }

    pub(super) fn create_token(
        &self,
        token: &Arc<TokenRecord>,
        caller: &Caller,
    ) -> Result<Decided, Refusal> {
        self.check_rights(token, caller)?;
        let (mut changes, mut good, mut of_project) = (Vec::new(), 0, 0);
        let project = token.rights.project();
        let mut expired = BTreeSet::new();
        for known in self.tokens() {
            if !known.is_good(caller.at) {
                expired.insert(known.id.as_str());
                changes.push(Change::remove(Arc::clone(known), caller.at));
                continue;
            }
            good += 1;
            // Ids are random: two that are the same are as unlikely as two secrets.
            let is_beside = known.rights.project() == project;
            of_project += usize::from(project.is_some() && is_beside);
            let same = is_beside && known.name == token.name;
            if same || known.id == token.id {
                return Err(Refusal::TokenNameTaken {
                    name: token.name.clone(),
                    by: known.id.clone(),
                });
            }
        }
        if good >= MAX_TOKENS {
            return Err(Refusal::LimitReached { what: "tokens", limit: MAX_TOKENS });
        }
        if of_project >= MAX_TOKENS_OF_PROJECT {
            let (what, limit) = ("tokens of a project", MAX_TOKENS_OF_PROJECT);
            return Err(Refusal::LimitReached { what, limit });
        }
        changes.extend(self.unused_join_tokens_of(&expired, caller.at));
        changes.extend(self.left_by(&expired));
        changes.push(Change::put(Arc::clone(token)));
        Ok(Decided { changes, outcome: Outcome::Token(Arc::clone(token)) })
    }

    pub(super) fn add_token(&self, token: &Arc<TokenRecord>) -> Result<Decided, Refusal> {
        let same = |known: &&Arc<TokenRecord>| {
            let is_beside = known.rights.project() == token.rights.project();
            known.name == token.name && is_beside || known.id == token.id
        };
        if let Some(known) = self.tokens().find(same) {
            let (name, by) = (token.name.clone(), known.id.clone());
            return Err(Refusal::TokenNameTaken { name, by });
        }
        let changes = vec![Change::put(Arc::clone(token))];
        Ok(Decided { changes, outcome: Outcome::Token(Arc::clone(token)) })
    }

    pub(super) fn revoke_token(
        &self,
        revoke: &RevokeToken,
        caller: &Caller,
    ) -> Result<Decided, Refusal> {
        let missing = || Refusal::TokenNotFound { token: revoke.token.clone() };
        let found = self.token(&revoke.token).filter(|token| self.sees_token(token, caller));
        let token = found.ok_or_else(missing)?;
        // The first admin's token is for making others and is then taken back: at first there is
        // nobody else who could.
        let by_itself = caller.token.as_deref().is_some_and(|own| self.goes_along(own, &token.id));
        if revoke.keep_made && by_itself && !token.is_the_servers() {
            return Err(Refusal::KeepsOwn { token: token.name.clone() });
        }
        let made = self.made_with(&token.id);
        let mut gone: BTreeSet<&str> = [token.id.as_str()].into();
        let mut changes = vec![Change::remove(Arc::clone(token), caller.at)];
        if !revoke.keep_made {
            gone.extend(made.iter().map(|made| made.id.as_str()));
            changes.extend(made.iter().map(|made| Change::remove(Arc::clone(made), caller.at)));
        }
        let join_tokens = self.unused_join_tokens_of(&gone, caller.at);
        let count = join_tokens.len();
        changes.extend(join_tokens);
        changes.extend(self.left_by(&gone));
        // Those that have expired are good for nothing, so that nobody has to hear of them.
        let made = made.into_iter().filter(|made| made.is_good(caller.at));
        let made = made.map(Arc::clone).collect();
        let revoked = Revoked { token: Arc::clone(token), made, join_tokens: count };
        Ok(Decided { changes, outcome: Outcome::TokenGone(revoked) })
    }

    /// Whether the token `id` is `gone` itself, or goes with it.
    fn goes_along(&self, id: &str, gone: &str) -> bool {
        let next = |id: &&str| self.tokens.get(*id).and_then(|token| token.goes_with.as_deref());
        // A chain is never longer, whatever the database has.
        let chain = std::iter::successors(Some(id), |id| next(id)).take(self.tokens.len() + 1);
        chain.into_iter().any(|id| id == gone)
    }

    /// All tokens that go with this one: by name, those that have expired included.
    fn made_with(&self, id: &str) -> Vec<&Arc<TokenRecord>> {
        let mut by_maker: BTreeMap<&str, Vec<&Arc<TokenRecord>>> = BTreeMap::new();
        for token in self.tokens() {
            if let Some(maker) = &token.goes_with {
                by_maker.entry(maker).or_default().push(token);
            }
        }
        let (mut found, mut makers) = (Vec::new(), vec![id]);
        while let Some(maker) = makers.pop() {
            // Each has one maker: whoever is taken out is not found again.
            for token in by_maker.remove(maker).unwrap_or_default() {
                makers.push(&token.id);
                found.push(token);
            }
        }
        found.sort_by_key(|token| (&token.name, &token.id));
        found
    }

    /// Tokens that stay when these go, as they are from then on. Each of those that go is passed
    /// once, however long their chain is and however many stay behind it.
    fn left_by(&self, gone: &BTreeSet<&str>) -> Vec<Change> {
        let mut heirs: BTreeMap<&str, Option<&str>> = BTreeMap::new();
        let mut changes = Vec::new();
        for token in self.tokens().filter(|token| !gone.contains(token.id.as_str())) {
            let mut next = token.goes_with.as_deref();
            let mut passed = Vec::new();
            while let Some(id) = next.filter(|id| gone.contains(id)) {
                if let Some(known) = heirs.get(id) {
                    next = *known;
                    break;
                }
                passed.push(id);
                next = self.tokens.get(id).and_then(|token| token.goes_with.as_deref());
            }
            heirs.extend(passed.into_iter().map(|id| (id, next)));
            if next != token.goes_with.as_deref() {
                let goes_with = next.map(str::to_owned);
                changes.push(Change::put(Arc::new(TokenRecord {
                    goes_with,
                    ..TokenRecord::clone(token)
                })));
            }
        }
        changes
    }

    /// The end of all join tokens that were made with one of these tokens and that no host has
    /// used.
    fn unused_join_tokens_of(&self, makers: &BTreeSet<&str>, at: Timestamp) -> Vec<Change> {
        let unused = self.join_tokens.iter().filter(|token| token.used_for.is_none());
        unused
            .filter(|token| token.created_by_token.as_deref().is_some_and(|id| makers.contains(id)))
            .map(|token| Change::remove(Arc::clone(token), at))
            .collect()
    }

    pub(super) fn note_token_uses(&self, note: &NoteTokenUses) -> Decided {
        let changes = note.uses.iter().filter_map(|(id, at)| {
            let known = self.tokens.get(id)?;
            let newer = known.last_used_at.is_none_or(|last| last < *at);
            let used = TokenRecord { last_used_at: Some(*at), ..TokenRecord::clone(known) };
            newer.then(|| Change::put(Arc::new(used)))
        });
        Decided { changes: changes.collect(), outcome: Outcome::Recorded }
    }
}
