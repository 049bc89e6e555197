//! `WatchAudit`: records as they are written.
//!
//! A stream has a place in the order of all records, and reads what comes after it when the one
//! before has been taken: whoever reads slowly holds nothing but that place. A wake-up says that
//! something was written and carries nothing. Ends of a stream: `OUT_OF_RANGE` when what comes next
//! was let go, `UNAVAILABLE` when the server shuts down, and as every call when its caller is gone.

use std::sync::Arc;
use std::time::Duration;

use banger_proto::v1;
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use super::shown;
use crate::api::{Api, ResponseStream, status};
use crate::store::{AuditFollow, AuditNext};

/// At most so many streams at a time: each reads the database for every change.
pub(super) const STREAMS: usize = 16;

/// Records of one response.
pub(super) const BATCH: usize = 256;

/// How often a stream says where it is when there is nothing for it.
const BEAT: Duration = Duration::from_secs(10);

/// At most so often it looks.
const PACE: Duration = Duration::from_millis(100);

struct Follower {
    api: Api,
    news: watch::Receiver<()>,
    follow: AuditFollow,
    /// When to say where it is.
    beat: Instant,
    /// When to look again.
    not_before: Instant,
    _place: OwnedSemaphorePermit,
}

/// A stream that begins behind `follow.after`.
pub(super) fn responses(
    api: Api,
    follow: AuditFollow,
    place: OwnedSemaphorePermit,
) -> ResponseStream<v1::WatchAuditResponse> {
    let now = Instant::now();
    let news = api.store.audit_news();
    let follower = Follower { api, news, follow, beat: now, not_before: now, _place: place };
    Box::pin(stream::unfold(Some(follower), |follower| async move {
        let mut follower = follower?;
        match follower.next().await {
            Ok(response) => Some((Ok(response), Some(follower))),
            Err(end) => Some((Err(end), None)),
        }
    }))
}

impl Follower {
    async fn next(&mut self) -> Result<v1::WatchAuditResponse, Status> {
        let view = Arc::clone(&self.api.view);
        loop {
            if view.is_draining() {
                return Err(status::shutting_down());
            }
            // Marked as seen before it is looked, so that what is written after that is noticed.
            self.news.borrow_and_update();
            let next = self.api.store.audit_after(&self.follow).await;
            let stretch = match next.map_err(|error| status::read_failed(&error))? {
                AuditNext::Stretch(stretch) => stretch,
                AuditNext::Gone => return Err(status::audit_gone(self.follow.after)),
            };
            self.follow.after = stretch.up_to;
            let now = Instant::now();
            if !stretch.records.is_empty() || (now >= self.beat && !stretch.more) {
                self.beat = now + BEAT;
                let records = stretch.records.into_iter().map(shown).collect();
                return Ok(v1::WatchAuditResponse { records, up_to_id: stretch.up_to });
            }
            if stretch.more {
                // Nothing that this filter shows. Others may want to run before the next look.
                tokio::task::consume_budget().await;
                continue;
            }
            self.not_before = now + PACE;
            // Cancel-safe: nothing is taken by any of them.
            tokio::select! {
                changed = self.news.changed() => changed.map_err(|_| status::shutting_down())?,
                () = sleep_until(self.beat) => {}
                () = view.draining() => return Err(status::shutting_down()),
            }
            sleep_until(self.not_before).await;
        }
    }
}
