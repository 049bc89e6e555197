//! Deciding about hosts and join tokens.

use std::sync::Arc;

use super::{
    Change, Decided, DeleteHost, HostRef, JoinHost, JoinToken, Ledger, Outcome, Refusal, SetCordon,
    UpdateHost,
};
use crate::model::caller::Caller;
use crate::model::capacity::AcceptedCapacity;
use crate::model::host::{HostRecord, Renewal};
use crate::model::labels;
use crate::model::placement::HostOvercommit;
use crate::model::spec::SpecProblem;
use crate::model::subnet::Subnet;

/// Most join tokens that are good at one time.
const MAX_TOKENS: usize = 1000;

impl Ledger {
    pub(super) fn create_join_token(
        &self,
        token: &JoinToken,
        caller: &Caller,
    ) -> Result<Decided, Refusal> {
        let expired: Vec<&Arc<JoinToken>> =
            self.join_tokens.iter().filter(|token| token.expires_at <= caller.at).collect();
        if self.join_tokens.len() - expired.len() >= MAX_TOKENS {
            return Err(Refusal::LimitReached { what: "join tokens", limit: MAX_TOKENS });
        }
        let mut changes: Vec<Change> =
            expired.into_iter().map(|token| Change::remove(Arc::clone(token), caller.at)).collect();
        changes.push(Change::put(Arc::new(token.clone())));
        Ok(Decided { changes, outcome: Outcome::JoinTokenKept })
    }

    pub(super) fn join_host(&self, join: &JoinHost, caller: &Caller) -> Result<Decided, Refusal> {
        let token = self.good_token(join, caller)?;
        self.check_key(join.key_sha256)?;
        let record = match (&token.used_for, join.known_id) {
            (Some((id, key)), _) => {
                // Its first answer may have been lost: the same key gets it again, as long as it is
                // the host's. Nothing is changed.
                let entry = self.hosts.get(id).filter(|entry| {
                    *key == join.key_sha256
                        && entry.record.key_sha256 == Some(join.key_sha256)
                        && entry.record.name == join.name
                        && join.known_id.is_none_or(|known| known == *id)
                });
                let entry = entry.ok_or(Refusal::JoinTokenInvalid("used"))?;
                let outcome = Outcome::Host(Arc::clone(&entry.record));
                return Ok(Decided { changes: Vec::new(), outcome });
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
                rejoined(old, join, token, caller)
            }
            (None, None) => self.new_host(join, token, caller)?,
        };
        let record = Arc::new(record);
        let used =
            JoinToken { used_for: Some((record.id, join.key_sha256)), ..JoinToken::clone(token) };
        Ok(Decided {
            changes: vec![Change::put(Arc::clone(&record)), Change::put(Arc::new(used))],
            outcome: Outcome::Host(record),
        })
    }

    fn good_token(&self, join: &JoinHost, caller: &Caller) -> Result<&JoinToken, Refusal> {
        // The secrets compared are digests: how long the comparison takes tells nothing.
        let token = self
            .join_tokens
            .get(&join.token_id)
            .filter(|token| token.secret_sha256 == join.secret_sha256)
            .ok_or(Refusal::JoinTokenInvalid("unknown"))?;
        if token.expires_at <= caller.at {
            return Err(Refusal::JoinTokenInvalid("expired"));
        }
        let maker = token.created_by_token.as_deref().filter(|_| token.used_for.is_none());
        let good = |id: &str| self.tokens.get(id).is_some_and(|maker| maker.is_good(caller.at));
        if maker.is_some_and(|id| !good(id)) {
            let why = "made with a token that has expired or was taken back since";
            return Err(Refusal::JoinTokenInvalid(why));
        }
        if let Some(made_for) = token.host_name.as_ref().filter(|name| **name != join.name) {
            let (made_for, name) = (made_for.clone(), join.name.clone());
            return Err(Refusal::JoinTokenForAnother { made_for, name });
        }
        Ok(token)
    }

