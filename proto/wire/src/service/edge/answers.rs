//! Answers that are on their way to callers who are known: what they hold, and for how long.
//!
//! What is encoded of an answer is held until the last byte of it is in the socket, and its caller
//! says how fast that goes. So it is counted, on the caller's account: a stream is asked for more
//! only while there is room, and a call that is answered at once is refused where there is none.
//! What is counted goes out in pieces, each of which carries its part of the count, so that the
//! count falls when HTTP has written the piece, not when it has taken it.
//!
//! An answer of which nothing moves for [`Patience::answer`] is given up: what is left of it is let
//! go, and it ends with a status as soon as its caller reads on. What stays is the piece or two
//! that HTTP has in hand: it can't be made to end one stream that its caller never reads. So a
//! connection with many of those ends, and one where they stay for long.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body as _, Frame};
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;
use tonic::body::Body;

use super::connection::{Account, Connection};
use super::held::{Limits, Pool, Share};
use super::refusal::{Refusal, Refuse};

/// How much of an answer is handed to HTTP at a time, in bytes: a frame's.
const PIECE: usize = 16 * 1024;

/// How often it is looked for answers that nobody reads.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often something that has no room looks whether there is some.
const TRY_EVERY: Duration = Duration::from_millis(100);

/// How long a call waits for room before it is refused.
const WAIT: Duration = Duration::from_secs(10);

/// How long a stream that was given up may stay unread, as a multiple of the time before.
const GIVEN_UP: u32 = 5;

/// How long nothing of an answer may move.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Of one message.
    pub answer: Duration,
    /// Of a stream, whose reader may be a person.
    pub stream: Duration,
}

/// All answers of a listener. Cheap to clone.
#[derive(Debug, Clone)]
pub struct UnreadAnswers(Arc<All>);

#[derive(Debug)]
struct All {
    pool: Pool,
    patience: Patience,
    refuse: Refuse,
    under_way: Mutex<Vec<Weak<UnderWay>>>,
    is_looked_after: AtomicBool,
}

