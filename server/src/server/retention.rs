//! Has the store let go of what is too old, a small step at a time.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::model::retention::Retention;
use crate::store::Store;

/// While there is more to do: a hundred VMs a step are more than eight million a day.
const STEP: Duration = Duration::from_secs(1);

/// While there is not.
const REST: Duration = Duration::from_secs(30);

/// Runs until it is stopped.
pub(super) async fn run(
    store: Store,
    clock: SharedClock,
    retention: Retention,
    stop: CancellationToken,
) {
    let mut wait = STEP;
    loop {
        // Cancel-safe: a sleep that is not over is no loss.
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(wait) => {}
        }
        wait = match store.tidy(retention, clock.now()).await {
            Ok(tidied) if tidied.more => STEP,
            Ok(_) => REST,
            Err(error) => {
                tracing::warn!(error = %error, "what is too old can't be let go now");
                REST
            }
        };
    }
}
