//! A network of one link: a proxy over loopback that can be cut, held, slowed, or made one-way.
//!
//! Driven by tests that stand between a server and an agent. It knows nothing of what it carries,
//! so that the real TLS goes through it. Held, it is a half-open link: connections stand, nothing
//! moves, and what was sent goes on when it is opened again, late.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What the link does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Carries.
    Open,
    /// Breaks its connections and takes no others.
    Cut,
    /// Stands, and nothing moves.
    Held,
    /// Carries requests, and holds the answers.
    AnswersHeld,
    /// Carries each piece this much later.
    Slow(Duration),
}

/// A link to one address. Gone with the value.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<Link>,
    _task: AbortOnDrop,
}

#[derive(Debug)]
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Proxy {
    /// An open link to an address, on a free port of loopback.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub async fn to(target: SocketAddr) -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has free ports");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (state, watched) = watch::channel(Link::Open);
        let task = AbortOnDrop(tokio::spawn(serve(listener, target, watched)));
        Self { address, state, _task: task }
    }

    /// Where to connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the link does from now on.
    pub fn set(&self, link: Link) {
        self.state.send_replace(link);
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, mut state: watch::Receiver<Link>) {
    let mut connections = JoinSet::new();
    loop {
        // Cancel-safe: accepting and watching lose nothing when dropped.
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((near, _)) = accepted else { continue };
                // A connection to a link that is cut is dropped, which the peer sees at once.
                if *state.borrow() != Link::Cut {
                    connections.spawn(carry(near, target, state.clone()));
                }
            }
            changed = state.changed() => {
                if changed.is_err() {
                    return;
                }
                if *state.borrow_and_update() == Link::Cut {
                    connections.abort_all();
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry(near: TcpStream, target: SocketAddr, mut state: watch::Receiver<Link>) {
    // Held before it began: the handshake itself hangs.
    if state.wait_for(|link| *link != Link::Held).await.is_err() {
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    // The first end to close takes the other with it.
    tokio::select! {
        () = pump(near_read, far_write, state.clone(), |link| link != Link::Held) => {}
        () = pump(far_read, near_write, state, |link| {
            !matches!(link, Link::Held | Link::AnswersHeld)
        }) => {}
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut state: watch::Receiver<Link>,
    carries: impl Fn(Link) -> bool,
) {
    let mut piece = vec![0; 16 * 1024];
    loop {
        let Ok(length @ 1..) = from.read(&mut piece).await else { return };
        let delay = match *state.borrow() {
            Link::Slow(delay) => delay,
            Link::Open | Link::Cut | Link::Held | Link::AnswersHeld => Duration::ZERO,
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if state.wait_for(|link| carries(*link)).await.is_err() {
            return;
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
