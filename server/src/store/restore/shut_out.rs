//! Who was shut out since a backup was made, and how they stay so when it is restored.
//!
//! The past that a restore makes the truth let in whom somebody has shut out since: hosts that were
//! deleted, revoked, given another key or cordoned, tokens that were taken back, join tokens that
//! were used. Two ledgers are compared, that of the backup and that of the state it replaces, and
//! what is to be changed in the backup follows from them: such hosts come back cordoned, and
//! revoked where the key that they had is good for no host any more; such tokens not at all. Images
//! that were public then and are no longer do not become so again, and a quota that was made
//! smaller stays as small; so does what was accepted of a host's size. Nothing here is known where
//! the old state can't be read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use banger_proto::ids::HostId;
use jiff::Timestamp;

use crate::model::caller::SERVER;
use crate::model::host::{HostRecord, Revocation, RevokedKey};
use crate::model::image::ImageRecord;
use crate::model::ledger::{Change, HostRef, Ledger, shut_out};
use crate::model::project::{Named, ProjectName, ProjectRecord};
use crate::model::token::TokenRecord;

/// How a host was shut out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostShutOut {
    /// It was deleted.
    Deleted,
    /// It was revoked.
    Revoked,
    /// It has joined again with another key: whoever has the one of before is not it.
    Rekeyed,
    /// It was cordoned.
    Cordoned,
}

/// A host of the backup that was shut out since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutOutHost {
    pub name: String,
    pub id: HostId,
    pub how: HostShutOut,
}

/// A token of one of the two that the other does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedToken {
    pub id: String,
    pub name: String,
}

/// What differs between a backup and the state it replaces in who is let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShutOut {
    /// In the order they joined.
    pub hosts: Vec<ShutOutHost>,
    /// Tokens of the backup that are good and were taken back since.
    pub tokens: Vec<NamedToken>,
    /// Ids of join tokens of the backup that are good and were used or taken back since.
    pub join_tokens: Vec<String>,
    /// Names of images that are public in the backup and have been so no longer since.
    pub images: Vec<String>,
    /// Projects with a quota that was made smaller since.
    pub quotas: Vec<String>,
    /// Names of hosts that count for less now than in the backup.
    pub smaller_hosts: Vec<String>,
    /// The other way: good tokens that the backup does not know.
    pub unknown_tokens: Vec<NamedToken>,
}

impl ShutOut {
    /// Compares the backup with the state before it, as of now.
    pub(super) fn since(backup: &Ledger, before: &Ledger, now: Timestamp) -> Self {
        let hosts = backup.hosts().filter_map(|host| {
            let how = how(host, before.host(&HostRef::Id(host.id)).map(|now| &**now))?;
            Some(ShutOutHost { name: host.name.clone(), id: host.id, how })
        });
        let unused = before.join_tokens().filter(|token| token.used_for.is_none());
        let unused: HashSet<&str> = unused.map(|token| token.id.as_str()).collect();
        let join_tokens = backup.join_tokens().filter(|token| {
            let good = token.used_for.is_none() && now < token.expires_at;
            good && !unused.contains(token.id.as_str())
        });
        Self {
            hosts: hosts.collect(),
            tokens: missing(backup, before, now),
            join_tokens: join_tokens.map(|token| token.id.clone()).collect(),
            images: no_longer_public(backup, before).map(|image| image.named().text()).collect(),
            quotas: tighter(backup, before).map(|project| project.name.to_string()).collect(),
            smaller_hosts: smaller(backup, before).map(|host| host.name.clone()).collect(),
            unknown_tokens: missing(before, backup, now),
        }
    }

