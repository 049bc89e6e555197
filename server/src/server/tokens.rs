//! Ends tokens that have expired, and those that a provider has signed with a key that it shows no
//! longer, and has the store write down when tokens were used.
//!
//! A write waits for the database, which may be slow or away; a token expires all the same. So the
//! looks go on beside a write, of which there is one at a time.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Fuse, FusedFuture as _};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::api::auth::identities::Identities;
use crate::clock::SharedClock;
use crate::model::caller::Caller;
use crate::model::ledger::NoteTokenUses;
use crate::oidc::Provider;
use crate::store::Store;

/// How often it is looked for tokens that have expired: a stream ends within a second of it.
const LOOK: Duration = Duration::from_millis(500);

/// After so many looks the uses are written: a minute.
const LOOKS_A_WRITE: u32 = 120;

/// Runs until it is stopped, and writes once more then.
pub(super) async fn run(
    identities: Identities,
    provider: Option<Arc<Provider>>,
    store: Store,
    clock: SharedClock,
    stop: CancellationToken,
) {
    let expire = || {
        identities.expire(clock.now());
        if let Some(provider) = &provider {
            identities.keep_shown(|print| provider.shows(print));
        }
    };
    looks(stop, expire, || write(&identities, &store, &clock)).await;
}

/// Looks and writes until it is stopped.
async fn looks<W: Future<Output = ()>>(
    stop: CancellationToken,
    expire: impl Fn(),
    write: impl Fn() -> W,
) {
    let mut every = interval(LOOK);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = 0_u32;
    let mut writing = pin!(Fuse::terminated());
    loop {
        // Cancel-safe: a tick that is not taken is no loss, and a write stays where it is.
        tokio::select! {
            () = stop.cancelled() => break,
            () = &mut writing => {}
            _ = every.tick() => {
                expire();
                looks += 1;
                // What is used while one is written is written with the next.
                if looks >= LOOKS_A_WRITE && writing.is_terminated() {
                    looks = 0;
                    writing.set(write().fuse());
                }
            }
        }
    }
    if !writing.is_terminated() {
        writing.await;
    }
    write().await;
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tokens_expire_while_a_write_of_their_uses_hangs_and_no_second_one_is_begun() {
        let (expired, writes) = (Cell::new(0), Cell::new(0));
        let write = || {
            writes.set(writes.get() + 1);
            std::future::pending()
        };
        let looking = looks(CancellationToken::new(), || expired.set(expired.get() + 1), write);
        let time = LOOK * LOOKS_A_WRITE * 3;
        assert!(tokio::time::timeout(time, looking).await.is_err(), "nobody stops it");
        assert_eq!(writes.get(), 1);
        assert!(expired.get() >= LOOKS_A_WRITE * 3 - 1, "{} looks", expired.get());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_the_write_that_is_under_way_and_writes_once_more() {
        let (stop, written) = (CancellationToken::new(), Cell::new(0));
        let write = || async {
            tokio::time::sleep(LOOK * 10).await;
            written.set(written.get() + 1);
        };
        let stopping = async {
            tokio::time::sleep(LOOK * (LOOKS_A_WRITE + 2)).await;
            stop.cancel();
        };
        tokio::join!(looks(stop.clone(), || {}, write), stopping);
        assert_eq!(written.get(), 2);
    }
}
