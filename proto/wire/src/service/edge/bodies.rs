//! How much a request may hold and how long it may take: a layer inside authentication.
//!
//! Who asks decides. A caller without an identity ([`Standing::Stranger`]) has small messages, few
//! calls at a time and little time; one with an identity has what the API needs. Authentication
//! puts the standing into the request's extensions, and for how long it holds ([`Proof`]); a
//! request without one is a stranger's.
//!
//! Whoever is known has a share of what there is for all ([`super::held`]), with all who are on the
//! same [`Account`]: of bytes of requests that come and are served, of bytes of answers that are
//! not read yet ([`super::answers`]), and of calls.
//!
//! An answer holds memory for as long as its caller does not read it, one that is a stream the
//! most. Calls of strangers have few places, of all connections together, and those with streams
//! fewer; when these are taken, the connection with the oldest of the address that has the most
//! ends ([`Places`]), and the newcomer begins when that one has let go of what it held.

use std::collections::HashSet;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use http::{Request, Response, Version};
use parking_lot::Mutex;
use prost::Message as _;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tonic::body::Body;
use tower::{Layer, Service};

use super::answers::{Patience, UnreadAnswers, Whose};
use super::connection::{Account, Connection, OpenCall, Party, Proof};
use super::held::{Limits, Pool, Share};
use super::measured::{Measure, Measured};
use super::places::{Place, Places, Room};
use super::refusal::{Refusal, Refuse};
use super::until_sent::until_sent;
use crate::limits;

/// How long a request of one message may take, and each message of a stream.
const WITHIN: Duration = Duration::from_secs(60);

/// The same for strangers.
const WITHIN_OF_STRANGERS: Duration = Duration::from_secs(10);

/// What may be held of requests of callers with an identity, in bytes.
const HELD: Limits = Limits { all: 256 << 20, share: 32 << 20, always: 64 << 10 };

/// What may be held of answers to them that they have not read, in bytes.
const UNREAD: Limits = Limits { all: 256 << 20, share: 32 << 20, always: 64 << 10 };

/// How many calls of theirs may be under way.
const CALLS: Limits = Limits { all: 49_152, share: 12_288, always: 64 };

/// How long they may leave an answer unread.
const PATIENCE: Patience =
    Patience { answer: Duration::from_secs(60), stream: Duration::from_secs(300) };

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
    most: Most,
    everybody_is_known: bool,
    known: Pool,
    strangers: Pool,
    calls: Pool,
    answers: UnreadAnswers,
    refuse: Refuse,
}

/// How many bytes a message may have.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    /// One that is a whole request.
    pub request: usize,
    /// One of a stream.
    pub message: usize,
}

/// The layer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BodiesLayer(Arc<Shared>);

impl BodiesLayer {
    /// For the methods of these encoded descriptor sets.
    #[must_use]
    pub fn new(descriptors: &[&[u8]], most: Most, refuse: Refuse) -> Self {
        Self::of(descriptors, most, false, refuse)
    }

    /// The same where the listener lets in nobody without an identity.
    #[must_use]
    pub fn everybody_is_known(descriptors: &[&[u8]], most: Most, refuse: Refuse) -> Self {
        Self::of(descriptors, most, true, refuse)
    }

    fn of(descriptors: &[&[u8]], most: Most, everybody_is_known: bool, refuse: Refuse) -> Self {
        // One party alone is let in there, which has all.
        let limits = |limits: Limits| match everybody_is_known {
            true => Limits { share: limits.all, ..limits },
            false => limits,
        };
        Self(Arc::new(Shared {
            singles: paths(descriptors, |method| !method.client_streaming()),
            streams: paths(descriptors, MethodDescriptorProto::server_streaming),
            streams_of_strangers: AnswerPlaces::new(STREAMS_OF_STRANGERS),
            calls_of_strangers: AnswerPlaces::new(CALLS_OF_STRANGERS),
            most,
            everybody_is_known,
            known: Pool::new(limits(HELD)),
            strangers: Pool::of(HELD_OF_STRANGERS),
            calls: Pool::new(limits(CALLS)),
            answers: UnreadAnswers::new(limits(UNREAD), PATIENCE, refuse),
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

    /// What a call takes of somebody's share: a place for as long as its answer lasts, and room for
    /// its message until it is answered, since what is made of that is held too.
    async fn begin(
        &self,
        whose: &Whose,
        message: Arc<Mutex<Share>>,
    ) -> Result<(Share, Arc<Mutex<Share>>), Refusal> {
        let mut call = self.calls.share(whose.account.as_ref(), None);
        call.grow(1).map_err(|full| Refusal::Calls { limit: full.limit })?;
        self.answers.room(whose.account.as_ref()).await?;
        Ok((call, message))
    }

    fn measure(&self, path: &str, standing: Standing) -> Measure {
        let single = self.singles.contains(path);
        match standing {
            Standing::Known => Measure {
                message: if single { self.most.request } else { self.most.message },
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
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

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
        let (pool, account) = match standing {
            Standing::Known => {
                let proof = request.extensions().get::<Proof>().cloned();
                let proof = proof.unwrap_or(Proof::Lasting);
                let party = request.extensions().get::<Party>().map(|party| Arc::clone(&party.0));
                let account = request.extensions().get::<Account>().cloned();
                if let Some(connection) = &connection {
                    connection.prove(proof.clone(), party);
                    connection.charge(account.as_ref());
                }
                (&shared.known, account)
            }
            Standing::Stranger => {
                (&shared.strangers, connection.as_ref().and_then(Connection::account))
            }
        };
        let stream = shared.streams.contains(request.uri().path());
        let of_pool = account.as_ref().filter(|_| standing == Standing::Known);
        let share = Arc::new(Mutex::new(pool.share(of_pool, connection.as_ref())));
        let alone = request.version() < Version::HTTP_2;
        let request =
            request.map(|body| Body::new(Measured::new(body, measure, Arc::clone(&share), refuse)));
        let shared = Arc::clone(shared);
        // The one that is ready is used, and its clone kept for the next call.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        // One on whose connection somebody has shown an identity has its places from that.
        let unproven =
            |connection: &&Connection| standing == Standing::Stranger && !connection.proven();
        let Some(connection) = connection.as_ref().filter(unproven).cloned() else {
            let whose = Whose { account, connection, alone };
            return async move {
                let (call, held) = match shared.begin(&whose, share).await {
                    Ok(begun) => begun,
                    Err(refusal) => return Ok(refused(refusal)),
                };
                let response = inner.call(request).await?;
                let response = shared.answers.send(whose, stream, response).await;
                drop(held);
                Ok(response.map(|body| until_sent(body, call)))
            }
            .boxed();
        };
        let call = match connection.begin_open() {
            Ok(call) => call,
            Err(refusal) => return std::future::ready(Ok(refused(refusal))).boxed(),
        };
        async move {
            let open = match shared.open(&connection, call, stream).await {
                Ok(open) => open,
                Err(refusal) => return Ok(refused(refusal)),
            };
            let response = inner.call(request).await?;
            Ok(response.map(|body| until_sent(body, open)))
        }
        .boxed()
    }
}
