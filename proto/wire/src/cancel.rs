//! Calls with a stream of requests that end when their caller lets go of the answers.
//!
//! HTTP/2 resets a stream when nobody holds either of its directions any more. The direction of the
//! requests is held by the connection until their stream ends; so a caller that drops the answers
//! while its requests only pause leaves the call open for ever, and one whose requests then end
//! looks to the other side as if it had said all. [`Cancellable`] breaks the requests off instead:
//! the stream is reset.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Frame, SizeHint};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use tonic::body::Body;

/// Around a channel: requests that [`cancel_on_drop`] marked are broken off when they are told.
#[derive(Debug, Clone)]
pub struct Cancellable<S>(pub S);

#[derive(Clone)]
struct Mark(CancellationToken);

/// Marks a request. Dropping what is answered breaks it off; keep it as long as the answers.
#[must_use]
pub fn cancel_on_drop<T>(request: &mut tonic::Request<T>) -> DropGuard {
    let token = CancellationToken::new();
    request.extensions_mut().insert(Mark(token.clone()));
    token.drop_guard()
}

/// Why a request was broken off.
#[derive(Debug, thiserror::Error)]
#[error("the caller has let go of the call")]
struct LetGo;

struct Cut {
    body: Body,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl http_body::Body for Cut {
    type Data = <Body as http_body::Body>::Data;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(tonic::Status::from_error(Box::new(LetGo)))));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<S> tower::Service<http::Request<Body>> for Cancellable<S>
where
    S: tower::Service<http::Request<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        if let Some(Mark(token)) = request.extensions_mut().remove::<Mark>() {
            let cut = |body| Body::new(Cut { body, cut: Box::pin(token.cancelled_owned()) });
            request = request.map(cut);
        }
        self.0.call(request)
    }
}
