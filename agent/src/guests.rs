//! The guest channel of each VM, which leads to its guest agent, and what it says of its guest.
//!
//! Driven by the VM's task, which says whom to follow ([`GuestChannel::follow`]) and never waits;
//! used by the RPCs, which ask for a [`GuestClient`]. A task of its own connects, and again when
//! the connection breaks, for as long as the VMM's process is the same. What is new wakes the VM's
//! task, which reports it. Nothing is kept on disk: an agent that was restarted connects again, and
//! what it then hears, such as the boot id of the guest, is the guest's own word.
//!
//! What comes from a guest is bounded and shown, never acted upon: a hostile guest can say that it
//! is ready, or nothing at all, and nothing else hangs on it. What can go wrong: there is no guest
//! agent, which is no fault of the VM.

use std::sync::Arc;
use std::time::Duration;

use banger_proto::guest_v1::guest_service_client::GuestServiceClient;
use banger_proto::guest_v1::{SetTimeRequest, ShutdownRequest};
use banger_wire::cancel::Cancellable;
use banger_wire::guest_link::MAX_MESSAGE;
use banger_wire::guest_link::pace::Answers;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;

use crate::clock::Clock;
use crate::handles::ProcessIdentity;
use crate::host::{Guests, JailId};

mod connect;

pub use connect::printable;

/// Calls with a stream that may be under way in one guest.
pub const MOST_STREAMS: usize = 32;

/// How long a guest may take to answer a call that takes no time.
const SHORT: Duration = Duration::from_secs(5);

/// What is known of a guest by its agent, in this run of its VMM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestSeen {
    /// Version of the guest agent.
    pub agent_version: String,
    /// Of the guest's kernel.
    pub boot_id: String,
    /// The guest's own name.
    pub hostname: String,
    /// When it was first heard, by this life of the agent.
    pub ready_at: Timestamp,
    /// Whether it is reached at present.
    pub connected: bool,
    /// By what it is reached.
    pub transport: &'static str,
}

/// Why a guest agent can't be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoGuest {
    /// There is no process.
    #[error("the VM does not run")]
    NotRunning,
    /// It was never heard, by this life of the agent.
    #[error("no guest agent was heard from yet; the image may have none")]
    NeverHeard,
    /// It was heard, and is not reached now.
    #[error("the guest agent does not answer at present")]
    Lost,
    /// Too many calls are under way.
    #[error("{MOST_STREAMS} calls are under way in the guest already")]
    Busy,
}

/// Asks a guest agent. Its calls can be broken off in the middle of their requests.
pub type Client = GuestServiceClient<Cancellable<Channel>>;

/// A guest agent to ask. Holds a place among the calls of its guest.
#[derive(Debug)]
pub struct GuestClient {
    /// To ask it by.
    pub client: Client,
    /// Its place, to be held until the call is over.
    pub place: OwnedSemaphorePermit,
    /// How fast its answers are taken.
    pub answers: Arc<Answers>,
}

/// The guest channel of one VM, where its task and the RPCs meet. Ends with its last holder.
pub struct GuestChannel {
    inner: Arc<Inner>,
}

struct Inner {
    jail: JailId,
    host: Arc<dyn Guests>,
    clock: Clock,
    /// Rung when there is something new to report.
    changed: Arc<Notify>,
    /// The agent stops.
    stop: CancellationToken,
    /// Try again at once.
    again: Notify,
    streams: Arc<Semaphore>,
    /// Of all its connections: another one buys nothing.
    answers: Arc<Answers>,
    state: Mutex<ChannelState>,
}

#[derive(Default)]
struct ChannelState {
    followed: Option<(ProcessIdentity, AbortHandle)>,
    seen: Option<GuestSeen>,
    client: Option<Client>,
    /// The guest's clock stood still and is to be set.
    set_time: bool,
}

impl Drop for GuestChannel {
    fn drop(&mut self) {
        if let Some((_, task)) = self.inner.state.lock().followed.take() {
            task.abort();
        }
    }
}

