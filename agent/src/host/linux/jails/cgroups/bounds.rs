//! The bounds of a control group: written, and read back, as in the kernel's
//! Documentation/admin-guide/cgroup-v2.rst.
//!
//! What can go wrong: a file is not there, because the controller is not, or not for this group;
//! then that bound is not seen and not held. Somebody writes them too; whoever reads finds out.

use std::io::ErrorKind;
use std::path::Path;

use super::Cgroups;
use crate::host::{
    BoundsSeen, DeviceNumber, HostError, HostErrorKind, HostResult, IoRates, JailBounds, JailId,
};

/// Of each period the kernel gives a group its quota, in microseconds; its own default.
const PERIOD: u64 = 100_000;

/// Past this the kernel takes operations a second for no bound (`tg_set_limit` of
/// `block/blk-throttle.c`).
const MOST_OPS: u64 = u32::MAX as u64 - 1;

/// The files by which a bound of each controller is told to be there.
const FILES: [(&str, &str); 5] = [
    ("memory", "memory.max"),
    ("pids", "pids.max"),
    ("cpu", "cpu.weight"),
    ("cpu", "cpu.max"),
    ("io", "io.max"),
];

impl Cgroups {
    /// Holds a group to bounds, as far as it has the controllers. Whether it was held to others.
    pub(in super::super) fn bound(&self, id: &JailId, bounds: &JailBounds) -> HostResult<bool> {
        let asks_for_io = !bounds.io.rates.is_unbounded();
        for (controller, file) in FILES {
            if !self.path(id).join(file).exists() && (controller != "io" || asks_for_io) {
                self.hand_down(controller);
            }
        }
        let (seen, wanted) = (self.bounds(id)?, bounds.held());
        let mut changed = false;
        if let Some((is, wanted)) = seen.memory_bytes.zip(wanted.memory_bytes).filter(moved) {
            self.leaves_room(id, wanted)?;
            tracing::debug!(jail = %id, is, wanted, "memory is bounded");
            self.write(id, "memory.max", &or_max(wanted))?;
            changed = true;
        }
        if let Some((_, wanted)) = seen.tasks.zip(wanted.tasks).filter(moved) {
            self.write(id, "pids.max", &or_max(wanted.into()))?;
            changed = true;
        }
        if let Some((_, wanted)) = seen.cpu_weight.zip(wanted.cpu_weight).filter(moved) {
            self.write(id, "cpu.weight", &wanted.to_string())?;
            changed = true;
        }
        if let Some((_, wanted)) = seen.cpu_millis.zip(wanted.cpu_millis).filter(moved) {
            self.write(id, "cpu.max", &quota(wanted))?;
            changed = true;
        }
        for line in io_lines(&seen.io, &wanted.io) {
            self.write(id, "io.max", &line)?;
            changed = true;
        }
        Ok(changed)
    }

    /// A group that has more than it would be held to is left alone.
    fn leaves_room(&self, id: &JailId, bytes: u64) -> HostResult<()> {
        let has = self.read(id, "memory.current")?.and_then(|text| text.trim().parse::<u64>().ok());
        match has {
            Some(has) if bytes != 0 && has > bytes => {
                let why = format!("it has {has} bytes of memory and is to be held to {bytes}");
                Err(HostError::new(HostErrorKind::Refused, "bound control group", id).detail(why))
            }
            _ => Ok(()),
        }
    }

    /// What a group is held to.
    pub(in super::super) fn bounds(&self, id: &JailId) -> HostResult<BoundsSeen> {
        let number = |text: Option<String>| text.and_then(|text| zero_for_max(text.trim()));
        let small = |text| number(text).map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        Ok(BoundsSeen {
            memory_bytes: number(self.read(id, "memory.max")?),
            tasks: small(self.read(id, "pids.max")?),
            cpu_weight: small(self.read(id, "cpu.weight")?),
            cpu_millis: self.read(id, "cpu.max")?.and_then(|text| millis(&text)),
            io: self.read(id, "io.max")?.map(|text| io_rates(&text)),
        })
    }

