//! One host's agent, for as long as the host is there: dial, observe, judge, dial again.
//!
//! One task per host, started and stopped by the [fleet](super). It is the only one that says how
//! its host fares, and it owns no state that outlives a stream but when the agent was last heard.
//!
//! ```text
//! dial ──▶ facts ──▶ inventory … complete ──▶ changes and heartbeats ──┐
//!   ▲                                                                  │ broken, silent, or a gap
//!   └───────────────────────── back-off ◀──────────────────────────────┘
//! ```
//!
//! Whatever goes wrong ends the stream and begins anew: a new stream starts with a full inventory,
//! so there is no second way to become right.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use banger_proto::ids::HostId;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::link::{AgentLink, LinkError, Message};
use super::liveness::{Contact, LivenessLimits, judge, next_change};
use super::observed::{FleetSink, Intake, IntakeError, Sighting, Taken};
use crate::clock::SharedClock;
use crate::model::host::{HostHealth, HostState};

/// Most messages taken together, so that a burst of changes is one change of the view.
const BURST: usize = 256;

/// About how many bytes of messages are taken together at most.
const BURST_BYTES: usize = 4 << 20;

/// How long a stream with a complete inventory has to go on for the next dial to come at once. An
/// agent that breaks off sooner, or says what it must not, is dialled less and less often.
const STEADY: Duration = Duration::from_secs(2);

/// How often the view is told that an agent was heard, when nothing else about it changes.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// How long the first message may take once the agent has been asked.
const FIRST_MESSAGE: Duration = Duration::from_secs(15);

/// What a session works with.
#[derive(Debug, Clone)]
pub(super) struct SessionParts {
    pub(super) host: HostId,
    pub(super) name: String,
    pub(super) link: Arc<dyn AgentLink>,
    pub(super) sink: Arc<dyn FleetSink>,
    pub(super) clock: SharedClock,
    pub(super) limits: LivenessLimits,
    /// Whether commands may be sent: a stream is up and its inventory complete.
    pub(super) ready: Arc<AtomicBool>,
}

#[derive(Debug, thiserror::Error)]
enum StreamEnd {
    #[error("{0}")]
    Link(#[source] LinkError),
    #[error("the agent's stream is out of order: {0}")]
    Order(#[source] IntakeError),
    #[error("the agent said nothing for {} ms", .0.as_millis())]
    Silent(Duration),
    #[error("the agent ended its stream")]
    Ended,
}

impl StreamEnd {
    /// Whether the agent, and not the network, is to blame.
    fn breaks_rules(&self) -> bool {
        match self {
            Self::Link(LinkError::Protocol { .. }) | Self::Order(IntakeError::NoFacts) => true,
            Self::Order(IntakeError::Gap { expected, got }) => got < expected,
            Self::Link(_) | Self::Silent(_) | Self::Ended => false,
        }
    }
}

#[derive(Debug)]
struct Heard {
    at: Instant,
    wall: Timestamp,
    heartbeat: Duration,
}

/// One task's state.
#[derive(Debug)]
pub(super) struct Session {
    parts: SessionParts,
    /// `None` until the first inventory.
    heard: Option<Heard>,
    state: HostState,
    since: Timestamp,
    last_error: String,
    /// The last stream ended because the agent said what it must not.
    broke_rules: bool,
    /// When the inventory of the present stream was complete.
    complete_at: Option<Instant>,
    said_at: Option<Instant>,
}

impl Session {
    pub(super) fn new(parts: SessionParts) -> Self {
        let since = parts.clock.now();
        Self {
            parts,
            heard: None,
            state: HostState::Connecting,
            since,
            last_error: String::new(),
            broke_rules: false,
            complete_at: None,
            said_at: None,
        }
    }

    /// Runs until it is cancelled.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        // Cancel-safe: the view is written synchronously, and what a stream had not said yet is
        // said again by the next one.
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.go_on() => {}
        }
        self.parts.ready.store(false, Ordering::Release);
    }

