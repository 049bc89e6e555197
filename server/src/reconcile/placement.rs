//! VMs without a host, and what placement goes by.
//!
//! Which host takes a VM is decided by the ledger, in the same transaction as the intent. What it
//! goes by beside the intents is told here: the [`CapacityFeed`] stands between the sessions and
//! the view, and tells the store of a host's capacity before the view shows the host online, so
//! that whoever sees a host online can place on it.
//!
//! No driver has the VMs without a host; the placement task does what the [plan](super::plan) says
//! of them. It asks the store to look for hosts again, and drops the intents of VMs that are wanted
//! gone. It stores how large a host says that it is, the first time that it says so: more never
//! counts without an operator's word. It looks when a host came or changed, when room became free,
//! and every half a minute. When the store can't be written it tries again after a second.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use banger_proto::ids::{Generation, HostId, VmId};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Parts;
use super::apply::{self, Landing};
use super::plan::{Decision, Subject, plan_host};
use crate::fleet::observed::{FleetSink, Sighting};
use crate::model::caller::Caller;
use crate::model::host::{HostFacts, HostHealth, Resources};
use crate::model::ledger::{KeepFirstCapacities, PlacePending, Placed};
use crate::model::observed::{ObservedVm, TrafficSeen};
use crate::store::{MutateError, Store};
use crate::watch::View;

/// How often VMs without a host are looked at though nothing is known to have changed.
const EVERY: Duration = Duration::from_secs(30);

/// After a failure of the store.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct ToldCapacity {
    capacity: Option<Resources>,
    online: bool,
    image_files: Option<Arc<BTreeSet<String>>>,
}

/// Hands what sessions learn to the view, and capacities and names of image files to the store.
#[derive(Debug)]
pub struct CapacityFeed {
    view: Arc<View>,
    store: Store,
    known: Mutex<HashMap<HostId, ToldCapacity>>,
}

impl CapacityFeed {
    /// Between sessions on one side, view and store on the other.
    pub fn new(view: Arc<View>, store: Store) -> Self {
        Self { view, store, known: Mutex::default() }
    }

    fn tell(&self, host: HostId, change: impl FnOnce(&mut ToldCapacity)) {
        let mut all = self.known.lock();
        let known = all.entry(host).or_default();
        let before = known.clone();
        change(known);
        if *known != before {
            self.store_knows(host, known);
        }
    }

    fn store_knows(&self, host: HostId, known: &ToldCapacity) {
        self.store.set_capacity(host, known.capacity, known.online);
        if let Some(files) = &known.image_files {
            self.store.set_image_files(host, Arc::clone(files));
        }
    }

    /// Tells everything again: the store forgets it when it has to load its ledger anew.
    fn tell_again(&self) {
        let mut all = self.known.lock();
        all.retain(|host, _| self.view.host(*host).is_some());
        for (host, known) in all.iter() {
            self.store_knows(*host, known);
        }
    }
}

impl FleetSink for CapacityFeed {
    fn traffic(&self, host: HostId, guests: Vec<(VmId, TrafficSeen)>) {
        self.view.traffic_told(host, guests);
    }

    fn host_health(&self, host: HostId, health: HostHealth) {
        self.tell(host, |known| known.online = health.state.is_online());
        self.view.host_health(host, health);
    }

    fn host_facts(&self, host: HostId, facts: Arc<HostFacts>) {
        self.tell(host, |known| {
            let files: BTreeSet<String> =
                facts.images.iter().map(|file| file.name.clone()).collect();
            known.capacity = Some(facts.capacity);
            known.image_files = Some(Arc::new(files));
        });
        self.view.host_facts(host, facts);
    }

