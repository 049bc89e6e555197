//! Takes away what no name and no VM refers to any more: contents of the server, expired uploads,
//! and the files that the server has brought to hosts.
//!
//! What is kept is the store's word, asked of its writer; so nothing goes on the strength of a
//! change that was not stored. The server's own contents come first and by a timer of their own:
//! no host has a part in it. Hosts are asked all at once, each for some seconds of a pass and by
//! what is kept then, so that one which answers slowly, or not at all, holds up itself. A host that
//! still uses a file says so and is asked again later. Only files whose name is a digest are taken
//! away: whatever else lies in a host's image directory is its operator's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Parts;
use crate::images::COLLECT_EVERY;
use crate::model::image::digest_of;
use crate::watch::HostSnapshot;

/// For how long one host is asked to take files away in one pass. The call that is under way then
/// is waited for.
const BUDGET: Duration = Duration::from_secs(20);

/// Runs until it is cancelled.
pub(super) async fn run(parts: Arc<Parts>, cancel: CancellationToken) {
    let (own, hosts) = (&parts.delivery.tidy, &parts.delivery.tidy_hosts);
    // Cancel-safe: what a pass has not come to is for another one.
    tokio::select! {
        () = cancel.cancelled() => {}
        () = again_and_again(own, || own_contents(&parts)) => {}
        () = again_and_again(hosts, || files_of_hosts(&parts)) => {}
    }
}

/// A pass, and then another when it is asked for or after a while.
async fn again_and_again<F: Future<Output = ()>>(asked: &Notify, pass: impl Fn() -> F) {
    loop {
        pass().await;
        // Cancel-safe: a wake-up not taken is kept.
        tokio::select! {
            () = asked.notified() => {}
            () = sleep(COLLECT_EVERY) => {}
        }
    }
}

async fn own_contents(parts: &Parts) {
    if let Err(error) = parts.images.collect().await {
        tracing::warn!(error = %error, "what images are in use is not known now");
    }
    parts.delivery.tidy_hosts.notify_one();
}

async fn files_of_hosts(parts: &Parts) {
    let until = Instant::now() + BUDGET;
    let hosts = parts.view.hosts();
    join_all(hosts.iter().map(|host| files_of_host(parts, host, until))).await;
}

async fn files_of_host(parts: &Parts, host: &HostSnapshot, until: Instant) {
    let id = host.view.record.id;
    let Some(link) = parts.fleet.ready_link(id) else { return };
    let files = brought(parts, host);
    if files.is_empty() {
        return;
    }
    let unused = match parts.images.unused(files).await {
        Ok(unused) => unused,
        Err(error) => {
            tracing::warn!(error = %error, "what images are in use is not known now");
            return;
        }
    };
    for digest in unused {
        if Instant::now() >= until {
            tracing::debug!(host.id = %id, "unused images of the host are left for later");
            return;
        }
        match parts.delivery.take_away(id, &*link, &digest, until).await {
            Ok(true) => {
                tracing::info!(host.id = %id, sha256 = digest, "an unused image was removed");
            }
            Ok(false) => {}
            Err(error) => tracing::debug!(host.id = %id, sha256 = digest, error = %error,
                "an unused image is not removed yet"),
        }
    }
}

/// Digests of the files that the server brought to the host.
fn brought(parts: &Parts, host: &HostSnapshot) -> BTreeSet<String> {
    let facts = host.view.facts.iter().flat_map(|facts| &facts.images);
    let mut brought: BTreeSet<String> =
        facts.filter_map(|file| digest_of(&file.name)).map(str::to_owned).collect();
    for (digest, here) in parts.delivery.said_since(host.view.record.id) {
        if here {
            brought.insert(digest)
        } else {
            brought.remove(&digest)
        };
    }
    brought
}
