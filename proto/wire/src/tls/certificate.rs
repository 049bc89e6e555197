//! What a certificate says of itself, as far as its renewal goes by it: key and times.
//!
//! Read from certificates that were verified, or that somebody of banger's own made. Nothing here
//! says that one is to be trusted.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// Key and times of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Its public key, as a certificate request has it (SubjectPublicKeyInfo, DER).
    pub public_key: Vec<u8>,
    /// Seconds since 1970, before which it is not good.
    pub not_before: i64,
    /// Seconds since 1970, after which it is not good.
    pub not_after: i64,
}

/// Reads a certificate; `None` where it is none.
#[must_use]
pub fn facts_of(certificate: &CertificateDer<'_>) -> Option<CertificateFacts> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let validity = certificate.validity();
    Some(CertificateFacts {
        public_key: certificate.public_key().raw.to_vec(),
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
    })
}

/// The same of the first certificate in a PEM text.
#[must_use]
pub fn facts_of_pem(pem: &[u8]) -> Option<CertificateFacts> {
    facts_of(&CertificateDer::from_pem_slice(pem).ok()?)
}

/// Every certificate in a PEM text; `None` where one can't be read, or there is none.
#[must_use]
pub fn all_in(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let all: Option<Vec<_>> = CertificateDer::pem_slice_iter(pem).map(Result::ok).collect();
    all.filter(|all| !all.is_empty())
}
