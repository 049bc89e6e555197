//! Ends a call that is under way when its caller may no longer call.
//!
//! It is dropped at once, whether its message has come or not, and its answer, which may have begun
//! as a stream, ends as refused. Only a revocation goes on for [`GRACE`]: whoever takes back the
//! token that they call with hears that it is done.
//!
//! What an answer holds is let go whether anybody reads it or not: a caller that reads nothing
//! would otherwise keep what they have begun in a guest, and could go on sending to it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, Response};
use http_body::{Body as HttpBody, Frame};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::body::Body;

use crate::api::status;
use crate::model::ledger::Refusal;

/// How long a revocation may go on. With what it takes to hear of it, less than a second.
const GRACE: Duration = Duration::from_millis(300);

/// How long a call of this method may go on.
pub(super) fn grace_of(path: &str) -> Duration {
    if path == "/banger.v1.TokenService/RevokeToken" { GRACE } else { Duration::ZERO }
}

pub(super) fn refusal() -> Status {
    status::refused(&Refusal::CallerGone)
}

/// Makes a call until its caller is gone and the grace is over, and its answer after it. `who` is
/// held for as long as either lasts: an identity that has a call under way is known by that.
pub(super) async fn until_gone<E>(
    gone: CancellationToken,
    grace: Duration,
    who: impl Send + 'static,
    call: impl Future<Output = Result<Response<Body>, E>> + Send,
) -> Result<Response<Body>, E> {
    let mut over = async move {
        let _under_way = who;
        gone.cancelled_owned().await;
        if !grace.is_zero() {
            tokio::time::sleep(grace).await;
        }
    }
    .boxed();
    let answer = tokio::select! {
        // Whoever is gone gets no further, not by one step.
        biased;
        () = &mut over => return Ok(refusal().into_http()),
        answer = call => answer?,
    };
    if answer.body().is_end_stream() {
        return Ok(answer);
    }
    Ok(answer.map(|body| {
        let held = Arc::new(Mutex::new(Held { body: Some(body), reader: None }));
        let holds = Arc::clone(&held);
        let ender = tokio::spawn(async move {
            over.await;
            let (body, reader) = {
                let mut held = holds.lock();
                (held.body.take(), held.reader.take())
            };
            drop(body);
            if let Some(reader) = reader {
                reader.wake();
            }
        });
        Body::new(UntilGone { held, told: false, _ender: AbortOnDropHandle::new(ender) })
    }))
}

/// What an answer holds until it is over.
struct Held {
    /// `None`: it is over.
    body: Option<Body>,
    reader: Option<Waker>,
}

/// An answer that ends with its caller.
struct UntilGone {
    held: Arc<Mutex<Held>>,
    /// Whether the reader was told that it is over.
    told: bool,
    _ender: AbortOnDropHandle<()>,
}

impl HttpBody for UntilGone {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.told {
            return Poll::Ready(None);
        }
        let over = {
            let mut held = self.held.lock();
            match &mut held.body {
                Some(body) => {
                    let polled = Pin::new(body).poll_frame(context);
                    if polled.is_pending() {
                        held.reader = Some(context.waker().clone());
                    }
                    return polled;
                }
                None => refusal(),
            }
        };
        self.told = true;
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(over.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.told || self.held.lock().body.as_ref().is_some_and(HttpBody::is_end_stream)
    }
}

impl Drop for UntilGone {
    /// Not when the task that waits has heard of it.
    fn drop(&mut self) {
        let body = self.held.lock().body.take();
        drop(body);
    }
}

#[cfg(test)]
mod tests;
