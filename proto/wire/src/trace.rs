//! W3C trace context over gRPC metadata.
//!
//! One trace shows client → server → agent → effect on the host. A server wraps itself in a
//! [`ServerTraceLayer`], a client adds [`inject`] to its requests. An intent keeps the
//! `traceparent` of the request that made it ([`current_traceparent`]), so that a reconcile much
//! later can be linked to it ([`link`]).

use std::task::{Context, Poll};

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tracing::instrument::{Instrument as _, Instrumented};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The header of W3C trace context.
pub const TRACEPARENT: &str = "traceparent";

struct Headers<'a>(&'a http::HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

struct Metadata<'a>(&'a mut MetadataMap);

impl Injector for Metadata<'_> {
    fn set(&mut self, key: &str, value: String) {
        // Both come from the propagator, which writes valid names and values; anything else is
        // left out: a trace is never worth a failed call.
        if let (Ok(key), Ok(value)) =
            (MetadataKey::from_bytes(key.as_bytes()), MetadataValue::try_from(value))
        {
            self.0.insert(key, value);
        }
    }
}

/// Puts the current span's context into the metadata of a request that is going out.
pub fn inject(metadata: &mut MetadataMap) {
    let context = tracing::Span::current().context();
    TraceContextPropagator::new().inject_context(&context, &mut Metadata(metadata));
}

/// Puts a `traceparent` that was kept into the metadata of a request that is going out, if it
/// is one.
pub fn inject_traceparent(metadata: &mut MetadataMap, traceparent: &str) {
    if let Ok(value) = MetadataValue::try_from(traceparent) {
        metadata.insert(TRACEPARENT, value);
    }
}

/// The current span as a `traceparent`, or the one that came with the request when this process
/// records no spans of its own. Empty when there is neither.
pub fn current_traceparent(request: &http::HeaderMap) -> String {
    let mut own = MetadataMap::new();
    inject(&mut own);
    own.as_ref()
        .get(TRACEPARENT)
        .or_else(|| request.get(TRACEPARENT))
        .and_then(|value| value.to_str().ok())
        .filter(|text| is_traceparent(text))
        .unwrap_or_default()
        .to_owned()
}

/// Whether a text is a `traceparent` of version 00 (W3C Trace Context, section 3.2).
pub fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, span, flags] = parts[..] else { return false };
    let hex = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    version == "00"
        && hex(trace, 32)
        && hex(span, 16)
        && hex(flags, 2)
        && trace.bytes().any(|b| b != b'0')
        && span.bytes().any(|b| b != b'0')
}

/// Links a span to the request that a kept `traceparent` names. Does nothing for an empty one.
pub fn link(span: &tracing::Span, traceparent: &str) {
    if !is_traceparent(traceparent) {
        return;
    }
    let mut headers = http::HeaderMap::new();
    if let Ok(value) = http::HeaderValue::from_str(traceparent) {
        headers.insert(TRACEPARENT, value);
    }
    let context = TraceContextPropagator::new().extract(&Headers(&headers));
    span.add_link(context.span().span_context().clone());
}

/// Opens a span for each request, child of the one the caller sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerTraceLayer;

impl<S> tower::Layer<S> for ServerTraceLayer {
    type Service = ServerTrace<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ServerTrace { inner }
    }
}

/// Made by [`ServerTraceLayer`].
#[derive(Debug, Clone)]
pub struct ServerTrace<S> {
    inner: S,
}

impl<S, B> tower::Service<http::Request<B>> for ServerTrace<S>
where
    S: tower::Service<http::Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Instrumented<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let span = tracing::info_span!(
            "rpc",
            otel.name = %request.uri().path().trim_start_matches('/'),
            otel.kind = "server",
            rpc.system = "grpc",
        );
        if request.headers().contains_key(TRACEPARENT) {
            let context = TraceContextPropagator::new().extract(&Headers(request.headers()));
            // An error means that no span is recorded here, so that there is nothing to join.
            let _ = span.set_parent(context);
        }
        // Layers further in may ask for the span before they are polled.
        let answer = span.in_scope(|| self.inner.call(request));
        answer.instrument(span)
    }
}

#[cfg(test)]
mod tests;
