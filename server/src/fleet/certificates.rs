//! An agent's certificate, as the server sees and renews it over the link to that agent.

use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;

use super::error::LinkError;
use crate::model::host::KeyDigest;

/// The certificate that an agent has shown in a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateShown {
    pub key_sha256: KeyDigest,
    /// When it expires.
    pub not_after: Timestamp,
}

/// What is asked of an agent about its certificate.
#[async_trait]
pub trait CertificateLink: fmt::Debug + Send + Sync + 'static {
    /// What the newest connection was shown; `None` before the first.
    fn shown(&self) -> Option<CertificateShown>;

    /// Connects once more and looks what is shown now. The certificate must be the host's by name
    /// and CA; whether its key is on record is the caller's question. Connections that are open are
    /// left alone.
    ///
    /// # Errors
    /// The agent can't be reached, or shows what no CA of the fleet has signed for this host.
    async fn look(&self) -> Result<CertificateShown, LinkError>;

    /// Has the agent make the key of its next certificate; answers the request for that, PEM.
    ///
    /// # Errors
    /// There is none, as far as is known.
    async fn prepare(&self) -> Result<String, LinkError>;

    /// Gives the agent its certificate (empty: it keeps the one it has) and the CAs that it is to
    /// trust, PEM.
    ///
    /// # Errors
    /// The agent shows the one of before then, as far as is known: only a look says.
    async fn install(&self, certificate_pem: &str, trusted_pem: &str) -> Result<(), LinkError>;
}
