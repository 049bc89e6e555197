//! The agent's certificate in use, and how it is exchanged for the next while connections go on.
//!
//! Driven by the server over the connection that it has, and by a look at the files now and then,
//! because a host that joins again writes them itself. New connections see what is in use now; open
//! ones go on as they are. Whatever is taken into use is on disk before, and what the disk does not
//! take is not used. What can go wrong: the disk, or a certificate that is not this host's; then
//! the one in use stays.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use banger_wire::tls::certificate::{self, all_in};
use banger_wire::tls::{self, PeerIdentity, TimeProvider, TlsConfigError};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::identity::{Identity, IdentityError, IdentityRecord, KeyPem};
use crate::clock::Clock;

/// Most CAs that are trusted at one time: the old one, the new one, and room for a change of mind.
const MAX_TRUSTED: usize = 8;

/// A certificate was not prepared or not taken into use; the one in use stays.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// The files can't be read or written.
    #[error("the host's identity cannot be kept")]
    Identity(#[source] IdentityError),
    /// The request can't be made.
    #[error("no certificate request could be made")]
    Request(#[source] rcgen::Error),
    /// The certificate can't be read.
    #[error("the certificate is not readable")]
    Unreadable,
    /// It is another host's, or nobody's.
    #[error("the certificate does not name this host")]
    AnotherHost,
    /// It was made for a key that is not the one that was asked with.
    #[error("the certificate is of another key than the one that was prepared")]
    AnotherKey,
    /// The CAs can't be read, or there are too many of them.
    #[error("the CAs are not 1 to {MAX_TRUSTED} certificates")]
    Trusted,
    /// Certificate, key and CAs do not fit together.
    #[error("certificate, key and CAs do not fit together")]
    Tls(#[source] TlsConfigError),
}

/// What the agent shows and whom it trusts, for its report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// Seconds since 1970, after which its certificate is not good.
    pub not_after: Option<i64>,
    /// sha256 of each CA, DER.
    pub trusted: Vec<[u8; 32]>,
}

impl Shown {
    fn of(identity: &Identity) -> Self {
        let facts = certificate::facts_of_pem(identity.certificate_pem.as_bytes());
        let trusted = all_in(identity.ca_pem.as_bytes()).unwrap_or_default();
        Self {
            not_after: facts.map(|facts| facts.not_after),
            trusted: trusted.iter().map(|ca| Sha256::digest(ca).into()).collect(),
        }
    }
}

/// The clock of the agent, as TLS asks for it.
struct TlsClock(Clock);

impl std::fmt::Debug for TlsClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsClock(..)")
    }
}