/// One answer, for as long as anything of it is held.
#[derive(Debug)]
struct UnderWay {
    patience: Duration,
    refuse: Refuse,
    connection: Option<Connection>,
    /// Whether nothing else can go on over its connection.
    alone: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None`: it has no more to give, or was given up.
    body: Option<Body>,
    /// Encoded, and still to be handed to HTTP.
    rest: Bytes,
    /// What ends the answer, after the rest.
    last: Option<Frame<Bytes>>,
    /// Of the rest.
    share: Share,
    /// Of the piece that was handed out last: HTTP, or a layer between, has it until it asks for
    /// the next.
    in_hand: Option<Arc<Share>>,
    /// Pieces that are not written.
    pieces: usize,
    /// Since when nothing has moved.
    since: Instant,
    /// Since when it is given up.
    given_up: Option<Instant>,
    reader: Option<Waker>,
}

/// A part of an answer as HTTP has it.
struct Piece {
    bytes: Bytes,
    answer: Arc<UnderWay>,
    _share: Arc<Share>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut state = self.answer.state.lock();
        state.pieces -= 1;
        state.since = Instant::now();
    }
}

/// What HTTP reads of an answer.
struct AnswerBody {
    answer: Arc<UnderWay>,
    streams: bool,
    told: bool,
    room: Option<Pin<Box<Sleep>>>,
}

/// Whose answer it is, and over which connection.
#[derive(Debug, Clone)]
pub struct Whose {
    /// On whose account.
    pub account: Option<Account>,
    /// Over which connection.
    pub connection: Option<Connection>,
    /// Whether nothing else goes over that connection meanwhile, as with HTTP/1.1.
    pub alone: bool,
}

impl UnreadAnswers {
    /// So many bytes of them.
    #[must_use]
    pub fn new(limits: Limits, patience: Patience, refuse: Refuse) -> Self {
        Self(Arc::new(All {
            pool: Pool::new(limits),
            patience,
            refuse,
            under_way: Mutex::default(),
            is_looked_after: AtomicBool::new(false),
        }))
    }

    /// Waits until this account has room for an answer; not for long.
    ///
    /// # Errors
    /// It has none.
    pub async fn room(&self, account: Option<&Account>) -> Result<(), Refusal> {
        let late = Instant::now() + WAIT;
        let share = self.0.pool.share(account, None);
        loop {
            match share.has_room() {
                Ok(()) => return Ok(()),
                Err(full) if Instant::now() >= late => {
                    return Err(Refusal::Unread { limit: full.limit });
                }
                Err(_) => sleep(TRY_EVERY).await,
            }
        }
    }

    /// Counts an answer from here on. One that is a single message is encoded now.
    pub async fn send(
        &self,
        whose: Whose,
        streams: bool,
        answer: Response<Body>,
    ) -> Response<Body> {
        if answer.body().is_end_stream() {
            return answer;
        }
        let Whose { account, connection, alone } = whose;
        let mut share = self.0.pool.share(account.as_ref(), None);
        let (parts, mut body) = answer.into_parts();
        let (mut rest, mut last) = (Bytes::new(), None);
        if !streams {
            let first = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
            match first.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    if let Err(full) = share.grow(data.len()) {
                        let refusal = Refusal::Unanswered { limit: full.limit };
                        return refusal.status(self.0.refuse).into_http();
                    }
                    rest = data;
                }
                Some(Ok(Err(frame))) => last = Some(frame),
                Some(Err(status)) => return status.into_http(),
                None => return Response::from_parts(parts, Body::empty()),
            }
        }
        let patience = if streams { self.0.patience.stream } else { self.0.patience.answer };
        let state = State {
            body: Some(body),
            rest,
            last,
            share,
            in_hand: None,
            pieces: 0,
            since: Instant::now(),
            given_up: None,
            reader: None,
        };
        let answer = UnderWay {
            patience,
            refuse: self.0.refuse,
            connection,
            alone,
            state: Mutex::new(state),
        };
        let answer = Arc::new(answer);
        self.look_after(&answer);
        let body = AnswerBody { answer, streams, told: false, room: None };
        Response::from_parts(parts, Body::new(body))
    }

    fn look_after(&self, answer: &Arc<UnderWay>) {
        self.0.under_way.lock().push(Arc::downgrade(answer));
        if self.0.is_looked_after.swap(true, Ordering::Relaxed) {
            return;
        }
        let all = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            loop {
                sleep(LOOK_EVERY).await;
                let Some(all) = all.upgrade() else { return };
                all.look(Instant::now());
            }
        });
    }
}

impl All {
    /// Gives up what nobody reads.
    fn look(&self, now: Instant) {
        let under_way = {
            let mut answers = self.under_way.lock();
            answers.retain(|answer| answer.strong_count() > 0);
            answers.clone()
        };
        for answer in under_way.iter().filter_map(Weak::upgrade) {
            answer.look(now);
        }
    }
}

impl UnderWay {
    fn look(&self, now: Instant) {
        let given_up = {
            let mut state = self.state.lock();
            let owed = state.pieces > 0 || state.in_hand.is_some();
            if let Some(since) = state.given_up {
                if now.saturating_duration_since(since) >= self.patience * GIVEN_UP {
                    self.connection.iter().for_each(Connection::end);
                }
                return;
            }
            if !owed || now.saturating_duration_since(state.since) < self.patience {
                return;
            }
            state.give_up(now)
        };
        drop(given_up);
        if let Some(connection) = &self.connection {
            connection.left_unread();
            if self.alone {
                connection.end();
            }
        }
    }

    fn hand_out(self: &Arc<Self>, state: &mut State) -> Frame<Bytes> {
        let bytes = state.rest.split_to(PIECE.min(state.rest.len()));
        let share = Arc::new(state.share.split(bytes.len()));
        state.in_hand = Some(Arc::clone(&share));
        state.pieces += 1;
        state.since = Instant::now();
        let piece = Piece { bytes, answer: Arc::clone(self), _share: share };
        Frame::data(Bytes::from_owner(piece))
    }
}

impl State {
    /// Lets go of what is left; the caller drops that without the lock.
    fn give_up(&mut self, now: Instant) -> (Option<Body>, Share, Option<Waker>) {
        self.given_up = Some(now);
        self.rest = Bytes::new();
        self.last = None;
        let share = self.share.split(usize::MAX);
        let reader = self.reader.take();
        if let Some(reader) = &reader {
            reader.wake_by_ref();
        }
        (self.body.take(), share, reader)
    }
}

impl AnswerBody {
    /// Whether more of a stream may be asked for, or it is given up and only says so.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(room) = &mut self.room {
                ready!(room.as_mut().poll(cx));
                self.room = None;
            }
            let state = self.answer.state.lock();
            if state.given_up.is_some() || state.share.has_room().is_ok() {
                return Poll::Ready(());
            }
            drop(state);
            self.room = Some(Box::pin(sleep(TRY_EVERY)));
        }
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.told {
            return Poll::Ready(None);
        }
        {
            let mut state = this.answer.state.lock();
            state.in_hand = None;
            if state.given_up.is_none() && !state.rest.is_empty() {
                return Poll::Ready(Some(Ok(this.answer.hand_out(&mut state))));
            }
        }
        if this.streams {
            ready!(this.poll_room(cx));
        }
        let answer = Arc::clone(&this.answer);
        let mut state = answer.state.lock();
        if state.given_up.is_some() {
            this.told = true;
            let within = answer.patience;
            let over = Refusal::LeftUnread { within }.status(answer.refuse);
            let mut trailers = HeaderMap::new();
            let told = over.add_header(&mut trailers).map(|()| Frame::trailers(trailers));
            return Poll::Ready(Some(told));
        }
        if let Some(last) = state.last.take() {
            return Poll::Ready(Some(Ok(last)));
        }
        let Some(body) = &mut state.body else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(data) => {
                    state.share.grow_anyway(data.len());
                    state.rest = data;
                    Poll::Ready(Some(Ok(answer.hand_out(&mut state))))
                }
                Err(frame) => Poll::Ready(Some(Ok(frame))),
            },
            over => Poll::Ready(over),
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.answer.state.lock();
        let of_body = || state.body.as_ref().is_none_or(http_body::Body::is_end_stream);
        let nothing_left = state.rest.is_empty() && state.last.is_none();
        self.told || (state.given_up.is_none() && nothing_left && of_body())
    }
}

impl Drop for AnswerBody {
    /// HTTP has all that it wants; what it has not written yet is counted still.
    fn drop(&mut self) {
        let left = {
            let mut state = self.answer.state.lock();
            state.in_hand = None;
            state.rest = Bytes::new();
            (state.body.take(), state.share.split(usize::MAX))
        };
        drop(left);
    }
}

#[cfg(test)]
mod tests;
