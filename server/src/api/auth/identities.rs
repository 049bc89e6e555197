//! Everybody who may call: the principals of the token file, the tokens that were made by calls,
//! and those whom others have vouched for since they called last ([`vouched`]), by the digests of
//! what they show.
//!
//! A call is looked up here and nowhere else, whatever the number of tokens. The file's are told by
//! who reads it, at start and on a reload; the others by the store's commits, in their order,
//! before whoever asked is answered. An identity that goes, by a revocation, its expiry or a
//! reload, ends the calls that are under way by it: each holds its [`Identity::gone`].
//!
//! The map is keyed by digests, which whoever guesses at tokens cannot choose: how long a look
//! takes tells nothing of a token.

mod vouched;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use parking_lot::RwLock;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

pub(super) use self::vouched::Basis;
use crate::model::caller::{Ended, Principal, Vouch};
use crate::model::ledger::{Change, Edit};
use crate::model::token::{PREFIX, TokenRecord};

type Sha = [u8; 32];

/// One who may call.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) principal: Principal,
    /// Cancelled when they may no longer call.
    pub(super) gone: CancellationToken,
    /// The same for those who decide about what they have begun, and do not wait.
    pub(super) ended: Ended,
    /// Of a token that was made by a call; `None`: it is of the file, or vouched for.
    made: Option<Made>,
    /// What others have signed for them, and by what that is good; `None`: it is this server's.
    vouched: Option<(Vouch, Basis)>,
}

#[derive(Debug)]
struct Made {
    id: Arc<str>,
    expires_at: Timestamp,
    /// In microseconds; 0: not since the server started.
    used_at: AtomicI64,
    /// As far as it was written down.
    noted_at: AtomicI64,
}

/// What a bearer token is.
pub(super) enum Found {
    Known(Arc<Identity>),
    /// It is no token of this server, and does not look like one.
    Foreign,
    /// It was never made, has expired or was taken back.
    Unknown,
}

#[derive(Debug, Default)]
struct KnownCallers {
    by_digest: HashMap<Sha, Arc<Identity>>,
    /// Those whom others have vouched for: as many as are kept at most.
    vouched: HashMap<Sha, Arc<Identity>>,
    /// Whether the file has any: then every call needs a token.
    file: bool,
    /// Whether every call needs one whatever the file has.
    always: bool,
}

/// Everybody who may call. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Identities(Arc<RwLock<KnownCallers>>);

impl Identities {
    /// From now on these are the principals of the file, by token.
    pub(super) fn set_file(&self, principals_by_token: &BTreeMap<String, Principal>) {
        let mut new: HashMap<Sha, &Principal> =
            principals_by_token.iter().map(|(token, who)| (digest(token), who)).collect();
        let mut table = self.0.write();
        table.by_digest.retain(|sha256, known| {
            let stays = known.made.is_some() || new.get(sha256) == Some(&&known.principal);
            if stays {
                new.remove(sha256);
            } else {
                known.end();
            }
            stays
        });
        for (sha256, principal) in new {
            table.by_digest.insert(sha256, Arc::new(Identity::of(principal.clone(), None)));
        }
        table.file = !principals_by_token.is_empty();
    }

    /// From now on every call needs a token, whether there is a file with some or not.
    pub(super) fn ask_always(&self) {
        self.0.write().always = true;
    }

