//! The table behind its mutex, and who is told when it has changed.
//!
//! Written by the store's commit sink (intents) and the sessions (observations), each for as long
//! as its own change takes; read by everybody. No lock is held while anything is encoded, sent or
//! awaited. Nothing here can fail; a report about a host or VM that is not there is left out.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use banger_proto::ids::{Epoch, HostId, Revision, Version, VmId};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};

use super::host::HostSnapshot;
use super::record::VmRecord;
use super::snapshot::Snapshot;
use super::start_states::StartStates;
use super::table::{After, Effects, Limits, TooOldWhy, ViewTable};
use super::traffic::TrafficBoard;
use super::waiters::Waiters;
use crate::clock::SharedClock;
use crate::fleet::observed::{FleetSink, Sighting};
use crate::model::history::HistoryEvent;
use crate::model::host::{CertificateSeen, HostFacts, HostHealth, HostRecord};
use crate::model::intent::VmIntent;
use crate::model::ledger::{Change, Edit, HostRef, VmRef};
use crate::model::observed::{Observation, ObservedVm, Phase, TrafficSeen};
use crate::model::past::Past;
use crate::model::status::{Trouble, VmState};

/// The records of all hosts, by id.
pub type HostRecords = Arc<[Arc<HostRecord>]>;

/// What streams are told by: where the table is, how often the idle were to speak, whether to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signal {
    pub(super) revision: Revision,
    pub(super) tick: u64,
    pub(super) draining: bool,
}

/// The one table that everybody reads. See the [module](super).
#[derive(Debug)]
pub struct View {
    clock: SharedClock,
    table: Mutex<ViewTable>,
    signal: watch::Sender<Signal>,
    hosts: watch::Sender<u64>,
    records: watch::Sender<HostRecords>,
    waiters: Waiters,
    drivers: Mutex<HashMap<HostId, Arc<Notify>>>,
    traffic: TrafficBoard,
    placement: Notify,
    history: mpsc::Sender<HistoryEvent>,
    snapshots: Mutex<StartStates>,
}

impl View {
    /// An empty view whose first change gets the revision after `first`. History lines that find
    /// no room in `history` are left out.
    pub fn new(
        epoch: Epoch,
        first: Revision,
        clock: SharedClock,
        history: mpsc::Sender<HistoryEvent>,
        limits: Limits,
    ) -> Arc<Self> {
        let started_at = clock.now();
        Arc::new(Self {
            clock,
            table: Mutex::new(ViewTable::new(epoch, first, started_at, limits)),
            signal: watch::Sender::new(Signal { revision: first, tick: 0, draining: false }),
            hosts: watch::Sender::new(0),
            records: watch::Sender::default(),
            waiters: Waiters::default(),
            drivers: Mutex::default(),
            traffic: TrafficBoard::default(),
            placement: Notify::new(),
            history,
            snapshots: Mutex::default(),
        })
    }

    // === written by the store ===