    /// What is to be changed in the backup, so that whoever was shut out since stays so.
    pub(super) fn changes(&self, backup: &Ledger, before: &Ledger, now: Timestamp) -> Vec<Change> {
        let mut hosts: BTreeMap<HostId, HostRecord> =
            smaller(backup, before).map(|host| (host.id, host)).collect();
        for host in &self.hosts {
            let id = HostRef::Id(host.id);
            let Some(record) = backup.host(&id) else { continue };
            let revoked = before.host(&id).and_then(|host| host.revoked.clone());
            let key_of = |key: &&Arc<RevokedKey>| Some(key.key_sha256) == record.key_sha256;
            let by_key = before.revoked_keys().find(key_of).map(|key| Revocation {
                at: key.revoked_at,
                by: SERVER.to_owned(),
                reason: "its key was revoked, and the host deleted or joined again since"
                    .to_owned(),
            });
            let changed = hosts.entry(host.id).or_insert_with(|| HostRecord::clone(record));
            changed.cordoned = true;
            if let Some(by) = revoked.or(by_key).filter(|_| record.revoked.is_none()) {
                *changed = shut_out(changed, by);
            }
        }
        let hosts = hosts.into_values().filter_map(|host| {
            let record = backup.host(&HostRef::Id(host.id)).filter(|record| ***record != host)?;
            let generation = record.generation + 1;
            Some(Change::put(Arc::new(HostRecord { generation, updated_at: now, ..host })))
        });
        let known: HashSet<_> = backup.revoked_keys().map(|key| key.key_sha256).collect();
        let keys = before.revoked_keys().filter(move |key| !known.contains(&key.key_sha256));
        let keys = keys.map(|key| Change::put(Arc::clone(key)));
        let gone: HashSet<&str> = self.tokens.iter().map(|token| token.id.as_str()).collect();
        let known: HashMap<&str, _> =
            before.tokens().map(|token| (token.id.as_str(), token)).collect();
        let tokens = backup.tokens().filter_map(|token| {
            if gone.contains(token.id.as_str()) {
                return Some(Change::remove(Arc::clone(token), now));
            }
            // With which token one goes may have changed when that one went.
            let known = known.get(token.id.as_str())?;
            let moved = known.goes_with != token.goes_with;
            moved.then(|| Change::put(Arc::clone(*known)))
        });
        let join_tokens = backup.join_tokens().filter(|token| self.join_tokens.contains(&token.id));
        let join_tokens = join_tokens.map(|token| Change::remove(Arc::clone(token), now));
        let images = no_longer_public(backup, before).map(|image| {
            Change::put(Arc::new(ImageRecord { public: false, ..ImageRecord::clone(image) }))
        });
        let quotas = tighter(backup, before).map(|project| Change::put(Arc::new(project)));
        hosts.chain(keys).chain(tokens).chain(join_tokens).chain(images).chain(quotas).collect()
    }
}

/// Public images of the backup that are not so any more.
fn no_longer_public<'a>(
    backup: &'a Ledger,
    before: &'a Ledger,
) -> impl Iterator<Item = &'a Arc<ImageRecord>> {
    let is_public = |named: &Named| before.image(named).is_some_and(|image| image.public);
    backup.images().filter(move |image| image.public && !is_public(&image.named()))
}

/// Projects of the backup, with the quota that each is to have, where it was made smaller since.
fn tighter<'a>(
    backup: &'a Ledger,
    before: &'a Ledger,
) -> impl Iterator<Item = ProjectRecord> + use<'a> {
    let since = |name: &ProjectName| before.projects().find(|project| project.name == *name);
    backup.projects().filter_map(move |project| {
        let quota = project.quota.and(since(&project.name)?.quota);
        (quota != project.quota).then(|| ProjectRecord { quota, ..ProjectRecord::clone(project) })
    })
}

/// Hosts of the backup, each with what is accepted of its size, where that is less since.
fn smaller<'a>(
    backup: &'a Ledger,
    before: &'a Ledger,
) -> impl Iterator<Item = HostRecord> + use<'a> {
    backup.hosts().filter_map(move |host| {
        let since = before.host(&HostRef::Id(host.id))?.ceiling();
        // Whose words they are stays: where an operator had none, they have none.
        let smaller = HostRecord {
            accepted: host.accepted.within(since),
            first_capacity: host.first_capacity.smaller_of(since),
            ..HostRecord::clone(host)
        };
        (smaller.ceiling() != host.ceiling()).then_some(smaller)
    })
}

fn how(then: &HostRecord, now: Option<&HostRecord>) -> Option<HostShutOut> {
    let Some(now) = now else { return Some(HostShutOut::Deleted) };
    if now.revoked.is_some() && then.revoked.is_none() {
        Some(HostShutOut::Revoked)
    } else if now.key_sha256 != then.key_sha256 && now.joined_by != then.joined_by {
        Some(HostShutOut::Rekeyed)
    } else if now.cordoned && !then.cordoned {
        Some(HostShutOut::Cordoned)
    } else {
        None
    }
}

/// Hosts of the backup whose certificates were renewed since, as they are to be: nobody was shut
/// out, and their agents show nothing else any more.
pub(super) fn renewed(backup: &Ledger, before: &Ledger) -> Vec<Change> {
    let hosts = backup.hosts().filter_map(|then| {
        let now = before.host(&HostRef::Id(then.id))?;
        let kept = HostRecord {
            key_sha256: now.key_sha256,
            certificate_expires_at: now.certificate_expires_at,
            certificate_made_at: now.certificate_made_at,
            ca_sha256: now.ca_sha256,
            renewal: now.renewal.clone(),
            ..HostRecord::clone(then)
        };
        (now.joined_by == then.joined_by && kept != **then).then(|| Change::put(Arc::new(kept)))
    });
    hosts.collect()
}

/// Tokens of `here` that are good and not in `there`, by id.
fn missing(here: &Ledger, there: &Ledger, now: Timestamp) -> Vec<NamedToken> {
    let known: HashSet<&str> = there.tokens().map(|token| token.id.as_str()).collect();
    let gone = |token: &&Arc<TokenRecord>| token.is_good(now) && !known.contains(token.id.as_str());
    let named =
        |token: &Arc<TokenRecord>| NamedToken { id: token.id.clone(), name: token.principal() };
    here.tokens().filter(gone).map(named).collect()
}
