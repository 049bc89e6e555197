//! How much more may be booked on a host than its kernel has.

use crate::model::host::{HostOvercommit, Resources};

/// How much more may be booked than the kernel has. 1.0: exactly what it has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overcommit {
    /// Ratio for vCPUs.
    pub vcpus: f64,
    /// Ratio for memory.
    pub memory: f64,
}

impl Default for Overcommit {
    fn default() -> Self {
        Self { vcpus: 4.0, memory: 1.0 }
    }
}

impl Overcommit {
    /// Of a host that is booked otherwise.
    #[must_use]
    pub fn over(self, host: HostOvercommit) -> Self {
        let ratio = |millis: Option<u32>, all: f64| millis.map_or(all, |m| f64::from(m) / 1000.0);
        Self {
            vcpus: ratio(host.vcpus_milli, self.vcpus),
            memory: ratio(host.memory_milli, self.memory),
        }
    }

    /// What may be booked on a host of this capacity. Disks are never promised twice.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "capacities are far below 2^52, ratios are checked to be 0.1 to 100, casts saturate"
    )]
    pub fn limit(self, capacity: Resources) -> Resources {
        Resources {
            vcpus: (f64::from(capacity.vcpus) * self.vcpus) as u32,
            memory_mib: (capacity.memory_mib as f64 * self.memory) as u64,
            disk_mib: capacity.disk_mib,
            guests: capacity.guests,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_booked_as_it_is_set_and_else_as_all_are() {
        let all = Overcommit { vcpus: 4.0, memory: 1.5 };
        let host = HostOvercommit { vcpus_milli: Some(2500), memory_milli: None };
        assert_eq!(all.over(host), Overcommit { vcpus: 2.5, memory: 1.5 });
        let capacity = Resources { vcpus: 10, memory_mib: 1000, disk_mib: 7, guests: 9 };
        let limit = Resources { vcpus: 25, memory_mib: 1500, disk_mib: 7, guests: 9 };
        assert_eq!(all.over(host).limit(capacity), limit);
    }

    #[test]
    fn a_ratio_is_kept_to_thousandths_and_nothing_else_is_one() {
        for (ratio, millis) in
            [(0.0, None), (0.1, Some(100)), (1.2346, Some(1235)), (100.0, Some(100_000))]
        {
            assert_eq!(HostOvercommit::millis(ratio), Ok(millis));
        }
        for ratio in [-1.0, 0.05, 100.1, f64::NAN, f64::INFINITY] {
            assert!(HostOvercommit::millis(ratio).is_err(), "{ratio}");
        }
        assert!((HostOvercommit::ratio(Some(1235)) - 1.235).abs() < f64::EPSILON);
    }
}