    /// Takes over what was stored before this start, and what is known of the time before it.
    pub fn load<'a>(
        &self,
        past: &Past,
        hosts: impl IntoIterator<Item = &'a Arc<HostRecord>>,
        intents: impl IntoIterator<Item = &'a Arc<VmIntent>>,
    ) {
        let now = self.clock.now();
        self.table.lock().remember(past);
        let _ = self.change(|table, out| {
            hosts.into_iter().for_each(|host| table.put_host(host, now, out));
            intents.into_iter().for_each(|intent| table.put_intent(intent, now, out));
        });
        self.table.lock().loaded();
    }

    /// Takes over changes that are durable, in the order of their commits. Answers the revisions
    /// before and after them.
    pub fn committed(&self, changes: &[Change]) -> Range<Revision> {
        let now = self.clock.now();
        self.change(|table, out| {
            for change in changes {
                match change {
                    Change::Vm(Edit::Put(intent)) => table.put_intent(intent, now, out),
                    Change::Vm(Edit::Remove { last, at }) => table.forget(last.id, *at, out),
                    Change::Host(Edit::Put(record)) => table.put_host(record, now, out),
                    Change::Host(Edit::Remove { last, .. }) => table.remove_host(last.id, out),
                    // Nothing else is in this table, whatever kinds there are.
                    _ => {}
                }
            }
        })
    }

    // === written by drivers ===

    /// Something keeps the intent of this version from its agent; `None`: no longer.
    pub fn trouble(&self, vm: VmId, version: Version, trouble: Option<Trouble>) {
        let trouble = trouble.map(Arc::new);
        self.change(|table, out| table.set_trouble(vm, version, trouble, out));
    }

    /// The certificate of a host's agent is seen, or its renewal goes otherwise than before.
    pub fn certificate(&self, host: HostId, seen: CertificateSeen) {
        self.change(|table, out| table.set_certificate(host, seen, out));
    }

    // === reading ===

    /// The epoch of the store.
    pub fn epoch(&self) -> Epoch {
        self.table.lock().epoch()
    }

    /// The revision of the newest change.
    pub fn revision(&self) -> Revision {
        self.table.lock().revision()
    }

    pub fn get(&self, vm: VmId) -> Option<Arc<VmRecord>> {
        self.table.lock().get(vm).cloned()
    }

    /// One VM by what a request names it.
    pub fn resolve(&self, vm: &VmRef) -> Option<Arc<VmRecord>> {
        let table = self.table.lock();
        match vm {
            VmRef::Id(id) => table.get(*id).cloned(),
            VmRef::Name(named) => table.named(named).cloned(),
        }
    }

    /// When the host of a VM was last heard, if that confirms the record: it is the newest, and
    /// something is known.
    pub fn confirmed(&self, record: &VmRecord) -> Option<Timestamp> {
        let table = self.table.lock();
        let newest = table.get(record.id())?;
        let known = newest.revision == record.revision && record.state() != VmState::Unknown;
        let health = &table.host(record.intent.host?)?.view.health;
        health.last_seen.filter(|_| known && health.state.is_online())
    }

    /// Notes what the guests of a host have sent and received, in place of what it told before.
    pub fn traffic_told(&self, host: HostId, guests: Vec<(VmId, TrafficSeen)>) {
        self.traffic.told(host, guests, self.clock.now());
    }

    /// What the guest of a VM has sent and received, and when that was told, where the record is
    /// confirmed and its guest runs.
    pub fn traffic(&self, record: &VmRecord) -> Option<(TrafficSeen, Timestamp)> {
        self.confirmed(record)?;
        let runs = match &record.observation {
            Observation::Present(seen) => matches!(seen.phase, Phase::Running | Phase::Paused),
            Observation::Unknown { .. } | Observation::Absent => false,
        };
        self.traffic.of(record.intent.host?, record.id()).filter(|_| runs)
    }

    /// All VMs and hosts at one revision.
    pub fn snapshot(&self) -> Snapshot {
        self.table.lock().snapshot()
    }

    /// All hosts, by id.
    pub fn hosts(&self) -> Vec<HostSnapshot> {
        let table = self.table.lock();
        table.hosts().filter_map(|entry| table.host_now(entry.view.record.id)).collect()
    }

    pub fn host(&self, host: HostId) -> Option<HostSnapshot> {
        self.table.lock().host_now(host)
    }

    /// One host by what a request names it.
    pub fn resolve_host(&self, host: &HostRef) -> Option<HostSnapshot> {
        let table = self.table.lock();
        match host {
            HostRef::Id(id) => table.host_now(*id),
            HostRef::Name(name) => {
                let found = table.hosts().find(|entry| entry.view.record.name == *name)?;
                table.host_now(found.view.record.id)
            }
        }
    }

    /// Changes whenever anything about a host does, heartbeats included.
    pub fn hosts_changed(&self) -> watch::Receiver<u64> {
        self.hosts.subscribe()
    }

    /// The VMs on this host for which the server has something to do.
    pub fn unsettled(&self, host: HostId) -> Vec<Arc<VmRecord>> {
        self.table.lock().unsettled(host)
    }

    /// All VMs placed on this host.
    pub fn placed_on(&self, host: HostId) -> Vec<Arc<VmRecord>> {
        self.table.lock().placed_on(host)
    }

    /// How many VMs have no host.
    pub fn unplaced(&self) -> usize {
        self.table.lock().unplaced()
    }

    /// All VMs that have no host.
    pub fn without_host(&self) -> Vec<Arc<VmRecord>> {
        self.table.lock().without_host()
    }

    /// How many VMs are in each state.
    pub fn states(&self) -> [(VmState, u64); VmState::ALL.len()] {
        self.table.lock().states()
    }

    /// How many streams are open.
    pub fn subscribers(&self) -> usize {
        self.signal.receiver_count()
    }

    // === waiting ===

    /// Woken when a host's driver has something to look at. A wake-up is kept until it is taken.
    pub fn driver_wake(&self, host: HostId) -> Arc<Notify> {
        Arc::clone(self.drivers.lock().entry(host).or_default())
    }

    /// Woken when VMs without a host may find one.
    pub async fn placement_wake(&self) {
        self.placement.notified().await;
    }

    /// Told by it where the table is.
    pub(super) fn signal(&self) -> watch::Receiver<Signal> {
        self.signal.subscribe()
    }

    /// Whether a stream may resume after this revision; else why not, and the oldest after which
    /// one may.
    pub(super) fn resumable(&self, after: Revision) -> Result<(), (TooOldWhy, Revision)> {
        self.table.lock().resumable(after)
    }

    /// The oldest revision after which a stream may resume.
    pub(super) fn oldest(&self) -> Revision {
        self.table.lock().oldest()
    }

    /// Lets idle streams say where they are, and lets go of snapshots that nobody reads. Called
    /// every few seconds.
    pub fn tick(&self) {
        self.snapshots.lock().forget_unread();
        self.signal.send_modify(|signal| signal.tick += 1);
    }

    /// Ends all streams and waits of the API.
    pub fn drain(&self) {
        self.signal.send_modify(|signal| signal.draining = true);
    }

    /// Whether [`View::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.signal.borrow().draining
    }

    /// Ends when [`View::drain`] was called.
    pub async fn draining(&self) {
        let mut signal = self.signal.subscribe();
        // An error means that the view is gone, which is past draining.
        let _ = signal.wait_for(|signal| signal.draining).await;
    }

    pub(super) fn after(&self, cursor: Revision, budget: usize) -> After {
        self.table.lock().after(cursor, budget)
    }

    /// A stream goes on reading this snapshot: it is kept for a while longer.
    pub(super) fn is_read(&self, snapshot: &Arc<Snapshot>) {
        self.snapshots.lock().is_read(snapshot);
    }

    pub(super) fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    /// The hosts that there are. Changes only when one joins, leaves, or its record changes.
    pub fn host_records(&self) -> watch::Receiver<HostRecords> {
        self.records.subscribe()
    }

    // === inside ===

    /// Snapshots for the state at the start of streams are held here and only here, so that a
    /// stream that does not read can't keep old versions of the table alive. Few are, and whoever
    /// has most of them makes room.
    pub(super) fn shared_snapshot(&self, party: &str) -> Arc<Snapshot> {
        let snapshot = self.snapshot();
        self.snapshots.lock().take_or_share(snapshot, party)
    }

    fn change(&self, change: impl FnOnce(&mut ViewTable, &mut Effects)) -> Range<Revision> {
        let mut out = Effects::default();
        let (before, revision) = {
            let now = self.clock.now();
            let mut table = self.table.lock();
            let before = table.revision();
            table.begin(now);
            change(&mut table, &mut out);
            table.publish(&mut out);
            if out.records_changed {
                // With the mutex, so that an older list never replaces a newer one.
                let records = table.hosts().map(|entry| Arc::clone(&entry.view.record)).collect();
                self.records.send_replace(records);
            }
            (before, table.revision())
        };
        self.signal.send_if_modified(|signal| {
            let newer = revision > signal.revision;
            signal.revision = signal.revision.max(revision);
            newer
        });
        if out.hosts_changed {
            self.hosts.send_modify(|version| *version += 1);
        }
        if !out.wake.is_empty() {
            let mut drivers = self.drivers.lock();
            for host in out.wake {
                drivers.entry(host).or_default().notify_one();
            }
        }
        if out.wake_placement {
            self.placement.notify_one();
        }
        self.waiters.wake(&out.touched);
        for line in out.history {
            // Best effort: what does not fit is left out rather than holding up the session.
            if let Err(error) = self.history.try_send(line) {
                tracing::debug!(error = %error, "a line of history was left out");
            }
        }
        before..revision
    }
}

impl FleetSink for View {
    fn traffic(&self, host: HostId, guests: Vec<(VmId, TrafficSeen)>) {
        self.traffic_told(host, guests);
    }

    fn host_health(&self, host: HostId, health: HostHealth) {
        let now = self.clock.now();
        self.change(|table, out| table.set_health(host, health, now, out));
    }

    fn host_facts(&self, host: HostId, facts: Arc<HostFacts>) {
        self.change(|table, out| table.set_facts(host, facts, out));
    }

    fn inventory(&self, host: HostId, listed: BTreeMap<VmId, Box<ObservedVm>>, health: HostHealth) {
        self.change(|table, out| table.inventory(host, listed, health, out));
    }

    fn observed(&self, host: HostId, sightings: Vec<Sighting>) {
        self.change(|table, out| {
            for sighting in sightings {
                match sighting {
                    Sighting::Vm(id, vm) => table.seen(host, id, vm, out),
                    Sighting::Gone(id) => table.gone(host, id, out),
                }
            }
        });
    }
}

#[cfg(test)]
mod tests;
