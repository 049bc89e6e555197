//! Joining a fleet: a key made here, a certificate made by the server.
//!
//! Driven by `banger-agent join`, once for each host and again for a new certificate. The key never
//! leaves the host and is there before the server is asked, so that an answer that is lost can be
//! asked for again with the same key. What can go wrong: the server is not the one the token came
//! from (its CA has another fingerprint), or it refuses; then nothing but the key is written.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use banger_proto::ids::HostId;
use banger_proto::v1::host_service_client::HostServiceClient;
use banger_proto::v1::{JoinHostRequest, JoinHostResponse};
use banger_wire::listeners::near;
use banger_wire::tls::{self, PeerIdentity};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::host::{Subnet, UsedNetwork};

pub mod identity;
pub mod renewal;

use identity::{Identity, IdentityError, IdentityRecord, KeyPem};

/// How long the server may take to answer.
const LIMIT: Duration = Duration::from_secs(30);

/// How many networks a server takes.
const MAX_NETWORKS_TOLD: usize = 1000;

/// Where Debian, and most others, keep the certificates that a machine trusts.
const SYSTEM_CAS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What `banger-agent join` was told.
#[derive(Debug, Clone)]
pub struct JoinRequest {
    /// The server's API, such as `https://server.example:7070`.
    pub server: String,
    /// From `banger host token`. A secret.
    pub token: String,
    /// The name of the host in the fleet.
    pub name: String,
    /// Where the server is to reach the agent; found out when not set.
    pub agent_address: Option<String>,
    /// The port the agent listens at.
    pub agent_port: u16,
    /// Labels that the host would like.
    pub labels: BTreeMap<String, String>,
    /// Networks that the machine uses, other than by banger's bridge: guests get another.
    pub used_networks: Vec<UsedNetwork>,
    /// Certificates that sign the server's API certificate; the machine's when not set.
    pub api_ca: Option<PathBuf>,
    /// Speak plain text to a server that is not on this machine.
    pub insecure_plaintext: bool,
}

