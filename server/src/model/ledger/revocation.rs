//! Deciding about hosts that are shut out, and keys that are good for none any more.
//!
//! A host is shut out with every key that it has: the one on record and the one that was offered.
//! The keys outlive the host's row, so that no delete and no further join brings one back. The row
//! stays, with its VMs: whether those still run nobody can tell.

use std::sync::Arc;

use super::{Change, Decided, HostRef, IfMatch, Ledger, Outcome, Refusal};
use crate::model::caller::Caller;
use crate::model::host::{HostRecord, KeyDigest, Renewal, Revocation, RevokedKey};

/// Shut a host out.
#[derive(Debug, Clone)]
pub struct RevokeHost {
    pub host: HostRef,
    /// Precondition.
    pub etag: IfMatch,
    /// Why, as whoever does it says.
    pub reason: String,
}

impl Ledger {
    /// Every key that is good for no host any more.
    pub fn revoked_keys(&self) -> impl Iterator<Item = &Arc<RevokedKey>> {
        self.revoked_keys.iter()
    }

    /// Refuses a key of a host that was shut out.
    pub(super) fn check_key(&self, key: KeyDigest) -> Result<(), Refusal> {
        match self.revoked_keys.get(&key) {
            Some(revoked) => Err(Refusal::HostKeyRevoked { host: revoked.host_name.clone() }),
            None => Ok(()),
        }
    }

    pub(super) fn revoke_host(
        &self,
        asked: &RevokeHost,
        caller: &Caller,
    ) -> Result<Decided, Refusal> {
        let old = self.matching_host(&asked.host, asked.etag.as_deref())?;
        if old.revoked.is_some() {
            return Ok(Decided { changes: Vec::new(), outcome: Outcome::Host(Arc::clone(old)) });
        }
        let by = Revocation {
            at: caller.at,
            by: caller.actor.to_string(),
            reason: asked.reason.clone(),
        };
        let new = Arc::new(shut_out(old, by));
        let keys = keys_of(old, caller.at).map(|key| Change::put(Arc::new(key)));
        let changes = std::iter::once(Change::put(Arc::clone(&new))).chain(keys).collect();
        Ok(Decided { changes, outcome: Outcome::Host(new) })
    }
}

/// The row of a host from its revocation on.
pub fn shut_out(old: &HostRecord, by: Revocation) -> HostRecord {
    HostRecord {
        renewal: Renewal::default(),
        generation: old.generation + 1,
        updated_at: by.at,
        revoked: Some(by),
        ..old.clone()
    }
}

/// What its agent could show.
fn keys_of(host: &HostRecord, at: jiff::Timestamp) -> impl Iterator<Item = RevokedKey> {
    let next = host.renewal.next.map(|next| next.key_sha256);
    let key = move |key_sha256| RevokedKey {
        key_sha256,
        host: host.id,
        host_name: host.name.clone(),
        revoked_at: at,
    };
    host.key_sha256.into_iter().chain(next).chain(host.renewal.renewed_from).map(key)
}
