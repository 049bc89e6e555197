//! Deciding about the renewal of an agent's certificate: offered, then confirmed.
//!
//! An offer puts the next key on record beside the present one, before anything is signed with it.
//! Once the agent has shown it, a confirmation makes it the only one. Between the two either is
//! good, so that it does not matter which of them a crash leaves the agent with. Neither is a
//! change that somebody asked for: they leave the generation, and with it the etag, as it is.

use std::sync::Arc;

use banger_proto::ids::HostId;

use super::{Change, Decided, HostRef, Ledger, Outcome, Refusal};
use crate::model::host::{HostRecord, KeyDigest, OfferedCertificate, Renewal};

/// Take a further key for a host's, until one of the two is confirmed. An earlier offer is over.
#[derive(Debug, Clone)]
pub struct OfferCertificate {
    pub host: HostId,
    pub offer: OfferedCertificate,
}

/// The agent of a host has shown the key that was offered: it is the only one from now on.
#[derive(Debug, Clone)]
pub struct ConfirmCertificate {
    pub host: HostId,
    pub key_sha256: KeyDigest,
}

impl Ledger {
    pub(super) fn offer_certificate(&self, asked: &OfferCertificate) -> Result<Decided, Refusal> {
        let old = self.host_by_id(asked.host)?;
        self.check_key(asked.offer.key_sha256)?;
        if old.revoked.is_some() {
            return Err(Refusal::HostKeyRevoked { host: old.name.clone() });
        }
        let next = Some(asked.offer);
        let renewal = Renewal { next, ..old.renewal.clone() };
        Ok(renewed(old, HostRecord { renewal, ..HostRecord::clone(old) }))
    }

    pub(super) fn confirm_certificate(
        &self,
        asked: &ConfirmCertificate,
    ) -> Result<Decided, Refusal> {
        let old = self.host_by_id(asked.host)?;
        let shown = old.renewal.next.filter(|next| next.key_sha256 == asked.key_sha256);
        let Some(shown) = shown else {
            // Confirmed before, or the host has joined again meanwhile.
            return Ok(Decided { changes: Vec::new(), outcome: Outcome::Host(Arc::clone(old)) });
        };
        // The same key signed anew replaces none.
        let same = old.key_sha256 == Some(shown.key_sha256);
        let renewed_from = if same { old.renewal.renewed_from } else { old.key_sha256 };
        Ok(renewed(
            old,
            HostRecord {
                key_sha256: Some(shown.key_sha256),
                certificate_expires_at: shown.expires_at,
                certificate_made_at: Some(shown.made_at),
                ca_sha256: Some(shown.ca_sha256),
                renewal: Renewal { next: None, renewed_from },
                ..HostRecord::clone(old)
            },
        ))
    }

    fn host_by_id(&self, host: HostId) -> Result<&Arc<HostRecord>, Refusal> {
        let host = HostRef::Id(host);
        self.host(&host).ok_or(Refusal::HostNotFound(host))
    }
}

fn renewed(old: &HostRecord, new: HostRecord) -> Decided {
    let changed = *old != new;
    let new = Arc::new(new);
    let changes = if changed { vec![Change::put(Arc::clone(&new))] } else { Vec::new() };
    Decided { changes, outcome: Outcome::Host(new) }
}
