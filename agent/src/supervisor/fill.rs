//! How full the copy-on-write stores are: one look at all of them now and then.
//!
//! A store that runs full turns its root disk invalid for ever, so the level is part of every
//! report. Driven by a timer; a VM whose level moved is woken and shows it. What can go wrong: the
//! snapshots cannot be listed; then the levels stay what they were.

use std::time::Duration;

use super::Supervisor;
use crate::vm::status;

/// Time between looks.
const INTERVAL: Duration = Duration::from_secs(30);

impl Supervisor {
    /// Watches the levels until the agent stops.
    pub(super) fn spawn_fill_watch(&self) {
        let this = self.clone();
        self.0.tasks.spawn(async move {
            let stop = this.0.stop.clone();
            // Cancel-safe: a look has no effect of its own.
            tokio::select! {
                () = stop.cancelled() => {}
                () = this.watch_fill() => {}
            }
        });
    }

    async fn watch_fill(&self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            self.look_at_fill().await;
        }
    }

    /// One look.
    pub async fn look_at_fill(&self) {
        let shared = &self.0.shared;
        let snapshots = match shared.host.snapshots.list(&shared.naming.snapshot_prefix()).await {
            Ok(snapshots) => snapshots,
            Err(error) => {
                tracing::warn!(error = error.chain(), "the root disks cannot be listed");
                return;
            }
        };
        for snapshot in snapshots {
            let Some(vm) = shared.naming.vm_of_snapshot(&snapshot.name) else { continue };
            let Some(level) = status::fill(snapshot.fill) else { continue };
            let entry = self.0.vms.lock().get(&vm).cloned();
            if let Some(entry) = entry.filter(|entry| entry.fill.set(level)) {
                entry.bell.wake.notify_one();
            }
        }
    }
}
