//! Which of the hosts that can take a VM takes it: the one with the highest score.
//!
//! Scores are whole numbers of parts per million, so that the same fleet gives the same answer on
//! any machine, and so that they can be told to people.

use crate::model::host::Resources;
use crate::model::strategy::Strategy;

/// The whole: what one part of a score comes to at most.
pub const WHOLE: i64 = 1_000_000;

/// How well a host suits a VM that it can take; the highest takes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Score {
    /// For how full the host would be, 0 to [`WHOLE`], by the [`Strategy`].
    pub room: i64,
    /// What the soft rules of the VM come to.
    pub affinity: i64,
    /// VMs that are on it now, which decides between equals.
    pub guests: u32,
}

impl Score {
    /// What is compared.
    pub const fn total(self) -> i64 {
        self.room + self.affinity
    }

    /// Of a host that holds `booked` of `limit` and would take `asked`.
    pub(super) fn of(
        strategy: Strategy,
        asked: Resources,
        booked: Resources,
        limit: Resources,
    ) -> Self {
        let used = fullest(booked.plus(asked), limit);
        let room = match strategy {
            Strategy::Spread => WHOLE - used,
            Strategy::Pack => used,
        };
        Self { room, affinity: 0, guests: booked.guests }
    }

    /// Whether this host is the better one. Between equals neither is: the earlier stays.
    pub(super) fn beats(self, other: Self, strategy: Strategy) -> bool {
        let by_guests = match strategy {
            Strategy::Spread => self.guests < other.guests,
            Strategy::Pack => self.guests > other.guests,
        };
        self.total() > other.total() || (self.total() == other.total() && by_guests)
    }
}

/// How much is used of the resource that is used most, in parts per million: a host is as full as
/// the first thing that it runs out of. What has no limit is never full.
fn fullest(used: Resources, limit: Resources) -> i64 {
    let guests = if limit.guests == u32::MAX { 0 } else { limit.guests };
    let parts = [
        (u64::from(used.vcpus), u64::from(limit.vcpus)),
        (used.memory_mib, limit.memory_mib),
        (used.disk_mib, limit.disk_mib),
        (u64::from(used.guests), u64::from(guests)),
    ];
    let whole = WHOLE.unsigned_abs();
    let of = |(used, limit): (u64, u64)| match limit {
        0 => 0,
        limit => (u128::from(used) * u128::from(whole) / u128::from(limit)).min(u128::from(whole)),
    };
    let most = parts.into_iter().map(of).max().unwrap_or(0);
    i64::try_from(most).unwrap_or(WHOLE)
}
