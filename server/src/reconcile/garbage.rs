//! Takes away what no name and no VM refers to any more: contents of the server, expired uploads,
//! and the files that the server has brought to hosts.
//!
//! What is kept is the store's word, asked of its writer; so nothing goes on the strength of a
//! change that was not stored. A host that still uses a file says so and is asked again later. Only
//! files whose name is a digest are taken away: whatever else lies in a host's image directory is
//! its operator's.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Parts;
use crate::images::COLLECT_EVERY;
use crate::model::image::digest_of;
use crate::watch::HostSnapshot;

/// Runs until it is cancelled.
pub(super) async fn run(parts: Arc<Parts>, cancel: CancellationToken) {
    loop {
        // Cancel-safe: what a pass has not come to is for another one, and a wake-up not taken is
        // kept.
        tokio::select! {
            () = cancel.cancelled() => return,
            () = pass(&parts) => {}
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = parts.delivery.tidy.notified() => {}
            () = sleep(COLLECT_EVERY) => {}
        }
    }
}

async fn pass(parts: &Parts) {
    let kept = match parts.images.collect().await {
        Ok(kept) => kept,
        Err(error) => {
            tracing::warn!(error = %error, "what images are in use is not known now");
            return;
        }
    };
    for host in parts.view.hosts() {
        let id = host.view.record.id;
        let Some(link) = parts.fleet.ready_link(id) else { continue };
        for digest in unused(parts, &host, &kept) {
            match parts.delivery.take_away(id, &*link, &digest).await {
                Ok(()) => {
                    tracing::info!(host.id = %id, sha256 = digest, "an unused image was removed");
                }
                Err(error) => tracing::debug!(host.id = %id, sha256 = digest, error = %error,
                    "an unused image is not removed yet"),
            }
        }
    }
}

/// Files that the server brought to the host and that nothing refers to.
fn unused(parts: &Parts, host: &HostSnapshot, kept: &BTreeSet<String>) -> BTreeSet<String> {
    let facts = host.view.facts.iter().flat_map(|facts| &facts.images);
    let mut unused: BTreeSet<String> =
        facts.filter_map(|file| digest_of(&file.name)).map(str::to_owned).collect();
    for (digest, here) in parts.delivery.said_since(host.view.record.id) {
        if here {
            unused.insert(digest)
        } else {
            unused.remove(&digest)
        };
    }
    unused.retain(|digest| !kept.contains(digest));
    unused
}