    async fn go_on(&mut self) {
        let mut backoff = Backoff::for_dialling(self.parts.host.uuid().as_u128());
        loop {
            self.complete_at = None;
            let end = self.one_stream().await;
            self.parts.ready.store(false, Ordering::Release);
            self.broke_rules = end.breaks_rules();
            if self.broke_rules {
                tracing::warn!(host.id = %self.parts.host, host.name = %self.parts.name,
                    why = %end, "the agent of the host broke the rules; its session was ended");
            } else {
                tracing::info!(host.id = %self.parts.host, host.name = %self.parts.name,
                    why = %end, "session of the host ended");
            }
            self.last_error = end.to_string();
            if self.complete_at.is_some_and(|at| at.elapsed() >= STEADY) {
                backoff.reset();
            }
            self.rest(backoff.next_delay()).await;
        }
    }

    /// Waits before the next try, and says so when the host becomes suspect meanwhile.
    async fn rest(&mut self, delay: Duration) {
        let end = Instant::now() + delay;
        loop {
            self.say();
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let change = next_change(self.contact(), &self.parts.limits).unwrap_or(left);
            sleep(left.min(change)).await;
        }
    }

    /// Dials and reads until the stream ends.
    async fn one_stream(&mut self) -> StreamEnd {
        let dialled = {
            let link = Arc::clone(&self.parts.link);
            self.judging(async move { link.observe().await }).await
        };
        // Fused, because an end may be seen twice: within a burst and after it.
        let mut stream = match dialled {
            Ok(stream) => stream.fuse(),
            Err(error) => return StreamEnd::Link(error),
        };
        let mut intake = Intake::default();
        let mut heartbeat = None;
        loop {
            let patience =
                heartbeat.map_or(FIRST_MESSAGE, |beat| self.parts.limits.suspect_after(beat));
            let burst = match timeout(patience, self.judging(burst(&mut stream))).await {
                Err(_) => return StreamEnd::Silent(patience),
                Ok(None) => return StreamEnd::Ended,
                Ok(Some(burst)) => burst,
            };
            match self.take_burst(&mut intake, burst) {
                Ok(None) => {}
                Ok(Some(beat)) => heartbeat = Some(beat),
                Err(end) => return end,
            }
            if intake.is_complete() {
                self.complete_at.get_or_insert_with(Instant::now);
                self.heard_now(heartbeat.unwrap_or(FIRST_MESSAGE));
            }
        }
    }

    /// Waits for something, and says so when the host becomes suspect or offline meanwhile.
    async fn judging<T>(&mut self, something: impl Future<Output = T>) -> T {
        tokio::pin!(something);
        loop {
            let Some(change) = next_change(self.contact(), &self.parts.limits) else {
                return something.await;
            };
            match timeout(change, &mut something).await {
                Ok(done) => return done,
                Err(_) => self.say(),
            }
        }
    }

    /// Takes messages that came together. Answers how often the agent speaks, if it said so.
    fn take_burst(
        &mut self,
        intake: &mut Intake,
        burst: Vec<Result<Message, LinkError>>,
    ) -> Result<Option<Duration>, StreamEnd> {
        let mut sightings = Vec::new();
        let mut heartbeat = None;
        let mut end = None;
        for message in burst {
            let taken = match message {
                Err(error) => {
                    end = Some(StreamEnd::Link(error));
                    break;
                }
                Ok(message) => match intake.take(message) {
                    Err(error) => {
                        end = Some(StreamEnd::Order(error));
                        break;
                    }
                    Ok(taken) => taken,
                },
            };
            match taken {
                Taken::Nothing => {}
                Taken::Traffic(guests) => self.parts.sink.traffic(self.parts.host, guests),
                Taken::Sighting(sighting) => sightings.push(sighting),
                Taken::Facts(facts) => {
                    heartbeat = Some(facts.heartbeat_interval);
                    self.parts.sink.host_facts(self.parts.host, Arc::new(*facts));
                }
                Taken::Inventory(listed) => {
                    self.flush(&mut sightings);
                    let health = self.online_now();
                    tracing::info!(host.id = %self.parts.host, host.name = %self.parts.name,
                        vms = listed.len(), "inventory of the host is complete");
                    // Before the view wakes the driver.
                    self.parts.ready.store(true, Ordering::Release);
                    self.parts.sink.inventory(self.parts.host, listed, health);
                }
            }
        }
        self.flush(&mut sightings);
        end.map_or(Ok(heartbeat), Err)
    }

