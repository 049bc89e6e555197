//! Serves `/metrics` and `/healthz`, without authentication: on loopback by default.
//!
//! Two paths do not need a web framework in a root daemon. Connections are the edge's business
//! ([`banger_wire::service::edge`]): how many, for how long, by which names.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use banger_wire::service::edge::gate::{GateLayer, Serves};
use banger_wire::service::edge::places::Room;
use banger_wire::service::edge::refusal::Refuse;
use banger_wire::service::edge::serve::{Bounds, Listener, serve as serve_edge};
use banger_wire::service::edge::visitors::Visitors;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::{Layer as _, Service};

use super::Metrics;
use crate::report::Reporter;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Few programs ask, each now and then.
const ROOM: Room = Room { connections: 128, per_address: 64, unproven: 32, per_party: 128 };

/// Serves until `stop` is cancelled.
pub fn serve(
    listener: TcpListener,
    visitors: Visitors,
    refuse: Refuse,
    metrics: Metrics,
    reports: Reporter,
    stop: CancellationToken,
) -> JoinHandle<()> {
    let visitors = Arc::new(ArcSwap::from_pointee(visitors));
    let gate = GateLayer { visitors, serves: Serves::Pages, refuse };
    let listener = Listener {
        accept: listener,
        tls: None,
        // A scraper asks for one page at a time; each page is made as a whole.
        bounds: Bounds { streams: 8, ..Bounds::of(ROOM) },
        // Not waiting for its connections: nothing here is worth it.
        stop: stop.clone(),
        cut: stop,
    };
    serve_edge(listener, gate.layer(Pages { metrics, reports }))
}

#[derive(Clone)]
struct Pages {
    metrics: Metrics,
    reports: Reporter,
}

impl Service<Request<Body>> for Pages {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        ready(Ok(respond(request.method(), path, &self.metrics, &self.reports)))
    }
}

/// The answer to one request.
pub(super) fn respond(
    method: &Method,
    path: &str,
    metrics: &Metrics,
    reports: &Reporter,
) -> Response<Body> {
    let (status, kind, text) = match (method, path) {
        (&Method::GET, "/metrics") => match metrics.encode(reports) {
            Ok(page) => (StatusCode::OK, OPEN_METRICS, page),
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", String::new()),
        },
        (&Method::GET, "/healthz") => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
        (_, "/metrics" | "/healthz") => {
            (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned())
        }
        _ => (StatusCode::NOT_FOUND, "text/plain", "/metrics or /healthz\n".to_owned()),
    };
    let mut response = Response::new(Body::new(Full::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}