impl TimeProvider for TlsClock {
    fn current_time(&self) -> Option<rustls_pki_types::UnixTime> {
        let seconds = u64::try_from(self.0.now().as_second()).ok()?;
        Some(rustls_pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}

/// What new connections are shown. Its methods block while they write.
pub struct Credentials {
    dir: PathBuf,
    time: Arc<dyn TimeProvider>,
    /// Held while files are written, so that one exchange is under way at a time.
    identity: Mutex<Identity>,
    tls: Arc<ArcSwap<rustls::ServerConfig>>,
    shown: ArcSwap<Shown>,
    on_step: Box<dyn Fn(&'static str) + Send + Sync>,
}

impl Credentials {
    /// Of an identity that was read from `dir`.
    ///
    /// # Errors
    /// Its parts do not fit together.
    pub fn new(dir: PathBuf, identity: Identity, clock: Clock) -> Result<Self, TlsConfigError> {
        let time: Arc<dyn TimeProvider> = Arc::new(TlsClock(clock));
        let tls = server_tls(&identity, &time)?;
        Ok(Self {
            dir,
            time,
            shown: ArcSwap::from_pointee(Shown::of(&identity)),
            identity: Mutex::new(identity),
            tls: Arc::new(ArcSwap::from_pointee(tls)),
            on_step: Box::new(|_| {}),
        })
    }

    /// The same, with somebody who is told of each step that was done: tests die there.
    #[must_use]
    pub fn observed_by(mut self, on_step: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        self.on_step = Box::new(on_step);
        self
    }

    /// Ends a renewal that an earlier life of the agent died in after its certificate was in use:
    /// the server, which is shown that, has nothing more to ask for. Best effort: the next renewal
    /// does it too.
    pub fn end_renewal(&self) {
        let in_use = self.identity.lock();
        if let Err(error) = in_use.end_renewal(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), error = %error,
                "the key in use can't be given its name yet");
        }
    }

    /// What connections are accepted with.
    pub fn tls(&self) -> Arc<ArcSwap<rustls::ServerConfig>> {
        Arc::clone(&self.tls)
    }

    /// What it shows now, and whom it trusts.
    pub fn shown(&self) -> Arc<Shown> {
        self.shown.load_full()
    }

    /// A request for the next certificate, PEM; its key is on disk.
    ///
    /// # Errors
    /// The key can't be made or kept.
    pub fn prepare(&self) -> Result<String, RenewalError> {
        let in_use = self.identity.lock();
        let key = KeyPem::load_or_make_next(&self.dir, &in_use.key_pem)
            .map_err(RenewalError::Identity)?;
        let request = key.certificate_request().map_err(RenewalError::Request)?;
        (self.on_step)("prepared");
        Ok(request)
    }

    /// Takes a certificate of the prepared key and these CAs into use. An empty certificate leaves
    /// the one in use.
    ///
    /// # Errors
    /// Nothing has changed, or what was written can be used as well: the same again goes on there.
    pub fn install(&self, certificate_pem: &str, trusted_pem: &str) -> Result<(), RenewalError> {
        let mut in_use = self.identity.lock();
        let new = self.exchanged(&in_use, certificate_pem, trusted_pem)?;
        let tls = server_tls(&new, &self.time).map_err(RenewalError::Tls)?;
        new.save_observed(&self.dir, &*self.on_step).map_err(RenewalError::Identity)?;
        self.tls.store(Arc::new(tls));
        self.shown.store(Arc::new(Shown::of(&new)));
        *in_use = new;
        tracing::info!("a new certificate is in use");
        (self.on_step)("in use");
        Ok(())
    }

    fn exchanged(
        &self,
        in_use: &Identity,
        certificate_pem: &str,
        trusted_pem: &str,
    ) -> Result<Identity, RenewalError> {
        let trusted = all_in(trusted_pem.as_bytes()).ok_or(RenewalError::Trusted)?;
        if trusted.len() > MAX_TRUSTED {
            return Err(RenewalError::Trusted);
        }
        let mut new = Identity {
            // From now on it does not follow from the CAs.
            record: IdentityRecord { fleet: Some(in_use.fleet()), ..in_use.record.clone() },
            ca_pem: trusted_pem.to_owned(),
            ..in_use.clone()
        };
        if certificate_pem.is_empty() || certificate_pem == in_use.certificate_pem {
            return Ok(new);
        }
        let chain = all_in(certificate_pem.as_bytes()).ok_or(RenewalError::Unreadable)?;
        let named = chain.first().and_then(tls::peer_identity);
        if named != Some(PeerIdentity::Agent(in_use.record.host_id)) {
            return Err(RenewalError::AnotherHost);
        }
        let prepared = KeyPem::prepared(&self.dir).map_err(RenewalError::Identity)?;
        // In use already and signed once more, or prepared.
        let keys = [prepared.as_ref().map(KeyPem::pem), Some(in_use.key_pem.as_str())];
        let key =
            keys.into_iter().flatten().find(|key| super::identity::fits(certificate_pem, key));
        new.key_pem = key.ok_or(RenewalError::AnotherKey)?.to_owned();
        new.certificate_pem = certificate_pem.to_owned();
        Ok(new)
    }

    /// Takes into use what somebody else has written: the host has joined again.
    pub fn look_again(&self) {
        let mut in_use = self.identity.lock();
        let found = match Identity::load(&self.dir) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(dir = %self.dir.display(), error = %error,
                    "the identity cannot be read; the old one stays");
                return;
            }
        };
        if found == *in_use {
            return;
        }
        if found.record.host_id != in_use.record.host_id {
            tracing::warn!("the host has another id now; restart the agent to become it");
            return;
        }
        match server_tls(&found, &self.time) {
            Ok(config) => {
                self.tls.store(Arc::new(config));
                self.shown.store(Arc::new(Shown::of(&found)));
                *in_use = found;
                tracing::info!("a new certificate is in use");
            }
            // Half-written: certificate and CA are replaced one after the other.
            Err(error) => tracing::warn!(error = %error, "the new certificate cannot be used yet"),
        }
    }
}

fn server_tls(
    identity: &Identity,
    time: &Arc<dyn TimeProvider>,
) -> Result<rustls::ServerConfig, TlsConfigError> {
    tls::agent_side_at(
        identity.certificate_pem.as_bytes(),
        identity.key_pem.as_bytes(),
        identity.ca_pem.as_bytes(),
        Arc::clone(time),
    )
}

#[cfg(test)]
mod tests;
