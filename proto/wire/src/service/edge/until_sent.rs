//! A body that keeps something until it is sent or given up: a call that is open, a place.
//!
//! What an answer holds is held for as long as its caller does not read it, so what bounds answers
//! has to last as long.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

struct UntilSent<T> {
    body: Body,
    _kept: T,
}

/// The same body, which drops `kept` when it is dropped itself.
pub fn until_sent<T: Send + Unpin + 'static>(body: Body, kept: T) -> Body {
    Body::new(UntilSent { body, _kept: kept })
}

impl<T: Unpin> http_body::Body for UntilSent<T> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
