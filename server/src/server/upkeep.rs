//! What the server does every second for those who read: bookmarks, old pages, revisions in
//! reserve.

use std::sync::Arc;
use std::time::Duration;

use banger_proto::ids::Revision;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::api::page::Pages;
use crate::store::{REVISION_BLOCK, Store};
use crate::watch::View;

/// How often idle streams say where they are.
const BOOKMARK_EVERY: u32 = 10;

/// Bookmarks for idle streams, snapshots of lists let go, and revisions reserved before they are
/// needed.
pub(super) async fn run(
    view: Arc<View>,
    store: Store,
    pages: Arc<Pages>,
    mut ceiling: Revision,
    stop: CancellationToken,
) {
    let mut every = interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seconds = 0_u32;
    loop {
        // Cancel-safe: a tick that is not taken is no loss.
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        seconds = seconds.wrapping_add(1);
        if seconds.is_multiple_of(BOOKMARK_EVERY) {
            view.tick();
            pages.expire(std::time::Instant::now());
        }
        if ceiling.0.saturating_sub(view.revision().0) < REVISION_BLOCK * 3 / 4 {
            match store.reserve_revisions().await {
                Ok(block) => ceiling = Revision(block.end),
                Err(error) => tracing::error!(error = %error, revision = view.revision().0,
                    ceiling = ceiling.0, "no further revisions can be reserved"),
            }
        }
    }
}