impl GuestChannel {
    /// Of one VM. Follows nobody yet.
    #[must_use]
    pub fn new(
        jail: JailId,
        host: Arc<dyn Guests>,
        clock: Clock,
        changed: Arc<Notify>,
        stop: CancellationToken,
    ) -> Self {
        let inner = Inner {
            jail,
            host,
            clock,
            changed,
            stop,
            again: Notify::new(),
            streams: Arc::new(Semaphore::new(MOST_STREAMS)),
            answers: Arc::default(),
            state: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Follows the guest of this process from now on; `None`: there is none. Within a runtime.
    pub fn follow(&self, process: Option<&ProcessIdentity>) {
        let mut state = self.inner.state.lock();
        if state.followed.as_ref().map(|(followed, _)| followed) == process {
            return;
        }
        let before = std::mem::take(&mut *state);
        if let Some((_, task)) = before.followed {
            task.abort();
        }
        if let Some(process) = process {
            let task = tokio::spawn(connect::keep(Arc::clone(&self.inner)));
            state.followed = Some((process.clone(), task.abort_handle()));
        }
    }

    /// What is known.
    #[must_use]
    pub fn seen(&self) -> Option<GuestSeen> {
        self.inner.state.lock().seen.clone()
    }

    /// The guest agent, to be asked something that takes its time.
    ///
    /// # Errors
    /// It can't be asked.
    pub fn client(&self) -> Result<GuestClient, NoGuest> {
        let state = self.inner.state.lock();
        let client = match (&state.client, &state.seen, &state.followed) {
            (Some(client), _, _) => client.clone(),
            (None, Some(_), _) => return Err(NoGuest::Lost),
            (None, None, Some(_)) => return Err(NoGuest::NeverHeard),
            (None, None, None) => return Err(NoGuest::NotRunning),
        };
        let place = Arc::clone(&self.inner.streams).try_acquire_owned();
        let answers = Arc::clone(&self.inner.answers);
        Ok(GuestClient { client, place: place.map_err(|_| NoGuest::Busy)?, answers })
    }

    /// Whether the guest agent is reached.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.inner.state.lock().client.is_some()
    }

    /// Asks the guest to shut down, if its agent is reached. A reboot, because that is what ends
    /// the process of either VMM. `true` when it has begun.
    pub async fn shut_down(&self) -> bool {
        let Some(mut client) = self.inner.state.lock().client.clone() else { return false };
        let asked = client.shutdown(ShutdownRequest { reboot: true });
        match timeout(SHORT, asked).await {
            Ok(Ok(_)) => true,
            Ok(Err(refused)) => {
                tracing::info!(jail = %self.inner.jail, code = ?refused.code(),
                    "the guest agent did not begin a shutdown");
                false
            }
            Err(_) => false,
        }
    }

    /// The guest was resumed: its clock is set as soon as its agent is reached.
    pub fn resumed(&self) {
        self.inner.state.lock().set_time = true;
        self.inner.again.notify_one();
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move { inner.set_time().await });
    }
}

impl Inner {
    /// Sets the guest's clock, if that is due and its agent is reached.
    async fn set_time(&self) {
        let client = {
            let state = self.state.lock();
            state.client.clone().filter(|_| state.set_time)
        };
        let Some(mut client) = client else { return };
        let now = self.clock.now();
        let time =
            prost_types::Timestamp { seconds: now.as_second(), nanos: now.subsec_nanosecond() };
        let done: Result<Result<_, Status>, _> =
            timeout(SHORT, client.set_time(SetTimeRequest { time: Some(time) })).await;
        match done {
            Ok(Ok(_)) => self.state.lock().set_time = false,
            Ok(Err(refused)) => {
                tracing::info!(jail = %self.jail, code = ?refused.code(),
                    "the guest agent did not set its clock");
                self.state.lock().set_time = false;
            }
            // The connection is broken: it is tried again with the next.
            Err(_) => {}
        }
    }
}

/// A client over a channel, with bounds on what it takes in.
fn client_of(channel: Channel) -> Client {
    GuestServiceClient::new(Cancellable(channel))
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE)
}

#[cfg(test)]
mod tests;
