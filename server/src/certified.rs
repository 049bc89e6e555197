//! Whose a client certificate is, and which role that gives.
//!
//! The handshake has verified it once, by the clock of the machine; here it is verified again by
//! the CA that is configured now, when it is first shown to a call: a connection may have been
//! there before a CA was replaced. It names nobody of the fleet itself: agents and the server have
//! names that are taken for nobody's here, whoever signs them, and the fleet's own CA is no CA of
//! callers.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use banger_wire::tls::{CertificateDer, ClientVerifier, is_name_of_the_fleet};
use jiff::Timestamp;
use rustls_pki_types::UnixTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::config::ClientCertificatesConfig;
use crate::config::auth::rights;
use crate::model::caller::{Principal, Rights};
use crate::model::token::is_own_name;

/// The longest name of somebody.
const MOST_NAME: usize = 128;

/// Most names of one certificate that are looked at.
const MOST_NAMES: usize = 64;

/// A certificate is nobody's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotCertified {
    #[error("the client certificate can't be read")]
    Unreadable,
    #[error(
        "the client certificate is not signed by a CA that is trusted for callers now, or is not good now"
    )]
    Untrusted,
    #[error("the client certificate is not one for clients (extended key usage clientAuth)")]
    NotForClients,
    #[error("the client certificate has a name of the fleet's own")]
    OfTheFleet,
    #[error(
        "no name of the client certificate has a role here: an admin gives one in auth.client_certificates.grants"
    )]
    NoRole,
}

/// Somebody, as their certificate says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certified {
    pub principal: Principal,
    /// Not from then on.
    pub expires_at: Timestamp,
}

/// By which certificates callers are known.
#[derive(Debug)]
pub struct CertifiedCallers {
    verifier: ArcSwap<ClientVerifier>,
    grants: Vec<(String, Rights)>,
}

impl CertifiedCallers {
    /// As configured, with the CAs of its file.
    pub fn new(config: &ClientCertificatesConfig, verifier: ClientVerifier) -> Self {
        let grants = config.grants.iter().filter_map(|grant| {
            let rights = rights(&grant.role, grant.project.as_deref()).ok()?;
            Some((grant.name.clone(), rights))
        });
        Self { verifier: ArcSwap::from_pointee(verifier), grants: grants.collect() }
    }

    /// What the handshake verifies by.
    pub fn verifier(&self) -> ClientVerifier {
        ClientVerifier::clone(&self.verifier.load())
    }

    /// From now on these CAs are trusted.
    pub fn trust(&self, verifier: ClientVerifier) {
        self.verifier.store(Arc::new(verifier));
    }

    /// Whose a chain of certificates is at this time, the caller's own first.
    ///
    /// # Errors
    /// It is nobody's, in words for whoever has shown it.
    pub fn vouch(
        &self,
        chain: &[CertificateDer<'static>],
        now: Timestamp,
    ) -> Result<Certified, NotCertified> {
        let (own, others) = chain.split_first().ok_or(NotCertified::Unreadable)?;
        let seconds = u64::try_from(now.as_second()).map_err(|_| NotCertified::Untrusted)?;
        let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let verified = self.verifier.load().verify_client_cert(own, others, at);
        verified.map_err(|_| NotCertified::Untrusted)?;
        let read = x509_parser::parse_x509_certificate(own.as_ref());
        let (_, certificate) = read.map_err(|_| NotCertified::Unreadable)?;
        let usage = certificate.extended_key_usage().map_err(|_| NotCertified::Unreadable)?;
        if !usage.is_some_and(|usage| usage.value.client_auth) {
            return Err(NotCertified::NotForClients);
        }
        let names = names_of(&certificate)?;
        if names.iter().any(|name| is_name_of_the_fleet(name)) {
            return Err(NotCertified::OfTheFleet);
        }
        let granted = self.grants.iter().find(|(name, _)| names.contains(name));
        let (name, rights) = granted.ok_or(NotCertified::NoRole)?;
        let ends = certificate.validity().not_after.timestamp();
        let expires_at = Timestamp::from_second(ends).unwrap_or(Timestamp::MAX);
        let name = format!("certificate#{name}").into();
        Ok(Certified { principal: Principal { name, rights: rights.clone() }, expires_at })
    }
}

/// The names of a certificate by which callers are known: DNS names, URIs and mail addresses, or
/// where it has none its one common name (RFC 6125 section 6.4.4).
fn names_of(certificate: &X509Certificate<'_>) -> Result<Vec<String>, NotCertified> {
    let alternative =
        certificate.subject_alternative_name().map_err(|_| NotCertified::Unreadable)?;
    let all = alternative.iter().flat_map(|names| &names.value.general_names);
    let mut names: Vec<&str> = all
        .filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => {
                Some(*name)
            }
            _ => None,
        })
        .collect();
    if names.is_empty() {
        let mut common = certificate.subject().iter_common_name();
        if let (Some(name), None) = (common.next(), common.next()) {
            names.extend(name.as_str().ok());
        }
    }
    if names.len() > MOST_NAMES {
        return Err(NotCertified::Unreadable);
    }
    let fit = |name: &&str| {
        (1..=MOST_NAME).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
            && !is_own_name(name)
    };
    Ok(names.into_iter().filter(fit).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests;
