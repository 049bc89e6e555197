//! Deciding about the tokens of callers: names are unique among those that are good, and whatever
//! has expired goes with the next that is made. With a token go the join tokens that were made with
//! it and that no host has used.
//!
//! Who may make and take back tokens was decided before: this is asked by admins only. Whether the
//! token that somebody calls with is there still is asked here, with every decision: nothing that
//! is decided after a revocation is decided for whom it was taken from.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Change, Decided, Ledger, Outcome, Refusal};
use crate::model::caller::Caller;
use crate::model::token::TokenRecord;

/// Most tokens that are good at one time.
const MAX_TOKENS: usize = 100_000;

/// Keep a token.
#[derive(Debug, Clone)]
pub struct CreateToken(pub Arc<TokenRecord>);

/// Forget a token, so that it is good for nothing.
#[derive(Debug, Clone)]
pub struct RevokeToken {
    /// Its id, or the name of its holder.
    pub token: String,
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

    /// Refuses whoever calls with a token that was made by a call and is gone.
    pub(super) fn check_caller(&self, caller: &Caller) -> Result<(), Refusal> {
        match &caller.token {
            Some(id) if self.tokens.get(&**id).is_none() => Err(Refusal::CallerGone),
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn token(&self, reference: &str) -> Option<&Arc<TokenRecord>> {
        let by_id = self.tokens.get(reference);
        by_id.or_else(|| self.tokens().find(|token| token.name == reference))
    }

    pub(super) fn create_token(
        &self,
        token: &Arc<TokenRecord>,
        caller: &Caller,
    ) -> Result<Decided, Refusal> {
        let (mut changes, mut good) = (Vec::new(), 0);
        let mut expired = BTreeSet::new();
        for known in self.tokens() {
            if !known.is_good(caller.at) {
                expired.insert(known.id.as_str());
                changes.push(Change::remove(Arc::clone(known), caller.at));
                continue;
            }
            good += 1;
            // Ids are random: two that are the same are as unlikely as two secrets.
            if known.name == token.name || known.id == token.id {
                return Err(Refusal::TokenNameTaken {
                    name: token.name.clone(),
                    by: known.id.clone(),
                });
            }
        }
        if good >= MAX_TOKENS {
            return Err(Refusal::LimitReached { what: "tokens", limit: MAX_TOKENS });
        }
        changes.extend(self.unused_join_tokens_of(&expired, caller.at));
        changes.push(Change::put(Arc::clone(token)));
        Ok(Decided { changes, outcome: Outcome::Token(Arc::clone(token)) })
    }

    pub(super) fn revoke_token(
        &self,
        revoke: &RevokeToken,
        caller: &Caller,
    ) -> Result<Decided, Refusal> {
        let missing = || Refusal::TokenNotFound { token: revoke.token.clone() };
        let token = self.token(&revoke.token).ok_or_else(missing)?;
        let mut changes = vec![Change::remove(Arc::clone(token), caller.at)];
        changes.extend(self.unused_join_tokens_of(&[token.id.as_str()].into(), caller.at));
        Ok(Decided { changes, outcome: Outcome::TokenGone(Arc::clone(token)) })
    }

    /// The end of all join tokens that were made with one of these tokens and that no host has used.
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
