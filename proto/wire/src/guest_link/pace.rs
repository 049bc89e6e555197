//! How fast a guest is listened to: a bound on what costs its host work and is delivered to nobody.
//!
//! Used by the host's end of a link. What comes before the greeting is looked at byte by byte and
//! dropped; of what comes after it, HTTP/2 bounds the data (its windows) and nothing else: frames
//! of unknown types, pings and settings come as fast as a guest likes. So frames are told apart
//! here, by their heads alone (RFC 9113, section 4.1), and each has its price. Whoever is over the
//! bound is not cut off, but read no further until the second is over: the stream below is full
//! then, and the guest waits.
//!
//! A frame of data may have many messages in it; those are priced where they are taken
//! ([`Answers`]).
//!
//! Pure but for [`Pace::new`], which reads the clock, and [`Answers`], which waits by it;
//! [`Pace::after`] is given the time. Nothing can go wrong: what is no HTTP/2 has some price, and
//! is for the library to refuse.

use std::time::Duration;

use tokio::time::Instant;

/// The price of a frame, in bytes, whatever is in it.
const FRAME: u64 = 256;

/// What is read in a second before a session begins: a link's buffers with what an older session
/// had still to say are some hundred KiB.
pub(super) const JUNK: u64 = 1 << 20;

/// What frames may cost in a second. A copy at full speed takes few: its data is free, and a guest
/// that is sent data gives back room 30,000 times a second at a gigabyte.
pub(super) const FRAMES: u64 = 16 << 20;

/// The length of a frame's head, and the type of frames of data.
const HEAD: usize = 9;
const DATA: u8 = 0;

/// The prices of the frames of one direction.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// What there is of the next head.
    head: [u8; HEAD],
    has: usize,
    /// What is still to come of the frame's content.
    left: usize,
}

impl Meter {
    /// What this piece costs: each frame in it at its head.
    pub(super) fn price(&mut self, mut piece: &[u8]) -> u64 {
        let mut price = 0_u64;
        loop {
            let skipped = self.left.min(piece.len());
            self.left -= skipped;
            piece = &piece[skipped..];
            if piece.is_empty() {
                return price;
            }
            let taken = (HEAD - self.has).min(piece.len());
            self.head[self.has..self.has + taken].copy_from_slice(&piece[..taken]);
            self.has += taken;
            piece = &piece[taken..];
            if self.has == HEAD {
                self.has = 0;
                let length = u32::from_be_bytes([0, self.head[0], self.head[1], self.head[2]]);
                self.left = usize::try_from(length).unwrap_or(usize::MAX);
                // Data is paid for by its window; a guest that sends crumbs pays like others.
                let content = u64::from(length);
                let cost = match self.head[3] {
                    DATA => FRAME.saturating_sub(content),
                    _ => FRAME + content,
                };
                price = price.saturating_add(cost);
            }
        }
    }
}

/// A bound for each second.
#[derive(Debug)]
pub(super) struct Pace {
    most: u64,
    spent: u64,
    since: Instant,
}

impl Pace {
    /// So much in a second, from now on.
    pub(super) fn new(most: u64) -> Self {
        Self { most, spent: 0, since: Instant::now() }
    }

    /// How long to wait after this much more.
    pub(super) fn after(&mut self, price: u64, now: Instant) -> Option<Duration> {
        const SECOND: Duration = Duration::from_secs(1);
        if now.duration_since(self.since) >= SECOND {
            (self.since, self.spent) = (now, 0);
        }
        self.spent = self.spent.saturating_add(price);
        if self.spent <= self.most {
            return None;
        }
        // What is over the bound is waited for, too.
        let seconds = u32::try_from(self.spent / self.most.max(1)).unwrap_or(60).min(60);
        (self.since, self.spent) = (now + SECOND * seconds, 0);
        Some(SECOND * seconds)
    }
}

/// What the answers of one guest may cost in a second, all its calls together: 32,768 that are not
/// large.
const ANSWERS: u64 = 8 << 20;

/// A guest agent of banger sends what it has in parts of 64 KiB; of parts of this length a link at
/// its full speed brings no more than others are allowed.
const LARGE: usize = 32 << 10;

/// How fast answers are taken out of a guest's frames: many small ones fit in one, and each has its
/// way to go to whoever asked. Paid by whoever takes them, before the next is looked at.
#[derive(Debug)]
pub struct Answers(tokio::sync::Mutex<Pace>);

impl Default for Answers {
    fn default() -> Self {
        Self(tokio::sync::Mutex::new(Pace::new(ANSWERS)))
    }
}

impl Answers {
    /// Pays for an answer with this much data in it, and waits if that was too much. One that is
    /// [`LARGE`] is free: its window pays for it. Who waits has the others of the guest wait too.
    pub async fn pay(&self, data: usize) {
        if data >= LARGE {
            return;
        }
        let mut pace = self.0.lock().await;
        if let Some(pause) = pace.after(FRAME, Instant::now()) {
            tokio::time::sleep(pause).await;
        }
    }
}

#[cfg(test)]
mod tests;
