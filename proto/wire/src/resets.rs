//! Requests that were broken off, told apart from those that ended.
//!
//! A layer of every server that takes streams of requests, the outermost of them. A caller that
//! lets go of a call resets its stream. tonic takes one that was reset with CANCEL, and hyper one
//! that was reset with NO_ERROR, as some proxies do, for one that ended: half of an input would
//! look whole to whoever reads it. With this layer both are an error of the stream. What can go
//! wrong: nothing.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};

/// Why a stream of requests has no end.
#[derive(Debug, thiserror::Error)]
#[error("the caller has broken off its requests")]
struct BrokenOff;

/// The layer.
#[derive(Debug, Clone, Copy, Default)]
pub struct ResetsAreErrors;

impl<S> tower::Layer<S> for ResetsAreErrors {
    type Service = Telling<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Telling(inner)
    }
}

/// A service whose requests tell.
#[derive(Debug, Clone)]
pub struct Telling<S>(S);

impl<S> tower::Service<http::Request<Body>> for Telling<S>
where
    S: tower::Service<http::Request<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let http2 = request.version() == http::Version::HTTP_2;
        self.0.call(request.map(|body| Body::new(Whole { body, http2 })))
    }
}

/// A body that ends only where its sender ended it.
struct Whole {
    body: Body,
    /// Only there is the end of a body known besides that no more comes.
    http2: bool,
}

impl http_body::Body for Whole {
    type Data = <Body as http_body::Body>::Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let broken = || Some(Err(Status::from_error(Box::new(BrokenOff))));
        Pin::new(&mut self.body).poll_frame(cx).map(|frame| match frame {
            Some(Err(status)) if status.code() == Code::Cancelled => broken(),
            None if self.http2 && !self.body.is_end_stream() => broken(),
            frame => frame,
        })
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
