//! Connections of the simulated network, where server and agent expect the kernel's.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use banger_server::fleet::grpc::{Connector, Wire};
use banger_wire::tls::Accept;
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;
use tower::util::BoxCloneSyncService;
use turmoil::net::{TcpListener, TcpStream};

pub(super) struct Stream(TcpStream);

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Connected for Stream {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

/// Where an agent takes connections from.
pub(super) struct Listener(TcpListener);

impl Listener {
    pub(super) async fn bind(port: u16) -> io::Result<Self> {
        TcpListener::bind(("0.0.0.0", port)).await.map(Self)
    }
}

impl Accept for Listener {
    type Io = Stream;

    async fn accept_one(&mut self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        Ok((Stream(stream), peer))
    }
}

/// How a server connects to `<name of a host>:<port>`.
pub(super) fn connector() -> Connector {
    BoxCloneSyncService::new(tower::service_fn(|uri: Uri| async move {
        let address = uri.authority().map(|authority| authority.as_str().to_owned());
        let address = address.ok_or_else(|| io::Error::other("no address"))?;
        let stream = TcpStream::connect(address).await?;
        let wire: Box<dyn Wire> = Box::new(Stream(stream));
        Ok::<_, io::Error>(TokioIo::new(wire))
    }))
}
