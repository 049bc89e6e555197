//! What the agent does now and then: digests of new images, a certificate that was renewed, and the
//! room on the disk for the metrics.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::server_tls;
use crate::host::Host;
use crate::join::identity::Identity;
use crate::metrics::Metrics;

/// Between two looks at the image directory or the certificate.
const EVERY: Duration = Duration::from_secs(30);

/// Computes the digests of images that have none, so that the inventory shows them.
pub(super) async fn digests(host: Host, stop: CancellationToken) {
    let looks = async {
        loop {
            match host.images.list().await {
                Ok(images) => {
                    for image in images.iter().filter(|image| image.sha256.is_none()) {
                        if let Err(error) = host.images.digest(&image.name).await {
                            tracing::warn!(image = %image.name, error = error.chain(), "no digest");
                        }
                    }
                }
                Err(error) => tracing::warn!(error = error.chain(), "images cannot be listed"),
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    // Cancel-safe: a digest that is not finished is computed another time.
    tokio::select! {
        () = looks => {}
        () = stop.cancelled() => {}
    }
}

/// Shows the room on the disk.
pub(super) async fn room(host: Host, metrics: Metrics, stop: CancellationToken) {
    let looks = async {
        loop {
            match host.files.room().await {
                Ok(room) => metrics.set_room(room),
                Err(error) => tracing::warn!(error = error.chain(), "no room can be shown"),
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    // Cancel-safe: nothing but a gauge is changed.
    tokio::select! {
        () = looks => {}
        () = stop.cancelled() => {}
    }
}

/// Takes a new certificate into use when the host has joined again. Connections stay.
pub(super) async fn certificates(
    dir: PathBuf,
    mut known: Identity,
    tls: Arc<ArcSwap<rustls::ServerConfig>>,
    stop: CancellationToken,
) {
    loop {
        // Cancel-safe: nothing is under way.
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
        let path = dir.clone();
        // A panic or a shutdown counts as "could not be read".
        let read = tokio::task::spawn_blocking(move || Identity::load(&path)).await;
        let Ok(Ok(found)) = read else {
            tracing::warn!(dir = %dir.display(), "the identity cannot be read; the old one stays");
            continue;
        };
        if found == known {
            continue;
        }
        if found.record.host_id != known.record.host_id {
            tracing::warn!("the host has another id now; restart the agent to become it");
            continue;
        }
        match server_tls(&found) {
            Ok(config) => {
                tls.store(Arc::new(config));
                known = found;
                tracing::info!("a new certificate is in use");
            }
            // Half-written: certificate and CA are replaced one after the other.
            Err(error) => tracing::warn!(error = %error, "the new certificate cannot be used yet"),
        }
    }
}
