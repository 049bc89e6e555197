//! Those whom others have vouched for, by a token that a provider has signed or by a certificate:
//! kept from their first call until it expires, so that it is verified once.
//!
//! There are so many at most. Where one more comes, those who have no call under way make room; who
//! has one stays, since its end has to be found when what it goes by expires.

use std::sync::Arc;

use super::{Identities, Identity, KnownCallers, Sha};
use crate::model::caller::{Principal, Vouch};
use crate::oidc::KeyPrint;

/// How many are kept.
const MOST: usize = 10_000;

/// By what it is good that others have signed, beside the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api::auth) enum Basis {
    /// A provider shows this key.
    Key(KeyPrint),
    /// The CAs of callers have signed it.
    Authority,
}

/// Nobody more can be known: all of those who are have calls under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("as many others as can be known have calls under way: call again later")]
pub(in crate::api::auth) struct Full;

impl Identities {
    /// Somebody has shown this for the first time, and it is good. Another call may have been
    /// first.
    ///
    /// # Errors
    /// There are as many as can be.
    pub(in crate::api::auth) fn vouch(
        &self,
        sha256: Sha,
        principal: Principal,
        (vouch, basis): (Vouch, Basis),
    ) -> Result<Arc<Identity>, Full> {
        let mut table = self.0.write();
        if let Some(known) = table.vouched.get(&sha256).filter(|known| !known.gone.is_cancelled()) {
            return Ok(Arc::clone(known));
        }
        if table.vouched.len() >= MOST {
            // Held by this table alone: no call is under way by it.
            table.vouched.retain(|_, known| Arc::strong_count(known) > 1);
        }
        if table.vouched.len() >= MOST {
            return Err(Full);
        }
        let known = Identity { vouched: Some((vouch, basis)), ..Identity::of(principal, None) };
        let known = Arc::new(known);
        table.vouched.insert(sha256, Arc::clone(&known));
        Ok(known)
    }

    /// Ends those whose key the provider shows no longer.
    pub fn keep_shown(&self, shows: impl Fn(&KeyPrint) -> bool) {
        self.0.write().end_vouched(|_, basis| match basis {
            Basis::Key(print) => shows(print),
            Basis::Authority => true,
        });
    }

    /// Ends those who are known by certificates: by other CAs they may be somebody else.
    pub fn end_certified(&self) {
        self.0.write().end_vouched(|_, basis| *basis != Basis::Authority);
    }
}

impl KnownCallers {
    /// Ends those who are not to be kept.
    pub(super) fn end_vouched(&mut self, keep: impl Fn(&Vouch, &Basis) -> bool) {
        self.vouched.retain(|_, known| {
            let keeps = known.vouched.as_ref().is_some_and(|(vouch, basis)| keep(vouch, basis));
            if !keeps {
                known.end();
            }
            keeps
        });
    }
}
