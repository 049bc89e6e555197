//! How large hosts count: at most as an operator has accepted, or else as they said first.
//!
//! What a host said first is noted at once, when the ledger is told of it, and stored by a mutation
//! that the server makes by itself: between the two, what it says counts for no more either.

use std::sync::Arc;

use super::bookings::HostBookings;
use super::{Change, Decided, Ledger, Outcome};
use crate::model::capacity::AcceptedCapacity;
use crate::model::host::{HostRecord, Resources};

impl HostBookings {
    /// Notes what the host says, where it is the first that it says of that.
    pub(super) fn note_first(&mut self, said: Option<Resources>) {
        self.first = self.first.or(said.map(AcceptedCapacity::of).unwrap_or_default());
    }

    /// What counts of what the host says that it has.
    pub(super) fn counted(&self) -> Option<Resources> {
        let said = self.capacity?;
        Some(self.record.ceiling().or(self.first).counted(said))
    }

    /// The record with what the host said first, where that is not stored yet.
    fn with_first(&self) -> Option<HostRecord> {
        let first = self.record.first_capacity.or(self.first);
        (first != self.record.first_capacity)
            .then(|| HostRecord { first_capacity: first, ..HostRecord::clone(&self.record) })
    }
}

impl Ledger {
    /// Whether hosts have said something for the first time that is not stored.
    pub fn has_first_capacities(&self) -> bool {
        self.hosts.values().any(|entry| entry.with_first().is_some())
    }

    /// That is no change by anybody: generation and etag stay.
    pub(super) fn keep_first_capacities(&self) -> Decided {
        let changed = self.hosts.values().filter_map(HostBookings::with_first);
        let changes = changed.map(|record| Change::put(Arc::new(record))).collect();
        Decided { changes, outcome: Outcome::Recorded }
    }

    /// What is usual among the hosts of which it is known: in each thing the lower of the middle
    /// ones, so that half of them would have to lie together to move it.
    pub(super) fn usual_size(&self) -> Option<Resources> {
        let limits =
            self.hosts.values().filter_map(|host| host.allocatable(self.config.overcommit));
        let limits: Vec<Resources> = limits.collect();
        (!limits.is_empty()).then(|| Resources {
            vcpus: middle(&limits, |limit| limit.vcpus),
            memory_mib: middle(&limits, |limit| limit.memory_mib),
            disk_mib: middle(&limits, |limit| limit.disk_mib),
            guests: middle(&limits, |limit| limit.guests),
        })
    }
}

/// `limits` must not be empty.
fn middle<T: Ord + Copy>(limits: &[Resources], what: impl Fn(&Resources) -> T) -> T {
    let mut all: Vec<T> = limits.iter().map(what).collect();
    let place = (all.len() - 1) / 2;
    *all.select_nth_unstable(place).1
}
