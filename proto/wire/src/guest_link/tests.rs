use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex, split};
use tokio::sync::mpsc;

use super::Nonce;
use super::session::{Ended, Link, serve};
use super::stuffing::{End, FLAG, Unstuffer, stuff};

fn unstuff(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let (mut unstuffer, mut out) = (Unstuffer::default(), Vec::new());
    for piece in pieces {
        let taken = unstuffer.take(piece, &mut out);
        if taken.ended == End::Flag {
            return (out, true);
        }
        assert_eq!(taken.ended, End::Piece);
        assert_eq!(taken.used, piece.len());
    }
    (out, false)
}

proptest! {
    #[test]
    fn whatever_is_stuffed_comes_back_and_has_no_flag(data: Vec<u8>, cut: usize) {
        let mut stuffed = Vec::new();
        stuff(&data, &mut stuffed);
        prop_assert!(!stuffed.contains(&FLAG));
        let cut = cut % (stuffed.len() + 1);
        prop_assert_eq!(unstuff(&[&stuffed[..cut], &stuffed[cut..]]), (data, false));
    }

    #[test]
    fn a_flag_is_found_wherever_the_stream_was_cut_off(data: Vec<u8>, cut: usize) {
        let mut stuffed = Vec::new();
        stuff(&data, &mut stuffed);
        stuffed.truncate(cut % (stuffed.len() + 1));
        stuffed.push(FLAG);
        prop_assert!(unstuff(&[&stuffed]).1);
    }

    #[test]
    fn no_line_makes_the_parser_fail(line: Vec<u8>) {
        let _ = Nonce::of_line(&line);
    }
}

#[test]
fn a_line_is_read_only_as_it_is_written() {
    let line = Nonce(0xabc).line();
    assert!(line.len() <= super::LONGEST_LINE, "{line}");
    let line = line.trim_end();
    assert_eq!(Nonce::of_line(line.as_bytes()), Some(Nonce(0xabc)));
    for wrong in [&line[1..], &line[..line.len() - 1], &line.replace('a', "g"), &format!("{line}0")]
    {
        assert_eq!(Nonce::of_line(wrong.as_bytes()), None, "{wrong}");
    }
}

#[test]
fn nothing_is_taken_of_escapes_that_stand_for_nothing() {
    for byte in 0..=u8::MAX {
        let (mut unstuffer, mut out) = (Unstuffer::default(), Vec::new());
        let taken = unstuffer.take(&[b'a', 0x7d, byte, b'b'], &mut out);
        let (used, ended, data): (_, _, &[u8]) = match byte {
            FLAG => (3, End::Flag, b"a"),
            0x5d => (4, End::Piece, b"a}b"),
            0x5e => (4, End::Piece, b"a~b"),
            _ => (3, End::Broken, b"a"),
        };
        assert_eq!((taken.used, taken.ended, &*out), (used, ended, data), "{byte:#x}");
    }
}

