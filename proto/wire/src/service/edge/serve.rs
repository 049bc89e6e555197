//! Accepts connections and speaks HTTP over them until it is told to stop.
//!
//! One task a connection. Nothing waits for a peer: a handshake has its deadline, so have the head
//! of a request and the time without a call, and whoever is there first keeps nobody out
//! ([`super::places`]). What a connection can make the service hold is bounded by windows, header
//! lists and the number of its streams. Told to stop, the listener closes at once, and connections
//! end when their calls do; cut, all of them end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tower::{Service, ServiceExt as _};

use super::connection::{Connection, Proof};
use super::places::{Places, Room};
use crate::limits;
use crate::tls::{Accept, Admit, handshake};

/// How long the head of an HTTP/1.1 request may take; also how long such a connection may lie idle.
const HEAD_LIMIT: Duration = Duration::from_secs(30);

/// How often connections that have shown no identity for too long are looked for.
const TIDY_EVERY: Duration = Duration::from_secs(1);

/// How long a connection may take to end once it was asked to and has no call.
const FAREWELL: Duration = Duration::from_secs(2);

/// What one listener bears.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections.
    pub room: Room,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a connection that has shown no identity may be without a call.
    pub idle: Duration,
    /// What one stream may have sent that nobody has read, in bytes.
    pub stream_window: u32,
    /// What all streams of a connection may, in bytes.
    pub connection_window: u32,
    /// Streams one connection may have open.
    pub streams: u32,
}

impl Bounds {
    /// For so many connections.
    #[must_use]
    pub const fn of(room: Room) -> Self {
        Self {
            room,
            handshake: limits::CONNECT_TIMEOUT,
            idle: Duration::from_secs(30),
            stream_window: 512 * 1024,
            connection_window: 1024 * 1024,
            streams: limits::MAX_CONCURRENT_STREAMS,
        }
    }
}

/// TLS of a listener.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Read anew for every connection: swap it to change certificates.
    pub config: Arc<ArcSwap<rustls::ServerConfig>>,
    /// Whom it lets in.
    pub admit: Admit,
}

/// A listener to be served.
#[derive(Debug)]
pub struct Listener<A> {
    /// Where connections come from.
    pub accept: A,
    /// Plain text without.
    pub tls: Option<Tls>,
    /// What it bears.
    pub bounds: Bounds,
    /// No further connections, and those that are there end when their calls do.
    pub stop: CancellationToken,
    /// All connections end now.
    pub cut: CancellationToken,
}

/// Serves a listener until it is stopped and its calls have ended, or it is cut.
pub fn serve<A, S>(listener: Listener<A>, service: S) -> JoinHandle<()>
where
    A: Accept,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    tokio::spawn(accept_all(listener, service))
}

async fn accept_all<A, S>(listener: Listener<A>, service: S)
where
    A: Accept,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let Listener { mut accept, tls, bounds, stop, cut } = listener;
    // Connections end with this task, also where it is aborted.
    let cut = cut.child_token();
    let _guard = cut.clone().drop_guard();
    let places = Places::new(bounds.room);
    let connections = TaskTracker::new();
    let http = Arc::new(http(&bounds));
    let mut tidy = interval(TIDY_EVERY);
    tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // Cancel-safe: `accept_one` loses no connection when dropped, and a tick that is not taken
        // is no loss.
        let accepted = tokio::select! {
            accepted = accept.accept_one() => accepted,
            _ = tidy.tick() => {
                places.end_overdue(Instant::now());
                continue;
            }
            () = stop.cancelled() => break,
            () = cut.cancelled() => break,
        };
        let (io, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely. Without a pause this would spin.
                tracing::warn!(error = %error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(place) = places.take(peer.ip(), Instant::now()) else { continue };
        let connection = Connection::new(peer, tls.is_some(), place, bounds.idle);
        let (tls, http, service) = (tls.clone(), Arc::clone(&http), service.clone());
        let (stop, cut) = (stop.clone(), cut.clone());
        connections.spawn(async move {
            let over = connection.clone();
            // Cancel-safe: the connection is given up in each case but the first.
            tokio::select! {
                () = meet(io, connection, tls, bounds.handshake, &http, service, stop) => {}
                () = over.over() => tracing::debug!(peer = %peer, "a connection gives way"),
                () = cut.cancelled() => {}
            }
        });
    }
    // The port is free from here on, and connections that wait in its queue are refused.
    drop(accept);
    connections.close();
    connections.wait().await;
}

/// Shakes hands and speaks.
async fn meet<I, S>(
    io: I,
    connection: Connection,
    tls: Option<Tls>,
    limit: Duration,
    http: &auto::Builder<TokioExecutor>,
    service: S,
    stop: CancellationToken,
) where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let Some(Tls { config, admit }) = tls else {
        return speak(io, connection, http, service, stop).await;
    };
    let hands = timeout(limit, handshake(TlsAcceptor::from(config.load_full()), io, admit));
    // Cancel-safe: a handshake that is not over when the listener stops is given up.
    let shaken = tokio::select! {
        shaken = hands => shaken,
        () = stop.cancelled() => return,
    };
    match shaken {
        Ok(Ok(stream)) => {
            if admit == Admit::OnlyTheServer {
                connection.prove(Proof::Lasting, None);
            }
            if let Some(certificates) = stream.get_ref().1.peer_certificates() {
                connection.show(certificates);
            }
            speak(stream, connection, http, service, stop).await;
        }
        Ok(Err(error)) => refused(connection.peer(), &error),
        Err(late) => refused(connection.peer(), &io::Error::from(late)),
    }
}

fn refused(peer: SocketAddr, error: &io::Error) {
    tracing::info!(peer = %peer, error = %error, "refused a TLS connection");
}

async fn speak<I, S>(
    io: I,
    connection: Connection,
    http: &auto::Builder<TokioExecutor>,
    service: S,
    stop: CancellationToken,
) where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let known = connection.clone();
    let service = service.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(known.clone());
        request.map(Body::new)
    });
    let served = http.serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
    let mut served = std::pin::pin!(served);
    // Cancel-safe: what is served goes on being polled.
    let overstayed = tokio::select! {
        ended = &mut served => return log(connection.peer(), ended),
        () = stop.cancelled() => false,
        () = connection.overstays() => true,
    };
    served.as_mut().graceful_shutdown();
    if !overstayed {
        return log(connection.peer(), served.await);
    }
    if timeout(FAREWELL, served).await.is_err() {
        tracing::debug!(peer = %connection.peer(), "a connection said nothing for too long");
    }
}

fn log(peer: SocketAddr, ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(peer = %peer, error = %error, "a connection failed");
    }
}

fn http(bounds: &Bounds) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_headers(64)
        .max_buf_size(64 * 1024);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits::KEEPALIVE_INTERVAL)
        .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT)
        .initial_stream_window_size(bounds.stream_window)
        .initial_connection_window_size(bounds.connection_window)
        .max_concurrent_streams(bounds.streams)
        .max_header_list_size(limits::MAX_HEADER_BYTES);
    http
}

#[cfg(test)]
mod tests;
