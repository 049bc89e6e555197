//! Turns away what is neither a call nor one of our pages, before anything else looks at it.
//!
//! The first layer of every listener that judges a request; outside of it is at most
//! [`crate::resets`], which judges none. A request has to name one of our hosts, must not come from
//! a page of others ([`super::visitors`]), and on a listener with an API it is either a page (GET,
//! HEAD) or a call: POST, with a content type of gRPC or gRPC-Web. The last is what a browser asks
//! a preflight for: a page can send `text/plain` to anybody without one. A preflight (OPTIONS) of
//! an origin that may call goes on.

use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use futures_util::future::{Either, Ready, ready};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::Full;
use tonic::body::Body;
use tower::{Layer, Service};

use super::connection::Connection;
use super::refusal::{Refusal, Refuse, shown};
use super::visitors::Visitors;

/// What a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// Calls alone.
    Calls,
    /// Calls, and pages beside them.
    CallsAndPages,
    /// Pages alone, such as metrics.
    Pages,
}

/// The layer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct GateLayer {
    /// Read anew for every request.
    pub visitors: Arc<ArcSwap<Visitors>>,
    /// What is behind it.
    pub serves: Serves,
    /// How an error is built.
    pub refuse: Refuse,
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Gate { inner, layer: self.clone() }
    }
}

/// Made by [`GateLayer`].
#[derive(Debug, Clone)]
pub struct Gate<S> {
    inner: S,
    layer: GateLayer,
}

impl GateLayer {
    fn admit<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        let secure = request.extensions().get::<Connection>().is_some_and(Connection::secure);
        self.visitors.load().admit(request.uri(), request.headers(), secure)?;
        if self.serves == Serves::Pages {
            return Ok(());
        }
        match *request.method() {
            Method::GET | Method::HEAD if self.serves == Serves::CallsAndPages => Ok(()),
            Method::OPTIONS if is_preflight(request.headers()) => Ok(()),
            Method::POST => match kind(request.headers()) {
                Some(_) => Ok(()),
                None => {
                    let given = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
                    Err(Refusal::ContentType { given: shown(given.unwrap_or_default()) })
                }
            },
            _ => Err(Refusal::Method { given: shown(request.method().as_str().as_bytes()) }),
        }
    }
}

fn is_preflight(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Grpc,
    Web,
}

/// The content types that are decoded; each of gRPC may have parameters.
fn kind(headers: &HeaderMap) -> Option<Kind> {
    let mut given = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (given.next(), given.next()) else { return None };
    let value = value.to_str().ok()?;
    match value {
        "application/grpc-web"
        | "application/grpc-web+proto"
        | "application/grpc-web-text"
        | "application/grpc-web-text+proto" => return Some(Kind::Web),
        _ => {}
    }
    let essence = value.split_once(';').map_or(value, |(essence, _)| essence).trim_end();
    ["application/grpc", "application/grpc+proto"]
        .iter()
        .any(|known| essence.eq_ignore_ascii_case(known))
        .then_some(Kind::Grpc)
}

/// To a program that speaks gRPC a status, to all others an HTTP error with the sentence; the
/// reason is in the headers of both.
fn turned_away<B>(request: &Request<B>, refusal: &Refusal, refuse: Refuse) -> Response<Body> {
    let response = refusal.status(refuse).into_http::<Body>();
    if kind(request.headers()) == Some(Kind::Grpc) {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    parts.status = refusal.http();
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    parts.headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Response::from_parts(parts, Body::new(Full::from(format!("{refusal}\n"))))
}

impl<S> Service<Request<Body>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Self::Response, Self::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.layer.admit(&request) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(refusal) => {
                if let Some(connection) = request.extensions().get::<Connection>() {
                    connection.refused();
                }
                let answer = turned_away(&request, &refusal, self.layer.refuse);
                Either::Right(ready(Ok(answer)))
            }
        }
    }
}

#[cfg(test)]
mod tests;