/// Joining failed.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The server's address is none.
    #[error("{0:?} is no address of a server such as https://server.example:7070")]
    Address(String),
    /// The token would travel in the clear.
    #[error(
        "{0} is plain text and not this machine: the token would travel in the clear; use https, \
         or --insecure-plaintext if something else protects the connection"
    )]
    Plaintext(String),
    /// The token has not the form of one.
    #[error("the token is not of the form bj1.<id>.<secret>.<ca sha256>")]
    Token,
    /// A file can't be read.
    #[error("could not read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The server can't be reached.
    #[error("the server at {server} cannot be reached")]
    Unreachable {
        /// Its address.
        server: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// The certificate of the server's API is signed by nobody whom this machine trusts.
    #[error(
        "the certificate of the server at {server} is signed by a CA that this machine does not \
         trust; name the CA's certificate with --ca FILE"
    )]
    Untrusted {
        /// Its address.
        server: String,
    },
    /// The address by which the server would reach this host can't be found out.
    #[error("this host's own address cannot be found out; give --agent-address")]
    OwnAddress(#[source] std::io::Error),
    /// The server said no.
    #[error("the server refused: {0}")]
    Refused(String),
    /// The server is not the one the token came from.
    #[error(
        "the server's CA is not the one the token came from: somebody answers in its place, or the \
         token is another server's"
    )]
    WrongServer,
    /// The server's answer makes no sense.
    #[error("the server's answer cannot be used: {0}")]
    Answer(&'static str),
    /// A server that does not ask which networks the machine uses has given one of them.
    #[error(
        "the server gives this host the guest subnet {subnet}, which shares addresses with {used} \
         of this machine; remove the host from the fleet, set another guest_pool at the server, \
         and join again"
    )]
    SubnetInUse {
        /// Of the guests.
        subnet: Subnet,
        /// The machine's.
        used: String,
    },
    /// Certificate, key and CA do not fit together.
    #[error("the certificate the server made cannot be used")]
    Certificate(#[source] tls::TlsConfigError),
    /// The certificate request can't be made.
    #[error("no certificate request could be made")]
    Request(#[source] rcgen::Error),
    /// Files of the identity can't be read or written.
    #[error("the host's identity cannot be kept")]
    Identity(#[source] IdentityError),
}

/// What came of joining.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// What the host is in its fleet.
    pub record: IdentityRecord,
    /// Labels that were asked for and that the host does not have: they come with the token, or
    /// from an operator.
    pub not_given: BTreeMap<String, String>,
}

/// Joins, and writes the host's identity to `identity_dir`.
///
/// # Errors
/// Nothing but the key is written then.
pub async fn join(request: JoinRequest, identity_dir: &Path) -> Result<Joined, JoinError> {
    let fingerprint = ca_fingerprint(&request.token)?;
    let endpoint = endpoint(&request)?;
    let known = Identity::known_host(identity_dir).map_err(JoinError::Identity)?;
    let mut key = KeyPem::load_or_make(identity_dir).map_err(JoinError::Identity)?;
    let agent_address = match &request.agent_address {
        Some(address) => address.clone(),
        None => own_address(&endpoint, request.agent_port).map_err(JoinError::OwnAddress)?,
    };
    let mut message = JoinHostRequest {
        token: request.token.clone(),
        name: request.name.clone(),
        certificate_request_pem: key.certificate_request().map_err(JoinError::Request)?,
        agent_address,
        labels: request.labels.clone(),
        host_id: known.map(|id| id.to_string()).unwrap_or_default(),
        used_networks: told(&request.used_networks),
    };
    // A port of this machine is whoever's came first.
    let is_near = endpoint.uri().scheme_str() == Some("http")
        && endpoint.uri().host().is_some_and(is_loopback);
    let connected = if is_near && !request.insecure_plaintext {
        near::connect(&endpoint).await
    } else {
        endpoint.connect().await
    };
    let channel: Channel = connected.map_err(|source| not_reached(&request.server, source))?;
    let mut client = HostServiceClient::new(channel);
    let mut answer = client.join_host(message.clone()).await;
    if answer.as_ref().is_err_and(key_is_revoked) {
        // Somebody has shut that key out, and an operator lets this host in again: with another.
        key = KeyPem::load_or_make_next(identity_dir, key.pem()).map_err(JoinError::Identity)?;
        message.certificate_request_pem = key.certificate_request().map_err(JoinError::Request)?;
        answer = client.join_host(message).await;
    }
    let answer = answer.map_err(|status| JoinError::Refused(words(&status)))?.into_inner();
    let labels = answer.labels.clone();
    let mut identity = accept(&request, answer, &key, fingerprint, known)?;
    if known == Some(identity.record.host_id) {
        // The same fleet, whatever CA it has now. What can't be read says nothing of it.
        identity.record.fleet = Identity::load(identity_dir).ok().map(|before| before.fleet());
    }
    identity.save(identity_dir).map_err(JoinError::Identity)?;
    let not_given = request.labels.into_iter().filter(|(k, v)| labels.get(k) != Some(v)).collect();
    Ok(Joined { record: identity.record, not_given })
}

/// Whether the server refused because this host's key was revoked.
fn key_is_revoked(status: &tonic::Status) -> bool {
    use tonic_types::StatusExt as _;
    status.get_details_error_info().is_some_and(|info| info.reason == "HOST_KEY_REVOKED")
}

/// Why there is no connection: a CA that is not trusted has a remedy of its own.
fn not_reached(server: &str, source: tonic::transport::Error) -> JoinError {
    let server = server.to_owned();
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&source);
    while let Some(error) = next {
        let inner = error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
        let tls = error.downcast_ref().or_else(|| inner?.downcast_ref());
        if let Some(rustls::Error::InvalidCertificate(
            rustls::CertificateError::UnknownIssuer | rustls::CertificateError::BadSignature,
        )) = tls
        {
            return JoinError::Untrusted { server };
        }
        next = error.source();
    }
    JoinError::Unreachable { server, source }
}

/// The largest networks, as many as the server takes.
fn told(used: &[UsedNetwork]) -> Vec<String> {
    let mut used: Vec<_> = used.iter().map(|used| (used.prefix, used.network)).collect();
    used.sort_unstable();
    used.dedup();
    let used = used.into_iter().take(MAX_NETWORKS_TOLD);
    used.map(|(prefix, network)| format!("{network}/{prefix}")).collect()
}

