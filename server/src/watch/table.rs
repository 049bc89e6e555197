//! The state under the view's mutex, and what a change does to it.
//!
//! Synchronous and without I/O: the [`View`](super::View) calls in, and does afterwards what the
//! [`Effects`] say. Each public verb is one change of the world; each VM it changes visibly gets
//! one revision and one event.
//!
//! Two ways to the changes are kept: the ring, with every step, and the index by revision, with the
//! newest state of every VM. The second is complete down to [`ViewTable::oldest`], whatever the
//! ring has dropped, because it grows with VMs and not with changes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use banger_proto::ids::{Epoch, HostId, Revision, Version, VmId};
use imbl::OrdMap;
use jiff::Timestamp;

use super::record::{Sight, Told, VmRecord};
use super::ring::{Event, Ring, Segment};
use crate::model::affinity::AffinityRule;
use crate::model::history::HistoryEvent;
use crate::model::host::{HostHealth, HostRecord, HostState, HostView, Resources};
use crate::model::intent::{Desired, VmIntent};
use crate::model::observed::{Observation, ObservedVm, UnknownWhy};
use crate::model::placement::NoHost;
use crate::model::project::{Named, ProjectName};
use crate::model::status::{StatusContext, Trouble, VmState, VmStatus};

mod history;
mod hosts;

pub(super) use hosts::HostEntry;

/// How much of the past is kept in memory.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most changes in the ring.
    pub ring_events: usize,
    /// Most bytes of changes in the ring, roughly.
    pub ring_bytes: usize,
    /// Most deleted VMs that a stream can still be told of.
    pub tombstones: usize,
    /// Most entries of the index that one read looks at while it holds the mutex.
    pub index_part: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { ring_events: 16_384, ring_bytes: 32 << 20, tombstones: 16_384, index_part: 256 }
    }
}

/// All VMs at one revision. Cheap to take and to hold.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub revision: Revision,
    pub vms: OrdMap<VmId, Arc<VmRecord>>,
}

/// What is to be done once the mutex is free.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Hosts whose drivers have something new to look at.
    pub(super) wake: BTreeSet<HostId>,
    /// A VM without a host appeared, or room may have become free.
    pub(super) wake_placement: bool,
    /// Something about a host changed.
    pub(super) hosts_changed: bool,
    /// A host joined, left, or its record changed.
    pub(super) records_changed: bool,
    /// VMs that changed visibly or went.
    pub(super) touched: Vec<VmId>,
    /// What goes into the history.
    pub(super) history: Vec<HistoryEvent>,
    events: Vec<Event>,
}

/// What stands at a revision of the index.
#[derive(Debug)]
enum VmSlot {
    Living(VmId),
    Gone(Arc<VmRecord>),
}

#[derive(Debug)]
pub(super) struct ViewTable {
    epoch: Epoch,
    started_at: Timestamp,
    /// When the present change came, by the server's clock.
    now: Timestamp,
    revision: Revision,
    vms: OrdMap<VmId, Arc<VmRecord>>,
    names: HashMap<Named, VmId>,
    hosts: BTreeMap<HostId, HostEntry>,
    host_version: u64,
    unplaced: BTreeSet<VmId>,
    /// Those of them that want to be near VMs of their project.
    followers: BTreeMap<ProjectName, BTreeSet<VmId>>,
    by_revision: BTreeMap<Revision, VmSlot>,
    tombstones: VecDeque<Revision>,
    max_tombstones: usize,
    index_part: usize,
    /// Changes up to here may be missing from the index.
    oldest: Revision,
    ring: Ring,
    states: [u64; VmState::ALL.len()],
}

/// What a stream reads of the changes after its cursor.
#[derive(Debug)]
pub(super) enum After {
    /// There are none.
    Nothing,
    /// From the ring: every step. The first segment may begin before the cursor.
    Steps(Vec<Arc<Segment>>),
    /// From the index.
    Newest(Newest),
    /// Some are no longer known.
    TooOld,
}