    fn read(&self, id: &JailId, file: &str) -> HostResult<Option<String>> {
        let path = self.path(id).join(file);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            // Its group goes with it.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound) => Ok(None),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => {
                Ok(None)
            }
            Err(error) => Err(HostError::io("read", path.display(), error)),
        }
    }

    fn write(&self, id: &JailId, file: &str, value: &str) -> HostResult<()> {
        let path = self.path(id).join(file);
        std::fs::write(&path, value)
            .map_err(|error| HostError::io("bound control group", path.display(), error))
    }
}

fn moved<T: PartialEq>((is, wanted): &(T, T)) -> bool {
    is != wanted
}

fn or_max(bound: u64) -> String {
    if bound == 0 { "max".to_owned() } else { bound.to_string() }
}

fn zero_for_max(text: &str) -> Option<u64> {
    if text == "max" { Some(0) } else { text.parse().ok() }
}

fn quota(millis: u32) -> String {
    match millis {
        0 => format!("max {PERIOD}"),
        millis => format!("{} {PERIOD}", u64::from(millis) * PERIOD / 1000),
    }
}

/// Reads `cpu.max`: a quota and its period.
fn millis(text: &str) -> Option<u32> {
    let mut words = text.split_ascii_whitespace();
    let (quota, period) = (zero_for_max(words.next()?)?, words.next()?.parse::<u64>().ok()?);
    let millis = quota.saturating_mul(1000).checked_div(period)?;
    // One that is too small to be told from none is a bound all the same.
    let millis = if quota > 0 { millis.max(1) } else { 0 };
    Some(u32::try_from(millis).unwrap_or(u32::MAX))
}

/// Reads `io.max`: a line for each device that is bounded in anything.
fn io_rates(text: &str) -> Vec<(DeviceNumber, IoRates)> {
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let device = words.next()?.parse().ok()?;
        let mut rates = IoRates::default();
        for word in words {
            let (key, value) = word.split_once('=')?;
            let value = zero_for_max(value)?;
            match key {
                "rbps" => rates.read_bytes = value,
                "wbps" => rates.write_bytes = value,
                "riops" => rates.read_ops = value,
                "wiops" => rates.write_ops = value,
                _ => {}
            }
        }
        Some((device, rates))
    };
    let bounded = text.lines().filter_map(line).filter(|(_, rates)| !rates.is_unbounded());
    let mut devices: Vec<_> = bounded.collect();
    devices.sort_unstable_by_key(|(device, _)| *device);
    devices
}

/// What is to be written, device by device: `io.max` takes one in a write.
fn io_lines(
    seen: &Option<Vec<(DeviceNumber, IoRates)>>,
    wanted: &Option<Vec<(DeviceNumber, IoRates)>>,
) -> Vec<String> {
    let (Some(seen), Some(wanted)) = (seen, wanted) else { return Vec::new() };
    let line = |(device, rates): (DeviceNumber, IoRates)| {
        let ops = |ops: u64| or_max(ops.min(MOST_OPS));
        let IoRates { read_bytes, write_bytes, read_ops, write_ops } = rates;
        let (read, write) = (or_max(read_bytes), or_max(write_bytes));
        let (reads, writes) = (ops(read_ops), ops(write_ops));
        format!("{device} rbps={read} wbps={write} riops={reads} wiops={writes}")
    };
    let is_wanted = |device| wanted.iter().any(|(wanted, _)| *wanted == device);
    let gone = seen.iter().filter(|(device, _)| !is_wanted(*device));
    let gone = gone.map(|(device, _)| (*device, IoRates::default()));
    let other = wanted.iter().filter(|bound| !seen.contains(bound)).copied();
    gone.chain(other).map(line).collect()
}

/// The device by whose number the kernel bounds traffic with one: it takes no partition
/// (`blkg_conf_open_bdev`). `sys` is where sysfs is.
pub(in super::super) fn bounded_device(sys: &Path, device: DeviceNumber) -> Option<DeviceNumber> {
    let entry = sys.join("dev/block").join(device.to_string());
    let entry = std::fs::canonicalize(entry).ok()?;
    if !entry.join("partition").exists() {
        return Some(device);
    }
    std::fs::read_to_string(entry.parent()?.join("dev")).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests;
