//! The one place that decides what a request changes.
//!
//! The ledger is every intent, host, project, token, image and finished request in memory, with the
//! indexes that decisions need: names, request ids, bookings, address slots and users of images.
//! [`Ledger::decide`] is pure: a mutation and the present state in, changes or a refusal out.
//! [`Ledger::apply`] makes no choice. The store is the only caller of both: its writer decides a
//! group, applies each decision at once so that the next one sees it, and writes the whole group in
//! one transaction. When that fails the ledger is thrown away and loaded from the database, so it
//! can never be ahead of it for long.

mod audited;
mod bookings;
mod change;
mod hosts;
mod images;
mod join_token;
mod mutation;
mod notes;
mod outcome;
mod peers;
mod placing;
mod power;
mod projects;
mod references;
mod refusal;
mod renewal;
mod requests;
mod revocation;
mod search;
mod shape;
mod sizes;
mod tokens;
mod turn;
mod vms;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use banger_proto::bounds::MAX_HOST_IMAGES;
use banger_proto::ids::{HostId, VmId};

use self::bookings::HostBookings;
pub use self::bookings::HostUse;
use self::change::Rows;
pub use self::change::{Change, Edit, Object};
use self::images::ImageTable;
pub use self::images::ImageUse;
pub use self::join_token::JoinToken;
pub use self::mutation::{
    AddToken, AnyMutation, BindVm, CreateJoinToken, CreateProject, CreateToken, CreateVm,
    DeleteHost, DeleteImage, DeleteProject, DeleteVm, Forget, JoinHost, KeepFirstCapacities,
    Mutation, NewSpec, NoteTokenUses, Place, PlacePending, Placed, Power, PutImage, RevokeToken,
    SetCordon, SetPower, UpdateHost, UpdateProject, UpdateVm, VmAnswer,
};
pub use self::notes::{Audit, BeginSweep, Record, RecordSweep};
pub use self::outcome::{Outcome, Revoked};
use self::peers::PeerIndex;
pub use self::projects::ProjectUse;
pub use self::references::{HostRef, IfMatch, VmRef};
pub use self::refusal::Refusal;
pub use self::renewal::{ConfirmCertificate, OfferCertificate};
pub use self::revocation::{RevokeHost, shut_out};
use self::search::Search;
use self::turn::{Turn, turn};
use super::caller::Caller;
use super::history::{EventKind, HistoryEvent};
use super::host::{HostRecord, Resources, RevokedKey};
use super::intent::{Desired, VmIntent};
use super::placement::{Overcommit, Strategy};
use super::project::{Named, ProjectName, ProjectRecord};
use super::subnet::Subnet;
use super::token::TokenRecord;

/// What the ledger decides by, from the server's configuration.
#[derive(Debug, Clone)]
pub struct LedgerConfig {
    /// How much more may be booked than the kernel has.
    pub overcommit: Overcommit,
    /// In which order hosts are filled, where a VM does not say.
    pub strategy: Strategy,
    /// Where guest subnets come from.
    pub guest_pool: Subnet,
    /// Prefix length of one host's guest subnet.
    pub guest_prefix: u8,
    /// Most VMs in all.
    pub max_vms: usize,
    /// Most hosts.
    pub max_hosts: usize,
    /// Most records of who did what.
    pub max_audit: u64,
    /// Most requests that are remembered.
    pub max_requests: u64,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self {
            overcommit: Overcommit::default(),
            strategy: Strategy::default(),
            guest_pool: "10.64.0.0/10".parse().expect("a network"),
            guest_prefix: 20,
            max_vms: 1_000_000,
            max_hosts: 1024,
            max_audit: 20_000_000,
            max_requests: 10_000_000,
        }
    }
}

/// What a mutation comes to, once its changes are stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// In order; empty when nothing is to change.
    pub changes: Vec<Change>,
    /// The answer to the caller.
    pub outcome: Outcome,
}

/// All intent, with the indexes that decisions need.
#[derive(Debug, Clone)]
pub struct Ledger {
    config: LedgerConfig,
    vms: HashMap<VmId, Arc<VmIntent>>,
    names: HashMap<Named, VmId>,
    requests: HashMap<VmId, VmId>,
    /// VMs without a host, in the order in which they get one.
    pending: BTreeSet<Turn>,
    /// How far they have been looked at.
    search: Search,
    /// Where VMs with certain labels are.
    peer_index: PeerIndex,
    /// Ids known to be used up: those forgotten in the present group, and those the writer has
    /// looked up for it. Not all there ever were: they are in the database.
    used_up: HashSet<VmId>,
    done: requests::Done,
    remembered: requests::Remembered,
    hosts: BTreeMap<HostId, HostBookings>,
    host_names: HashMap<String, HostId>,
    /// What is usual among the sizes of hosts.
    usual: Option<Resources>,
    join_tokens: Rows<JoinToken>,
    revoked_keys: Rows<RevokedKey>,
    projects: Rows<ProjectRecord>,
    /// The names of those that have gone since the start: watches still know their VMs.
    gone_projects: BTreeSet<ProjectName>,
    /// What the VMs of each project that has any count for.
    usage: HashMap<ProjectName, Resources>,
    tokens: Rows<TokenRecord>,
    images: ImageTable,
    /// How many records of who did what there are.
    audit_records: u64,
    /// How many of them are of callers of each project.
    audit_shares: HashMap<ProjectName, u64>,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(config: LedgerConfig) -> Self {
        Self {
            config,
            vms: HashMap::new(),
            names: HashMap::new(),
            requests: HashMap::new(),
            pending: BTreeSet::new(),
            search: Search::new(),
            peer_index: PeerIndex::default(),
            used_up: HashSet::new(),
            done: requests::Done::new(),
            remembered: requests::Remembered::default(),
            hosts: BTreeMap::new(),
            host_names: HashMap::new(),
            usual: None,
            join_tokens: Rows::default(),
            revoked_keys: Rows::default(),
            projects: Rows::default(),
            gone_projects: BTreeSet::new(),
            usage: HashMap::new(),
            tokens: Rows::default(),
            images: ImageTable::default(),
            audit_records: 0,
            audit_shares: HashMap::new(),
        }
    }

