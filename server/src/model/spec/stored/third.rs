//! The third form: the second, and what that could not say of a VM's dealings with its host.

use serde::{Deserialize, Serialize};

use super::{SchedulingV2, SpecV1};
use crate::model::spec::{ResourceLimits, VmSpec};

/// The third form.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SpecV3<'a> {
    /// 3.
    pub(super) form: u8,
    #[serde(flatten)]
    pub(super) first: SpecV1<'a>,
    #[serde(default)]
    pub(super) scheduling: SchedulingV2,
    pub(super) host: HostSideV3,
}

/// What a text of an older form leaves at these defaults.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HostSideV3 {
    #[serde(default, skip_serializing_if = "LimitsV3::is_usual")]
    limits: LimitsV3,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct LimitsV3 {
    cpu_weight: u32,
    cpu_millis: u32,
    io_read_bytes_per_second: u64,
    io_write_bytes_per_second: u64,
    io_read_ops_per_second: u64,
    io_write_ops_per_second: u64,
}

impl LimitsV3 {
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl HostSideV3 {
    pub(super) fn of(spec: &VmSpec) -> Self {
        let ResourceLimits {
            cpu_weight,
            cpu_millis,
            io_read_bytes_per_second,
            io_write_bytes_per_second,
            io_read_ops_per_second,
            io_write_ops_per_second,
        } = spec.limits;
        Self {
            limits: LimitsV3 {
                cpu_weight,
                cpu_millis,
                io_read_bytes_per_second,
                io_write_bytes_per_second,
                io_read_ops_per_second,
                io_write_ops_per_second,
            },
        }
    }

    pub(super) fn put_into(self, spec: &mut VmSpec) {
        let limits = self.limits;
        spec.limits = ResourceLimits {
            cpu_weight: limits.cpu_weight,
            cpu_millis: limits.cpu_millis,
            io_read_bytes_per_second: limits.io_read_bytes_per_second,
            io_write_bytes_per_second: limits.io_write_bytes_per_second,
            io_read_ops_per_second: limits.io_read_ops_per_second,
            io_write_ops_per_second: limits.io_write_ops_per_second,
        };
    }
}
