//! How much a request may hold and how long it may take: a layer inside authentication.
//!
//! Who asks decides. A caller without an identity ([`Standing::Stranger`]) has small messages, few
//! calls at a time and little time; one with an identity has what the API needs. Authentication
//! puts the standing into the request's extensions, and for how long it holds ([`Proof`]); a
//! request without one is a stranger's.
//!
//! An answer holds memory for as long as its caller does not read it, one that is a stream the
//! most. Calls of strangers have few places, of all connections together, and those with streams
//! fewer; when these are taken, the connection with the oldest of the address that has the most
//! ends ([`Places`]), and the newcomer begins when that one has let go of what it held.

use std::collections::HashSet;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, FutureExt as _};
use http::{Request, Response};
use prost::Message as _;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tonic::body::Body;
use tower::{Layer, Service};

use super::connection::{Connection, OpenCall, Party, Proof};
use super::held::Pool;
use super::measured::{Measure, Measured};
use super::places::{Place, Places, Room};
use super::refusal::{Refusal, Refuse};
use super::until_sent::until_sent;
use crate::limits;

/// How long a request of one message may take, and each message of a stream.
const WITHIN: Duration = Duration::from_secs(60);

/// The same for strangers.
const WITHIN_OF_STRANGERS: Duration = Duration::from_secs(10);

/// What may be held of requests of callers with an identity, of all connections together, in bytes.
const HELD: usize = 256 << 20;

/// The same of strangers.
const HELD_OF_STRANGERS: usize = 16 << 20;

/// Streams of answers to strangers, of all connections together. What one makes us hold when nobody
/// reads it is a few answers: a file of descriptors is the largest, with about 100 KiB.
const STREAMS_OF_STRANGERS: Room = of_strangers(64, 32);

/// Calls of strangers, of all connections together.
const CALLS_OF_STRANGERS: Room = of_strangers(512, 256);

const fn of_strangers(most: usize, per_address: usize) -> Room {
    Room { connections: most, per_address, unproven: most, per_party: most }
}

/// How long a call waits until one that gives way for it has ended.
const WAIT: Duration = Duration::from_secs(5);

/// Places for what strangers are answered. What has one holds memory until it is dropped, which for
/// one that gives way is some time after it was told to; so there are permits beside, given in
/// order.
#[derive(Debug)]
struct AnswerPlaces {
    room: Room,
    places: Places,
    permits: Arc<Semaphore>,
}

/// Given back when dropped.
type AnswerPlace = (Place, OwnedSemaphorePermit);

impl AnswerPlaces {
    fn new(room: Room) -> Self {
        let permits = Arc::new(Semaphore::new(room.connections));
        Self { room, places: Places::new(room), permits }
    }

    /// `None`: all are taken, and nobody has let go in time.
    async fn take(&self, connection: &Connection) -> Option<AnswerPlace> {
        let (address, now) = (connection.peer().ip(), Instant::now());
        let place = self.places.take_with(address, now, connection.ender())?;
        let permit = timeout(WAIT, Arc::clone(&self.permits).acquire_owned()).await;
        Some((place, permit.ok()?.ok()?))
    }
}

/// What a stranger's call has taken, until its answer is sent.
type Opened = (OpenCall, AnswerPlace, Option<AnswerPlace>);

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nobody we know.
    Stranger,
    /// Somebody with an identity.
    Known,
}

#[derive(Debug)]
struct Shared {
    /// Methods whose requests are one message.
    singles: HashSet<String>,
    /// Methods whose answers are streams.
    streams: HashSet<String>,
    streams_of_strangers: AnswerPlaces,
    calls_of_strangers: AnswerPlaces,
    message: usize,
    everybody_is_known: bool,
    known: Pool,
    strangers: Pool,
    refuse: Refuse,
}

/// The layer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BodiesLayer(Arc<Shared>);

impl BodiesLayer {
    /// For the methods of these encoded descriptor sets, whose messages have at most so many bytes.
    #[must_use]
    pub fn new(descriptors: &[&[u8]], message: usize, refuse: Refuse) -> Self {
        Self::of(descriptors, message, false, refuse)
    }

    /// The same where the listener lets in nobody without an identity.
    #[must_use]
    pub fn everybody_is_known(descriptors: &[&[u8]], message: usize, refuse: Refuse) -> Self {
        Self::of(descriptors, message, true, refuse)
    }

