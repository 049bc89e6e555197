//! OpenID Connect: whose a token is that a provider of identities has signed, decided with the
//! provider's keys and without asking it.
//!
//! [`Provider::vouch`] is what a call asks, and waits for nothing: [`keys`] has what the provider
//! has shown, [`claims`] what a token must say and who has which role, [`signature`] the one use of
//! cryptography. [`refresh`] is a task that reads the keys anew, and the one that talks to the
//! provider. What can go wrong: the provider is away, changed or hostile; then what it showed last
//! holds for a stated time, and after it nobody is known by its tokens.

pub mod claims;
pub mod keys;
pub mod refresh;
mod signature;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use banger_wire::web::{Web, WebError};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use self::claims::{NotVouched, Rules, Vouched};
use self::keys::{KeySet, KeysRefused};
use crate::config::OidcConfig;

/// By what a key is the same: the digest of what it is made of.
pub type KeyPrint = [u8; 32];

/// The longest token that is looked at: more would not fit beside other headers.
pub const MOST_TOKEN_BYTES: usize = 12 << 10;

/// Keys are not asked for again for a key that is not known before so much time is over.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// How long a call waits for keys that are asked for.
const WAIT: Duration = Duration::from_secs(10);

/// Calls that wait for keys at a time.
const MOST_WAITING: usize = 64;

/// The provider can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Its CA can't be used.
    #[error("auth.oidc.ca can't be used")]
    Ca(#[source] WebError),
    /// Its file of keys can't be used.
    #[error("auth.oidc.jwks_file can't be used")]
    Keys(#[source] KeysRefused),
}

/// Where keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// Read with the configuration, and on a reload.
    File,
    /// At this address.
    At(String),
    /// Where the provider of this issuer says.
    Discovered(String),
}

/// What is known of the keys.
#[derive(Debug)]
struct HeldKeys {
    /// With when they were read.
    keys: Option<(KeySet, Instant)>,
    /// Why they could not be read since.
    trouble: Option<String>,
}

/// A provider of identities.
#[derive(Debug)]
pub struct Provider {
    rules: Rules,
    source: KeySource,
    algorithms: Vec<jsonwebtoken::Algorithm>,
    refresh_every: Duration,
    hold: Duration,
    web: Web,
    held: ArcSwap<HeldKeys>,
    /// Wakes the task that reads keys.
    asked: Notify,
    last_ask: Mutex<Option<Instant>>,
    /// How often it was tried to read them.
    tries: watch::Sender<u64>,
    waiting: tokio::sync::Semaphore,
}

impl Provider {
    /// As configured, with the contents of the files that it names.
    ///
    /// # Errors
    /// One of those can't be used.
    pub fn new(
        config: &OidcConfig,
        ca_pem: Option<&[u8]>,
        jwks: Option<&[u8]>,
    ) -> Result<Self, ProviderError> {
        signature::install();
        let source = match (&config.jwks_file, &config.jwks_url) {
            (Some(_), _) => KeySource::File,
            (None, Some(url)) => KeySource::At(url.clone()),
            (None, None) => KeySource::Discovered(config.issuer.clone()),
        };
        let algorithms: Vec<_> =
            config.algorithms.iter().filter_map(|name| name.parse().ok()).collect();
        let keys = jwks.map(|jwks| KeySet::read(jwks, &algorithms)).transpose();
        let keys = keys.map_err(ProviderError::Keys)?.map(|keys| (keys, Instant::now()));
        Ok(Self {
            rules: Rules::of(config),
            source,
            algorithms,
            refresh_every: Duration::from_secs(config.refresh_secs.into()),
            hold: Duration::from_secs(u64::from(config.keys_hold_hours) * 3600),
            web: Web::new(ca_pem).map_err(ProviderError::Ca)?,
            held: ArcSwap::from_pointee(HeldKeys { keys, trouble: None }),
            asked: Notify::new(),
            last_ask: Mutex::new(None),
            tries: watch::Sender::new(0),
            waiting: tokio::sync::Semaphore::new(MOST_WAITING),
        })
    }

