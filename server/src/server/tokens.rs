//! Ends tokens that have expired, and has the store write down when tokens were used.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::api::auth::identities::Identities;
use crate::clock::SharedClock;
use crate::model::caller::Caller;
use crate::model::ledger::NoteTokenUses;
use crate::store::Store;

/// How often it is looked for tokens that have expired: a stream ends within a second of it.
const LOOK: Duration = Duration::from_millis(500);

/// After so many looks the uses are written: a minute.
const LOOKS_A_WRITE: u32 = 120;

/// Runs until it is stopped, and writes once more then.
pub(super) async fn run(
    identities: Identities,
    store: Store,
    clock: SharedClock,
    stop: CancellationToken,
) {
    let mut every = interval(LOOK);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = 0_u32;
    loop {
        // Cancel-safe: a tick that is not taken is no loss.
        tokio::select! {
            () = stop.cancelled() => return write(&identities, &store, &clock).await,
            _ = every.tick() => {}
        }
        identities.expire(clock.now());
        looks += 1;
        if looks == LOOKS_A_WRITE {
            looks = 0;
            write(&identities, &store, &clock).await;
        }
    }
}

async fn write(identities: &Identities, store: &Store, clock: &SharedClock) {
    let uses = identities.take_uses();
    if uses.is_empty() {
        return;
    }
    let note = NoteTokenUses { uses };
    if let Err(error) = store.submit(Caller::server(clock.now()), note).await {
        tracing::warn!(error = %error, "when tokens were used can't be written now");
    }
}
