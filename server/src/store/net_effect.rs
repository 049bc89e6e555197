//! What a group of changes comes to.
//!
//! Within one group a VM may be created, changed and forgotten, and its name taken by another. Only
//! the last state of each thing is written, and what goes is removed before anything is put, so
//! that the constraints of the database hold after every statement.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use banger_proto::ids::{HostId, VmId};
use jiff::Timestamp;
use uuid::Uuid;

use crate::model::history::HistoryEvent;
use crate::model::host::HostRecord;
use crate::model::image::ImageRecord;
use crate::model::intent::VmIntent;
use crate::model::inventory::SweepRecord;
use crate::model::ledger::{Change, JoinToken};

/// The last state of everything a group touches.
#[derive(Debug, Default)]
pub(super) struct NetEffect {
    pub(super) put_vms: Vec<Arc<VmIntent>>,
    pub(super) removed_vms: Vec<(Arc<VmIntent>, Timestamp)>,
    pub(super) put_hosts: Vec<Arc<HostRecord>>,
    pub(super) removed_hosts: Vec<HostId>,
    pub(super) put_tokens: Vec<JoinToken>,
    pub(super) removed_tokens: Vec<String>,
    pub(super) put_sweeps: Vec<SweepRecord>,
    pub(super) put_images: Vec<Arc<ImageRecord>>,
    pub(super) removed_images: Vec<String>,
    pub(super) events: Vec<HistoryEvent>,
}

/// Last values by key, in the order in which the keys were first seen.
struct Latest<K, V> {
    places: HashMap<K, usize>,
    values: Vec<V>,
}

impl<K: Eq + Hash, V> Latest<K, V> {
    fn new() -> Self {
        Self { places: HashMap::new(), values: Vec::new() }
    }

    fn set(&mut self, key: K, value: V) {
        let place = *self.places.entry(key).or_insert(self.values.len());
        match self.values.get_mut(place) {
            Some(old) => *old = value,
            None => self.values.push(value),
        }
    }
}

enum Vm {
    Put(Arc<VmIntent>),
    Removed(Arc<VmIntent>, Timestamp),
}

enum Host {
    Put(Arc<HostRecord>),
    Removed(HostId),
}

enum Token {
    Put(JoinToken),
    Removed(String),
}

enum Image {
    Put(Arc<ImageRecord>),
    Removed(String),
}

impl NetEffect {
    /// Of changes in order.
    pub(super) fn of<'a>(changes: impl IntoIterator<Item = &'a Change>) -> Self {
        let mut vms: Latest<VmId, Vm> = Latest::new();
        let mut hosts: Latest<HostId, Host> = Latest::new();
        let mut tokens: Latest<String, Token> = Latest::new();
        let mut sweeps: Latest<Uuid, SweepRecord> = Latest::new();
        let mut images: Latest<String, Image> = Latest::new();
        let mut effect = Self::default();
        for change in changes {
            match change {
                Change::PutVm(intent) => vms.set(intent.id, Vm::Put(Arc::clone(intent))),
                Change::RemoveVm { last, at } => {
                    vms.set(last.id, Vm::Removed(Arc::clone(last), *at));
                }
                Change::PutHost(host) => hosts.set(host.id, Host::Put(Arc::clone(host))),
                Change::RemoveHost(host) => hosts.set(host.id, Host::Removed(host.id)),
                Change::PutToken(token) => tokens.set(token.id.clone(), Token::Put(token.clone())),
                Change::RemoveToken(id) => tokens.set(id.clone(), Token::Removed(id.clone())),
                Change::PutImage(image) => {
                    images.set(image.name.clone(), Image::Put(Arc::clone(image)));
                }
                Change::RemoveImage(name) => images.set(name.clone(), Image::Removed(name.clone())),
                Change::Event(event) => effect.events.push(event.clone()),
                Change::PutSweep(sweep) => sweeps.set(sweep.id, sweep.clone()),
            }
        }
        for vm in vms.values {
            match vm {
                Vm::Put(intent) => effect.put_vms.push(intent),
                Vm::Removed(last, at) => effect.removed_vms.push((last, at)),
            }
        }
        for host in hosts.values {
            match host {
                Host::Put(record) => effect.put_hosts.push(record),
                Host::Removed(id) => effect.removed_hosts.push(id),
            }
        }
        effect.put_sweeps = sweeps.values;
        for token in tokens.values {
            match token {
                Token::Put(token) => effect.put_tokens.push(token),
                Token::Removed(id) => effect.removed_tokens.push(id),
            }
        }
        for image in images.values {
            match image {
                Image::Put(image) => effect.put_images.push(image),
                Image::Removed(name) => effect.removed_images.push(name),
            }
        }
        effect
    }

    /// How many rows are written or removed.
    pub(super) fn rows(&self) -> usize {
        self.put_vms.len()
            + self.removed_vms.len()
            + self.put_hosts.len()
            + self.removed_hosts.len()
            + self.put_tokens.len()
            + self.removed_tokens.len()
            + self.put_sweeps.len()
            + self.put_images.len()
            + self.removed_images.len()
            + self.events.len()
    }
}
