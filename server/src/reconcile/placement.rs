//! VMs without a host, and what placement goes by.
//!
//! Which host takes a VM is decided by the ledger, in the same transaction as the intent. What it
//! goes by beside the intents is told here: the [`CapacityFeed`] stands between the sessions and
//! the view, and tells the store of a host's capacity before the view shows the host online, so that
//! whoever sees a host online can place on it. The placement task asks the store to look again for
//! VMs that have no host, when a host came or changed, or room became free.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use banger_proto::ids::{HostId, VmId};
use parking_lot::Mutex;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Parts;
use super::apply;
use crate::fleet::observed::{FleetSink, Sighting};
use crate::model::host::{HostFacts, HostHealth, Resources};
use crate::model::ledger::{Mutation, Outcome};
use crate::model::observed::ObservedVm;
use crate::store::{Store, by_server};
use crate::watch::View;

/// How often VMs without a host are looked at though nothing is known to have changed.
const EVERY: Duration = Duration::from_secs(30);

/// After a failure of the store.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Known {
    capacity: Option<Resources>,
    online: bool,
}

/// Hands what sessions learn to the view, and capacities to the store.
#[derive(Debug)]
pub struct CapacityFeed {
    view: Arc<View>,
    store: Store,
    known: Mutex<HashMap<HostId, Known>>,
}

impl CapacityFeed {
    /// Between sessions on one side, view and store on the other.
    pub fn new(view: Arc<View>, store: Store) -> Self {
        Self { view, store, known: Mutex::default() }
    }

    fn tell(&self, host: HostId, change: impl FnOnce(&mut Known)) {
        let mut all = self.known.lock();
        let known = all.entry(host).or_default();
        let before = *known;
        change(known);
        if *known != before {
            self.store.set_capacity(host, known.capacity, known.online);
        }
    }

    /// Tells everything again: the store forgets it when it has to load its ledger anew.
    fn tell_again(&self) {
        let mut all = self.known.lock();
        all.retain(|host, _| self.view.host(*host).is_some());
        for (host, known) in all.iter() {
            self.store.set_capacity(*host, known.capacity, known.online);
        }
    }
}

impl FleetSink for CapacityFeed {
    fn host_health(&self, host: HostId, health: HostHealth) {
        self.tell(host, |known| known.online = health.state.is_online());
        self.view.host_health(host, health);
    }

    fn host_facts(&self, host: HostId, facts: Arc<HostFacts>) {
        self.tell(host, |known| known.capacity = Some(facts.capacity));
        self.view.host_facts(host, facts);
    }

    fn inventory(&self, host: HostId, listed: BTreeMap<VmId, Box<ObservedVm>>, health: HostHealth) {
        self.tell(host, |known| known.online = health.state.is_online());
        self.view.inventory(host, listed, health);
    }

    fn observed(&self, host: HostId, sightings: Vec<Sighting>) {
        self.view.observed(host, sightings);
    }
}

/// Runs until it is cancelled.
pub(super) async fn run(parts: Arc<Parts>, feed: Arc<CapacityFeed>, cancel: CancellationToken) {
    loop {
        // Cancel-safe: a wake-up not taken is kept, and what a pass asked of the store is done
        // whether or not anybody waits for the answer.
        let wait = tokio::select! {
            () = cancel.cancelled() => return,
            wait = pass(&parts, &feed) => wait,
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            () = parts.view.placement_wake() => {}
            () = sleep(wait) => {}
        }
    }
}

/// Looks for hosts until no more is found. Answers how long to wait for the next time.
async fn pass(parts: &Parts, feed: &CapacityFeed) -> Duration {
    feed.tell_again();
    let absent = parts.view.unplaced_absent();
    if !absent.is_empty() {
        let gone = absent
            .iter()
            .filter_map(|vm| parts.view.get(*vm).map(|record| (*vm, record.intent.generation)));
        apply::forget(parts.store.clone(), Arc::clone(&parts.clock), gone.collect()).await;
    }
    // Also when the view shows none: one may be decided and not yet published.
    loop {
        let submission = by_server(Mutation::PlacePending, parts.clock.now());
        match parts.store.submit(submission).await {
            Ok(Outcome::Placed { placed, pending }) if placed > 0 && pending > 0 => {}
            Ok(_) => return EVERY,
            Err(error) => {
                tracing::warn!(error = %error, "VMs without a host can't be placed now");
                return AFTER_FAILURE;
            }
        }
    }
}
