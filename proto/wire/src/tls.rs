//! Names in certificates, and a TLS acceptor whose certificates can be changed.
//!
//! The server's own CA signs two kinds of certificate and the kinds can't stand in for each
//! other: an agent's says `<host id>.agent.banger.internal` and may only serve, the server's
//! client certificate says `server.banger.internal` and may only call (extended key usage). Who a
//! peer is comes from its certificate, never from what it says in a message.
//!
//! tonic's own `ServerTlsConfig` holds one certificate for the life of the listener, so the
//! acceptor is ours: `service::edge` reads the configuration anew for every connection.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
pub use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use banger_proto::ids::HostId;

pub use rustls::time_provider::{DefaultTimeProvider, TimeProvider};

pub mod certificate;

/// The DNS name in the certificate with which the server calls agents.
pub const SERVER_NAME: &str = "server.banger.internal";

const AGENT_SUFFIX: &str = ".agent.banger.internal";

/// What every name in a certificate of the fleet itself ends with.
const FLEET_SUFFIX: &str = ".banger.internal";

/// Whether a name is one that only certificates of the fleet itself have: of its server and agents.
#[must_use]
pub fn is_name_of_the_fleet(name: &str) -> bool {
    name.to_ascii_lowercase().trim_end_matches('.').ends_with(FLEET_SUFFIX)
}

/// The DNS name in the certificate of a host's agent.
pub fn agent_name(host: HostId) -> String {
    format!("{host}{AGENT_SUFFIX}")
}

/// Who a certificate of our CA names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerIdentity {
    /// The server.
    Server,
    /// The agent of this host.
    Agent(HostId),
}

/// Reads who a certificate names. The chain must have been verified before.
pub fn peer_identity(certificate: &CertificateDer<'_>) -> Option<PeerIdentity> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate.as_ref()).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        x509_parser::extensions::GeneralName::DNSName(SERVER_NAME) => Some(PeerIdentity::Server),
        x509_parser::extensions::GeneralName::DNSName(name) => {
            name.strip_suffix(AGENT_SUFFIX)?.parse().ok().map(PeerIdentity::Agent)
        }
        _ => None,
    })
}

