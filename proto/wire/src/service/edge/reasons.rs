//! Gives every error that leaves a reason, those of tonic too (unknown method, message too large):
//! a layer around all services.
//!
//! Errors of our own carry `google.rpc.ErrorInfo` from their builder. Those that tonic makes
//! (a message too large, bytes that do not decode, a method that is not there) and those of the
//! health and reflection services carry none, and some use codes that mean something else here: a
//! size that is exceeded is `OUT_OF_RANGE` there and "list again" here. This layer looks at every
//! answer's end, in its headers or its trailers, and rebuilds what says no reason.
//!
//! It also tells the connection that a call began and ended, and that one was refused.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::connection::{Call, Connection};
use super::refusal::Refuse;
use banger_proto::v1::ErrorReason;
use banger_proto::words::steers;

/// The one reason whose code is `OUT_OF_RANGE`.
const LIST_AGAIN: &[u8] = b"REVISION_TOO_OLD";

/// Bytes of a sentence that is passed on.
const MAX_WORDS: usize = 300;

/// The layer.
#[derive(Debug, Clone, Copy)]
pub struct ReasonsLayer(pub Refuse);

impl<S> Layer<S> for ReasonsLayer {
    type Service = Reasons<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Reasons { inner, refuse: self.0 }
    }
}

/// Made by [`ReasonsLayer`].
#[derive(Debug, Clone)]
pub struct Reasons<S> {
    inner: S,
    refuse: Refuse,
}

impl<S> Service<Request<Body>> for Reasons<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let connection = request.extensions().get::<Connection>().cloned();
        let call = connection.as_ref().map(Connection::begin);
        let refuse = self.refuse;
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            if let Some(code) = explained(response.headers_mut(), refuse) {
                if code == Code::Unauthenticated {
                    connection.iter().for_each(Connection::refused);
                }
                return Ok(response);
            }
            Ok(response.map(|body| Body::new(Explained { body, refuse, _call: call })))
        })
    }
}

/// An answer whose end is looked at.
struct Explained {
    body: Body,
    refuse: Refuse,
    _call: Option<Call>,
}

impl http_body::Body for Explained {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let refuse = self.refuse;
        Pin::new(&mut self.body).poll_frame(cx).map_ok(|mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                explained(trailers, refuse);
            }
            frame
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Sees to it that the end of a call, if these headers are one, says its reason. Answers its code.
fn explained(headers: &mut HeaderMap, refuse: Refuse) -> Option<Code> {
    let code = Code::from_bytes(headers.get(Status::GRPC_STATUS)?.as_bytes());
    if code == Code::Ok {
        return Some(code);
    }
    let status = Status::from_header_map(headers)?;
    let details = status.details();
    if !details.is_empty() && (code != Code::OutOfRange || has(details, LIST_AGAIN)) {
        return Some(code);
    }
    let (code, reason, words) = reason(code, status.message());
    let better = refuse(code, reason, words);
    for name in [Status::GRPC_STATUS, Status::GRPC_MESSAGE, Status::GRPC_STATUS_DETAILS] {
        headers.remove(name);
    }
    // Its words and details are put into the form of headers by their builder, which can't fail for
    // text and base64.
    let _ = better.add_header(headers);
    Some(code)
}

fn has(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// What an error without a reason means here.
#[must_use]
pub fn reason(code: Code, words: &str) -> (Code, ErrorReason, String) {
    let words: String = words.chars().filter(|c| !steers(*c)).take(MAX_WORDS).collect();
    let (code, reason) = match code {
        // A size that is exceeded, in the request or in the answer.
        Code::OutOfRange | Code::ResourceExhausted => {
            (Code::ResourceExhausted, ErrorReason::LimitReached)
        }
        // The answer could not be written: ours. Otherwise the request could not be read.
        Code::Internal
            if words.starts_with("Error encoding") || words.starts_with("Error compr") =>
        {
            (Code::Internal, ErrorReason::Internal)
        }
        Code::Internal | Code::InvalidArgument | Code::DataLoss => {
            (Code::InvalidArgument, ErrorReason::RequestMalformed)
        }
        Code::Unimplemented => (Code::Unimplemented, ErrorReason::NotImplemented),
        Code::NotFound => (Code::NotFound, ErrorReason::ServiceNotFound),
        Code::DeadlineExceeded => (Code::DeadlineExceeded, ErrorReason::DeadlineExceeded),
        Code::Unauthenticated => (Code::Unauthenticated, ErrorReason::TokenInvalid),
        Code::PermissionDenied => (Code::PermissionDenied, ErrorReason::NotPermitted),
        // The request broke off on its way; whoever sent it is most likely gone.
        Code::Cancelled | Code::Unknown => (Code::Cancelled, ErrorReason::BrokenOff),
        Code::Unavailable => (Code::Unavailable, ErrorReason::ShuttingDown),
        Code::Ok | Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => {
            (Code::Internal, ErrorReason::Internal)
        }
    };
    let words = match (code, words.is_empty()) {
        (Code::Unimplemented, true) => "there is no such method".to_owned(),
        (_, true) => "nothing more is known".to_owned(),
        (_, false) => words,
    };
    (code, reason, words)
}

#[cfg(test)]
mod tests;
