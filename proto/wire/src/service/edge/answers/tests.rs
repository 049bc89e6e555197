//! Answers that are read slowly, or not at all.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use banger_proto::v1::ErrorReason;
use futures_util::{FutureExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Code;

use super::super::places::{Places, Room};
use super::*;

const PATIENCE: Patience =
    Patience { answer: Duration::from_secs(60), stream: Duration::from_secs(300) };

fn refuse(code: Code, reason: ErrorReason, words: String) -> Status {
    Status::new(code, format!("{} {words}", reason.as_str_name()))
}

fn answers(limit: usize) -> UnreadAnswers {
    UnreadAnswers::new(Limits { all: 4 * limit, share: limit, always: 0 }, PATIENCE, refuse)
}

fn connection() -> Connection {
    let room = Room { connections: 8, per_address: 8, per_party: 8, unproven: 8 };
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let place = Places::new(room).take(address, Instant::now()).expect("there is room");
    Connection::new(SocketAddr::new(address, 1), false, place, Duration::from_secs(30))
}

fn of(name: &str) -> Whose {
    let account = Some(Account(name.into()));
    Whose { account, connection: Some(connection()), alone: false }
}

fn full(bytes: usize) -> Response<Body> {
    Response::new(Body::new(Full::from(vec![7; bytes])))
}

type Sender = tokio::sync::mpsc::UnboundedSender<Bytes>;

fn stream() -> (Sender, Response<Body>) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let frames = UnboundedReceiverStream::new(receiver);
    let frames = frames.map(|data| Ok::<_, Status>(Frame::data(data)));
    (sender, Response::new(Body::new(StreamBody::new(frames))))
}

async fn piece(body: &mut Body) -> Bytes {
    let frame = body.frame().await.expect("it goes on").expect("it is well");
    frame.into_data().expect("data")
}

fn status_of(response: &Response<Body>) -> Option<Code> {
    Status::from_header_map(response.headers()).map(|status| status.code())
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_until_its_last_piece_is_written() {
    let answers = answers(100_000);
    let whole = answers.send(of("eve"), false, full(40_000)).await.into_body();
    assert_eq!(answers.0.pool.held(), 40_000, "it is encoded");
    let read = whole.collect().await.expect("it is well").to_bytes();
    assert_eq!(read.as_ref(), vec![7; 40_000]);
    assert_eq!(answers.0.pool.held(), 0, "it was copied, and so is written");
    let mut body = answers.send(of("eve"), false, full(40_000)).await.into_body();
    let first = piece(&mut body).await;
    let second = piece(&mut body).await;
    assert_eq!((first.len(), second.len()), (PIECE, PIECE));
    drop(first);
    assert_eq!(answers.0.pool.held(), 40_000 - PIECE);
    drop(body);
    assert_eq!(answers.0.pool.held(), PIECE, "HTTP has one still");
    drop(second);
    assert_eq!(answers.0.pool.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_room_and_is_refused_where_there_is_none_and_others_have_theirs() {
    let answers = answers(100_000);
    let unread = answers.send(of("eve"), false, full(100_000)).await;
    let (eve, ann) = (Account("eve".into()), Account("ann".into()));
    let refused = answers.room(Some(&eve)).await;
    assert_eq!(refused, Err(Refusal::Unread { limit: 100_000 }));
    let late = answers.send(of("eve"), false, full(1)).await;
    assert_eq!(status_of(&late), Some(Code::ResourceExhausted), "it was let in before");
    assert_eq!(answers.room(Some(&ann)).await, Ok(()));
    let waits = tokio::spawn({
        let answers = answers.clone();
        async move { answers.room(Some(&eve)).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waits.is_finished());
    drop(unread);
    assert_eq!(waits.await.expect("no panic"), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_asked_for_more_only_where_its_account_has_room() {
    let answers = answers(50_000);
    let (one, first) = stream();
    let (two, second) = stream();
    let mut first = answers.send(of("eve"), true, first).await.into_body();
    let mut second = answers.send(of("eve"), true, second).await.into_body();
    one.send(vec![1; 60_000].into()).expect("it is open");
    two.send(vec![2; 10].into()).expect("it is open");
    let mut pieces = vec![piece(&mut first).await];
    let mut waits = Box::pin(piece(&mut second));
    assert!(waits.as_mut().now_or_never().is_none(), "it has none");
    assert_eq!(answers.0.pool.held(), 60_000);
    pieces.push(piece(&mut first).await);
    pieces.clear();
    assert_eq!(waits.await.as_ref(), [2; 10]);
    // One with nothing to say owes nothing, however long that is.
    drop(first);
    let mut quiet = Box::pin(second.frame());
    let later = tokio::time::timeout(Duration::from_secs(3600), quiet.as_mut()).await;
    assert!(later.is_err(), "{later:?}");
    two.send(vec![3; 10].into()).expect("it is open still");
    assert!(quiet.await.expect("it goes on").is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_reads_is_let_go_and_says_so_to_whoever_reads_on() {
    let answers = answers(1_000_000);
    let (sender, long) = stream();
    let whose = of("eve");
    let connection = whose.connection.clone().expect("given");
    let mut long = answers.send(whose, true, long).await.into_body();
    let mut answer = answers.send(of("eve"), false, full(500_000)).await.into_body();
    sender.send(vec![1; 100_000].into()).expect("it is open");
    let held = [piece(&mut long).await, piece(&mut answer).await];
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(answers.0.pool.held(), 600_000);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(answers.0.pool.held(), 100_000 + PIECE, "an answer is given up after a minute");
    tokio::time::sleep(Duration::from_secs(240)).await;
    assert_eq!(answers.0.pool.held(), 2 * PIECE, "a stream after five");
    assert!(sender.is_closed(), "what made it is over");
    let end = long.frame().await.expect("it is told").expect("in trailers");
    let trailers = end.into_trailers().expect("trailers");
    let status = Status::from_header_map(&trailers).expect("a status");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(long.frame().await.is_none());
    drop((held, long, answer));
    assert_eq!(answers.0.pool.held(), 0);
    assert!(connection.over().now_or_never().is_none(), "one alone ends no connection");
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_many_unread_answers_ends_and_one_with_one_after_long() {
    for (many, seconds) in [(16, 61 + 5 * 60), (17, 62)] {
        let answers = answers(1_000_000);
        let whose = of("eve");
        let connection = whose.connection.clone().expect("given");
        let mut held = Vec::new();
        for _ in 0..many {
            let mut body = answers.send(whose.clone(), false, full(10)).await.into_body();
            held.push(piece(&mut body).await);
        }
        tokio::time::sleep(Duration::from_secs(seconds - 5)).await;
        assert!(connection.over().now_or_never().is_none(), "{many}");
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert!(connection.over().now_or_never().is_some(), "{many}");
    }
}
