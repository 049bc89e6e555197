//! What the agent does now and then: digests of new images, a certificate that was renewed, and the
//! room on the disk for the metrics.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::host::Host;
use crate::join::renewal::Credentials;
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

/// Takes a certificate into use that was written by another: the host has joined again. Shows how
/// long the one in use is good.
pub(super) async fn certificates(
    credentials: Arc<Credentials>,
    metrics: Metrics,
    stop: CancellationToken,
) {
    loop {
        metrics.set_certificate(credentials.shown().not_after);
        // Cancel-safe: nothing is under way.
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
        let looked = Arc::clone(&credentials);
        if tokio::task::spawn_blocking(move || looked.look_again()).await.is_err() {
            tracing::warn!("the identity was not looked at; the old one stays");
        }
    }
}