    fn flush(&self, sightings: &mut Vec<Sighting>) {
        if !sightings.is_empty() {
            self.parts.sink.observed(self.parts.host, std::mem::take(sightings));
        }
    }

    // === judging ===

    fn contact(&self) -> Contact {
        match &self.heard {
            None => Contact::Never,
            Some(heard) => {
                Contact::Heard { silence: heard.at.elapsed(), heartbeat: heard.heartbeat }
            }
        }
    }

    fn heard_now(&mut self, heartbeat: Duration) {
        let wall = self.parts.clock.now();
        self.heard = Some(Heard { at: Instant::now(), wall, heartbeat });
        let said_lately = self.said_at.is_some_and(|at| at.elapsed() < SAY_EVERY);
        if self.state != HostState::Online || !said_lately {
            self.say();
        }
    }

    /// The health that a complete inventory brings.
    fn online_now(&mut self) -> HostHealth {
        let now = self.parts.clock.now();
        self.enter(HostState::Online, now);
        self.last_error.clear();
        self.broke_rules = false;
        let mut health = self.health();
        health.last_seen = Some(now);
        health
    }

    /// Tells the view how the host fares. While the stream is down, silence alone never makes a
    /// host online again: that takes an inventory.
    fn say(&mut self) {
        let judged = match judge(self.contact(), &self.parts.limits) {
            // Whoever says what it must not is not believed about anything, and that is shown at
            // once.
            HostState::Online if self.broke_rules => HostState::Suspect,
            judged => judged,
        };
        let fell = matches!(self.state, HostState::Suspect | HostState::Offline);
        if !(judged == HostState::Online && fell) {
            let now = self.parts.clock.now();
            self.enter(judged, now);
        }
        self.said_at = Some(Instant::now());
        self.parts.sink.host_health(self.parts.host, self.health());
    }

    fn enter(&mut self, state: HostState, now: Timestamp) {
        if self.state != state {
            tracing::info!(host.id = %self.parts.host, host.name = %self.parts.name,
                from = %self.state, to = %state, "host changed state");
            self.state = state;
            self.since = now;
        }
    }

    fn health(&self) -> HostHealth {
        let name = &self.parts.name;
        let because = match self.last_error.as_str() {
            "" => String::new(),
            error => format!(": {error}"),
        };
        let (reason, message) = match self.state {
            HostState::Online => ("", String::new()),
            HostState::Connecting | HostState::Suspect | HostState::Offline if self.broke_rules => {
                (
                    "AGENT_BREAKS_PROTOCOL",
                    format!("the agent of host {name} said what it must not{because}"),
                )
            }
            HostState::Connecting => (
                "HOST_NOT_YET_SEEN",
                format!(
                    "the agent of host {name} has not been reached since the server started{because}"
                ),
            ),
            HostState::Suspect => (
                "HOST_UNREACHABLE",
                format!("the agent of host {name} is silent; it may come back{because}"),
            ),
            // A session says neither of the second: it is ended before.
            HostState::Offline | HostState::Revoked => {
                ("HOST_UNREACHABLE", format!("the agent of host {name} can't be reached{because}"))
            }
        };
        HostHealth {
            state: self.state,
            since: self.since,
            reason,
            message,
            last_seen: self.heard.as_ref().map(|heard| heard.wall),
        }
    }
}

/// The next messages that are there together; `None` at the end of the stream.
async fn burst(
    stream: &mut (impl Stream<Item = Result<Message, LinkError>> + Unpin),
) -> Option<Vec<Result<Message, LinkError>>> {
    let weight = |message: &Result<Message, LinkError>| message.as_ref().map_or(0, Message::weight);
    let first = stream.next().await?;
    let mut bytes = weight(&first);
    let mut burst = vec![first];
    // An end that comes within a burst is found again by the next.
    while burst.len() < BURST
        && bytes < BURST_BYTES
        && let Some(Some(next)) = stream.next().now_or_never()
    {
        bytes += weight(&next);
        burst.push(next);
    }
    Some(burst)
}

#[cfg(test)]
mod tests;
