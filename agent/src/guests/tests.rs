//! What is taken from a hostile guest.

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::handles::ProcessIdentity;
use crate::host::{GuestStream, HostResult, JailId, Pid};

/// A guest whose stream is the other end of this one, once; after that nobody is there.
struct Scripted(Mutex<Option<tokio::io::DuplexStream>>);

#[async_trait]
impl Guests for Scripted {
    async fn connect(&self, _id: &JailId) -> HostResult<GuestStream> {
        let stream = self.0.lock().take();
        match stream {
            Some(io) => Ok(GuestStream { io: Box::new(io), transport: "vsock" }),
            None => std::future::pending().await,
        }
    }
}

fn process(ticks: u64) -> ProcessIdentity {
    let pid = Pid::new(7).expect("it is one");
    ProcessIdentity { pid, start_ticks: ticks, boot_id: "b".to_owned() }
}

fn channel() -> (GuestChannel, tokio::io::DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let jail = JailId::new("a").expect("it is one");
    let host = Arc::new(Scripted(Mutex::new(Some(ours))));
    let channel =
        GuestChannel::new(jail, host, Clock::system(), Arc::default(), CancellationToken::new());
    (channel, theirs)
}

#[test]
fn the_words_of_a_guest_are_one_short_line_of_printable_text() {
    assert_eq!(printable("web-1", 64), "web-1");
    assert_eq!(printable("a\u{1b}[31mb\r\nc\u{202e}d", 64), "a[31mbcd");
    assert_eq!(printable(&"x".repeat(1000), 64).len(), 64);
}

#[tokio::test]
async fn a_guest_that_talks_nonsense_is_never_ready() {
    let (channel, mut guest) = channel();
    assert_eq!(channel.client().expect_err("nobody is followed"), NoGuest::NotRunning);
    channel.follow(Some(&process(1)));
    // It repeats the greeting, so that HTTP/2 begins, and then says what is none.
    let mut line = vec![0; 1 + "banger-guest/1 ".len() + 32 + 1];
    guest.read_exact(&mut line).await.expect("it is greeted");
    guest.write_all(&line).await.expect("it is read");
    let nonsense = vec![b'x'; 100_000];
    // Until the host has had enough of it.
    while guest.write_all(&nonsense).await.is_ok() {}
    assert_eq!(channel.seen(), None);
    assert_eq!(channel.client().expect_err("it was not heard"), NoGuest::NeverHeard);
}

#[tokio::test]
async fn a_process_that_is_another_is_followed_from_the_beginning() {
    let (channel, mut guest) = channel();
    channel.follow(Some(&process(1)));
    let mut line = [0; 8];
    guest.read_exact(&mut line).await.expect("it is greeted");
    // The same again changes nothing; another one lets go of the stream.
    channel.follow(Some(&process(1)));
    channel.follow(Some(&process(2)));
    let mut rest = Vec::new();
    guest.read_to_end(&mut rest).await.expect("the stream is let go");
    channel.follow(None);
    assert_eq!(channel.client().expect_err("nobody is followed"), NoGuest::NotRunning);
}