/// Returned by [`agent_side`] and [`public_side`].
#[derive(Debug, thiserror::Error)]
pub enum TlsConfigError {
    /// A PEM text has not what is expected in it.
    #[error("{what} is not readable as PEM")]
    Pem {
        /// Which one.
        what: &'static str,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// Certificate and key do not fit, or the CA can't be used.
    #[error("certificate, key and CA cannot be used together")]
    Unusable(#[source] rustls::Error),
    /// The CA can't be used to verify clients.
    #[error("the CA certificate cannot verify clients")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
}

fn certificates(
    what: &'static str,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if all.is_empty() => {
            Err(TlsConfigError::Pem { what, source: rustls_pki_types::pem::Error::NoItemsFound })
        }
        Ok(all) => Ok(all),
        Err(source) => Err(TlsConfigError::Pem { what, source }),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsConfigError> {
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|source| TlsConfigError::Pem { what: "the private key", source })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The listener of an agent: shows the agent's certificate, admits only what `ca` has signed.
/// Only TLS 1.3 is spoken. The caller still has to ask [`peer_identity`]; [`handshake`] does.
///
/// # Errors
/// PEM texts that are not readable or do not fit together.
pub fn agent_side(
    certificate_pem: &[u8],
    key_pem: &[u8],
    ca_pem: &[u8],
) -> Result<rustls::ServerConfig, TlsConfigError> {
    agent_side_at(certificate_pem, key_pem, ca_pem, Arc::new(DefaultTimeProvider))
}

/// The same by another clock than the machine's: it says whether the server's certificate is good.
///
/// # Errors
/// As of [`agent_side`].
pub fn agent_side_at(
    certificate_pem: &[u8],
    key_pem: &[u8],
    ca_pem: &[u8],
    time: Arc<dyn TimeProvider>,
) -> Result<rustls::ServerConfig, TlsConfigError> {
    let mut roots = RootCertStore::empty();
    for ca in certificates("the CA certificate", ca_pem)? {
        roots.add(ca).map_err(TlsConfigError::Unusable)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(TlsConfigError::Verifier)?;
    let mut config = rustls::ServerConfig::builder_with_details(provider(), time)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsConfigError::Unusable)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            certificates("the agent's certificate", certificate_pem)?,
            private_key(key_pem)?,
        )
        .map_err(TlsConfigError::Unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// What certificates of clients are verified by.
pub type ClientVerifier = Arc<dyn ClientCertVerifier>;

/// Verifies certificates that these CAs have signed for clients; whoever shows none is let in.
///
/// # Errors
/// The text has no CA, or one that can't be used.
pub fn client_verifier(ca_pem: &[u8]) -> Result<ClientVerifier, TlsConfigError> {
    let mut roots = RootCertStore::empty();
    for ca in certificates("the CA of clients", ca_pem)? {
        roots.add(ca).map_err(TlsConfigError::Unusable)?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()
        .map_err(TlsConfigError::Verifier)
}

/// Whether two PEM texts have a certificate in common.
#[must_use]
pub fn have_one_in_common(one: &[u8], other: &[u8]) -> bool {
    let read = |pem| certificates("a CA certificate", pem).unwrap_or_default();
    let others = read(other);
    read(one).iter().any(|certificate| others.contains(certificate))
}

/// The public listener of the server when TLS is configured. Clients are asked for a certificate
/// where there is something to verify it by, and need not have one.
///
/// # Errors
/// PEM texts that are not readable or do not fit together.
pub fn public_side(
    certificate_pem: &[u8],
    key_pem: &[u8],
    clients: Option<ClientVerifier>,
) -> Result<rustls::ServerConfig, TlsConfigError> {
    let clients = clients.unwrap_or_else(WebPkiClientVerifier::no_client_auth);
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsConfigError::Unusable)?
        .with_client_cert_verifier(clients)
        .with_single_cert(
            certificates("the server's certificate", certificate_pem)?,
            private_key(key_pem)?,
        )
        .map_err(TlsConfigError::Unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The DNS names in the first certificate of a chain: by these its owner is reached. None when it
/// can't be read, which whoever uses the chain finds out.
#[must_use]
pub fn names_in(certificate_pem: &[u8]) -> Vec<String> {
    let Ok(chain) = certificates("the certificate", certificate_pem) else { return Vec::new() };
    let certificate =
        chain.first().and_then(|first| x509_parser::parse_x509_certificate(first).ok());
    let Some((_, certificate)) = certificate else { return Vec::new() };
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let dns = names.filter_map(|name| match name {
        x509_parser::extensions::GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    dns.collect()
}

/// Whom a listener lets in after the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// Anybody who finished the handshake.
    Anybody,
    /// Only the server, by its certificate.
    OnlyTheServer,
}

/// Where connections come from: the kernel, or a network that is simulated.
pub trait Accept: Send + 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Waits for the next connection. Cancel-safe: no connection is lost when it is dropped.
    ///
    /// # Errors
    /// None can be taken now; the next try may go well.
    fn accept_one(&mut self) -> impl Future<Output = io::Result<(Self::Io, SocketAddr)>> + Send;
}

impl Accept for TcpListener {
    type Io = TcpStream;

    async fn accept_one(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.accept().await?;
        // A peer that is gone already is found out by the handshake.
        let _ = stream.set_nodelay(true);
        Ok((stream, peer))
    }
}

/// Shakes hands with a peer, and lets in whom the listener admits.
///
/// # Errors
/// The handshake failed, or the peer is somebody else.
pub async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    acceptor: TlsAcceptor,
    stream: S,
    admit: Admit,
) -> io::Result<TlsStream<S>> {
    let stream = acceptor.accept(stream).await?;
    let identity = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(<[CertificateDer<'_>]>::first)
        .and_then(peer_identity);
    match (admit, identity) {
        (Admit::Anybody, _) | (Admit::OnlyTheServer, Some(PeerIdentity::Server)) => Ok(stream),
        (Admit::OnlyTheServer, other) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("the peer is not the server but {other:?}"),
        )),
    }
}

#[cfg(test)]
mod tests;
