use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, StreamBody};
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::super::held::Pool;
use super::*;
use banger_proto::v1::ErrorReason;

const WITHIN: Duration = Duration::from_secs(10);

const SMALL: Measure =
    Measure { message: 16, all: Some(64), compressed: false, single: true, within: WITHIN };

fn refuse(code: tonic::Code, reason: ErrorReason, words: String) -> Status {
    Status::new(code, format!("{} {words}", reason.as_str_name()))
}

type Sender = tokio::sync::mpsc::UnboundedSender<Bytes>;

fn measured(measure: Measure, pool: &Pool) -> (Sender, Measured) {
    measured_into(measure, Arc::new(Mutex::new(pool.share(None, None))))
}

fn measured_into(measure: Measure, share: Arc<Mutex<Share>>) -> (Sender, Measured) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let frames = UnboundedReceiverStream::new(receiver);
    let frames = frames.map(|data| Ok::<_, Status>(Frame::data(data)));
    let body = Body::new(StreamBody::new(frames));
    (sender, Measured::new(body, measure, share, refuse))
}

fn message(length: usize) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(length).expect("small").to_be_bytes());
    bytes.resize(PREFIX + length, 7);
    bytes
}

/// All bytes that come, or the message of the status that ends it.
async fn read(body: Measured) -> Result<Vec<u8>, String> {
    match body.collect().await {
        Ok(all) => Ok(all.to_bytes().to_vec()),
        Err(status) => Err(status.message().to_owned()),
    }
}

#[tokio::test]
async fn messages_come_through_unchanged_however_they_are_cut() {
    let pool = Pool::of(1000);
    let bytes = [message(16), message(0), message(3)].concat();
    for cut in 1..=bytes.len() {
        let (sender, body) = measured(SMALL, &pool);
        for part in bytes.chunks(cut) {
            sender.send(Bytes::copy_from_slice(part)).expect("it is read");
        }
        drop(sender);
        assert_eq!(read(body).await.as_ref(), Ok(&bytes), "in parts of {cut}");
    }
}

#[tokio::test]
async fn what_a_prefix_announces_is_refused_before_it_comes() {
    let pool = Pool::of(1000);
    let larger = |length: u32| [&[0][..], &length.to_be_bytes()].concat();
    let cases: [(Vec<u8>, &str); 4] = [
        (larger(17), "LIMIT_REACHED a message of the request has 17 bytes; the limit is 16"),
        (larger(u32::MAX), "LIMIT_REACHED a message"),
        (vec![1, 0, 0, 0, 1], "REQUEST_MALFORMED a call without a token may not be compressed"),
        (message(16).repeat(4), "LIMIT_REACHED the messages of the request have more than 64"),
    ];
    for (bytes, said) in cases {
        let (sender, body) = measured(SMALL, &pool);
        sender.send(Bytes::from(bytes)).expect("it is read");
        let error = read(body).await.expect_err("refused while its sender goes on");
        assert!(error.contains(said), "{error}");
    }
}

#[tokio::test]
async fn of_requests_that_are_not_whole_what_has_come_counts_and_no_more_than_there_is_room_for() {
    let pool = Pool::of(100);
    let begun = |bytes: usize| Bytes::from(message(16)[..PREFIX + bytes].to_vec());
    let mut held = Vec::new();
    for (bytes, fits) in [(0, 20), (15, 6)] {
        for n in 0..20 {
            let (sender, body) = measured(SMALL, &pool);
            sender.send(begun(bytes)).expect("it is read");
            let mut body = Box::pin(body);
            let first = body.frame().await.expect("it goes on");
            assert_eq!(first.is_ok(), n < fits, "{bytes} bytes each of 100: {n}");
            held.push((sender, body));
        }
    }
    held.clear();
    assert_eq!(pool.held(), 0, "all was given back");
}

#[tokio::test]
async fn of_a_stream_the_longest_message_counts_and_what_is_made_of_one_needs_its_room() {
    let pool = Pool::of(100);
    let stream = Measure { single: false, all: None, ..SMALL };
    let share = Arc::new(Mutex::new(pool.share(None, None)));
    let (sender, body) = measured_into(stream, Arc::clone(&share));
    let mut body = Box::pin(body);
    for (length, held) in [(3, 3), (16, 16), (5, 16), (16, 16)] {
        sender.send(message(length).into()).expect("it is read");
        body.frame().await.expect("it goes on").expect("it fits");
        assert_eq!(pool.held(), held, "after one of {length}");
    }
    drop(body);
    assert_eq!(pool.held(), 16, "its call is not answered yet");
    drop(share);
    assert_eq!(pool.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_drips_is_late_and_one_of_a_stream_only_within_a_message() {
    let pool = Pool::of(1000);
    let drip = async |measure: Measure, bytes: Vec<u8>, every: u64| {
        let (sender, body) = measured(measure, &pool);
        let sending = async move {
            for byte in bytes {
                if sender.send(Bytes::copy_from_slice(&[byte])).is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_secs(every)).await;
            }
        };
        let (_, read) = tokio::join!(sending, read(body));
        read
    };
    let late = "DEADLINE_EXCEEDED the request did not come within 10 s";
    let error = drip(SMALL, message(16), 1).await.expect_err("one message, 21 s");
    assert!(error.contains(late), "{error}");
    let stream = Measure { single: false, all: None, ..SMALL };
    // 8 s each, for a long time, with pauses between them.
    let fine = [message(3), message(3), message(3), message(3)].concat();
    assert_eq!(drip(stream, fine.clone(), 1).await, Ok(fine));
    let error = drip(stream, message(16), 1).await.expect_err("one message, 21 s");
    assert!(error.contains(late), "{error}");
    assert_eq!(drip(stream, Vec::new(), 1).await, Ok(Vec::new()), "silence is no message");
    let pauses = vec![0; PREFIX];
    assert!(drip(stream, pauses, 3).await.is_err(), "a prefix that drips is one");
}
