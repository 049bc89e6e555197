//! How large a host is, and what of that counts at most.
//!
//! A host says itself how large it is, and VMs, with their secrets, go where there is room: so what
//! it says can make it count for less at any time, and for more only by an operator's word. That
//! word comes with its join token or by `UpdateHost`; without one, what it said first stands.

/// Countable things of a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Resources {
    /// CPUs.
    pub vcpus: u32,
    pub memory_mib: u64,
    pub disk_mib: u64,
    /// Guests, whatever their size: each needs a port of its host's bridge.
    pub guests: u32,
}

impl Resources {
    /// The sum, saturating.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            vcpus: self.vcpus.saturating_add(other.vcpus),
            memory_mib: self.memory_mib.saturating_add(other.memory_mib),
            disk_mib: self.disk_mib.saturating_add(other.disk_mib),
            guests: self.guests.saturating_add(other.guests),
        }
    }

    /// The smaller of both, in each thing.
    #[must_use]
    pub fn at_most(self, other: Self) -> Self {
        Self {
            vcpus: self.vcpus.min(other.vcpus),
            memory_mib: self.memory_mib.min(other.memory_mib),
            disk_mib: self.disk_mib.min(other.disk_mib),
            guests: self.guests.min(other.guests),
        }
    }

    /// The difference, never below zero.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            vcpus: self.vcpus.saturating_sub(other.vcpus),
            memory_mib: self.memory_mib.saturating_sub(other.memory_mib),
            disk_mib: self.disk_mib.saturating_sub(other.disk_mib),
            guests: self.guests.saturating_sub(other.guests),
        }
    }
}

/// Of a host that says that it has more than counts.
pub const NOT_ACCEPTED: &str = "CAPACITY_NOT_ACCEPTED";

/// The most that counts of each thing that a host has; `None`: nobody has said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AcceptedCapacity {
    pub vcpus: Option<u32>,
    pub memory_mib: Option<u64>,
    pub disk_mib: Option<u64>,
    /// Guests, whatever their size.
    pub guests: Option<u32>,
}

impl AcceptedCapacity {
    /// All of what is said. Zero is no word: an agent that could not read a fact says so.
    pub fn of(said: Resources) -> Self {
        let Resources { vcpus, memory_mib, disk_mib, guests } = said;
        Self {
            vcpus: Some(vcpus).filter(|most| *most > 0),
            memory_mib: Some(memory_mib).filter(|most| *most > 0),
            disk_mib: Some(disk_mib).filter(|most| *most > 0),
            guests: Some(guests).filter(|most| *most > 0),
        }
    }

    /// This, and where it says nothing, the other.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            vcpus: self.vcpus.or(other.vcpus),
            memory_mib: self.memory_mib.or(other.memory_mib),
            disk_mib: self.disk_mib.or(other.disk_mib),
            guests: self.guests.or(other.guests),
        }
    }

    /// Whether it says something of everything.
    pub const fn is_whole(self) -> bool {
        self.vcpus.is_some()
            && self.memory_mib.is_some()
            && self.disk_mib.is_some()
            && self.guests.is_some()
    }

    /// What counts of what a host says. What nobody has said anything of counts as it is said.
    pub fn counted(self, said: Resources) -> Resources {
        Resources {
            vcpus: self.vcpus.map_or(said.vcpus, |most| most.min(said.vcpus)),
            memory_mib: self.memory_mib.map_or(said.memory_mib, |most| most.min(said.memory_mib)),
            disk_mib: self.disk_mib.map_or(said.disk_mib, |most| most.min(said.disk_mib)),
            guests: self.guests.map_or(said.guests, |most| most.min(said.guests)),
        }
    }

    /// Whether a host says that it has so much more that somebody has to decide. A machine with
    /// another kernel has some MiB more or less: that is not it.
    pub fn is_passed_by(self, said: Resources) -> bool {
        let passed = |most: Option<u64>, said: u64| {
            most.is_some_and(|most| said > most.saturating_add(most / 50))
        };
        passed(self.vcpus.map(u64::from), u64::from(said.vcpus))
            || passed(self.memory_mib, said.memory_mib)
            || passed(self.disk_mib, said.disk_mib)
            || passed(self.guests.map(u64::from), u64::from(said.guests))
    }

    /// These words, where `other` has none that is smaller.
    #[must_use]
    pub fn within(self, other: Self) -> Self {
        let least = self.smaller_of(other);
        Self {
            vcpus: self.vcpus.and(least.vcpus),
            memory_mib: self.memory_mib.and(least.memory_mib),
            disk_mib: self.disk_mib.and(least.disk_mib),
            guests: self.guests.and(least.guests),
        }
    }

    /// The words of `other` where they are smaller, or where there are none here.
    #[must_use]
    pub fn smaller_of(self, other: Self) -> Self {
        fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
            match (one, other) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            }
        }
        Self {
            vcpus: least(self.vcpus, other.vcpus),
            memory_mib: least(self.memory_mib, other.memory_mib),
            disk_mib: least(self.disk_mib, other.disk_mib),
            guests: least(self.guests, other.guests),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: Resources =
        Resources { vcpus: 8, memory_mib: 1000, disk_mib: 5000, guests: u32::MAX };

    #[test]
    fn what_a_host_says_makes_it_smaller_and_never_larger() {
        let accepted = AcceptedCapacity::of(SAID);
        assert!(accepted.is_whole());
        let huge = Resources { vcpus: 1 << 16, memory_mib: 1 << 26, disk_mib: 1 << 40, ..SAID };
        assert_eq!(accepted.counted(huge), SAID);
        let small = Resources { vcpus: 2, memory_mib: 10, disk_mib: 0, guests: 1 };
        assert_eq!(accepted.counted(small), small);
        let in_part = AcceptedCapacity { vcpus: Some(4), ..AcceptedCapacity::default() };
        assert_eq!(in_part.counted(SAID), Resources { vcpus: 4, ..SAID });
        assert_eq!(in_part.or(accepted), AcceptedCapacity { vcpus: Some(4), ..accepted });
    }

    #[test]
    fn a_fact_that_could_not_be_read_is_no_word() {
        let unread = AcceptedCapacity::of(Resources { memory_mib: 0, ..SAID });
        assert_eq!(unread.memory_mib, None);
        assert!(!unread.is_whole());
        assert!(unread.or(AcceptedCapacity::of(SAID)).is_whole());
    }

    #[test]
    fn a_few_mebibytes_are_nothing_to_decide_about() {
        let accepted = AcceptedCapacity::of(Resources { guests: 1023, ..SAID });
        let says = |memory_mib, vcpus| Resources { vcpus, memory_mib, guests: 1023, ..SAID };
        assert!(!accepted.is_passed_by(says(1020, 8)));
        assert!(accepted.is_passed_by(says(1021, 8)));
        assert!(accepted.is_passed_by(says(1000, 9)));
        assert!(!AcceptedCapacity::default().is_passed_by(says(1 << 26, 1 << 16)));
    }
}
