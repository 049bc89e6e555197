//! What a VM may take of its host: the bounds of its control group that a spec can name.
//!
//! Memory and threads are not among them: these follow from the size of the machine, on its host.

use std::ops::RangeInclusive;

use banger_proto::bounds::{
    CPU_MILLIS, CPU_WEIGHT, MIN_IO_BYTES_PER_SECOND, MIN_IO_OPS_PER_SECOND,
};

use super::SpecProblem;

/// Zero means no bound, or for the weight the usual one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResourceLimits {
    /// Share of the processors, against other VMs of the host.
    pub cpu_weight: u32,
    /// Most processor time, in thousandths of a processor.
    pub cpu_millis: u32,
    /// Of each device that the disks are on, as the following.
    pub io_read_bytes_per_second: u64,
    pub io_write_bytes_per_second: u64,
    pub io_read_ops_per_second: u64,
    pub io_write_ops_per_second: u64,
}

impl ResourceLimits {
    /// Whether all is left as usual.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what is wrong with them.
    pub(super) fn check(&self, problems: &mut Vec<SpecProblem>) {
        let mut within = |field: &str, value: u32, range: RangeInclusive<u32>| {
            if value != 0 && !range.contains(&value) {
                let why = format!("is {value}; must be {} to {}", range.start(), range.end());
                problems.push(SpecProblem::new(format!("spec.limits.{field}"), why));
            }
        };
        within("cpu_weight", self.cpu_weight, CPU_WEIGHT);
        within("cpu_millis", self.cpu_millis, CPU_MILLIS);
        let (bytes, ops) = (MIN_IO_BYTES_PER_SECOND, MIN_IO_OPS_PER_SECOND);
        for (field, value, least) in [
            ("io_read_bytes_per_second", self.io_read_bytes_per_second, bytes),
            ("io_write_bytes_per_second", self.io_write_bytes_per_second, bytes),
            ("io_read_ops_per_second", self.io_read_ops_per_second, ops),
            ("io_write_ops_per_second", self.io_write_ops_per_second, ops),
        ] {
            if value != 0 && value < least {
                let why = format!("is {value}; must be at least {least}");
                problems.push(SpecProblem::new(format!("spec.limits.{field}"), why));
            }
        }
    }
}
