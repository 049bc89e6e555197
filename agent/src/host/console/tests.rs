//! Readers of a hub: in order, apart from each other, and never in the guest's way.

use super::*;

fn text(heard: Option<Heard>) -> String {
    match heard {
        Some(Heard::Bytes(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        Some(Heard::Lost(bytes)) => format!("lost {bytes}"),
        None => "end".to_owned(),
    }
}

#[tokio::test]
async fn two_readers_hear_the_same_each_from_when_it_came() {
    let hub = Hub::default();
    hub.say(b"before anybody came");
    let mut first = hub.listen();
    hub.say(b"one");
    let mut second = hub.listen();
    hub.say(b"two");
    assert_eq!(text(first.next().await), "one");
    assert_eq!(text(first.next().await), "two");
    assert_eq!(text(second.next().await), "two");
    drop(hub);
    assert_eq!(text(first.next().await), "end");
    assert_eq!(text(second.next().await), "end");
}

#[tokio::test]
async fn a_slow_reader_loses_the_oldest_and_is_told_how_much() {
    let hub = Hub::default();
    let (mut slow, mut fast) = (hub.listen(), hub.listen());
    for number in 0..PIECES + 3 {
        hub.say(format!("{number:04}").as_bytes());
        assert_eq!(text(fast.next().await), format!("{number:04}"));
    }
    // Three pieces of four bytes did not fit any more.
    assert_eq!(text(slow.next().await), "lost 12");
    for number in 3..PIECES + 3 {
        assert_eq!(text(slow.next().await), format!("{number:04}"));
    }
    hub.say(b"more");
    assert_eq!(text(slow.next().await), "more");
}

#[test]
fn nothing_is_held_for_nobody() {
    let hub = Hub::default();
    let reader = hub.listen();
    assert!(hub.has_readers());
    drop(reader);
    assert!(!hub.has_readers());
    hub.say(b"to nobody");
    assert_eq!(hub.pieces.len(), 0);
}