    /// These tokens are stored.
    pub fn load<'a>(&self, tokens: impl IntoIterator<Item = &'a Arc<TokenRecord>>) {
        let mut table = self.0.write();
        for token in tokens {
            table.put(token);
        }
    }

    /// Takes over changes that are durable, in the order of their commits.
    pub fn committed(&self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Token(Edit::Put(token)) => self.0.write().put(token),
                Change::Token(Edit::Remove { last, .. }) => self.0.write().remove(&last.sha256),
                _ => {}
            }
        }
    }

    /// Ends what has expired by now.
    pub fn expire(&self, now: Timestamp) {
        let is_over =
            |known: &Identity| known.made.as_ref().is_some_and(|made| made.expires_at <= now);
        let over: Vec<Sha> = {
            let table = self.0.read();
            let over = table.by_digest.iter().filter(|(_, known)| is_over(known));
            over.map(|(sha256, _)| *sha256).collect()
        };
        for sha256 in over {
            self.0.write().remove(&sha256);
        }
        self.0.write().end_vouched(|vouch, _| now < vouch.expires_at);
    }

    /// Whether every call needs a token.
    pub(super) fn are_asked_for(&self) -> bool {
        let table = self.0.read();
        table.file || table.always
    }

    /// Whether a line of the file has this name.
    pub(in crate::api) fn are_in_file(&self, name: &str) -> bool {
        let table = self.0.read();
        table.file
            && table
                .by_digest
                .values()
                .any(|known| known.made.is_none() && *known.principal.name == *name)
    }

    /// Whose token this is.
    pub(super) fn find(&self, token: &str, now: Timestamp) -> Found {
        let known = {
            let (table, digest) = (self.0.read(), digest(token));
            table.by_digest.get(&digest).or_else(|| table.vouched.get(&digest)).cloned()
        };
        match known {
            Some(known) if known.use_at(now) => Found::Known(known),
            Some(known) if known.vouched.is_some() => Found::Foreign,
            None if !token.starts_with(PREFIX) => Found::Foreign,
            Some(_) | None => Found::Unknown,
        }
    }

    /// Who has shown this certificate before, by its digest, where it is good.
    pub(super) fn find_certified(&self, sha256: &Sha, now: Timestamp) -> Option<Arc<Identity>> {
        let known = self.0.read().vouched.get(sha256).cloned();
        known.filter(|known| known.is_good(now))
    }

    /// When tokens were used last that are not written down as used then; they count as written
    /// from now on.
    pub fn take_uses(&self) -> Vec<(String, Timestamp)> {
        let table = self.0.read();
        let made = table.by_digest.values().filter_map(|known| known.made.as_ref());
        made.filter_map(|made| {
            let used = made.used_at.load(Ordering::Relaxed);
            let new = made.noted_at.swap(used, Ordering::Relaxed) != used;
            let at = Timestamp::from_microsecond(used).ok()?;
            new.then(|| (made.id.to_string(), at))
        })
        .collect()
    }

    /// When this token was used last since the server started.
    pub fn last_use(&self, token: &TokenRecord) -> Option<Timestamp> {
        let table = self.0.read();
        let made = table.by_digest.get(&token.sha256)?.made.as_ref()?;
        let used = made.used_at.load(Ordering::Relaxed);
        (used != 0).then(|| Timestamp::from_microsecond(used).ok()).flatten()
    }
}

impl KnownCallers {
    fn put(&mut self, token: &TokenRecord) {
        // What changes of a token is when it was used, which is known here first.
        self.by_digest.entry(token.sha256).or_insert_with(|| {
            let made = Made {
                id: token.id.as_str().into(),
                expires_at: token.expires_at,
                used_at: AtomicI64::new(0),
                noted_at: AtomicI64::new(0),
            };
            let principal =
                Principal { name: token.principal().into(), rights: token.rights.clone() };
            Arc::new(Identity::of(principal, Some(made)))
        });
    }

    fn remove(&mut self, sha256: &Sha) {
        if let Some(known) = self.by_digest.remove(sha256) {
            known.end();
        }
    }
}

impl Identity {
    fn of(principal: Principal, made: Option<Made>) -> Self {
        let (gone, ended) = (CancellationToken::new(), Ended::default());
        Self { principal, gone, ended, made, vouched: None }
    }

    /// They may no longer call: first nothing more is decided for them, then their calls end.
    fn end(&self) {
        self.ended.set();
        self.gone.cancel();
    }

    /// The id of its token, if that was made by a call.
    pub(super) fn token(&self) -> Option<Arc<str>> {
        self.made.as_ref().map(|made| Arc::clone(&made.id))
    }

    /// Whether they may call still.
    pub(super) fn is_good(&self, now: Timestamp) -> bool {
        let vouched = self.vouched.as_ref();
        !self.gone.is_cancelled()
            && self.made.as_ref().is_none_or(|made| now < made.expires_at)
            && vouched.is_none_or(|(vouch, _)| now < vouch.expires_at)
    }

    /// What others have signed for them.
    pub(super) fn vouch(&self) -> Option<Vouch> {
        self.vouched.as_ref().map(|(vouch, _)| vouch.clone())
    }

    /// Notes a use, unless it has expired.
    fn use_at(&self, now: Timestamp) -> bool {
        let Some(made) = &self.made else { return self.is_good(now) };
        let good = now < made.expires_at;
        if good {
            made.used_at.fetch_max(now.as_microsecond(), Ordering::Relaxed);
        }
        good
    }
}

/// What is kept of a token.
pub(crate) fn digest(token: &str) -> Sha {
    sha256(token.as_bytes())
}

pub(super) fn sha256(bytes: &[u8]) -> Sha {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests;