    fn inventory(&self, host: HostId, listed: BTreeMap<VmId, Box<ObservedVm>>, health: HostHealth) {
        // First: with the next line VMs can be placed here.
        let addresses = listed.iter().filter_map(|(vm, seen)| Some((*vm, seen.guest_address?)));
        self.store.set_addresses(host, &addresses.collect());
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
        let Passed { forgotten, again_in } = tokio::select! {
            () = cancel.cancelled() => return,
            passed = pass(&parts, &feed) => passed,
        };
        if !forgotten.is_empty() {
            tracing::debug!(vms = forgotten.len(), "VMs without a host are forgotten");
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = parts.view.placement_wake() => {}
            () = sleep(again_in) => {}
        }
    }
}

/// What is to be done for the VMs that have no host.
#[derive(Debug, Default)]
struct Todo {
    forget: Vec<(VmId, Generation)>,
    place: bool,
}

fn todo(parts: &Parts, now: Instant) -> Todo {
    let records = parts.view.without_host();
    let subjects = records.iter().map(|record| Subject::of(record));
    let plan = parts.knowledge.of(None, now, |known| plan_host(subjects, known));
    let mut todo = Todo::default();
    for ((vm, decision), record) in plan.into_iter().zip(&records) {
        match decision {
            Decision::Forget => todo.forget.push((vm, record.intent.generation)),
            Decision::Place => todo.place = true,
            // Of VMs that have a host, which are its driver's.
            Decision::InSync
            | Decision::Send(_)
            | Decision::Fetch(..)
            | Decision::ConfirmGone(_)
            | Decision::WaitUntil { .. }
            | Decision::Wait(_)
            | Decision::Blocked(_) => {}
        }
    }
    todo
}

/// What came of a pass.
#[derive(Debug)]
pub(super) struct Passed {
    /// The VMs whose intents were dropped.
    pub(super) forgotten: Vec<VmId>,
    /// How long to wait before the next.
    pub(super) again_in: Duration,
}

/// Does once what the plan says of the VMs that have no host.
pub(super) async fn pass(parts: &Parts, feed: &CapacityFeed) -> Passed {
    feed.tell_again();
    let kept = keep_first_capacities(parts).await;
    let todo = todo(parts, Instant::now());
    let (mut forgotten, mut again_in) = (Vec::new(), EVERY);
    if let Err(error) = kept {
        tracing::warn!(error = %error, "how large hosts say that they are can't be stored now");
        again_in = AFTER_FAILURE;
    }
    for landed in apply::forget(parts.store.clone(), Arc::clone(&parts.clock), todo.forget).await {
        match landed.outcome {
            Landing::NotForgotten { message } => {
                tracing::warn!(vm.id = %landed.vm, why = message, "a VM can't be forgotten yet");
                again_in = AFTER_FAILURE;
            }
            Landing::Forgotten => forgotten.push(landed.vm),
            // Of commands.
            Landing::Accepted { .. }
            | Landing::Absent
            | Landing::Stale { .. }
            | Landing::Refused { .. }
            | Landing::NoAnswer { .. } => {}
        }
    }
    // The store may have one that is not yet published, which the plan can't know.
    if (todo.place || parts.store.pending_count() > 0)
        && let Err(error) = place(parts).await
    {
        tracing::warn!(error = %error, "VMs without a host can't be placed now");
        again_in = AFTER_FAILURE;
    }
    Passed { forgotten, again_in }
}

async fn keep_first_capacities(parts: &Parts) -> Result<(), MutateError> {
    match parts.store.has_first_capacities() {
        true => parts.store.submit(Caller::server(parts.clock.now()), KeepFirstCapacities).await,
        false => Ok(()),
    }
}

/// Has the store look for hosts, from the first VM that waits to the last, until it finds no more:
/// one that was placed may be near whom another waits for.
async fn place(parts: &Parts) -> Result<(), MutateError> {
    let mut found = 0;
    loop {
        let caller = Caller::server(parts.clock.now());
        let Placed { placed, pending, searched } = parts.store.submit(caller, PlacePending).await?;
        found += placed;
        if pending == 0 || (searched && found == 0) {
            return Ok(());
        }
        if searched {
            found = 0;
        }
    }
}
