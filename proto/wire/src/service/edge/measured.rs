//! Cuts a request off that is too large, compressed or too slow: its body is measured while it
//! comes.
//!
//! It reads the prefix of each gRPC message (one byte of flags, four of length) before the decoder
//! does, which sets aside all that a prefix announces. That costs no memory until it comes, so what
//! has come is what counts as held. What can go wrong: a message that is larger than it may be,
//! that is compressed where it may not, that does not come in time, or for which there is no room:
//! the body then ends with the status that says so.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;

use super::held::Share;
use super::refusal::{Refusal, Refuse};

/// The length of a message's prefix.
const PREFIX: usize = 5;

/// What a request may be.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    /// Bytes of one message.
    pub message: usize,
    /// Bytes of all messages together; `None` for a stream without end.
    pub all: Option<usize>,
    /// Whether messages may be compressed.
    pub compressed: bool,
    /// Whether the request is one message: then it is whole within `within`. Of a stream each
    /// message has to be whole `within` so long after it began, and the longest that has come
    /// counts as held: the decoder keeps its room for the next.
    pub single: bool,
    /// See `single`.
    pub within: Duration,
}

/// The body.
pub struct Measured {
    body: Body,
    measure: Measure,
    share: Arc<Mutex<Share>>,
    refuse: Refuse,
    prefix: [u8; PREFIX],
    /// How much of the prefix is there.
    have: usize,
    /// How much of the message is still to come.
    left: usize,
    all: usize,
    /// How much of the message has come; of a request that is one message, of all of it.
    come: usize,
    /// How much of that is counted.
    counted: usize,
    late: Option<Pin<Box<Sleep>>>,
    over: bool,
}

impl Measured {
    /// Measures a body. What it holds is in the share, which may outlast it: what is made of a
    /// request needs room as well.
    #[must_use]
    pub const fn new(
        body: Body,
        measure: Measure,
        share: Arc<Mutex<Share>>,
        refuse: Refuse,
    ) -> Self {
        Self {
            body,
            measure,
            share,
            refuse,
            prefix: [0; PREFIX],
            have: 0,
            left: 0,
            all: 0,
            come: 0,
            counted: 0,
            late: None,
            over: false,
        }
    }

    /// Whether a message has begun and is not whole.
    const fn within_a_message(&self) -> bool {
        self.have > 0 || self.left > 0
    }

    /// Looks at what has come.
    fn look(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        self.all = self.all.saturating_add(bytes.len());
        if let Some(limit) = self.measure.all
            && self.all > limit
        {
            return Err(Refusal::TooMuch { limit });
        }
        while !bytes.is_empty() {
            if self.left > 0 {
                let here = self.left.min(bytes.len());
                self.come += here;
                self.count()?;
                self.left -= here;
                bytes = &bytes[here..];
                self.next_message();
                continue;
            }
            let here = (PREFIX - self.have).min(bytes.len());
            self.prefix[self.have..self.have + here].copy_from_slice(&bytes[..here]);
            self.have += here;
            bytes = &bytes[here..];
            if self.have == PREFIX {
                self.have = 0;
                self.left = self.announced()?;
                self.next_message();
            }
        }
        Ok(())
    }

    /// The time of a message ends with it, however long the stream goes on.
    fn next_message(&mut self) {
        if self.left == 0 && !self.measure.single {
            self.late = None;
            self.come = 0;
        }
    }

    fn count(&mut self) -> Result<(), Refusal> {
        let more = self.come.saturating_sub(self.counted);
        if more > 0 {
            let grown = self.share.lock().grow(more);
            grown.map_err(|full| Refusal::Held { limit: full.limit })?;
            self.counted = self.come;
        }
        Ok(())
    }

    fn announced(&mut self) -> Result<usize, Refusal> {
        let [flags, length @ ..] = self.prefix;
        let found = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        let limit = self.measure.message;
        if found > limit {
            return Err(Refusal::TooLarge { found, limit });
        }
        if flags != 0 && !self.measure.compressed {
            return Err(Refusal::Compressed);
        }
        Ok(found)
    }

    fn end(&mut self, refusal: &Refusal) -> Poll<Option<Result<Frame<bytes::Bytes>, Status>>> {
        self.over = true;
        Poll::Ready(Some(Err(refusal.status(self.refuse))))
    }
}

impl http_body::Body for Measured {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            if let Some(Ok(frame)) = &frame
                && let Some(data) = frame.data_ref()
                && let Err(refusal) = this.look(data)
            {
                return this.end(&refusal);
            }
            return Poll::Ready(frame);
        }
        if !this.measure.single && !this.within_a_message() {
            return Poll::Pending;
        }
        let within = this.measure.within;
        let late = this.late.get_or_insert_with(|| Box::pin(tokio::time::sleep(within)));
        match late.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => this.end(&Refusal::Slow { within }),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
