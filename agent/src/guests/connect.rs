//! Keeping the channel of one VM: connect, greet, ask who is there, hold, and again.
//!
//! Driven by [`super::GuestChannel::follow`], as a task that is aborted when the process is
//! another. Back-off from a twentieth of a second, because a microVM boots in a tenth, to two
//! seconds, because an image without a guest agent never answers. A channel that was held for a
//! while begins the back-off anew; one that a guest breaks as soon as it stands does not: each is
//! told, and a hostile one would have it told twenty times a second.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::guest_v1::{HelloRequest, HelloResponse};
use banger_wire::guest_link::Nonce;
use banger_wire::guest_link::session::Link;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::{GuestSeen, Inner, client_of};
use crate::host::HostError;

/// First and longest pause between attempts.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How long a channel has to be held before the pauses begin anew.
const STEADY: Duration = Duration::from_secs(10);

/// How long a guest may take to answer the greeting. A virtio-serial port takes it before the guest
/// has booted.
const GREETING_LIMIT: Duration = Duration::from_secs(30);

/// How long the first answer may take.
const HELLO_LIMIT: Duration = Duration::from_secs(20);

/// How often an idle connection is tried, and how long the answer may take: a guest that is
/// emulated on a busy machine is slow.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(20));

/// How much a guest may send ahead, for one call and for all.
const WINDOWS: (u32, u32) = (256 * 1024, 1024 * 1024);

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
enum NoChannel {
    #[error("the VMM gives no way to the guest")]
    Connect(#[source] HostError),
    #[error("the guest did not take the connection")]
    Greeting(#[source] io::Error),
    #[error("the guest does not answer")]
    Silent,
    #[error("HTTP/2 with the guest did not begin")]
    Http(#[source] tonic::transport::Error),
    #[error("the guest agent did not say who it is")]
    Hello(#[source] Box<Status>),
    #[error("there are no random numbers")]
    Random(#[source] getrandom::Error),
}

/// A task that ends with its holder.
struct EndsWithItsOwner(JoinHandle<()>);

impl Drop for EndsWithItsOwner {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps the channel until it is aborted or the agent stops.
pub(super) async fn keep(inner: Arc<Inner>) {
    let mut pause = PAUSE.0;
    loop {
        // Cancel-safe: a connection that is dropped is begun anew by the next, whatever was said.
        let began = Instant::now();
        let ended = tokio::select! {
            () = inner.stop.cancelled() => return,
            ended = hold(&inner) => ended,
        };
        match ended {
            Ok(()) if began.elapsed() >= STEADY => pause = PAUSE.0,
            Ok(()) => {}
            Err(why) => tracing::trace!(jail = %inner.jail, error = %why, "no guest agent yet"),
        }
        let lost = {
            let mut state = inner.state.lock();
            state.client = None;
            match &mut state.seen {
                Some(seen) => std::mem::take(&mut seen.connected),
                None => false,
            }
        };
        if lost {
            tracing::info!(jail = %inner.jail, "the guest agent is not reached any more");
            inner.changed.notify_one();
        }
        // Cancel-safe: a notification not taken stays.
        tokio::select! {
            () = inner.stop.cancelled() => return,
            () = inner.again.notified() => pause = PAUSE.0,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE.1),
        }
    }
}

/// One connection, from its beginning to its end.
async fn hold(inner: &Inner) -> Result<(), NoChannel> {
    let stream = inner.host.connect(&inner.jail).await.map_err(NoChannel::Connect)?;
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(NoChannel::Random)?;
    let (reader, writer) = tokio::io::split(stream.io);
    let mut link = Link::new(reader, writer).paced();
    timeout(GREETING_LIMIT, link.begin(Nonce(u128::from_ne_bytes(nonce))))
        .await
        .map_err(|_| NoChannel::Silent)?
        .map_err(NoChannel::Greeting)?;
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let mut carrying = EndsWithItsOwner(tokio::spawn(async move {
        if let Err(error) = link.carry(theirs).await {
            tracing::debug!(%error, "a link to a guest failed");
        }
    }));
    let channel = channel(ours).await.map_err(NoChannel::Http)?;
    let mut client = client_of(channel);
    let hello = client.hello(HelloRequest { host_version: env!("CARGO_PKG_VERSION").to_owned() });
    let hello = timeout(HELLO_LIMIT, hello).await.map_err(|_| NoChannel::Silent)?;
    let hello = hello.map_err(|why| NoChannel::Hello(Box::new(why)))?.into_inner();
    {
        let mut state = inner.state.lock();
        let first = state.seen.as_ref().map(|seen| seen.ready_at);
        let seen = seen(hello, first.unwrap_or_else(|| inner.clock.now()), stream.transport);
        tracing::info!(jail = %inner.jail, boot = seen.boot_id, transport = seen.transport,
            "the guest agent is there");
        state.seen = Some(seen);
        state.client = Some(client);
    }
    inner.changed.notify_one();
    inner.set_time().await;
    let _ = (&mut carrying.0).await;
    Ok(())
}

fn seen(hello: HelloResponse, ready_at: jiff::Timestamp, transport: &'static str) -> GuestSeen {
    GuestSeen {
        agent_version: printable(&hello.agent_version, 64),
        boot_id: printable(&hello.boot_id, 64),
        hostname: printable(&hello.hostname, 253),
        ready_at,
        connected: true,
        transport,
    }
}

/// A guest's words for showing: one line of printable ASCII, and not a long one.
#[must_use]
pub fn printable(text: &str, longest: usize) -> String {
    text.chars().filter(|c| matches!(c, ' '..='~')).take(longest).collect()
}

/// A channel over this one stream: it is never made anew from here.
async fn channel(stream: DuplexStream) -> Result<Channel, tonic::transport::Error> {
    let slot = Arc::new(parking_lot::Mutex::new(Some(stream)));
    Endpoint::from_static("http://guest")
        .http2_keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .http2_max_header_list_size(16 * 1024)
        .connect_with_connector(tower::service_fn(move |_| {
            let stream = slot.lock().take().map(TokioIo::new);
            std::future::ready(stream.ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe)))
        }))
        .await
}