    /// The provider, as its tokens call it.
    pub fn issuer(&self) -> &str {
        &self.rules.issuer
    }

    /// Whether this may be a token that some provider has signed: nothing else has two dots.
    pub fn may_be_one(token: &str) -> bool {
        token.bytes().filter(|b| *b == b'.').count() == 2
    }

    /// Whose a token is at this time.
    ///
    /// # Errors
    /// It is nobody's, in words for whoever has shown it.
    pub fn vouch(&self, token: &str, now: Timestamp) -> Result<Vouched, NotVouched> {
        if token.len() > MOST_TOKEN_BYTES {
            return Err(NotVouched::TooLong);
        }
        let held = self.held.load();
        let Some(keys) = self.good_keys(&held) else {
            // Whoever is as early as that waits for the first of them.
            let Some(why) = held.trouble.clone() else { return Err(NotVouched::UnknownKey) };
            return Err(NotVouched::NoKeys { issuer: self.rules.issuer.clone(), why });
        };
        let header =
            jsonwebtoken::decode_header(token).map_err(|_| NotVouched::Malformed("its header"))?;
        let key = keys.find(header.kid.as_deref(), header.alg)?;
        let claims = signature::verified(token, header.alg, &key.decoding)?;
        self.rules.judge(&claims, header.typ.as_deref(), now, key.print)
    }

    /// Whether a key may be gone by: the provider shows it still, as far as is known.
    pub fn shows(&self, print: &KeyPrint) -> bool {
        let held = self.held.load();
        self.good_keys(&held).is_some_and(|keys| keys.has(print))
    }

    /// The keys that may be gone by; none where they are too old.
    fn good_keys<'a>(&self, held: &'a HeldKeys) -> Option<&'a KeySet> {
        let (keys, since) = held.keys.as_ref()?;
        (self.source == KeySource::File || since.elapsed() < self.hold).then_some(keys)
    }

    /// Why the keys could not be read when that was tried last; none where they could.
    pub fn trouble(&self) -> Option<String> {
        self.held.load().trouble.clone()
    }

    /// Has the keys read anew because a token is signed by one that is not known, and waits for
    /// them. Whether it is worth another look: they were read.
    pub async fn look_again(&self) -> bool {
        if self.source == KeySource::File {
            return false;
        }
        let Ok(_waits) = self.waiting.try_acquire() else { return false };
        let mut tries = self.tries.subscribe();
        // The first time they are read without anybody's asking.
        if *tries.borrow_and_update() > 0 {
            let mut last = self.last_ask.lock();
            if last.is_some_and(|last| last.elapsed() < ASK_AGAIN) {
                return false;
            }
            *last = Some(Instant::now());
            self.asked.notify_one();
        }
        tokio::time::timeout(WAIT, tries.changed()).await.is_ok_and(|changed| changed.is_ok())
    }

    /// These are the keys from now on.
    fn take(&self, keys: KeySet) {
        let keys = Some((keys, Instant::now()));
        self.held.store(Arc::new(HeldKeys { keys, trouble: None }));
    }

    /// Keys could not be read: those that were read last stay.
    fn miss(&self, why: String) {
        let held = self.held.load();
        let keys = held.keys.clone();
        self.held.store(Arc::new(HeldKeys { keys, trouble: Some(why) }));
    }

    /// Takes the keys of a file that was read anew.
    ///
    /// # Errors
    /// They can't be used; those before stay.
    pub fn check_file(&self, jwks: &[u8]) -> Result<KeySet, ProviderError> {
        KeySet::read(jwks, &self.algorithms).map_err(ProviderError::Keys)
    }

    /// Goes by keys that [`Self::check_file`] has read.
    pub fn take_file(&self, keys: KeySet) {
        self.take(keys);
    }
}
