//! What is taken of one host: resources and address slots.

use std::sync::Arc;

use crate::model::host::{HostRecord, Resources};
use crate::model::intent::{NetAllocation, VmIntent};
use crate::model::placement::Candidate;
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
pub(super) struct HostEntry {
    pub(super) record: Arc<HostRecord>,
    pub(super) capacity: Option<Resources>,
    pub(super) available: bool,
    used: HostUse,
    slots: Slots,
}

impl HostEntry {
    pub(super) fn new(record: Arc<HostRecord>) -> Self {
        let slots = Slots::up_to(record.subnet.last_slot());
        Self { record, capacity: None, available: false, used: HostUse::default(), slots }
    }

    pub(super) fn used(&self) -> HostUse {
        self.used
    }

    pub(super) fn candidate(&self) -> Candidate<'_> {
        Candidate {
            host: &self.record,
            capacity: self.capacity,
            available: self.available,
            booked: self.used.booked,
            has_free_slot: self.slots.lowest_free().is_some(),
        }
    }

    /// What the next VM here gets; `None` when every slot is taken.
    pub(super) fn next_allocation(&self) -> Option<NetAllocation> {
        NetAllocation::of(self.record.subnet, self.slots.lowest_free()?)
    }

    pub(super) fn book(&mut self, intent: &VmIntent) {
        self.used.booked = self.used.booked.plus(intent.spec.resources());
        self.used.vms += 1;
        if let Some(net) = intent.net {
            self.slots.set(net.slot, true);
        }
    }

    pub(super) fn release(&mut self, intent: &VmIntent) {
        self.used.booked = self.used.booked.minus(intent.spec.resources());
        self.used.vms = self.used.vms.saturating_sub(1);
        if let Some(net) = intent.net {
            self.slots.set(net.slot, false);
        }
    }
}

/// One bit a slot, set while it is taken.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    words: Vec<u64>,
    last: u32,
    /// No word before this one has a free bit: filling a host does not look at it from the start.
    first_open: usize,
}

impl Slots {
    pub(super) fn up_to(last: u32) -> Self {
        let words = usize::try_from(last / 64 + 1).unwrap_or(usize::MAX);
        let mut slots = Self { words: vec![0; words], last, first_open: 0 };
        for reserved in 0..FIRST_SLOT {
            slots.set(reserved, true);
        }
        slots
    }

    pub(super) fn lowest_free(&self) -> Option<u32> {
        let (index, word) = self
            .words
            .iter()
            .enumerate()
            .skip(self.first_open)
            .find(|(_, word)| **word != u64::MAX)?;
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
