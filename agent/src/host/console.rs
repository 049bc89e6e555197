//! What a guest prints on its serial console, as readers see it: the end of what is kept, then
//! what comes.
//!
//! The collector of a console ([`Outputs`](super::Outputs)) says each piece once to a [`Hub`]; any
//! number of readers listen, each with a [`Feed`] of its own. The hub is a ring: a reader that does
//! not keep up loses the oldest of what it has not read and is told how much. Saying never waits,
//! so that no reader holds up the collector, and through it the guest. No I/O.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::broadcast;

/// Pieces that the ring holds. A piece is at most 16 KiB, so that it is at most 1 MiB, and that
/// only while there are readers.
const PIECES: usize = 64;

/// A console, opened for reading.
#[derive(Debug)]
pub struct Console {
    /// The end of what is kept.
    pub past: Vec<u8>,
    /// What came after that, without gap or repetition.
    pub live: Feed,
}

/// What a reader hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The next of what the guest printed.
    Bytes(Arc<[u8]>),
    /// This many bytes came faster than they were read, and are lost to this reader.
    Lost(u64),
}

#[derive(Debug, Clone)]
struct Piece {
    /// Bytes said before this piece.
    before: u64,
    bytes: Arc<[u8]>,
}

/// Where a collector says what a guest prints.
#[derive(Debug)]
pub struct Hub {
    /// Bytes said so far. Its lock is held while a piece is said, so that pieces are in order.
    said: Mutex<u64>,
    pieces: broadcast::Sender<Piece>,
}

impl Default for Hub {
    fn default() -> Self {
        Self { said: Mutex::default(), pieces: broadcast::Sender::new(PIECES) }
    }
}

impl Hub {
    /// Tells every reader. Never waits for one.
    pub fn say(&self, bytes: &[u8]) {
        let mut said = self.said.lock();
        let before = *said;
        *said += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.has_readers() {
            // Without readers after all, nobody is to be told.
            let _ = self.pieces.send(Piece { before, bytes: bytes.into() });
        }
    }

    /// Listens from now on.
    #[must_use]
    pub fn listen(&self) -> Feed {
        let said = self.said.lock();
        Feed { pieces: self.pieces.subscribe(), at: *said, held: None }
    }

    /// Whether anybody listens.
    #[must_use]
    pub fn has_readers(&self) -> bool {
        self.pieces.receiver_count() > 0
    }
}

/// One reader's ear.
#[derive(Debug)]
pub struct Feed {
    pieces: broadcast::Receiver<Piece>,
    /// Bytes said up to what was heard last.
    at: u64,
    /// Heard, but the loss before it is told first.
    held: Option<Arc<[u8]>>,
}

impl Feed {
    /// The next; `None` when nobody will say anything any more. Cancel-safe: what was not handed
    /// out is handed out next time.
    pub async fn next(&mut self) -> Option<Heard> {
        if let Some(bytes) = self.held.take() {
            return Some(Heard::Bytes(bytes));
        }
        loop {
            match self.pieces.recv().await {
                Ok(Piece { before, bytes }) => {
                    let lost = before.saturating_sub(self.at);
                    self.at = before + u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    if lost == 0 {
                        return Some(Heard::Bytes(bytes));
                    }
                    self.held = Some(bytes);
                    return Some(Heard::Lost(lost));
                }
                // How many pieces is known; how many bytes, with the next piece.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests;
