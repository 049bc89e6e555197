//! How full the copy-on-write stores are: one look at all of them now and then, sooner where one
//! fills fast.
//!
//! A store that runs full fails its guest's writes, so the level is part of every report, and a VM
//! whose level moved is woken: it shows it, and makes the store larger when it is time. What can go
//! wrong: the snapshots cannot be listed; then the levels stay what they were. A guest can outrun
//! any look; what happens then is the kernel's doing, and nothing written is lost by it.

use std::collections::HashMap;
use std::time::Duration;

use banger_proto::ids::VmId;

use super::Supervisor;
use crate::clock::Moment;
use crate::vm::cow::{self, CowLevel};

/// Before the first look: the start of an agent has more urgent work.
const FIRST: Duration = Duration::from_secs(1);

/// The time to the next look when this one came to nothing.
const USUAL: Duration = Duration::from_secs(10);

/// The last look.
#[derive(Debug, Default)]
pub(super) struct Before {
    at: Option<Moment>,
    levels: HashMap<VmId, CowLevel>,
}

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
        let mut before = Before::default();
        let mut wait = FIRST;
        loop {
            tokio::time::sleep(wait).await;
            wait = self.look_at_fill(&mut before).await;
        }
    }

    /// One look. Answers when the next one is due.
    async fn look_at_fill(&self, before: &mut Before) -> Duration {
        let shared = &self.0.shared;
        let snapshots = match shared.host.snapshots.list(&shared.naming.snapshot_prefix()).await {
            Ok(snapshots) => snapshots,
            Err(error) => {
                tracing::warn!(error = error.chain(), "the root disks cannot be listed");
                return USUAL;
            }
        };
        let now = shared.clock.monotonic();
        let between = before.at.map_or(USUAL, |at| at.until(now));
        let mut levels = HashMap::with_capacity(snapshots.len());
        let mut next = USUAL;
        for snapshot in snapshots {
            let Some(vm) = shared.naming.vm_of_snapshot(&snapshot.name) else { continue };
            let level = CowLevel::of(&snapshot);
            let was = before.levels.get(&vm).copied();
            next = next.min(cow::next_look(was, level, between, &shared.settings.disks));
            levels.insert(vm, level);
            let entry = self.0.vms.lock().get(&vm).cloned();
            if let Some(entry) = entry.filter(|entry| entry.fill.set(level)) {
                entry.bell.wake.notify_one();
            }
        }
        *before = Before { at: Some(now), levels };
        next
    }
}
