//! Counts the calls of a service: a layer around it, and the series it counts into.
//!
//! A call's code is in its trailers, or in its headers when it has no answer, so the body is
//! watched to its end. A stream or call that the caller leaves is counted as `CANCELLED`. The value
//! of `method` is one of a closed list, or `other`: a caller can't make a new series.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::Code;
use tonic::body::Body;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rpc {
    method: Arc<str>,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Method {
    method: Arc<str>,
}

/// The series of a service's calls. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Calls {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    methods: HashSet<Arc<str>>,
    other: Arc<str>,
    ended: Family<Rpc, Counter>,
    seconds: Family<Method, Histogram>,
    open: Family<Method, Gauge>,
}

/// Durations from 50 µs to 26 s.
#[must_use]
pub fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 3.0, 13))
}

impl Calls {
    /// All at zero: `rpcs`, `rpc_duration_seconds` and `open_rpcs` in `registry`, for the methods
    /// of these encoded descriptor sets. A set that can't be read has no methods of its own: its
    /// calls are `other`.
    #[must_use]
    pub fn register(registry: &mut Registry, descriptors: &[&[u8]]) -> Self {
        let ended = Family::default();
        registry.register("rpcs", "Calls that ended, by method and gRPC code", ended.clone());
        let took = Family::new_with_constructor(seconds as fn() -> Histogram);
        registry.register(
            "rpc_duration_seconds",
            "How long calls took; of streams, until the first answer",
            took.clone(),
        );
        let open = Family::default();
        registry.register("open_rpcs", "Calls under way, streams included", open.clone());
        let methods = descriptors.iter().flat_map(|set| methods(set)).collect();
        let other = Arc::from("other");
        Self { inner: Arc::new(Inner { methods, other, ended, seconds: took, open }) }
    }

    /// Whether calls of the method at `path`, such as `/banger.v1.VmService/CreateVm`, have series
    /// of their own.
    #[must_use]
    pub fn knows(&self, path: &str) -> bool {
        self.inner.methods.contains(path)
    }
}

/// The paths of all methods in a descriptor set.
fn methods(descriptors: &[u8]) -> Vec<Arc<str>> {
    let Ok(set) = FileDescriptorSet::decode(descriptors) else { return Vec::new() };
    let mut paths = Vec::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                paths.push(Arc::from(path));
            }
        }
    }
    paths
}

/// Counts every call that passes.
#[derive(Debug, Clone)]
pub struct CallsLayer(Calls);

impl CallsLayer {
    /// Counts into `calls`.
    #[must_use]
    pub const fn new(calls: Calls) -> Self {
        Self(calls)
    }
}

impl<S> tower::Layer<S> for CallsLayer {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Counted { inner, calls: self.0.clone() }
    }
}

/// Made by [`CallsLayer`].
#[derive(Debug, Clone)]
pub struct Counted<S> {
    inner: S,
    calls: Calls,
}

impl<S, R> tower::Service<Request<R>> for Counted<S>
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
        let mut tally = Tally::begin(&self.calls, request.uri().path());
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
    calls: Calls,
    method: Arc<str>,
    began: Instant,
    answered: bool,
    ended: bool,
}

impl Tally {
    fn begin(calls: &Calls, path: &str) -> Self {
        let inner = &calls.inner;
        let method = Arc::clone(inner.methods.get(path).unwrap_or(&inner.other));
        inner.open.get_or_create(&Method { method: Arc::clone(&method) }).inc();
        Self { calls: calls.clone(), method, began: Instant::now(), answered: false, ended: false }
    }

    /// For a stream the first answer, for a call the only one.
    fn answered(&mut self) {
        self.answered = true;
        let method = Method { method: Arc::clone(&self.method) };
        let took = self.began.elapsed().as_secs_f64();
        self.calls.inner.seconds.get_or_create(&method).observe(took);
    }

    fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if !self.answered {
            self.answered();
        }
        let method = Arc::clone(&self.method);
        let inner = &self.calls.inner;
        inner.open.get_or_create(&Method { method: Arc::clone(&method) }).dec();
        inner.ended.get_or_create(&Rpc { method, code: name(code) }).inc();
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

/// A code as the gRPC specification spells it.
#[must_use]
pub const fn name(code: Code) -> &'static str {
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

#[cfg(test)]
mod tests;