/// Checks an answer of the server before anything of it is written.
fn accept(
    request: &JoinRequest,
    answer: JoinHostResponse,
    key: &KeyPem,
    fingerprint: [u8; 32],
    known: Option<HostId>,
) -> Result<Identity, JoinError> {
    let pem = |text: &str| CertificateDer::from_pem_slice(text.as_bytes());
    let ca = pem(&answer.ca_certificate_pem)
        .map_err(|_| JoinError::Answer("its CA certificate is not readable"))?;
    if <[u8; 32]>::from(Sha256::digest(&ca)) != fingerprint {
        return Err(JoinError::WrongServer);
    }
    let host_id: HostId =
        answer.host_id.parse().map_err(|_| JoinError::Answer("the host's id is no id"))?;
    let guest_subnet: Subnet = answer
        .guest_subnet
        .parse()
        .map_err(|_| JoinError::Answer("the guest subnet is no subnet"))?;
    let certificate = pem(&answer.certificate_pem)
        .map_err(|_| JoinError::Answer("the certificate is not readable"))?;
    if tls::peer_identity(&certificate) != Some(PeerIdentity::Agent(host_id)) {
        return Err(JoinError::Answer("the certificate does not name this host"));
    }
    // Also finds a certificate that was made for another key.
    tls::agent_side(
        answer.certificate_pem.as_bytes(),
        key.pem().as_bytes(),
        answer.ca_certificate_pem.as_bytes(),
    )
    .map_err(JoinError::Certificate)?;
    // A host that is one already keeps its subnet, and needs its new certificate.
    let used = request.used_networks.iter().find(|used| used.overlaps(guest_subnet));
    if let (Some(used), None) = (used, known) {
        return Err(JoinError::SubnetInUse { subnet: guest_subnet, used: used.to_string() });
    }
    Ok(Identity {
        record: IdentityRecord {
            format: identity::FORMAT,
            host_id,
            name: request.name.clone(),
            guest_subnet,
            server: request.server.clone(),
            fleet: None,
        },
        certificate_pem: answer.certificate_pem,
        key_pem: key.pem().to_owned(),
        ca_pem: answer.ca_certificate_pem,
    })
}

/// The last part of a token: sha256 of the server's CA certificate.
fn ca_fingerprint(token: &str) -> Result<[u8; 32], JoinError> {
    let parts: Vec<_> = token.split('.').collect();
    let [prefix, _id, _secret, ca] = parts[..] else { return Err(JoinError::Token) };
    let mut fingerprint = [0; 32];
    match (prefix, hex::decode_to_slice(ca, &mut fingerprint)) {
        ("bj1", Ok(())) => Ok(fingerprint),
        (_, Ok(()) | Err(_)) => Err(JoinError::Token),
    }
}

fn endpoint(request: &JoinRequest) -> Result<Endpoint, JoinError> {
    let address = || JoinError::Address(request.server.clone());
    let uri: http::Uri = request.server.parse().map_err(|_| address())?;
    let host = uri.host().ok_or_else(address)?;
    let endpoint = Endpoint::from_shared(request.server.clone())
        .map_err(|_| address())?
        .connect_timeout(LIMIT)
        .timeout(LIMIT);
    match uri.scheme_str() {
        Some("https") => {
            let path = request.api_ca.clone().unwrap_or_else(|| PathBuf::from(SYSTEM_CAS));
            let pem = std::fs::read(&path).map_err(|source| JoinError::Read { path, source })?;
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
            endpoint
                .tls_config(tls)
                .map_err(|source| JoinError::Unreachable { server: request.server.clone(), source })
        }
        Some("http") if request.insecure_plaintext || is_loopback(host) => Ok(endpoint),
        Some("http") => Err(JoinError::Plaintext(request.server.clone())),
        Some(_) | None => Err(address()),
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The address this host has towards the server, with the agent's port.
fn own_address(endpoint: &Endpoint, port: u16) -> std::io::Result<String> {
    use std::net::ToSocketAddrs;
    let uri = endpoint.uri();
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let server_port = uri.port_u16().unwrap_or(443);
    let server = (host, server_port)
        .to_socket_addrs()?
        .next()
        .ok_or(std::io::ErrorKind::AddrNotAvailable)?;
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    // Connecting a datagram socket sends nothing; it only chooses the route.
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    Ok(SocketAddr::new(socket.local_addr()?.ip(), port).to_string())
}

/// What the server said, with the reason and those bad fields that its sentence does not name.
fn words(status: &tonic::Status) -> String {
    use tonic_types::StatusExt as _;
    let details = status.get_error_details();
    let mut text = status.message().to_owned();
    for violation in details.bad_request().map_or(&[][..], |bad| &bad.field_violations) {
        let problem = format!("{} {}", violation.field, violation.description);
        if !status.message().contains(problem.trim()) {
            text.push_str(&format!("; {}", problem.trim()));
        }
    }
    if let Some(info) = details.error_info() {
        text.push_str(&format!(" ({})", info.reason));
    }
    text
}

#[cfg(test)]
mod tests;
