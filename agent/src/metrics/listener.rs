//! Serves `/metrics` and `/healthz` over HTTP/1.1, without authentication: on loopback by default.
//!
//! Two paths do not need a web framework in a root daemon: hyper alone answers. What can go wrong: a
//! client that is silent or slow (its connection ends after ten seconds), many clients (the rest
//! waits).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::Metrics;
use crate::report::Reporter;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long one connection may live.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);

/// Connections at a time.
const CONNECTIONS: usize = 32;

/// Serves until `stop` is cancelled.
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    reports: Reporter,
    stop: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        // Cancel-safe: `accept` loses no connection when dropped.
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(error = %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (metrics, reports, stop) = (metrics.clone(), reports.clone(), stop.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let answer = service_fn(|request: Request<Incoming>| {
                let response = respond(request.method(), request.uri().path(), &metrics, &reports);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer);
            // Cancel-safe: the connection is given up in each case but the first.
            tokio::select! {
                _ = connection => {}
                () = tokio::time::sleep(CONNECTION_LIMIT) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

/// The answer to one request.
pub(super) fn respond(
    method: &Method,
    path: &str,
    metrics: &Metrics,
    reports: &Reporter,
) -> Response<Full<Bytes>> {
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
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}
