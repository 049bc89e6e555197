//! Deciding about hosts and join tokens.

use std::sync::Arc;

use super::{Change, Decided, HostRef, JoinHost, JoinToken, Ledger, Outcome, Refusal, Submission};
use crate::model::host::HostRecord;
use crate::model::labels::Labels;
use crate::model::spec::SpecProblem;
use crate::model::subnet::Subnet;

/// Most join tokens that are good at one time.
const MAX_TOKENS: usize = 1000;

impl Ledger {
    pub(super) fn create_join_token(
        &self,
        token: &JoinToken,
        submission: &Submission,
    ) -> Result<Decided, Refusal> {
        let expired: Vec<&JoinToken> =
            self.tokens.values().filter(|token| token.expires_at <= submission.at).collect();
        if self.tokens.len() - expired.len() >= MAX_TOKENS {
            return Err(Refusal::LimitReached { what: "join tokens", limit: MAX_TOKENS });
        }
        let mut changes: Vec<Change> =
            expired.into_iter().map(|token| Change::RemoveToken(token.id.clone())).collect();
        changes.push(Change::PutToken(token.clone()));
        Ok(Decided { changes, outcome: Outcome::TokenKept })
    }

    pub(super) fn join_host(
        &self,
        join: &JoinHost,
        submission: &Submission,
    ) -> Result<Decided, Refusal> {
        let token = self.good_token(join, submission)?;
        let record = match (&token.used_for, join.known_id) {
            (Some((id, key)), _) => {
                // Its first answer may have been lost: the same key gets it again.
                let entry = self.hosts.get(id).filter(|entry| {
                    *key == join.key_sha256
                        && entry.record.name == join.name
                        && join.known_id.is_none_or(|known| known == *id)
                });
                let entry = entry.ok_or(Refusal::JoinTokenInvalid("used"))?;
                rejoined(&entry.record, join, submission)
            }
            (None, Some(id)) => {
                let host = HostRef::Id(id);
                let old = self.host(&host).ok_or(Refusal::HostNotFound(host))?;
                if old.name != join.name {
                    let why = "must be the present name of the host that joins again";
                    return Err(Refusal::InvalidFields(vec![SpecProblem::new("name", why)]));
                }
                if token.host_name.as_ref() != Some(&join.name) {
                    return Err(Refusal::JoinTokenInvalid(
                        "not made for this host's name, as a host that joins again needs it",
                    ));
                }
                rejoined(old, join, submission)
            }
            (None, None) => self.new_host(join, submission)?,
        };
        let record = Arc::new(record);
        let used = JoinToken { used_for: Some((record.id, join.key_sha256)), ..token.clone() };
        Ok(Decided {
            changes: vec![Change::PutHost(Arc::clone(&record)), Change::PutToken(used)],
            outcome: Outcome::Host(record),
        })
    }

    fn good_token(&self, join: &JoinHost, submission: &Submission) -> Result<&JoinToken, Refusal> {
        // The secrets compared are digests: how long the comparison takes tells nothing.
        let token = self
            .tokens
            .get(&join.token_id)
            .filter(|token| token.secret_sha256 == join.secret_sha256)
            .ok_or(Refusal::JoinTokenInvalid("unknown"))?;
        if token.expires_at <= submission.at {
            return Err(Refusal::JoinTokenInvalid("expired"));
        }
        if token.host_name.as_ref().is_some_and(|name| *name != join.name) {
            return Err(Refusal::JoinTokenInvalid("made for a host with another name"));
        }
        Ok(token)
    }

    fn new_host(&self, join: &JoinHost, submission: &Submission) -> Result<HostRecord, Refusal> {
        if let Some(by) = self.host_names.get(&join.name) {
            return Err(Refusal::HostNameTaken { name: join.name.clone(), by: *by });
        }
        if self.hosts.len() >= self.config.max_hosts {
            return Err(Refusal::LimitReached { what: "hosts", limit: self.config.max_hosts });
        }
        Ok(HostRecord {
            id: join.new_id,
            name: join.name.clone(),
            agent_address: join.agent_address.clone(),
            labels: join.labels.clone(),
            cordoned: false,
            subnet: self.free_subnet()?,
            certificate_expires_at: join.certificate_expires_at,
            generation: 1,
            created_at: submission.at,
            updated_at: submission.at,
        })
    }

    /// The lowest subnet of the pool that no host has. Hosts may have subnets of another size or
    /// from outside, when the pool was configured otherwise before.
    fn free_subnet(&self) -> Result<Subnet, Refusal> {
        let pool = self.config.guest_pool;
        pool.split(self.config.guest_prefix)
            .find(|free| !self.hosts().any(|host| host.subnet.overlaps(*free)))
            .ok_or_else(|| Refusal::NoSubnetLeft { pool: pool.to_string() })
    }

    pub(super) fn update_host(
        &self,
        host: &HostRef,
        etag: Option<&str>,
        labels: &Labels,
        agent_address: Option<&str>,
        submission: &Submission,
    ) -> Result<Decided, Refusal> {
        self.change_host(host, etag, submission, |record| {
            record.labels.clone_from(labels);
            if let Some(address) = agent_address {
                address.clone_into(&mut record.agent_address);
            }
        })
    }

    pub(super) fn set_cordon(
        &self,
        host: &HostRef,
        etag: Option<&str>,
        cordoned: bool,
        submission: &Submission,
    ) -> Result<Decided, Refusal> {
        self.change_host(host, etag, submission, |record| record.cordoned = cordoned)
    }

    pub(super) fn delete_host(
        &self,
        host: &HostRef,
        etag: Option<&str>,
    ) -> Result<Decided, Refusal> {
        let record = self.matching_host(host, etag)?;
        let vms = self.host_use(record.id).vms;
        if vms > 0 {
            return Err(Refusal::HostNotEmpty { host: record.name.clone(), vms });
        }
        Ok(Decided {
            changes: vec![Change::RemoveHost(Arc::clone(record))],
            outcome: Outcome::HostGone(Arc::clone(record)),
        })
    }

    fn change_host(
        &self,
        host: &HostRef,
        etag: Option<&str>,
        submission: &Submission,
        change: impl FnOnce(&mut HostRecord),
    ) -> Result<Decided, Refusal> {
        let old = self.matching_host(host, etag)?;
        let mut new = HostRecord::clone(old);
        change(&mut new);
        if new == **old {
            return Ok(Decided { changes: Vec::new(), outcome: Outcome::Host(Arc::clone(old)) });
        }
        new.generation += 1;
        new.updated_at = submission.at;
        let new = Arc::new(new);
        Ok(Decided {
            changes: vec![Change::PutHost(Arc::clone(&new))],
            outcome: Outcome::Host(new),
        })
    }

    fn matching_host(
        &self,
        host: &HostRef,
        etag: Option<&str>,
    ) -> Result<&Arc<HostRecord>, Refusal> {
        let record = self.host(host).ok_or_else(|| Refusal::HostNotFound(host.clone()))?;
        if etag.is_some_and(|given| given != record.etag()) {
            return Err(Refusal::EtagMismatch { what: format!("host {}", record.name) });
        }
        Ok(record)
    }
}

/// The same host with what its agent says now. Subnet, cordon and name stay.
fn rejoined(old: &HostRecord, join: &JoinHost, submission: &Submission) -> HostRecord {
    let mut new = old.clone();
    new.agent_address.clone_from(&join.agent_address);
    if !join.labels.is_empty() {
        new.labels.clone_from(&join.labels);
    }
    new.certificate_expires_at = join.certificate_expires_at;
    new.generation += 1;
    new.updated_at = submission.at;
    new
}
