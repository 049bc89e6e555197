//! The one place that decides what a request changes.
//!
//! The ledger is every intent, host and join token in memory, with the indexes that decisions need:
//! names, request ids, bookings, address slots and users of images. [`Ledger::decide`] is pure: a mutation and the
//! present state in, changes or a refusal out. [`Ledger::apply`] makes no choice. The store's writer
//! is the only caller of both: it decides a group, applies each decision at once so that the next
//! one sees it, and writes the whole group in one transaction. When that fails the ledger is thrown
//! away and loaded from the database, so it can never be ahead of it for long.

mod bookings;
mod hosts;
mod images;
mod mutation;
mod power;
mod vms;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use banger_proto::ids::{HostId, VmId};
use jiff::Timestamp;

use self::bookings::HostEntry;
pub use self::bookings::HostUse;
use self::images::ImageTable;
pub use self::mutation::{
    CreateVm, HostRef, IfMatch, JoinHost, JoinToken, Mutation, Outcome, Power, Refusal, Submission,
    VmRef,
};
use super::history::{EventKind, HistoryEvent};
use super::host::{HostRecord, Resources};
use super::image::ImageRecord;
use super::intent::VmIntent;
use super::inventory::SweepRecord;
use super::placement::Overcommit;
use super::subnet::Subnet;

/// What the ledger decides by, from the server's configuration.
#[derive(Debug, Clone)]
pub struct LedgerConfig {
    /// How much more may be booked than the kernel has.
    pub overcommit: Overcommit,
    /// Where guest subnets come from.
    pub guest_pool: Subnet,
    /// Prefix length of one host's guest subnet.
    pub guest_prefix: u8,
    /// Most VMs in all.
    pub max_vms: usize,
    /// Most hosts.
    pub max_hosts: usize,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self {
            overcommit: Overcommit::default(),
            guest_pool: "10.64.0.0/10".parse().expect("a network"),
            guest_prefix: 20,
            max_vms: 1_000_000,
            max_hosts: 1024,
        }
    }
}

