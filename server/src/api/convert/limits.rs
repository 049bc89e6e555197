//! What a VM may take of its host, as messages say it.

use banger_proto::v1;

use crate::model::observed::{IoLimitSeen, LimitsSeen};
use crate::model::spec::ResourceLimits;

/// As wanted.
pub(super) fn wanted(limits: ResourceLimits) -> v1::ResourceLimits {
    v1::ResourceLimits {
        cpu_weight: limits.cpu_weight,
        cpu_millis: limits.cpu_millis,
        io_read_bytes_per_second: limits.io_read_bytes_per_second,
        io_write_bytes_per_second: limits.io_write_bytes_per_second,
        io_read_ops_per_second: limits.io_read_ops_per_second,
        io_write_ops_per_second: limits.io_write_ops_per_second,
    }
}

/// As the kernel of its host holds it.
pub(super) fn effective(limits: &LimitsSeen) -> v1::EffectiveLimits {
    v1::EffectiveLimits {
        cpu_weight: limits.cpu_weight,
        cpu_millis: limits.cpu_millis,
        memory_bytes: limits.memory_bytes,
        tasks: limits.tasks,
        io: limits.io.iter().map(io).collect(),
        missing_controllers: limits.missing.clone(),
    }
}

fn io(io: &IoLimitSeen) -> v1::EffectiveIoLimit {
    v1::EffectiveIoLimit {
        device: io.device.clone(),
        read_bytes_per_second: io.read_bytes_per_second,
        write_bytes_per_second: io.write_bytes_per_second,
        read_ops_per_second: io.read_ops_per_second,
        write_ops_per_second: io.write_ops_per_second,
    }
}
