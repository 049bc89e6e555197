//! Counts calls: a layer around every gRPC service.
//!
//! A call's code is in its trailers, or in its headers when it has no answer, so the body is watched
//! to its end. A stream or call that the caller leaves is counted as `CANCELLED`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use tonic::Code;
use tonic::body::Body;

use super::{Method, Metrics, Rpc};

/// Counts every call that passes.
#[derive(Debug, Clone)]
pub struct RpcMetricsLayer(Metrics);

impl RpcMetricsLayer {
    /// Counts into `metrics`.
    pub fn new(metrics: Metrics) -> Self {
        Self(metrics)
    }
}

impl<S> tower::Layer<S> for RpcMetricsLayer {
    type Service = RpcMetrics<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RpcMetrics { inner, metrics: self.0.clone() }
    }
}

/// Made by [`RpcMetricsLayer`].
#[derive(Debug, Clone)]
pub struct RpcMetrics<S> {
    inner: S,
    metrics: Metrics,
}

impl<S, R> tower::Service<Request<R>> for RpcMetrics<S>
where
    S: tower::Service<Request<R>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let mut tally = Tally::begin(&self.metrics, request.uri().path());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            tally.answered();
            if let Some(code) = code_in(response.headers()) {
                tally.end(code);
                return Ok(response);
            }
            Ok(response.map(|body| Body::new(CountedBody { body, tally })))
        })
    }
}

fn code_in(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|value| Code::from_bytes(value.as_bytes()))
}

/// One call under way; counted when it ends or is dropped.
#[derive(Debug)]
struct Tally {
    metrics: Metrics,
    method: Arc<str>,
    began: Instant,
    answered: bool,
    ended: bool,
}

impl Tally {
    fn begin(metrics: &Metrics, path: &str) -> Self {
        let inner = &metrics.inner;
        let method = Arc::clone(inner.methods.get(path).unwrap_or(&inner.other_method));
        inner.open_rpcs.get_or_create(&Method { method: Arc::clone(&method) }).inc();
        Self {
            metrics: metrics.clone(),
            method,
            began: Instant::now(),
            answered: false,
            ended: false,
        }
    }

    /// For a stream the first answer, for a call the only one.
    fn answered(&mut self) {
        self.answered = true;
        let method = Method { method: Arc::clone(&self.method) };
        let took = self.began.elapsed().as_secs_f64();
        self.metrics.inner.rpc_seconds.get_or_create(&method).observe(took);
    }

    fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if !self.answered {
            self.answered();
        }
        let method = Arc::clone(&self.method);
        let inner = &self.metrics.inner;
        inner.open_rpcs.get_or_create(&Method { method: Arc::clone(&method) }).dec();
        inner.rpcs.get_or_create(&Rpc { method, code: name(code) }).inc();
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

#[derive(Debug)]
struct CountedBody {
    body: Body,
    tally: Tally,
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(code) = frame.trailers_ref().and_then(code_in) {
                    self.tally.end(code);
                }
            }
            Some(Err(status)) => self.tally.end(status.code()),
            // A body without trailers is not gRPC: the dashboard, for instance.
            None => self.tally.end(Code::Ok),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// As the gRPC specification spells it.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
