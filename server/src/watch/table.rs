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

use super::host::HostSnapshot;
use super::record::{Sight, Told, VmRecord};
use super::ring::{Event, Ring, Segment};
use super::snapshot::{ByProject, Snapshot};
use super::watched::Watched;
use crate::model::history::HistoryEvent;
use crate::model::host::{HostHealth, HostRecord, HostState, HostView, Resources};
use crate::model::intent::VmIntent;
use crate::model::observed::{Observation, ObservedVm, UnknownWhy};
use crate::model::past::Thing;
use crate::model::project::{Named, ProjectName};
use crate::model::status::VmState;

mod history;
mod hosts;
mod past;
mod vms;

pub(super) use hosts::HostEntry;
use past::Before;
pub use past::TooOldWhy;

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

/// What is to be done once the mutex is free.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Hosts whose drivers have something new to look at.
    pub(super) wake: BTreeSet<HostId>,
    /// A VM without a host appeared, or room may have become free.
    pub(super) wake_placement: bool,
    /// Hosts of which something changed.
    pub(super) changed_hosts: BTreeSet<HostId>,
    /// Something about a host changed, though it may be that nobody is shown it.
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
enum Standing {
    Living(Thing),
    Gone(Watched),
}

#[derive(Debug)]
pub(super) struct ViewTable {
    epoch: Epoch,
    started_at: Timestamp,
    /// When the present change came, by the server's clock.
    now: Timestamp,
    revision: Revision,
    vms: OrdMap<VmId, Arc<VmRecord>>,
    by_project: ByProject,
    names: HashMap<Named, VmId>,
    hosts: BTreeMap<HostId, HostEntry>,
    /// As streams are told of them.
    shown_hosts: OrdMap<HostId, Arc<HostSnapshot>>,
    unplaced: BTreeSet<VmId>,
    /// Those of them that want to be near VMs of their project.
    followers: BTreeMap<ProjectName, BTreeSet<VmId>>,
    by_revision: BTreeMap<Revision, Standing>,
    tombstones: VecDeque<Revision>,
    limits: Limits,
    before: Before,
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
    /// With whether nothing of it is left.
    pub(super) subjects: Vec<(Watched, bool)>,
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
            by_project: ByProject::default(),
            names: HashMap::new(),
            hosts: BTreeMap::new(),
            shown_hosts: OrdMap::new(),
            unplaced: BTreeSet::new(),
            followers: BTreeMap::new(),
            by_revision: BTreeMap::new(),
            tombstones: VecDeque::new(),
            limits,
            before: Before::default(),
            oldest: first,
            ring: Ring::new(first, limits.ring_events, limits.ring_bytes),
            states: [0; VmState::ALL.len()],
        }
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
        Snapshot {
            revision: self.revision,
            vms: self.vms.clone(),
            by_project: self.by_project.clone(),
            hosts: self.shown_hosts.clone(),
        }
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

    /// The oldest revision after which a stream may resume.
    pub(super) fn oldest(&self) -> Revision {
        self.oldest
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
        let mut subjects = Vec::new();
        let mut weight = 0;
        let table = self.revision;
        let later = Revision(cursor.0 + 1)..;
        for (looked_at, (revision, slot)) in self.by_revision.range(later).enumerate() {
            if looked_at == self.limits.index_part || weight >= budget {
                return After::Newest(Newest { subjects, up_to: Revision(revision.0 - 1), table });
            }
            let (subject, gone) = match slot {
                Standing::Living(Thing::Vm(id)) => match self.vms.get(id) {
                    Some(record) => (Watched::Vm(Arc::clone(record)), false),
                    None => continue,
                },
                Standing::Living(Thing::Host(id)) => match self.shown_hosts.get(id) {
                    Some(host) => (Watched::Host(Arc::clone(host)), false),
                    None => continue,
                },
                Standing::Gone(subject) => (subject.clone(), true),
            };
            weight += subject.weight();
            subjects.push((subject, gone));
        }
        After::Newest(Newest { subjects, up_to: table, table })
    }

    /// Puts what is gone into the index. Where there are too many, the one that went first is
    /// forgotten, and streams from before it can't be told of it.
    fn bury(&mut self, subject: Watched) {
        let revision = subject.revision();
        self.by_revision.insert(revision, Standing::Gone(subject));
        self.tombstones.push_back(revision);
        while self.tombstones.len() > self.limits.tombstones {
            let Some(revision) = self.tombstones.pop_front() else { break };
            self.by_revision.remove(&revision);
            self.oldest = self.oldest.max(revision);
        }
    }

    /// Ends a change: its events become visible to streams.
    pub(super) fn publish(&mut self, out: &mut Effects) {
        self.show_hosts(out);
        self.ring.push(std::mem::take(&mut out.events));
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