/// One change of what is stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A VM is new or different.
    PutVm(Arc<VmIntent>),
    /// A VM is forgotten; its id is kept as used up. With its last row.
    RemoveVm {
        /// The last row.
        last: Arc<VmIntent>,
        /// When.
        at: Timestamp,
    },
    /// A host is new or different.
    PutHost(Arc<HostRecord>),
    /// A host is forgotten. With its last row.
    RemoveHost(Arc<HostRecord>),
    /// A join token is new or used.
    PutToken(JoinToken),
    /// A join token is forgotten.
    RemoveToken(String),
    /// The name of an image is new or stands for other content.
    PutImage(Arc<ImageRecord>),
    /// The name of an image is forgotten.
    RemoveImage(String),
    /// A line of history is written.
    Event(HistoryEvent),
    /// A sweep was asked for, or has come to an end.
    PutSweep(SweepRecord),
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
    names: HashMap<String, VmId>,
    requests: HashMap<VmId, VmId>,
    /// VMs without a host, oldest first.
    pending: BTreeSet<(Timestamp, VmId)>,
    /// Ids known to be used up: those forgotten in the present group, and those the writer has
    /// looked up for it. Not all there ever were: they are in the database.
    used_up: HashSet<VmId>,
    hosts: BTreeMap<HostId, HostEntry>,
    host_names: HashMap<String, HostId>,
    tokens: BTreeMap<String, JoinToken>,
    images: ImageTable,
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
            used_up: HashSet::new(),
            hosts: BTreeMap::new(),
            host_names: HashMap::new(),
            tokens: BTreeMap::new(),
            images: ImageTable::default(),
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
    pub fn decide(&self, submission: &Submission) -> Result<Decided, Refusal> {
        match &submission.mutation {
            Mutation::CreateVm(create) => self.create_vm(create, submission),
            Mutation::UpdateVm { vm, etag, spec, allow_restart } => {
                self.update_vm(vm, etag.as_deref(), spec, *allow_restart, submission)
            }
            Mutation::SetPower { vm, etag, power } => {
                self.set_power(vm, etag.as_deref(), *power, submission)
            }
            Mutation::DeleteVm { vm, etag } => self.delete_vm(vm, etag.as_deref(), submission),
            Mutation::Forget { vm } => self.forget_vm(*vm, submission),
            Mutation::Place { vm } => self.place_vm(*vm, submission),
            Mutation::PlacePending => Ok(self.place_pending(submission)),
            Mutation::Record { events } => Ok(Decided {
                changes: events.iter().cloned().map(Change::Event).collect(),
                outcome: Outcome::Recorded,
            }),
            Mutation::RecordSweep(sweep) => Ok(Decided {
                changes: vec![Change::PutSweep(sweep.clone())],
                outcome: Outcome::Recorded,
            }),
            Mutation::CreateJoinToken(token) => self.create_join_token(token, submission),
            Mutation::JoinHost(join) => self.join_host(join, submission),
            Mutation::UpdateHost { host, etag, labels, agent_address } => {
                let address = agent_address.as_deref();
                self.update_host(host, etag.as_deref(), labels, address, submission)
            }
            Mutation::SetCordon { host, etag, cordoned } => {
                self.set_cordon(host, etag.as_deref(), *cordoned, submission)
            }
            Mutation::DeleteHost { host, etag } => self.delete_host(host, etag.as_deref()),
            Mutation::PutImage { image, replace } => self.put_image(image, *replace),
            Mutation::DeleteImage { name } => self.delete_image(name),
            Mutation::KeptContents => Ok(Decided {
                changes: Vec::new(),
                outcome: Outcome::KeptContents(self.kept_contents()),
            }),
        }
    }

    /// Takes changes over, in order.
    pub fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::PutVm(intent) => self.put_vm(intent),
                Change::RemoveVm { last, .. } => {
                    self.remove_vm(last.id);
                    self.used_up.insert(last.id);
                    self.used_up.extend(last.request_id);
                }
                Change::PutHost(record) => self.put_host(record),
                Change::RemoveHost(record) => {
                    self.hosts.remove(&record.id);
                    self.host_names.remove(&record.name);
                }
                Change::PutToken(token) => {
                    self.tokens.insert(token.id.clone(), token.clone());
                }
                Change::RemoveToken(id) => {
                    self.tokens.remove(id);
                }
                Change::PutImage(image) => self.images.put(image),
                Change::RemoveImage(name) => self.images.remove(name),
                Change::Event(_) | Change::PutSweep(_) => {}
            }
        }
    }

    /// Tells the ledger of ids found used up in the database, for the creates of the next group.
    pub fn note_used_up(&mut self, ids: impl IntoIterator<Item = VmId>) {
        self.used_up.extend(ids);
    }

    /// Forgets ids noted as used up, once the group that needed them is stored.
    pub fn clear_used_up(&mut self) {
        self.used_up.clear();
    }

    /// Tells what a host has and whether its agent is there. Not stored, and no decision of its
    /// own: it is what placement goes by from now on. An unknown host is ignored.
    pub fn set_capacity(&mut self, host: HostId, capacity: Option<Resources>, available: bool) {
        if let Some(entry) = self.hosts.get_mut(&host) {
            entry.capacity = capacity;
            entry.available = available;
        }
    }

    /// Takes over from `old` what no database holds: capacity and availability of hosts.
    pub fn keep_capacities_of(&mut self, old: &Self) {
        for (id, entry) in &old.hosts {
            self.set_capacity(*id, entry.capacity, entry.available);
        }
    }

    /// A VM by id or by the name of a living one.
    pub fn vm(&self, vm: &VmRef) -> Option<&Arc<VmIntent>> {
        match vm {
            VmRef::Id(id) => self.vms.get(id),
            VmRef::Name(name) => self.names.get(name).and_then(|id| self.vms.get(id)),
        }
    }

    /// A host by id or name.
    pub fn host(&self, host: &HostRef) -> Option<&Arc<HostRecord>> {
        self.host_entry(host).map(|entry| &entry.record)
    }

    /// What the VMs on a host may use, and how many they are.
    pub fn host_use(&self, host: HostId) -> HostUse {
        self.hosts.get(&host).map(HostEntry::used).unwrap_or_default()
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

    fn host_entry(&self, host: &HostRef) -> Option<&HostEntry> {
        match host {
            HostRef::Id(id) => self.hosts.get(id),
            HostRef::Name(name) => self.host_names.get(name).and_then(|id| self.hosts.get(id)),
        }
    }

    fn put_vm(&mut self, intent: &Arc<VmIntent>) {
        self.remove_vm(intent.id);
        self.names.insert(intent.name.clone(), intent.id);
        if let Some(request) = intent.request_id {
            self.requests.insert(request, intent.id);
        }
        match intent.host.and_then(|host| self.hosts.get_mut(&host)) {
            Some(entry) => entry.book(intent),
            None => {
                self.pending.insert((intent.created_at, intent.id));
            }
        }
        self.images.book(intent);
        self.vms.insert(intent.id, Arc::clone(intent));
    }

    fn remove_vm(&mut self, id: VmId) {
        let Some(old) = self.vms.remove(&id) else { return };
        self.images.release(&old);
        self.names.remove(&old.name);
        if let Some(request) = old.request_id {
            self.requests.remove(&request);
        }
        self.pending.remove(&(old.created_at, old.id));
        if let Some(entry) = old.host.and_then(|host| self.hosts.get_mut(&host)) {
            entry.release(&old);
        }
    }

    fn put_host(&mut self, record: &Arc<HostRecord>) {
        if let Some(entry) = self.hosts.get_mut(&record.id) {
            self.host_names.remove(&entry.record.name);
            entry.record = Arc::clone(record);
        } else {
            self.hosts.insert(record.id, HostEntry::new(Arc::clone(record)));
        }
        self.host_names.insert(record.name.clone(), record.id);
    }
}

/// A line of history for a request.
fn event(
    intent: &VmIntent,
    kind: EventKind,
    reason: &str,
    message: String,
    submission: &Submission,
) -> Change {
    Change::Event(HistoryEvent {
        vm: intent.id,
        generation: intent.generation,
        kind,
        reason: reason.to_owned(),
        message,
        actor: submission.actor.clone(),
        at: submission.at,
    })
}

#[cfg(test)]
mod tests;
