//! What a VM may take of its host: as the server asks for it, and as the kernel holds it.

use banger_proto::bounds::{
    CPU_MILLIS, CPU_WEIGHT, MIN_IO_BYTES_PER_SECOND, MIN_IO_OPS_PER_SECOND,
};
use banger_proto::v1;

use super::{WireError, within, wrong};
use crate::assignment::Resources;
use crate::host::{BoundsSeen, IoRates};

/// Reads what is asked for. A server of an earlier version asks for nothing.
pub(super) fn resources(value: Option<v1::ResourceLimits>) -> Result<Resources, WireError> {
    let value = value.unwrap_or_default();
    let field = |name: &str| format!("assignment.shape.limits.{name}");
    let number = |name: &str, value, bounds| match value {
        0 => Ok(0),
        value => within(&field(name), value, bounds),
    };
    let at_least = |name: &str, value: u64, least: u64| match value {
        few if few != 0 && few < least => {
            Err(wrong(&field(name), format!("{few} is less than {least}")))
        }
        value => Ok(value),
    };
    let (bytes, ops) = (MIN_IO_BYTES_PER_SECOND, MIN_IO_OPS_PER_SECOND);
    let (read, write) = (value.io_read_bytes_per_second, value.io_write_bytes_per_second);
    let (reads, writes) = (value.io_read_ops_per_second, value.io_write_ops_per_second);
    // What the kernel would not tell from no bound is none.
    let ops_of = |value: u64| if value >= u64::from(u32::MAX) { 0 } else { value };
    Ok(Resources {
        cpu_weight: number("cpu_weight", value.cpu_weight, CPU_WEIGHT)?,
        cpu_millis: number("cpu_millis", value.cpu_millis, CPU_MILLIS)?,
        io: IoRates {
            read_bytes: at_least("io_read_bytes_per_second", read, bytes)?,
            write_bytes: at_least("io_write_bytes_per_second", write, bytes)?,
            read_ops: ops_of(at_least("io_read_ops_per_second", reads, ops)?),
            write_ops: ops_of(at_least("io_write_ops_per_second", writes, ops)?),
        },
    })
}

/// What is sent of what the kernel holds it to.
pub(super) fn held(seen: &BoundsSeen) -> v1::EffectiveLimits {
    let io = seen.io.iter().flatten().map(|(device, rates)| v1::EffectiveIoLimit {
        device: device.to_string(),
        read_bytes_per_second: rates.read_bytes,
        write_bytes_per_second: rates.write_bytes,
        read_ops_per_second: rates.read_ops,
        write_ops_per_second: rates.write_ops,
    });
    v1::EffectiveLimits {
        cpu_weight: seen.cpu_weight.unwrap_or(0),
        cpu_millis: seen.cpu_millis.unwrap_or(0),
        memory_bytes: seen.memory_bytes.unwrap_or(0),
        tasks: seen.tasks.unwrap_or(0),
        io: io.collect(),
        missing_controllers: seen.missing().into_iter().map(str::to_owned).collect(),
    }
}
