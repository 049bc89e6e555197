//! What the consumer of a watch has been told, and what to tell it next. Pure.
//!
//! ```text
//!             begin() = None                 initial_state_complete
//!   Listing{unseen} ◀──────────── Listing ─────────────────────────▶ Following(revision)
//!         ▲                                                               │
//!         └───────────────── forget_revision() ◀──────── too old ─────────┘
//! ```
//!
//! While listing, VMs that were told before and have not come again yet are `unseen`; those still
//! unseen when the state is complete went away while nobody was looking.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use banger_proto::v1::{Vm, VmEvent, VmEventType, WatchVmsResponse};

use super::{Change, ChangeKind, Update};
use crate::vms::VmList;

#[derive(Debug)]
enum Phase {
    /// The state is being read.
    Listing { unseen: HashSet<String> },
    /// Everything up to this revision has been told.
    Following { revision: u64 },
}

/// What the consumer has been told.
#[derive(Debug)]
pub(super) struct Told {
    vms: HashMap<String, Arc<Vm>>,
    phase: Phase,
}

impl Default for Told {
    fn default() -> Self {
        Self { vms: HashMap::new(), phase: Phase::Listing { unseen: HashSet::new() } }
    }
}

impl Told {
    /// The consumer has a list already.
    pub(super) fn from_list(list: VmList) -> Self {
        let by_id = |vm: Vm| (vm.id.clone(), Arc::new(vm));
        Self {
            vms: list.vms.into_iter().map(by_id).collect(),
            phase: Phase::Following { revision: list.revision },
        }
    }

    /// A new stream is about to be opened: after which revision, or from the state now.
    pub(super) fn begin(&mut self) -> Option<u64> {
        match &mut self.phase {
            Phase::Following { revision } => Some(*revision),
            Phase::Listing { unseen } => {
                // A list that broke off half way begins anew.
                *unseen = self.vms.keys().cloned().collect();
                None
            }
        }
    }

    /// The server no longer knows the revision. False when none had been named.
    pub(super) fn forget_revision(&mut self) -> bool {
        match self.phase {
            Phase::Following { .. } => {
                self.phase = Phase::Listing { unseen: HashSet::new() };
                true
            }
            Phase::Listing { .. } => false,
        }
    }

    /// The server said something: what to tell the consumer.
    pub(super) fn take(&mut self, response: WatchVmsResponse) -> Vec<Update> {
        let mut updates = Vec::with_capacity(response.events.len() + 1);
        let quiet = response.events.is_empty();
        for event in response.events {
            updates.extend(self.event(event).map(Update::Change));
        }
        let revision = response.revision;
        match &mut self.phase {
            Phase::Listing { unseen } if response.initial_state_complete => {
                let gone = std::mem::take(unseen);
                self.phase = Phase::Following { revision };
                let mut gone: Vec<_> = gone.iter().filter_map(|id| self.vms.remove(id)).collect();
                gone.sort_by(|a, b| a.id.cmp(&b.id));
                updates.extend(gone.into_iter().map(|vm| {
                    Update::Change(Change { kind: ChangeKind::Removed, vm, revision: 0 })
                }));
                updates.push(Update::Current { revision });
            }
            // Before the state is complete a revision says nothing that can be resumed from.
            Phase::Listing { .. } => {}
            Phase::Following { revision: last } => {
                *last = revision.max(*last);
                if quiet {
                    updates.push(Update::Bookmark { revision: *last });
                }
            }
        }
        updates
    }

    fn event(&mut self, event: VmEvent) -> Option<Change> {
        let kind = event.r#type();
        let vm = Arc::new(event.vm?);
        let revision = event.revision.max(vm.revision);
        if let Phase::Listing { unseen } = &mut self.phase {
            unseen.remove(&vm.id);
        }
        let before = self.vms.get(&vm.id);
        // A resumed stream may repeat what was told; a revision is never told twice.
        if before.is_some_and(|before| before.revision >= revision && revision > 0) {
            return None;
        }
        // A server that was restarted counts anew; a VM that is as it was has not changed.
        let listing = matches!(self.phase, Phase::Listing { .. });
        if listing && before.is_some_and(|before| same_but_for_revision(before, &vm)) {
            self.vms.insert(vm.id.clone(), vm);
            return None;
        }
        let kind = match kind {
            VmEventType::Removed => {
                self.vms.remove(&vm.id)?;
                ChangeKind::Removed
            }
            // Which of the two it is depends on what this consumer knows, not on what the server
            // thinks it knows.
            VmEventType::Added | VmEventType::Modified | VmEventType::Unspecified => {
                let known = before.is_some();
                self.vms.insert(vm.id.clone(), Arc::clone(&vm));
                if known { ChangeKind::Modified } else { ChangeKind::Added }
            }
        };
        Some(Change { kind, vm, revision })
    }
}

fn same_but_for_revision(a: &Vm, b: &Vm) -> bool {
    Vm { revision: b.revision, ..a.clone() } == *b
}