/// Newest states, in order.
#[derive(Debug)]
pub(super) struct Newest {
    /// With whether nothing of the VM is left.
    pub(super) records: Vec<(Arc<VmRecord>, bool)>,
    /// All there are after the cursor up to here.
    pub(super) up_to: Revision,
    pub(super) table: Revision,
}

impl ViewTable {
    pub(super) fn new(
        epoch: Epoch,
        first: Revision,
        started_at: Timestamp,
        limits: Limits,
    ) -> Self {
        Self {
            epoch,
            started_at,
            now: started_at,
            revision: first,
            vms: OrdMap::new(),
            names: HashMap::new(),
            hosts: BTreeMap::new(),
            host_version: 0,
            unplaced: BTreeSet::new(),
            followers: BTreeMap::new(),
            by_revision: BTreeMap::new(),
            tombstones: VecDeque::new(),
            max_tombstones: limits.tombstones,
            index_part: limits.index_part,
            oldest: first,
            ring: Ring::new(first, limits.ring_events, limits.ring_bytes),
            states: [0; VmState::ALL.len()],
        }
    }

    /// Ends the loading of what was stored: a cursor from before is too old from now on.
    pub(super) fn loaded(&mut self) {
        self.oldest = self.revision;
    }

    /// A change begins.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.now = now;
    }

    // === reading ===

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot { revision: self.revision, vms: self.vms.clone() }
    }

    pub(super) fn get(&self, vm: VmId) -> Option<&Arc<VmRecord>> {
        self.vms.get(&vm)
    }

    pub(super) fn named(&self, named: &Named) -> Option<&Arc<VmRecord>> {
        self.names.get(named).and_then(|id| self.vms.get(id))
    }

    pub(super) fn states(&self) -> [(VmState, u64); VmState::ALL.len()] {
        std::array::from_fn(|index| (VmState::ALL[index], self.states[index]))
    }

    pub(super) fn unplaced(&self) -> usize {
        self.unplaced.len()
    }

    /// All VMs that have no host.
    pub(super) fn without_host(&self) -> Vec<Arc<VmRecord>> {
        self.unplaced.iter().filter_map(|id| self.vms.get(id)).cloned().collect()
    }

    /// Whether a stream may resume after this revision.
    pub(super) fn knows(&self, cursor: Revision) -> bool {
        (self.oldest..=self.revision).contains(&cursor)
    }

    /// The changes after `cursor`: from the ring where it reaches back that far, else from the
    /// index. At most about `budget` bytes.
    pub(super) fn after(&self, cursor: Revision, budget: usize) -> After {
        if cursor >= self.revision {
            return After::Nothing;
        }
        if let Some(segments) = self.ring.after(cursor, budget) {
            return After::Steps(segments);
        }
        if cursor < self.oldest {
            return After::TooOld;
        }
        let mut records = Vec::new();
        let mut weight = 0;
        let table = self.revision;
        let later = Revision(cursor.0 + 1)..;
        for (looked_at, (revision, slot)) in self.by_revision.range(later).enumerate() {
            if looked_at == self.index_part || weight >= budget {
                return After::Newest(Newest { records, up_to: Revision(revision.0 - 1), table });
            }
            let (record, gone) = match slot {
                VmSlot::Living(id) => match self.vms.get(id) {
                    Some(record) => (record, false),
                    None => continue,
                },
                VmSlot::Gone(record) => (record, true),
            };
            weight += record.weight();
            records.push((Arc::clone(record), gone));
        }
        After::Newest(Newest { records, up_to: table, table })
    }

    // === changing intents ===

    /// An intent is new or has changed.
    pub(super) fn put_intent(&mut self, intent: &Arc<VmIntent>, now: Timestamp, out: &mut Effects) {
        let before = self.vms.get(&intent.id).cloned();
        let (observation, trouble) = match &before {
            Some(before) if before.intent.host == intent.host => {
                let same = before.intent.generation == intent.generation;
                (before.observation.clone(), before.trouble.clone().filter(|_| same))
            }
            Some(_) | None => (self.first_sight(intent, now), None),
        };
        self.put(Arc::clone(intent), observation, trouble, before, out);
    }

    /// Nothing of the VM is left and its intent is gone.
    pub(super) fn forget(&mut self, vm: VmId, now: Timestamp, out: &mut Effects) {
        let Some(last) = self.vms.remove(&vm) else { return };
        self.count_out(&last);
        self.names.remove(&last.intent.named());
        self.unplaced.remove(&vm);
        self.unfollow(&last.intent);
        self.by_revision.remove(&last.revision);
        let mut host = last.host.clone();
        if let Some(id) = last.intent.host {
            self.leave_host(id, &last, out);
            host = self.hosts.get(&id).map(|entry| Arc::clone(&entry.view));
        }
        // Room has become free.
        out.wake_placement |= !self.unplaced.is_empty();
        self.revision = self.revision.next();
        let gone = Arc::new(VmRecord {
            intent: Arc::clone(&last.intent),
            observation: Observation::Absent,
            trouble: None,
            status: VmStatus::deleted(&last.intent, now),
            host,
            revision: self.revision,
            added: last.added,
            last_sight: None,
            told: last.told,
        });
        self.by_revision.insert(self.revision, VmSlot::Gone(Arc::clone(&gone)));
        self.tombstones.push_back(self.revision);
        while self.tombstones.len() > self.max_tombstones {
            let Some(revision) = self.tombstones.pop_front() else { break };
            self.by_revision.remove(&revision);
            self.oldest = revision;
        }
        out.touched.push(vm);
        out.events.push(Event { record: gone, before: Some(last), gone: true });
    }

    /// Something keeps the intent of this generation from its agent, or no longer does.
    pub(super) fn set_trouble(
        &mut self,
        vm: VmId,
        version: Version,
        trouble: Option<Arc<Trouble>>,
        out: &mut Effects,
    ) {
        let Some(before) = self.vms.get(&vm).cloned() else { return };
        if before.intent.generation != version.generation || before.trouble == trouble {
            return;
        }
        let (intent, observation) = (Arc::clone(&before.intent), before.observation.clone());
        self.put(intent, observation, trouble, Some(before), out);
    }

    /// Ends a change: its events become visible to streams.
    pub(super) fn publish(&mut self, out: &mut Effects) {
        self.ring.push(std::mem::take(&mut out.events));
    }

    // === inside ===

    /// Makes the record of a VM anew and, if a reader sees a difference, gives it a revision.
    fn put(
        &mut self,
        intent: Arc<VmIntent>,
        observation: Observation,
        trouble: Option<Arc<Trouble>>,
        before: Option<Arc<VmRecord>>,
        out: &mut Effects,
    ) {
        let id = intent.id;
        let host =
            intent.host.and_then(|host| self.hosts.get(&host)).map(|entry| Arc::clone(&entry.view));
        let last_sight =
            Sight::of(&observation).or_else(|| before.as_ref().and_then(|b| b.last_sight));
        let context = StatusContext {
            epoch: self.epoch,
            host: host.as_deref(),
            trouble: trouble.as_deref(),
            last_settled: last_sight.map(|sight| sight.settled),
        };
        let status = VmStatus::of(&intent, &observation, context);
        let next = self.revision.next();
        let added = before.as_ref().map_or(next, |before| before.added);
        let mut record = VmRecord {
            intent,
            observation,
            trouble,
            status,
            host,
            revision: next,
            added,
            last_sight,
            told: before.as_ref().map_or_else(Default::default, |before| before.told),
        };
        if let Some(before) = &before {
            if record.shows_the_same_as(before) {
                return;
            }
            self.by_revision.remove(&before.revision);
            self.count_out(before);
            if before.intent.host != record.intent.host
                && let Some(old) = before.intent.host
            {
                self.leave_host(old, before, out);
            }
        }
        self.revision = next;
        let sight = before.as_ref().and_then(|before| before.last_sight);
        let lines = history::of_change(sight, &record, self.started_at);
        record.told = history::bounded(record.told, &record, lines, self.now, &mut out.history);
        let record = Arc::new(record);
        self.states[record.state() as usize] += 1;
        if before.as_ref().is_none_or(|before| before.intent.name != record.intent.name) {
            if let Some(before) = &before {
                self.names.remove(&before.intent.named());
            }
            self.names.insert(record.intent.named(), id);
        }
        match record.intent.host {
            None => {
                self.unplaced.insert(id);
                self.unfollow(&record.intent);
                if record.intent.spec.placement().affinity.iter().any(AffinityRule::follows) {
                    let project = record.intent.project.clone();
                    self.followers.entry(project).or_default().insert(id);
                }
                // One that is new or was changed has just been tried, in the same transaction.
                let left_its_host = before.as_ref().is_some_and(|b| b.intent.host.is_some());
                out.wake_placement |= left_its_host || record.intent.desired == Desired::Absent;
                // It gave way to others, which are to be looked at first.
                out.wake_placement |= record.intent.pending == Some(NoHost::OthersFirst);
            }
            Some(host) => {
                self.unplaced.remove(&id);
                self.unfollow(&record.intent);
                let before_it = before.as_ref().map(|before| &*before.intent);
                out.wake_placement |= self.lets_others_go(before_it, &record.intent);
                self.join_host(host, before.as_deref(), &record, out);
            }
        }
        self.vms.insert(id, Arc::clone(&record));
        self.by_revision.insert(next, VmSlot::Living(id));
        out.touched.push(id);
        out.events.push(Event { record, before, gone: false });
    }

    fn unfollow(&mut self, vm: &VmIntent) {
        if let Some(of) = self.followers.get_mut(&vm.project) {
            of.remove(&vm.id);
            if of.is_empty() {
                self.followers.remove(&vm.project);
            }
        }
    }

    /// Whether a VM that has a host may have one that waits find its own: it has just got the host,
    /// leaves more room on it, or is another for the rules about it.
    fn lets_others_go(&self, before: Option<&VmIntent>, now: &VmIntent) -> bool {
        let (old, new) = match before {
            Some(before) if before.host == now.host => (&before.spec, &now.spec),
            Some(_) | None => {
                return !now.spec.labels().is_empty() && self.followers.contains_key(&now.project);
            }
        };
        let is_other = old.labels() != new.labels() || old.placement() != new.placement();
        let leaves_more = old.resources().minus(new.resources()) != Resources::default();
        !self.unplaced.is_empty() && (is_other || leaves_more)
    }

    fn count_out(&mut self, record: &VmRecord) {
        let count = &mut self.states[record.state() as usize];
        *count = count.saturating_sub(1);
    }

    /// What is known of a VM that has just been placed, or loaded.
    fn first_sight(&mut self, intent: &VmIntent, now: Timestamp) -> Observation {
        let Some(host) = intent.host else {
            // Never placed: nobody can hold anything of it.
            return Observation::Absent;
        };
        let unknown = |why| Observation::Unknown { since: now, why };
        let Some(entry) = self.hosts.get_mut(&host) else {
            return unknown(UnknownWhy::HostNotYetSeen);
        };
        match entry.view.health.state {
            HostState::Online => match entry.unclaimed.remove(&intent.id) {
                Some(seen) => Observation::Present(seen),
                None => Observation::Absent,
            },
            HostState::Connecting => unknown(UnknownWhy::HostNotYetSeen),
            HostState::Suspect | HostState::Offline => unknown(UnknownWhy::HostUnreachable),
        }
    }
}

/// Whether the server has something to do for a VM on a host it can reach: tell the agent, or
/// forget the VM. False while nothing is known, and while the agent is at work.
pub(crate) fn needs_the_server(intent: &VmIntent, observation: &Observation, epoch: Epoch) -> bool {
    let version = Version { epoch, generation: intent.generation };
    match observation {
        Observation::Unknown { .. } => false,
        Observation::Absent => true,
        Observation::Present(vm) => vm.is_to_be_told(intent.desired, version),
    }
}
