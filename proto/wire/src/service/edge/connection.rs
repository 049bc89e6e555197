//! A connection's peer, identity and open calls, and how long it may stay. Every request that comes
//! over it carries this value.
//!
//! Layers tell it what they learn: that a call began and ended, that it showed an identity, that
//! it was refused. From that follows how long it may stay: one without an identity is over when
//! it has had no call for a while, or was refused too often; one with an identity stays until
//! either side ends it. When that identity is good no longer it is as one without, until another
//! is shown on it.

use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::tls::CertificateDer;

use super::places::{PartyName, Place};
use super::refusal::Refusal;

/// Calls at a time without an identity on one connection: a program asks reflection and whether all
/// is well.
pub const MAX_OPEN_CALLS: usize = 4;

/// Pages at a time on one connection: a browser asks for all files of one at once.
pub const MAX_OPEN_PAGES: usize = 16;

/// Refusals before a connection without an identity ends: each leaves an answer behind, which a
/// peer that does not read makes us keep.
const MAX_REFUSALS: u32 = 64;

/// Pages at a time where an identity was shown: many readers behind one proxy.
pub const MAX_PAGES: usize = 256;

/// Answers that were given up as unread before a connection ends: HTTP has a part of each in hand.
const MAX_UNREAD: u32 = 16;

/// For how long an identity counts that was shown.
#[derive(Debug, Clone)]
pub enum Proof {
    /// As long as the connection.
    Lasting,
    /// Until this fires.
    Until(CancellationToken),
}

/// Whose call it is, where calls of many are counted together: a project, a principal. In a
/// request's extensions.
#[derive(Debug, Clone)]
pub struct Party(pub PartyName);

impl Proof {
    fn holds(&self) -> bool {
        match self {
            Self::Lasting => true,
            Self::Until(gone) => !gone.is_cancelled(),
        }
    }
}

/// On whose account a call is: all who have one share what one may have. In a request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account(pub Arc<str>);

#[derive(Debug)]
struct State {
    /// The first of those that hold.
    proof: Option<Proof>,
    calls: usize,
    open_calls: usize,
    open_pages: usize,
    refusals: u32,
    unread: u32,
    /// On whose account calls without an identity are, once somebody has shown one.
    account: Option<Account>,
    /// Since when there has been no call.
    idle_since: Instant,
}

impl State {
    fn proven(&self) -> bool {
        self.proof.as_ref().is_some_and(Proof::holds)
    }
}

#[derive(Debug)]
struct Inner {
    peer: SocketAddr,
    secure: bool,
    place: Place,
    idle: Duration,
    state: Mutex<State>,
    over: CancellationToken,
    held: Arc<AtomicUsize>,
    certificates: OnceLock<Vec<CertificateDer<'static>>>,
}

/// One connection. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Connection(Arc<Inner>);

/// A call under way; it ends when this is dropped.
#[derive(Debug)]
pub struct Call(Connection);

/// A call without an identity under way; it ends when this is dropped.
#[derive(Debug)]
pub struct OpenCall(Connection);

/// A page that is on its way; it ends when this is dropped.
#[derive(Debug)]
pub struct OpenPage(Connection);

impl Connection {
    /// A new one. `idle` is how long it may be without a call before it has shown an identity.
    #[must_use]
    pub fn new(peer: SocketAddr, secure: bool, place: Place, idle: Duration) -> Self {
        let state = State {
            proof: None,
            calls: 0,
            open_calls: 0,
            open_pages: 0,
            refusals: 0,
            unread: 0,
            account: None,
            idle_since: Instant::now(),
        };
        let over = place.give_way();
        let held = Arc::default();
        let (state, certificates) = (Mutex::new(state), OnceLock::new());
        Self(Arc::new(Inner { peer, secure, place, idle, state, over, held, certificates }))
    }

    /// Where it comes from.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// Whether it is over TLS.
    #[must_use]
    pub fn secure(&self) -> bool {
        self.0.secure
    }

    /// The peer has shown these certificates in the handshake, its own first.
    pub fn show(&self, certificates: &[CertificateDer<'_>]) {
        let owned = certificates.iter().map(|one| one.clone().into_owned()).collect();
        let _ = self.0.certificates.set(owned);
    }

    /// What the peer has shown; empty: nothing.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        self.0.certificates.get().map_or(&[], Vec::as_slice)
    }

    /// A call begins.
    #[must_use]
    pub fn begin(&self) -> Call {
        self.0.state.lock().calls += 1;
        Call(self.clone())
    }