    /// What it decides by.
    pub fn config(&self) -> &LedgerConfig {
        &self.config
    }

    /// What one mutation comes to. Changes nothing.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn decide(&self, caller: &Caller, mutation: &AnyMutation) -> Result<Decided, Refusal> {
        self.check_caller(caller)?;
        mutation.decide(self, caller)
    }

    /// Takes changes over, in order.
    pub fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Vm(Edit::Put(intent)) => self.put_vm(intent),
                Change::Vm(Edit::Remove { last, .. }) => {
                    self.remove_vm(last.id);
                    self.search.note_room(true);
                    self.used_up.insert(last.id);
                    self.used_up.extend(last.request_id);
                }
                Change::Host(Edit::Put(record)) => self.put_host(record),
                Change::Host(Edit::Remove { last, .. }) => {
                    self.hosts.remove(&last.id);
                    self.host_names.remove(&last.name);
                    self.usual = self.usual_size();
                }
                Change::JoinToken(edit) => self.join_tokens.apply(edit),
                Change::RevokedKey(edit) => self.revoked_keys.apply(edit),
                Change::Project(edit) => {
                    if let Edit::Remove { last, .. } = edit {
                        self.gone_projects.insert(last.name.clone());
                        self.remembered.leave(&last.name);
                    }
                    self.projects.apply(edit);
                }
                Change::Token(edit) => self.tokens.apply(edit),
                Change::Image(edit) => self.images.apply(edit),
                Change::Request(done) => {
                    self.remembered.count(&done.party);
                    self.done.insert(done.key.id, done.clone());
                }
                Change::Audit(record) => self.count_audit(record),
                Change::Event(_) | Change::Sweep(_) => {}
            }
        }
    }

    /// Notes what a decision that was taken over has found out: how many of the VMs that wait could
    /// not have a host now.
    pub fn note_outcome(&mut self, outcome: &Outcome) {
        if let Outcome::Placed { rest_after, .. } = outcome {
            self.search.note_looked(*rest_after);
        }
    }

    /// Tells the ledger of ids found used up in the database, for the creates of the next group.
    pub fn note_used_up(&mut self, ids: impl IntoIterator<Item = VmId>) {
        self.used_up.extend(ids);
    }

    /// Forgets what was noted of the past, once the group that needed it is stored.
    pub fn clear_noted(&mut self) {
        self.used_up.clear();
        self.done.clear();
    }

    /// Tells what a host has and whether its agent is there. Not stored, and no decision of its
    /// own: it is what placement goes by from now on. An unknown host is ignored.
    pub fn set_capacity(&mut self, host: HostId, capacity: Option<Resources>, available: bool) {
        if let Some(entry) = self.hosts.get_mut(&host) {
            // What its session had in hand says nothing any more.
            let available = available && entry.record.revoked.is_none();
            let before = (entry.counted(), entry.available);
            (entry.capacity, entry.available) = (capacity, available);
            entry.note_first(capacity);
            // What does not count brings no room.
            let changed = before != (entry.counted(), available);
            self.search.note_room(changed);
            if changed {
                self.usual = self.usual_size();
            }
        }
    }

    /// Tells which files a host has in its image directory. As with [`Self::set_capacity`]. A host
    /// that tells as many as any host does may have more, and so counts as one that has not told.
    pub fn set_image_files(&mut self, host: HostId, files: Arc<BTreeSet<String>>) {
        if let Some(entry) = self.hosts.get_mut(&host) {
            let files = Some(files).filter(|files| files.len() < MAX_HOST_IMAGES);
            self.search.note_room(entry.image_files != files);
            entry.image_files = files;
        }
    }

    /// Tells which addresses the VMs have that a host holds. Those of VMs that nobody has claimed
    /// are given to no other. As with [`Self::set_capacity`].
    pub fn set_addresses(&mut self, host: HostId, addresses: &BTreeMap<VmId, Ipv4Addr>) {
        if let Some(entry) = self.hosts.get_mut(&host) {
            let mut slots = entry.slots_of(addresses);
            slots.retain(|vm, _| !self.vms.contains_key(vm));
            self.search.note_room(*entry.unclaimed() != slots);
            entry.set_unclaimed(slots);
        }
    }

    /// Takes over from `old` what no database holds: capacity, availability, image files and
    /// unclaimed VMs of hosts.
    pub fn keep_capacities_of(&mut self, old: &Self) {
        for (id, entry) in &old.hosts {
            if let Some(new) = self.hosts.get_mut(id) {
                new.first = entry.first;
            }
            self.set_capacity(*id, entry.capacity, entry.available);
            if let Some(files) = &entry.image_files {
                self.set_image_files(*id, Arc::clone(files));
            }
            if let Some(new) = self.hosts.get_mut(id) {
                new.set_unclaimed(entry.unclaimed().clone());
            }
        }
    }

    /// A VM by id or by the name of a living one.
    pub fn vm(&self, vm: &VmRef) -> Option<&Arc<VmIntent>> {
        match vm {
            VmRef::Id(id) => self.vms.get(id),
            VmRef::Name(name) => self.names.get(name).and_then(|id| self.vms.get(id)),
        }
    }

    /// The same, if it is there for this caller: what they ask for goes by this.
    pub(super) fn vm_seen(&self, vm: &VmRef, caller: &Caller) -> Option<&Arc<VmIntent>> {
        self.vm(vm).filter(|intent| caller.sees(&intent.project))
    }

    /// A host by id or name.
    pub fn host(&self, host: &HostRef) -> Option<&Arc<HostRecord>> {
        self.host_entry(host).map(|entry| &entry.record)
    }

    /// What the VMs on a host may use, and how many they are.
    pub fn host_use(&self, host: HostId) -> HostUse {
        self.hosts.get(&host).map(HostBookings::used).unwrap_or_default()
    }

    /// Every VM, in no order.
    pub fn vms(&self) -> impl Iterator<Item = &Arc<VmIntent>> {
        self.vms.values()
    }

    /// Every host, in the order they joined.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<HostRecord>> {
        self.hosts.values().map(|entry| &entry.record)
    }

    /// How many VMs have no host.
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    fn host_entry(&self, host: &HostRef) -> Option<&HostBookings> {
        match host {
            HostRef::Id(id) => self.hosts.get(id),
            HostRef::Name(name) => self.host_names.get(name).and_then(|id| self.hosts.get(id)),
        }
    }

    fn put_vm(&mut self, intent: &Arc<VmIntent>) {
        let old = self.vms.get(&intent.id);
        let given = old.is_none_or(|old| (old.host, old.net) != (intent.host, intent.net));
        // It may be smaller than before, or what it was like may have kept others away.
        self.search.note_room(old.is_some_and(|old| old.spec != intent.spec));
        self.remove_vm(intent.id);
        self.names.insert(intent.named(), intent.id);
        if let Some(request) = intent.request_id {
            self.requests.insert(request, intent.id);
        }
        match intent.host.and_then(|host| self.hosts.get_mut(&host)) {
            Some(entry) => {
                entry.book(intent);
                if given {
                    entry.note_given(intent);
                }
            }
            // It is to be forgotten, not placed.
            None if intent.desired == Desired::Absent => {}
            None => {
                self.pending.insert(turn(intent));
            }
        }
        let used = self.usage.entry(intent.project.clone()).or_default();
        *used = used.plus(intent.counted());
        self.images.book(intent);
        self.peer_index.add(intent);
        self.vms.insert(intent.id, Arc::clone(intent));
    }

    fn remove_vm(&mut self, id: VmId) {
        let Some(old) = self.vms.remove(&id) else { return };
        self.images.release(&old);
        self.peer_index.remove(&old);
        if let Some(used) = self.usage.get_mut(&old.project) {
            *used = used.minus(old.counted());
            if used.guests == 0 {
                self.usage.remove(&old.project);
            }
        }
        self.names.remove(&old.named());
        if let Some(request) = old.request_id {
            self.requests.remove(&request);
        }
        self.pending.remove(&turn(&old));
        if let Some(entry) = old.host.and_then(|host| self.hosts.get_mut(&host)) {
            entry.release(&old);
        }
    }

    fn put_host(&mut self, record: &Arc<HostRecord>) {
        self.search.note_room(true);
        if let Some(entry) = self.hosts.get_mut(&record.id) {
            self.host_names.remove(&entry.record.name);
            entry.record = Arc::clone(record);
            entry.available &= record.revoked.is_none();
        } else {
            self.hosts.insert(record.id, HostBookings::new(Arc::clone(record)));
        }
        self.host_names.insert(record.name.clone(), record.id);
        self.usual = self.usual_size();
    }
}

/// A line of history for a request.
fn event(
    intent: &VmIntent,
    kind: EventKind,
    reason: &str,
    message: String,
    caller: &Caller,
) -> Change {
    Change::Event(HistoryEvent {
        vm: intent.id,
        generation: intent.generation,
        kind,
        reason: reason.to_owned(),
        message,
        actor: caller.actor.to_string(),
        at: caller.at,
    })
}

#[cfg(test)]
mod tests;
