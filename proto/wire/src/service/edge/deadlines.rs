//! `grpc-timeout`: a call that takes longer than its caller waits is given up.
//!
//! A layer outside the services. The time holds until an answer begins, as everywhere in gRPC for
//! the server's side; streams end by their caller. What can go wrong: a value that is none, which
//! is taken for none given.

use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, FutureExt as _};
use http::{HeaderMap, Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

use super::refusal::{Refusal, Refuse};

/// The layer.
#[derive(Debug, Clone, Copy)]
pub struct DeadlinesLayer(pub Refuse);

impl<S> Layer<S> for DeadlinesLayer {
    type Service = Deadlines<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Deadlines { inner, refuse: self.0 }
    }
}

/// Made by [`DeadlinesLayer`].
#[derive(Debug, Clone)]
pub struct Deadlines<S> {
    inner: S,
    refuse: Refuse,
}

impl<S> Service<Request<Body>> for Deadlines<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, BoxFuture<'static, Result<Self::Response, Self::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let within = asked(request.headers());
        let answer = self.inner.call(request);
        let Some(within) = within else { return Either::Left(answer) };
        let refuse = self.refuse;
        let timed = async move {
            match tokio::time::timeout(within, answer).await {
                Ok(answer) => answer,
                Err(_) => Ok(Refusal::Deadline.status(refuse).into_http()),
            }
        };
        Either::Right(timed.boxed())
    }
}

/// What the caller waits, as the gRPC specification writes it: up to eight digits and a unit.
fn asked(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.is_empty() || number.len() > 8 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_what_the_specification_says_or_none() {
        let of = |text: &str| {
            let value = http::HeaderValue::from_str(text).expect("printable");
            asked(&HeaderMap::from_iter([(http::HeaderName::from_static("grpc-timeout"), value)]))
        };
        for (text, seconds) in
            [("1H", 3600), ("2M", 120), ("3S", 3), ("99999999H", 359_999_996_400)]
        {
            assert_eq!(of(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(of("1500m"), Some(Duration::from_millis(1500)));
        for text in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "100000000S", "1 S", "1S "] {
            assert_eq!(of(text), None, "{text:?}");
        }
    }
}