/// A guest that sends back what each session sends, and says of each that it began.
fn echo(stream: DuplexStream) -> mpsc::UnboundedReceiver<()> {
    let (sessions, mut taken) = mpsc::channel::<DuplexStream>(1);
    let (began, begun) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (reader, writer) = split(stream);
        let link = Link::new(reader, writer);
        serve(link, Some(Duration::from_millis(1)), sessions).await.expect("the stream holds");
    });
    tokio::spawn(async move {
        while let Some(session) = taken.recv().await {
            let _ = began.send(());
            tokio::spawn(async move {
                let (mut reader, mut writer) = split(session);
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    begun
}

/// Begins a session as a host does; answers the host's end of it.
async fn begin(stream: DuplexStream, nonce: u128) -> DuplexStream {
    let (reader, writer) = split(stream);
    let mut link = Link::new(reader, writer);
    link.begin(Nonce(nonce)).await.expect("the guest answers");
    let (ours, theirs) = duplex(1024);
    tokio::spawn(async move { link.carry(theirs).await });
    ours
}

#[tokio::test]
async fn a_session_carries_every_byte_both_ways() {
    let (host, guest) = duplex(100);
    let _begun = echo(guest);
    let session = begin(host, 1).await;
    let data: Vec<u8> = (0..200_000_u32).map(|n| (n * 7 % 256) as u8).collect();
    let (mut reader, mut writer) = split(session);
    let sent = data.clone();
    let sender = tokio::spawn(async move {
        writer.write_all(&sent).await.expect("it is taken");
        writer
    });
    let mut back = vec![0; data.len()];
    reader.read_exact(&mut back).await.expect("it comes back");
    assert!(back == data, "something else came back");
    drop(sender.await.expect("it does not panic"));
}

/// The wire below a host that dies: what it wrote stays, the next host continues behind it.
#[tokio::test]
async fn a_host_that_died_in_the_middle_of_a_frame_is_followed_by_a_clean_session() {
    for cut in 0..60 {
        let (mut host, guest) = duplex(4096);
        let mut begun = echo(guest);
        // The first host: it begins, is answered, and is cut off after any number of bytes, with
        // the answers to what it sent still unread.
        let mut first = vec![FLAG];
        first.extend(Nonce(1).line().into_bytes());
        stuff(b"what is ~cut~ }off} here comes back", &mut first);
        host.write_all(&first[..cut.min(first.len())]).await.expect("there is room");
        // The second does not know of it. Its bytes come at once, so that the guest sees no
        // silence between the two.
        let mut session = begin(host, 2).await;
        session.write_all(b"hello").await.expect("it is taken");
        let mut answer = [0; 5];
        session.read_exact(&mut answer).await.expect("it is answered");
        assert_eq!(&answer, b"hello", "cut at {cut}");
        let whole = cut > Nonce(1).line().len();
        let mut sessions = 0;
        while begun.try_recv().is_ok() {
            sessions += 1;
        }
        assert_eq!(sessions, if whole { 2 } else { 1 }, "cut at {cut}");
    }
}

#[tokio::test]
async fn a_new_session_ends_the_one_before_it() {
    let (mut host, guest) = duplex(4096);
    let (sessions, mut taken) = mpsc::channel(1);
    let (reader, writer) = split(guest);
    tokio::spawn(serve(Link::new(reader, writer), None, sessions));
    for nonce in [1, 2] {
        let mut line = vec![FLAG];
        line.extend(Nonce(nonce).line().into_bytes());
        host.write_all(&line).await.expect("it is taken");
        if nonce == 1 {
            let mut session = taken.recv().await.expect("it began");
            // Behind an escape, where nothing but a flag may be taken for one.
            host.write_all(&[b'x', 0x7d]).await.expect("it is taken");
            assert_eq!(session.read_u8().await.expect("it came"), b'x');
            host.write_all(&line).await.expect("it is taken");
            assert_eq!(session.read(&mut [0; 8]).await.expect("it ends"), 0);
            taken.recv().await.expect("the next one began");
        }
    }
}

#[tokio::test]
async fn a_guest_that_never_says_the_number_is_never_believed() {
    let (host, mut guest) = duplex(100_000);
    let (reader, writer) = split(host);
    let mut link = Link::new(reader, writer);
    let mut lies = vec![b'x'; 1000];
    for other in [0, 2, u128::MAX] {
        lies.push(FLAG);
        lies.extend(Nonce(other).line().into_bytes());
    }
    lies.push(FLAG);
    lies.extend([b'y'; 5000]);
    guest.write_all(&lies).await.expect("there is room");
    guest.shutdown().await.expect("it can be closed");
    let refused = link.begin(Nonce(1)).await.expect_err("it was not answered");
    assert_eq!(refused.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_session_that_is_closed_here_leaves_the_link_usable() {
    let (host, guest) = duplex(4096);
    let mut begun = echo(guest);
    let (reader, writer) = split(host);
    let mut link = Link::new(reader, writer);
    for nonce in 1..4 {
        link.begin(Nonce(nonce)).await.expect("the guest answers");
        let (mut ours, theirs) = duplex(64);
        ours.write_all(b"unread").await.expect("there is room");
        drop(ours);
        assert_eq!(link.carry(theirs).await.expect("it holds"), Ended::Here);
        begun.recv().await.expect("it began");
    }
}

const MOST_OF_A_SECOND: Duration = Duration::from_millis(900);

/// What goes through a paced link in that time, of one that is written to without end.
async fn taken_of(words: Vec<u8>, greeted: bool) -> (u64, Duration) {
    let (theirs, ours) = duplex(1 << 20);
    let (reader, writer) = split(ours);
    let mut link = Link::new(reader, writer).paced();
    let (mut guest_reader, mut guest_writer) = split(theirs);
    let told = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = std::sync::Arc::clone(&told);
    let guest = tokio::spawn(async move {
        if greeted {
            let line = Nonce(1).line();
            let mut greeting = vec![0; 1 + line.len()];
            guest_reader.read_exact(&mut greeting).await.unwrap();
            guest_writer.write_all(&greeting).await.unwrap();
        }
        while guest_writer.write_all(&words).await.is_ok() {
            let told = u64::try_from(words.len()).unwrap();
            count.fetch_add(told, std::sync::atomic::Ordering::Relaxed);
        }
    });
    let begun = tokio::time::Instant::now();
    let (mut sink, here) = duplex(1 << 20);
    let listen = async {
        link.begin(Nonce(1)).await.unwrap();
        link.carry(here).await.unwrap();
    };
    let drain = async {
        let mut piece = vec![0; 1 << 16];
        while sink.read(&mut piece).await.is_ok_and(|read| read > 0) {
            if told.load(std::sync::atomic::Ordering::Relaxed) > 24 << 20 {
                return;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = tokio::time::sleep(MOST_OF_A_SECOND) => {}
        () = listen => {}
        () = drain => {}
    }
    guest.abort();
    (told.load(std::sync::atomic::Ordering::Relaxed), begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_floods_its_channel_is_read_slowly_and_one_that_copies_is_not() {
    let frame = |kind: u8| {
        let mut frame = vec![0, 0x40, 0, kind, 0, 0, 0, 0, 1];
        frame.resize(9 + 0x4000, 0x55);
        frame
    };
    let (junk, took) = taken_of(vec![0x55; 1 << 16], false).await;
    assert!(junk < 4 << 20 && took >= MOST_OF_A_SECOND, "{junk} bytes of junk in {took:?}");
    let (unknown, took) = taken_of(frame(0xfa), true).await;
    assert!(took >= MOST_OF_A_SECOND, "{unknown} bytes in frames of no type in {took:?}");
    // Nothing but escapes, of which no data comes that could have a price.
    let (escapes, _) = taken_of(vec![0x7d; 1 << 16], true).await;
    assert!(escapes < 4 << 20, "{escapes} escapes");
    let (copied, took) = taken_of(frame(0), true).await;
    assert!(copied > 24 << 20 && took < MOST_OF_A_SECOND, "{copied} bytes in {took:?}");
}
