//! Has the store write down which calls were refused.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::api::auth::refusals::Refusals;
use crate::clock::SharedClock;
use crate::model::audit::AuditRecord;
use crate::model::caller::Caller;
use crate::model::ledger::Audit;
use crate::store::Store;

/// How long refusals gather: so much of them is lost when the server is killed.
const GATHER: Duration = Duration::from_secs(1);

/// Runs until it is stopped, and writes once more then.
pub(super) async fn run(
    refusals: Refusals,
    store: Store,
    clock: SharedClock,
    stop: CancellationToken,
) {
    let mut every = interval(GATHER);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // Cancel-safe: a tick that is not taken is no loss.
        tokio::select! {
            () = stop.cancelled() => break,
            _ = every.tick() => {}
        }
        let records = refusals.take(clock.now());
        write(&refusals, records, &store, &clock).await;
    }
    let records = refusals.take_all(clock.now());
    write(&refusals, records, &store, &clock).await;
}

async fn write(refusals: &Refusals, records: Vec<AuditRecord>, store: &Store, clock: &SharedClock) {
    if records.is_empty() {
        return;
    }
    let now = clock.now();
    let audit = Audit { records: records.clone(), events: Vec::new() };
    if let Err(error) = store.submit(Caller::server(now), audit).await {
        tracing::warn!(error = %error, "which calls were refused can't be written now");
        refusals.lose(&records, now);
    }
}
