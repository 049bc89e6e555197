//! What is taken of one host: resources and address slots.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use banger_proto::ids::VmId;

use crate::model::capacity::AcceptedCapacity;
use crate::model::host::{HostRecord, Resources};
use crate::model::intent::{NetAllocation, VmIntent};
use crate::model::placement::{Candidate, Overcommit};
use crate::model::subnet::FIRST_SLOT;

/// What the VMs on one host may use, and how many they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostUse {
    /// What they may use together.
    pub booked: Resources,
    /// How many they are, those being deleted included.
    pub vms: usize,
}

/// One host with all that is taken of it. A VM counts until it is forgotten, whatever its state.
#[derive(Debug, Clone)]
pub(super) struct HostBookings {
    pub(super) record: Arc<HostRecord>,
    /// As its agent says: what counts of it is [`Self::counted`].
    pub(super) capacity: Option<Resources>,
    /// What its agent said first in this life of the server.
    pub(super) first: AcceptedCapacity,
    pub(super) available: bool,
    /// Names of the files in its image directory; `None` while it has not been heard.
    pub(super) image_files: Option<Arc<BTreeSet<String>>>,
    /// Slots of VMs that it holds and nobody has claimed: after a restore these are guests that
    /// live.
    unclaimed: BTreeMap<VmId, u32>,
    used: HostUse,
    /// Slots of VMs.
    slots: AddressSlots,
    /// These and the unclaimed ones: what is given to nobody.
    closed: AddressSlots,
}

impl HostBookings {
    pub(super) fn new(record: Arc<HostRecord>) -> Self {
        let slots = AddressSlots::up_to(record.subnet.last_slot());
        let used = HostUse::default();
        Self {
            record,
            capacity: None,
            first: AcceptedCapacity::default(),
            available: false,
            image_files: None,
            unclaimed: BTreeMap::new(),
            used,
            closed: slots.clone(),
            slots,
        }
    }

    pub(super) fn used(&self) -> HostUse {
        self.used
    }

    /// What may be booked here in all, where all hosts are booked like this.
    pub(super) fn allocatable(&self, all: Overcommit) -> Option<Resources> {
        Some(all.over(self.record.overcommit).limit(self.counted()?))
    }

    pub(super) fn candidate(&self, all: Overcommit) -> Candidate<'_> {
        Candidate {
            host: &self.record,
            allocatable: self.allocatable(all),
            available: self.available,
            booked: self.used.booked,
            has_free_slot: self.closed.next_free().is_some(),
            image_files: self.image_files.as_deref(),
        }
    }

    /// What this VM gets here; `None` when every slot is taken. One that the host holds unclaimed
    /// keeps the address that its guest has.
    pub(super) fn allocation_of(&self, vm: VmId) -> Option<NetAllocation> {
        let held = self.unclaimed.get(&vm).copied().filter(|slot| self.slots.is_free(*slot));
        NetAllocation::of(self.record.subnet, held.or_else(|| self.closed.next_free())?)
    }

    pub(super) fn unclaimed(&self) -> &BTreeMap<VmId, u32> {
        &self.unclaimed
    }

    pub(super) fn set_unclaimed(&mut self, slots: BTreeMap<VmId, u32>) {
        self.unclaimed = slots;
        let next = self.closed.next;
        self.closed = AddressSlots { next, ..self.slots.clone() };
        for slot in self.unclaimed.values() {
            self.closed.set(*slot, true);
        }
    }

    /// A slot may have become free: it is open unless a VM has it or an unclaimed one.
    fn reopen(&mut self, slot: u32) {
        let held = self.unclaimed.values().any(|held| *held == slot);
        self.closed.set(slot, held || !self.slots.is_free(slot));
    }

    /// The slots of addresses that VMs of the host are said to have.
    pub(super) fn slots_of(&self, addresses: &BTreeMap<VmId, Ipv4Addr>) -> BTreeMap<VmId, u32> {
        let slot = |address: &Ipv4Addr| self.record.subnet.slot(*address);
        addresses.iter().filter_map(|(vm, address)| Some((*vm, slot(address)?))).collect()
    }

    pub(super) fn book(&mut self, intent: &VmIntent) {
        let claimed = self.unclaimed.remove(&intent.id);
        self.used.booked = self.used.booked.plus(intent.spec.resources());
        self.used.vms += 1;
        if let Some(net) = intent.net {
            self.slots.set(net.slot, true);
            self.closed.set(net.slot, true);
        }
        if let Some(slot) = claimed {
            self.reopen(slot);
        }
    }

    /// Notes that a VM has got its slot now, not earlier: the next one comes after it, so that a
    /// slot that was freed rests for as long as there are others. What peers of the VM that had it
    /// still send then meets nobody.
    pub(super) fn note_given(&mut self, intent: &VmIntent) {
        if let Some(net) = intent.net {
            self.closed.next = net.slot.saturating_add(1);
        }
    }

    pub(super) fn release(&mut self, intent: &VmIntent) {
        self.used.booked = self.used.booked.minus(intent.spec.resources());
        self.used.vms = self.used.vms.saturating_sub(1);
        if let Some(net) = intent.net {
            self.slots.set(net.slot, false);
            self.reopen(net.slot);
        }
    }
}

/// One bit a slot, set while it is taken. Where the search for the next begins is in memory only: a
/// server that starts begins after the newest VM of the host.
#[derive(Debug, Clone)]
pub(super) struct AddressSlots {
    words: Vec<u64>,
    last: u32,
    /// No word before this one has a free bit: filling a host does not look at it from the start.
    first_open: usize,
    /// After the slot that was given last.
    next: u32,
}

impl AddressSlots {
    pub(super) fn up_to(last: u32) -> Self {
        let words = usize::try_from(last / 64 + 1).unwrap_or(usize::MAX);
        let mut slots = Self { words: vec![0; words], last, first_open: 0, next: FIRST_SLOT };
        for reserved in 0..FIRST_SLOT {
            slots.set(reserved, true);
        }
        slots
    }

    /// The first free slot after the one that was given last, or else from the beginning.
    pub(super) fn next_free(&self) -> Option<u32> {
        let from_next = (self.next <= self.last).then(|| self.free_from(self.next)).flatten();
        from_next.or_else(|| self.free_from(0))
    }

    fn is_free(&self, slot: u32) -> bool {
        let word = usize::try_from(slot / 64).ok().and_then(|index| self.words.get(index));
        slot <= self.last && word.is_some_and(|word| word & (1_u64 << (slot % 64)) == 0)
    }

    fn free_from(&self, first: u32) -> Option<u32> {
        let begin = usize::try_from(first / 64).unwrap_or(usize::MAX);
        let before_first = (1_u64 << (first % 64)) - 1;
        let words = self.words.iter().enumerate().skip(begin.max(self.first_open));
        let mut masked = words.map(|(index, word)| match index == begin {
            true => (index, word | before_first),
            false => (index, *word),
        });
        let (index, word) = masked.find(|(_, word)| *word != u64::MAX)?;
        let slot = u32::try_from(index).ok()? * 64 + word.trailing_ones();
        (slot <= self.last).then_some(slot)
    }

    fn set(&mut self, slot: u32, taken: bool) {
        let index = usize::try_from(slot / 64).unwrap_or(usize::MAX);
        let Some(word) = self.words.get_mut(index) else { return };
        let bit = 1_u64 << (slot % 64);
        if taken {
            *word |= bit;
            while self.words.get(self.first_open) == Some(&u64::MAX) {
                self.first_open += 1;
            }
        } else {
            *word &= !bit;
            self.first_open = self.first_open.min(index);
        }
    }
}
