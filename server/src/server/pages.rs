//! What a browser finds at the API's address: the dashboard.
//!
//! The built page of `client/web` is part of the program, so that what is served is what was
//! tested, and building it needs no Node (`docs/adr`). Every path of the dashboard answers with the
//! same document, whose script reads the address; other paths answer with a sentence that says
//! where the API is. No script but ours, nothing from elsewhere, not to be framed. Behind the same
//! gate as the API ([`banger_wire::service::edge`]), and with the bounds of a call without an
//! identity: whoever asks for a page shows none.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use banger_wire::service::edge::connection::Connection;
use banger_wire::service::edge::refusal::Refusal;
use banger_wire::service::edge::until_sent::until_sent;
use futures_util::future::{BoxFuture, Either, FutureExt as _};
use http::{Request, Response};
use tonic::body::Body;
use tower::{Service, ServiceExt as _};

mod files;

use files::File;

/// Scripts and styles of our own and nothing inline, calls to where the page came from, no frame
/// around it and no form that leaves it; and text becomes markup by the library's own hand alone.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types svelte-trusted-html";

/// What the dashboard is made of, by path. Compressed once, when the first page is asked for.
static FILES: LazyLock<BTreeMap<String, Arc<File>>> = LazyLock::new(files::all);

/// The pages of the dashboard. `client/web/src/route.ts` reads the same paths.
const PAGES: [&str; 7] =
    ["/", "/vms", "/vms/{name}", "/hosts", "/hosts/{name}", "/images", "/activity"];

pub(super) fn router() -> Router {
    let router = PAGES.into_iter().fold(Router::new(), |router, path| {
        router.route(path, get(async |headers: HeaderMap| file("index.html", &headers)))
    });
    router
        .route("/icon.svg", get(async |headers: HeaderMap| file("icon.svg", &headers)))
        .route(
            "/assets/{name}",
            get(async |Path(name): Path<String>, headers: HeaderMap| {
                file(&format!("assets/{name}"), &headers)
            }),
        )
        .fallback(async || nothing())
}

fn file(path: &str, headers: &HeaderMap) -> axum::response::Response {
    FILES.get(path).map_or_else(nothing, |file| closed(file.answer(headers)))
}

fn nothing() -> axum::response::Response {
    let text = "There is no such page. The dashboard is at /; the API is gRPC and gRPC-Web by POST, \
                and docs/API.md its tour.\n";
    let caching = (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    closed((StatusCode::NOT_FOUND, [caching], text).into_response())
}

/// A page that is not made.
fn refused(refusal: &Refusal) -> Response<Body> {
    let answer = closed((refusal.http(), format!("{refusal}\n")).into_response());
    answer.map(Body::new)
}

/// As closed as a page can be.
fn closed(mut response: axum::response::Response) -> axum::response::Response {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Whoever opened the page has no hold on its window.
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A router of pages where calls are expected.
#[derive(Debug, Clone)]
pub(super) struct BrowserPages(pub(super) Router);

impl Service<Request<Body>> for BrowserPages {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.0.clone().oneshot(request.map(axum::body::Body::new));
        async move { Ok(answer.await?.map(Body::new)) }.boxed()
    }
}

/// Pages for whoever reads, calls for whoever posts.
#[derive(Debug, Clone)]
pub(super) struct Front<S> {
    pub(super) calls: S,
    pub(super) pages: BrowserPages,
}

impl<S> Service<Request<Body>> for Front<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, BoxFuture<'static, Result<Self::Response, Self::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.calls.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match *request.method() {
            Method::GET | Method::HEAD => {
                let connection = request.extensions().get::<Connection>();
                let open = match connection.map(Connection::begin_page).transpose() {
                    Ok(open) => open,
                    Err(refusal) => return Either::Right(ready(Ok(refused(&refusal))).boxed()),
                };
                let page = self.pages.call(request);
                Either::Right(
                    async move { Ok(page.await?.map(|body| until_sent(body, open))) }.boxed(),
                )
            }
            _ => Either::Left(self.calls.call(request)),
        }
    }
}

#[cfg(test)]
mod tests;
