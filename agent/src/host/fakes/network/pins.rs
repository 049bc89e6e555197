//! The pins of the fake machine: the seam of `host/pins.rs`.
//!
//! Like the real one it remembers what this life of the agent asked for, answers looks from its
//! memory, and puts everything back at the next change after somebody flushed the rules. What can
//! go wrong: another guest has the address, and what is staged.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::host::fakes::kernel::gate::{Repeat, Seam};
use crate::host::fakes::kernel::state::{PinMemory, State};
use crate::host::{Change, GuestKey, HostResult, Pin, Pins, RefusedFor};

impl State {
    /// Before a change: what is wanted is known, and is in the kernel.
    fn pins_in_place(&mut self) {
        let Self { pin_memory, pins, flushes, .. } = self;
        let wanted = pin_memory.wanted.get_or_insert_with(|| pins.clone());
        if pin_memory.flushes != *flushes {
            *pins = wanted.clone();
            pin_memory.seen = Some(wanted.clone());
        }
        if pin_memory.seen.is_none() {
            pin_memory.seen = Some(wanted.clone());
        }
        pin_memory.flushes = *flushes;
    }

    fn set_pin(&mut self, pin: &Pin) -> HostResult<Change> {
        let was = self.pins.get(&pin.key) == Some(pin);
        self.pins_in_place();
        let alive = |rival: &&Pin| self.links.contains_key(rival.tap.as_str());
        let rival = self.pins.values().find(|other| other.rivals(pin) && alive(other));
        if let Some(rival) = rival.filter(|_| !was) {
            return Err(pin.taken_by(&rival.key));
        }
        let PinMemory { wanted, seen, .. } = &mut self.pin_memory;
        for known in [wanted.as_mut(), seen.as_mut(), Some(&mut self.pins)].into_iter().flatten() {
            known.insert(pin.key.clone(), pin.clone());
        }
        Ok(Change::from_bool(!was))
    }

    fn unset_pin(&mut self, key: &GuestKey) -> Change {
        self.pins_in_place();
        let PinMemory { wanted, seen, .. } = &mut self.pin_memory;
        let mut had = self.pins.remove(key).is_some();
        for known in [wanted.as_mut(), seen.as_mut()].into_iter().flatten() {
            had |= known.remove(key).is_some();
        }
        Change::from_bool(had)
    }
}

#[async_trait]
impl Pins for Seam {
    async fn list(&self) -> HostResult<BTreeMap<GuestKey, Option<Pin>>> {
        self.read("pins.list", |state| {
            state.pin_memory.seen = Some(state.pins.clone());
            Ok(state.pins.iter().map(|(key, pin)| (key.clone(), Some(pin.clone()))).collect())
        })
        .await
    }

    async fn observe(&self, key: &GuestKey) -> HostResult<Option<Pin>> {
        self.read("pins.observe", |state| {
            let State { pin_memory, pins, .. } = state;
            Ok(pin_memory.seen.get_or_insert_with(|| pins.clone()).get(key).cloned())
        })
        .await
    }

    async fn ensure(&self, pin: &Pin) -> HostResult<Change> {
        self.effect("pins.ensure", pin.key.to_string(), Repeat::MustBeSo, |state| {
            state.set_pin(pin)
        })
        .await
    }

    /// The fake machine looks for no neighbours.
    async fn ensure_gateways(&self) -> HostResult<Change> {
        Ok(Change::AlreadySo)
    }

    async fn refused(&self) -> HostResult<BTreeMap<RefusedFor, u64>> {
        // Nobody sends anything.
        self.read("pins.refused", |_| Ok(BTreeMap::new())).await
    }

    async fn refused_of_guests(&self) -> HostResult<BTreeMap<GuestKey, u64>> {
        self.read("pins.refused_of_guests", |state| {
            Ok(state.pins.keys().map(|key| (key.clone(), 0)).collect())
        })
        .await
    }

    async fn remove(&self, key: &GuestKey) -> HostResult<Change> {
        self.effect("pins.remove", key.to_string(), Repeat::MustBeSo, |state| {
            Ok(state.unset_pin(key))
        })
        .await
    }
}