    fn new_host(
        &self,
        join: &JoinHost,
        token: &JoinToken,
        caller: &Caller,
    ) -> Result<HostRecord, Refusal> {
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
            labels: token.labels.clone(),
            cordoned: false,
            subnet: self.free_subnet(&join.used_networks)?,
            overcommit: HostOvercommit::default(),
            accepted: token.capacity,
            first_capacity: AcceptedCapacity::default(),
            certificate_expires_at: join.certificate_expires_at,
            certificate_made_at: Some(caller.at),
            ca_sha256: Some(join.ca_sha256),
            key_sha256: Some(join.key_sha256),
            joined_by: Some(token.id.clone()),
            renewal: Renewal::default(),
            revoked: None,
            generation: 1,
            created_at: caller.at,
            updated_at: caller.at,
        })
    }

    /// The lowest subnet of the pool that no host has and that shares no address with a network of
    /// the machine's own. Hosts may have subnets of another size or
    /// from outside, when the pool was configured otherwise before.
    fn free_subnet(&self, used: &[Subnet]) -> Result<Subnet, Refusal> {
        let pool = self.config.guest_pool;
        pool.split(self.config.guest_prefix)
            .filter(|free| !used.iter().any(|used| used.overlaps(*free)))
            .find(|free| !self.hosts().any(|host| host.subnet.overlaps(*free)))
            .ok_or_else(|| Refusal::NoSubnetLeft { pool: pool.to_string() })
    }

    pub(super) fn update_host(
        &self,
        update: &UpdateHost,
        caller: &Caller,
    ) -> Result<Decided, Refusal> {
        let old = self.matching_host(&update.host, update.etag.as_deref())?;
        let labels = update.labels.over(&old.labels);
        let mut problems = Vec::new();
        labels::check_all(&labels, "labels", &mut problems);
        if !problems.is_empty() {
            let problem = |(field, why)| SpecProblem::new(field, why);
            return Err(Refusal::InvalidFields(problems.into_iter().map(problem).collect()));
        }
        self.change_host(&update.host, update.etag.as_deref(), caller, |record| {
            record.labels = labels;
            if let Some(address) = &update.agent_address {
                record.agent_address.clone_from(address);
            }
            if let Some(vcpus) = update.vcpu_overcommit {
                record.overcommit.vcpus_milli = vcpus;
            }
            if let Some(memory) = update.memory_overcommit {
                record.overcommit.memory_milli = memory;
            }
            if let Some(accepted) = update.accepted {
                record.accepted = accepted;
            }
        })
    }

    pub(super) fn set_cordon(
        &self,
        asked: &SetCordon,
        caller: &Caller,
    ) -> Result<Decided, Refusal> {
        self.change_host(&asked.host, asked.etag.as_deref(), caller, |record| {
            record.cordoned = asked.cordoned;
        })
    }

    pub(super) fn delete_host(
        &self,
        asked: &DeleteHost,
        caller: &Caller,
    ) -> Result<Decided, Refusal> {
        let record = self.matching_host(&asked.host, asked.etag.as_deref())?;
        let vms = self.host_use(record.id).vms;
        if vms > 0 {
            return Err(Refusal::HostNotEmpty { host: record.name.clone(), vms });
        }
        Ok(Decided {
            changes: vec![Change::remove(Arc::clone(record), caller.at)],
            outcome: Outcome::HostGone(Arc::clone(record)),
        })
    }

    fn change_host(
        &self,
        host: &HostRef,
        etag: Option<&str>,
        caller: &Caller,
        change: impl FnOnce(&mut HostRecord),
    ) -> Result<Decided, Refusal> {
        let old = self.matching_host(host, etag)?;
        let mut new = HostRecord::clone(old);
        change(&mut new);
        if new == **old {
            return Ok(Decided { changes: Vec::new(), outcome: Outcome::Host(Arc::clone(old)) });
        }
        new.generation += 1;
        new.updated_at = caller.at;
        let new = Arc::new(new);
        Ok(Decided { changes: vec![Change::put(Arc::clone(&new))], outcome: Outcome::Host(new) })
    }

    pub(super) fn matching_host(
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

/// The same host at the address that its agent says now, with the key that it has now. Subnet,
/// cordon and name stay, and the labels, unless the token has some. So does what was accepted of
/// its size, but for what the token says.
fn rejoined(old: &HostRecord, join: &JoinHost, token: &JoinToken, caller: &Caller) -> HostRecord {
    let mut new = old.clone();
    new.agent_address.clone_from(&join.agent_address);
    if !token.labels.is_empty() {
        new.labels.clone_from(&token.labels);
    }
    new.accepted = token.capacity.or(old.accepted);
    new.certificate_expires_at = join.certificate_expires_at;
    new.certificate_made_at = Some(caller.at);
    new.ca_sha256 = Some(join.ca_sha256);
    new.key_sha256 = Some(join.key_sha256);
    new.joined_by = Some(token.id.clone());
    new.renewal = Renewal::default();
    // The token is an operator's word that it is let in again.
    new.revoked = None;
    new.generation += 1;
    new.updated_at = caller.at;
    new
}