    fn of(descriptors: &[&[u8]], message: usize, everybody_is_known: bool, refuse: Refuse) -> Self {
        Self(Arc::new(Shared {
            singles: paths(descriptors, |method| !method.client_streaming()),
            streams: paths(descriptors, MethodDescriptorProto::server_streaming),
            streams_of_strangers: AnswerPlaces::new(STREAMS_OF_STRANGERS),
            calls_of_strangers: AnswerPlaces::new(CALLS_OF_STRANGERS),
            message,
            everybody_is_known,
            known: Pool::of(HELD),
            strangers: Pool::of(HELD_OF_STRANGERS),
            refuse,
        }))
    }
}

/// The paths of methods of which this is so.
fn paths(sets: &[&[u8]], is_so: impl Fn(&MethodDescriptorProto) -> bool) -> HashSet<String> {
    let mut paths = HashSet::new();
    for set in sets.iter().filter_map(|set| FileDescriptorSet::decode(*set).ok()) {
        for file in &set.file {
            for service in &file.service {
                for method in service.method.iter().filter(|method| is_so(method)) {
                    let name = method.name();
                    paths.insert(format!("/{}.{}/{name}", file.package(), service.name()));
                }
            }
        }
    }
    paths
}

impl<S> Layer<S> for BodiesLayer {
    type Service = Bodies<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Bodies { inner, shared: Arc::clone(&self.0) }
    }
}

/// Made by [`BodiesLayer`].
#[derive(Debug, Clone)]
pub struct Bodies<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl Shared {
    /// What a stranger's call takes for as long as its answer lasts.
    async fn open(
        &self,
        connection: &Connection,
        call: OpenCall,
        stream: bool,
    ) -> Result<Opened, Refusal> {
        let limit = self.calls_of_strangers.room.connections;
        let seat = self.calls_of_strangers.take(connection).await;
        let seat = seat.ok_or(Refusal::OpenCallsInAll { limit })?;
        let limit = self.streams_of_strangers.room.connections;
        let of_streams = match stream {
            true => {
                let seat = self.streams_of_strangers.take(connection).await;
                Some(seat.ok_or(Refusal::OpenStreams { limit })?)
            }
            false => None,
        };
        Ok((call, seat, of_streams))
    }

    fn measure(&self, path: &str, standing: Standing) -> Measure {
        let single = self.singles.contains(path);
        match standing {
            Standing::Known => Measure {
                message: self.message,
                all: None,
                compressed: true,
                single,
                within: WITHIN,
            },
            Standing::Stranger => Measure {
                message: limits::MAX_OPEN_MESSAGE_BYTES,
                all: Some(limits::MAX_OPEN_CALL_BYTES),
                compressed: false,
                single,
                within: WITHIN_OF_STRANGERS,
            },
        }
    }
}

impl<S> Service<Request<Body>> for Bodies<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, BoxFuture<'static, Result<Self::Response, Self::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = &self.shared;
        let connection = request.extensions().get::<Connection>().cloned();
        let standing = match request.extensions().get::<Standing>() {
            _ if shared.everybody_is_known => Standing::Known,
            Some(standing) => *standing,
            None => Standing::Stranger,
        };
        let measure = shared.measure(request.uri().path(), standing);
        let refuse = shared.refuse;
        let refused = move |refusal: Refusal| refusal.status(refuse).into_http();
        let pool = match standing {
            Standing::Known => {
                let proof = request.extensions().get::<Proof>().cloned();
                let proof = proof.unwrap_or(Proof::Lasting);
                let party = request.extensions().get::<Party>().map(|party| Arc::clone(&party.0));
                if let Some(connection) = &connection {
                    connection.prove(proof, party);
                }
                &shared.known
            }
            Standing::Stranger => &shared.strangers,
        };
        let stream = shared.streams.contains(request.uri().path());
        let share = pool.share(connection.as_ref());
        let request = request.map(|body| Body::new(Measured::new(body, measure, share, refuse)));
        // One on whose connection somebody has shown an identity has its places from that.
        let stranger =
            connection.filter(|connection| standing == Standing::Stranger && !connection.proven());
        let Some(connection) = stranger else { return Either::Left(self.inner.call(request)) };
        let call = match connection.begin_open() {
            Ok(call) => call,
            Err(refusal) => {
                return Either::Right(std::future::ready(Ok(refused(refusal))).boxed());
            }
        };
        let shared = Arc::clone(shared);
        // The one that is ready is used, and its clone kept for the next call.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        Either::Right(
            async move {
                let open = match shared.open(&connection, call, stream).await {
                    Ok(open) => open,
                    Err(refusal) => return Ok(refused(refusal)),
                };
                let response = inner.call(request).await?;
                Ok(response.map(|body| until_sent(body, open)))
            }
            .boxed(),
        )
    }
}
