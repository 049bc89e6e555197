//! One conversation with one QEMU over its QMP socket.
//!
//! Driven by [`QemuApi`](super::QemuApi), which keeps at most one for each VM: QEMU serves one
//! client at a time, and only a connection that is held hears events. A task reads; answers go to
//! whoever asked, by number, so that one that came too late is nobody's. What can go wrong: QEMU
//! ends or sends what is no message (the session is over, everyone waiting is told), does not
//! answer (the caller gives up and the session is dropped), or was taken over and sends without
//! end: then it is read no faster than [`AT_ONCE`] a second, and of its events only so many are
//! heard.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::codec::{FramedRead, LinesCodec};

use super::qmp::{self, Event, Message};

/// The longest line that is read; the longest we ask for is a few hundred bytes.
const LINE_LIMIT: usize = 64 * 1024;

/// How much is read before a pause of a second, unless QEMU pauses itself: in bytes, a line
/// counting for at least [`LEAST`]. Usual are some lines for each command, and none in between.
const AT_ONCE: usize = 256 * 1024;
const LEAST: usize = 256;
const PAUSE: Duration = Duration::from_secs(1);

/// After a silence of this length QEMU may send as much as at first.
const SILENCE: Duration = Duration::from_millis(100);

/// How many events of one session are heard. A machine ends once.
const MOST_EVENTS: u32 = 64;

type Returned = Result<Value, String>;
type Awaited = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Returned>>>>>;

/// Why a command has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// QEMU said no.
    #[error("QEMU says: {0}")]
    Refused(String),
    /// The conversation is over.
    #[error("QEMU broke off the conversation")]
    Over,
    /// The command could not be sent.
    #[error("QEMU could not be spoken to")]
    Send(#[source] std::io::Error),
}

/// A conversation.
pub(super) struct Session {
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    /// Who waits for which answer; `None` once nobody will read any more.
    waiting: Awaited,
    next: AtomicU64,
    reader: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Session {
    /// Begins on a fresh connection. `heard` is told every event.
    pub(super) async fn begin(
        stream: UnixStream,
        heard: impl Fn(Event) + Send + 'static,
    ) -> Result<Self, Unanswered> {
        let (reader, writer) = stream.into_split();
        let mut lines = FramedRead::new(reader, LinesCodec::new_with_max_length(LINE_LIMIT));
        match lines.next().await.and_then(Result::ok).map(|line| qmp::parse(&line)) {
            Some(Ok(Message::Greeting)) => {}
            Some(_) | None => return Err(Unanswered::Over),
        }
        let waiting: Awaited = Arc::new(Mutex::new(Some(HashMap::new())));
        let session = Self {
            writer: tokio::sync::Mutex::new(writer),
            waiting: waiting.clone(),
            next: AtomicU64::new(1),
            reader: tokio::spawn(read(lines, waiting, heard)),
        };
        session.ask("qmp_capabilities", &Value::Null).await?;
        Ok(session)
    }

    /// Whether it can still be asked.
    pub(super) fn is_open(&self) -> bool {
        self.waiting.lock().is_some()
    }

    /// One command. Has no time limit of its own; whoever gives up drops the session.
    pub(super) async fn ask(&self, name: &str, arguments: &Value) -> Result<Value, Unanswered> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        match self.waiting.lock().as_mut() {
            Some(waiting) => drop(waiting.insert(id, answer)),
            None => return Err(Unanswered::Over),
        }
        let line = qmp::command(id, name, arguments);
        self.writer.lock().await.write_all(line.as_bytes()).await.map_err(Unanswered::Send)?;
        match answered.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(words)) => Err(Unanswered::Refused(words)),
            Err(_) => Err(Unanswered::Over),
        }
    }
}

async fn read(
    mut lines: FramedRead<OwnedReadHalf, LinesCodec>,
    waiting: Awaited,
    heard: impl Fn(Event),
) {
    let (mut sent, mut events) = (0, 0);
    loop {
        // Cancel-safe: what was read of a line stays in the buffer.
        let line = match tokio::time::timeout(SILENCE, lines.next()).await {
            Ok(line) => line,
            Err(_) => {
                sent = 0;
                lines.next().await
            }
        };
        let Some(Ok(line)) = line else { break };
        sent += line.len().max(LEAST);
        if sent > AT_ONCE {
            tokio::time::sleep(PAUSE).await;
            sent = 0;
        }
        match qmp::parse(&line) {
            Ok(Message::Event(Event::Other)) => {}
            Ok(Message::Event(event)) => {
                events += 1;
                if events <= MOST_EVENTS {
                    heard(event);
                }
            }
            Ok(Message::Answer { id, result }) => {
                let asked = waiting.lock().as_mut().and_then(|waiting| waiting.remove(&id));
                // Nobody waits for an answer that came after its time.
                if let Some(asked) = asked {
                    let _ = asked.send(result);
                }
            }
            Ok(Message::Greeting) => {}
            Err(why) => {
                tracing::debug!(why, "QEMU sent what is no message");
                break;
            }
        }
    }
    // Drops the senders: everyone waiting is told.
    waiting.lock().take();
}

#[cfg(test)]
mod tests;
