//! A connection to an agent: TLS both ways, to one host, by one key, until it is cut.
//!
//! tonic's own TLS knows an agent by the name in its certificate alone, and every key that ever
//! joined as a host has such a certificate. So the handshake is done here: the name must be the
//! host's, and the key one that is on record for it. And tonic keeps a connection for as
//! long as anybody holds a channel over it, a stream to a guest for example; so each is wrapped in
//! a [`Cut`], which ends it when the host is gone or has another key.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use banger_proto::ids::HostId;
use banger_wire::limits::CONNECT_TIMEOUT;
use banger_wire::tls::certificate::facts_of;
use banger_wire::tls::{TimeProvider, agent_name};
use http::Uri;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::ServiceExt as _;

use super::{ClientIdentity, Connector, Wire};
use crate::clock::SharedClock;
use crate::fleet::certificates::CertificateShown;
use crate::model::agent_address;
use crate::model::host::HostRecord;

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 8;

/// Whom to reach.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) host: HostId,
    pub(super) address: String,
    /// As it is now: it has the keys that are the host's.
    pub(super) record: Arc<ArcSwap<HostRecord>>,
    /// What the newest handshake has shown.
    pub(super) shown: Arc<Mutex<Option<CertificateShown>>>,
}

impl Peer {
    pub(super) fn new(host: &HostRecord) -> Self {
        Self {
            host: host.id,
            address: host.agent_address.clone(),
            record: Arc::new(ArcSwap::from_pointee(host.clone())),
            shown: Arc::default(),
        }
    }
}

/// The server's clock, as TLS asks for it.
#[derive(Debug)]
pub(super) struct TlsClock(pub(super) SharedClock);

impl TimeProvider for TlsClock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

fn refused(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, error)
}

/// The server's side: shows its certificate, and believes what its own CA has signed.
fn client_config(
    identity: &ClientIdentity,
    time: Arc<dyn TimeProvider>,
) -> io::Result<ClientConfig> {
    let unusable = |error: rustls_pki_types::pem::Error| refused(error);
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(&identity.ca_pem) {
        roots.add(ca.map_err(unusable)?).map_err(refused)?;
    }
    let chain = CertificateDer::pem_slice_iter(&identity.certificate_pem);
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(unusable)?;
    let key = PrivateKeyDer::from_pem_slice(&identity.key_pem).map_err(unusable)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(refused)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(refused)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Which certificate this is; its key as [`crate::pki::AgentRequest::key_sha256`] has it of the
/// request.
fn shown_by(certificate: &CertificateDer<'_>) -> Option<CertificateShown> {
    let facts = facts_of(certificate)?;
    Some(CertificateShown {
        key_sha256: Sha256::digest(facts.public_key).into(),
        not_after: Timestamp::from_second(facts.not_after).ok()?,
    })
}

/// Connects and shakes hands with whoever has a key that is on record for the host.
pub(super) async fn connect(
    peer: Peer,
    identity: Arc<ClientIdentity>,
    connector: Option<Connector>,
    time: Arc<dyn TimeProvider>,
    cut: CancellationToken,
) -> io::Result<TokioIo<Cut<impl Wire>>> {
    let (stream, shown) = shake(&peer, &identity, connector, time).await?;
    if !peer.record.load().accepts(shown.key_sha256) {
        return Err(refused("the agent shows another key than its host joined with last"));
    }
    *peer.shown.lock() = Some(shown);
    Ok(TokioIo::new(Cut { stream, cut: Box::pin(cut.cancelled_owned()), is_cut: false }))
}

/// Connects and shakes hands for what is shown alone.
pub(super) async fn look(
    peer: Peer,
    identity: Arc<ClientIdentity>,
    connector: Option<Connector>,
    time: Arc<dyn TimeProvider>,
) -> io::Result<CertificateShown> {
    let (mut stream, shown) = shake(&peer, &identity, connector, time).await?;
    // As good as done: whoever is called and asked nothing has nothing to lose.
    let _ = timeout(CONNECT_TIMEOUT, stream.shutdown()).await;
    Ok(shown)
}

/// Connects and shakes hands, each within [`CONNECT_TIMEOUT`], with whoever one of our CAs has
/// called this host.
async fn shake(
    peer: &Peer,
    identity: &ClientIdentity,
    connector: Option<Connector>,
    time: Arc<dyn TimeProvider>,
) -> io::Result<(TlsStream<Box<dyn Wire>>, CertificateShown)> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let connecting = async {
        match connector {
            None => {
                let stream = TcpStream::connect(&found(&peer.address).await?[..]).await?;
                stream.set_nodelay(true)?;
                Ok::<Box<dyn Wire>, io::Error>(Box::new(stream))
            }
            Some(connector) => {
                let uri = Uri::try_from(format!("https://{}", peer.address)).map_err(refused)?;
                Ok(connector.oneshot(uri).await?.into_inner())
            }
        }
    };
    let stream = timeout(CONNECT_TIMEOUT, connecting).await.map_err(late)??;
    let name = ServerName::try_from(agent_name(peer.host)).map_err(refused)?;
    let tls = TlsConnector::from(Arc::new(client_config(identity, time)?));
    let stream = timeout(CONNECT_TIMEOUT, tls.connect(name, stream)).await.map_err(late)??;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).and_then(shown_by);
    let shown = shown.ok_or_else(|| refused("the agent's certificate can't be read"))?;
    Ok((stream, shown))
}

/// What an agent's address stands for, without what no host may have said.
async fn found(address: &str) -> io::Result<Vec<SocketAddr>> {
    let (mut good, mut bad) = (Vec::new(), None);
    for found in tokio::net::lookup_host(address).await?.take(MOST_ADDRESSES) {
        match agent_address::check_found(address, found.ip()) {
            Ok(()) => good.push(found),
            Err(why) => bad = Some(format!("{address} leads to {}: it {why}", found.ip())),
        }
    }
    match bad {
        Some(why) if good.is_empty() => Err(refused(why)),
        _ => Ok(good),
    }
}

/// A connection that can be ended from outside.
pub(super) struct Cut<S> {
    stream: S,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    is_cut: bool,
}

impl<S> Cut<S> {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.is_cut = self.is_cut || self.cut.as_mut().poll(cx).is_ready();
        if self.is_cut { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cut<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cut<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