    /// A call without an identity begins.
    ///
    /// # Errors
    /// Too many of them are under way, unless others have shown one on this connection.
    pub fn begin_open(&self) -> Result<OpenCall, Refusal> {
        let mut state = self.0.state.lock();
        if state.open_calls >= MAX_OPEN_CALLS && !state.proven() {
            return Err(Refusal::OpenCalls { limit: MAX_OPEN_CALLS });
        }
        state.open_calls += 1;
        Ok(OpenCall(self.clone()))
    }

    /// A page is asked for, which needs no identity.
    ///
    /// # Errors
    /// Too many are on their way; how many there may be depends on whether anybody has shown an
    /// identity.
    pub fn begin_page(&self) -> Result<OpenPage, Refusal> {
        let mut state = self.0.state.lock();
        let limit = if state.proven() { MAX_PAGES } else { MAX_OPEN_PAGES };
        if state.open_pages >= limit {
            return Err(Refusal::OpenCalls { limit });
        }
        state.open_pages += 1;
        Ok(OpenPage(self.clone()))
    }

    /// Whether an identity was seen that is good still.
    #[must_use]
    pub fn proven(&self) -> bool {
        self.0.state.lock().proven()
    }

    /// An identity was seen, of this party. The connection is that one's until it is good no
    /// longer, whoever else calls on it.
    pub fn prove(&self, proof: Proof, party: Option<PartyName>) {
        let mut state = self.0.state.lock();
        if !state.proven() {
            // One that was good and is not, which nobody has noticed yet.
            if state.proof.take().is_some() {
                self.0.place.unprove();
            }
            state.proof = Some(proof);
            self.0.place.prove(party);
        }
    }

    /// Nobody of those who were seen may call any longer, unless another was seen meanwhile.
    fn fall_back(&self) {
        let mut state = self.0.state.lock();
        if !state.proven() && state.proof.take().is_some() {
            state.idle_since = Instant::now();
            state.account = None;
            self.0.place.unprove();
        }
    }

    /// A request was refused.
    pub fn refused(&self) {
        let mut state = self.0.state.lock();
        state.refusals = state.refusals.saturating_add(1);
        if state.refusals >= MAX_REFUSALS && !state.proven() {
            self.0.over.cancel();
        }
    }

    /// An answer was given up, of which its caller has read nothing for long.
    pub fn left_unread(&self) {
        let mut state = self.0.state.lock();
        state.unread = state.unread.saturating_add(1);
        if state.unread > MAX_UNREAD {
            self.0.over.cancel();
        }
    }

    /// It has to end at once, with all that goes over it.
    pub fn end(&self) {
        self.0.over.cancel();
    }

    /// Calls without an identity are on this account from now on, unless they are on one already:
    /// whoever opened a connection for others answers for what these do.
    pub fn charge(&self, account: Option<&Account>) {
        let mut state = self.0.state.lock();
        if state.account.is_none() {
            state.account = account.cloned();
        }
    }

    /// On whose account calls without an identity are.
    #[must_use]
    pub fn account(&self) -> Option<Account> {
        self.0.state.lock().account.clone()
    }

    /// The bytes of requests that are held of it.
    pub(super) fn held(&self) -> &Arc<AtomicUsize> {
        &self.0.held
    }

    /// Fires when it has to end at once; whoever fires it ends it.
    pub(super) fn ender(&self) -> CancellationToken {
        self.0.over.clone()
    }

    /// Ends when it has to end at once.
    pub(super) async fn over(&self) {
        self.0.over.cancelled().await;
    }

    /// Ends when it has had no call for too long without an identity. Cancel-safe: nothing is kept.
    pub(super) async fn overstays(&self) {
        loop {
            match self.stay() {
                Stay::As(Proof::Lasting) => return std::future::pending().await,
                Stay::As(Proof::Until(gone)) => {
                    gone.cancelled().await;
                    self.fall_back();
                }
                Stay::Until(until) if until <= Instant::now() => return,
                Stay::Until(until) => tokio::time::sleep_until(until).await,
            }
        }
    }

    fn stay(&self) -> Stay {
        let state = self.0.state.lock();
        if let Some(proof) = &state.proof {
            return Stay::As(proof.clone());
        }
        let since = if state.calls > 0 { Instant::now() } else { state.idle_since };
        Stay::Until(since + self.0.idle)
    }
}

/// How long a connection may stay.
enum Stay {
    /// For as long as its identity is good.
    As(Proof),
    Until(Instant),
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut state = self.0.0.state.lock();
        state.calls -= 1;
        state.idle_since = Instant::now();
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.0.state.lock().open_calls -= 1;
    }
}

impl Drop for OpenPage {
    fn drop(&mut self) {
        self.0.0.state.lock().open_pages -= 1;
    }
}

#[cfg(test)]
mod tests;
