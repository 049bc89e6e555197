//! One watch over all of its streams: opened, read until it breaks, and opened again where it was.
//! What is told is decided in [`told`](super::told); this file does it.
//!
//! What can go wrong: a refusal that no retry can help (no permission, a bad filter) ends the
//! stream with the error. Everything else is told, and goes on.

use std::future::Future;
use std::time::Duration;

use banger_proto::v1::ErrorReason;
use futures_util::Stream;
use tonic::{Response, Status, Streaming};

use super::told::{News, Said, Told, Watched};
use crate::backoff::{Backoff, spread};
use crate::connect::Link;
use crate::error::{Call, ClientError};

/// What comes of a watch.
#[derive(Debug)]
pub(crate) enum Step<T> {
    News(News<T>),
    /// The connection broke; nothing will be missed.
    Reconnecting {
        error: ClientError,
        pause: Duration,
    },
}

/// Follows what `open` opens, from the state now or after a revision.
pub(crate) fn follow<T, R, F>(
    link: Link,
    call: Call,
    mut told: Told<T>,
    open: impl Fn(Option<u64>) -> F + Send + 'static,
) -> impl Stream<Item = Result<Step<T>, ClientError>> + Send + 'static
where
    T: Watched + Send + Sync + 'static,
    R: Into<Said<T>> + Send + 'static,
    F: Future<Output = Result<Response<Streaming<R>>, Status>> + Send,
{
    async_stream::stream! {
        let mut backoff = Backoff::default();
        loop {
            let status = match open(told.begin()).await {
                Err(status) => status,
                Ok(response) => {
                    let mut stream = response.into_inner();
                    loop {
                        match stream.message().await {
                            Ok(Some(response)) => {
                                backoff.reset();
                                for news in told.take(response) {
                                    yield Ok(Step::News(news));
                                }
                            }
                            Ok(None) => break Status::unavailable("the stream ended"),
                            Err(status) => break status,
                        }
                    }
                }
            };
            let error = link.error(call, None, status);
            if error.refusal().is_some_and(|r| r.is(ErrorReason::RevisionTooOld)) {
                // At once, and only once in a row: the next attempt names no revision.
                if told.forget_revision() {
                    continue;
                }
            } else if !error.is_passing() {
                yield Err(error);
                return;
            }
            let pause = backoff.pause(spread());
            yield Ok(Step::Reconnecting { error, pause });
            tokio::time::sleep(pause).await;
        }
    }
}
