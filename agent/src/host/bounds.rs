//! What a VM's processes may take of the machine together, so that a VMM that was taken over
//! exhausts itself and not its host, and a guest that is busy leaves its neighbours their share.
//!
//! Values only: [`super::Jails`] writes them into control groups and reads them back, the plan
//! compares.

use serde::{Deserialize, Serialize};

use super::{DeviceNumber, VmmKind};

/// The share of the processors of a group that nobody gave one (cgroups(7), `cpu.weight`).
pub const USUAL_WEIGHT: u32 = 100;

/// What the processes in a jail's control group may use together. Zero is no bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JailBounds {
    /// Memory in MiB, with what the kernel holds for them: page tables, caches, sockets.
    pub memory_mib: u64,
    /// Processes and threads.
    pub tasks: u32,
    /// Share of the processors; 0: the usual one.
    pub cpu_weight: u32,
    /// Processor time, in thousandths of a processor.
    pub cpu_millis: u32,
    /// Traffic with the devices that its disks are on.
    pub io: IoBounds,
}

/// Bounds on traffic with devices, the same for each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IoBounds {
    /// How much.
    pub rates: IoRates,
    /// With which.
    pub devices: Vec<DeviceNumber>,
}

/// In a second, zero being no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IoRates {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Reads.
    pub read_ops: u64,
    /// Writes.
    pub write_ops: u64,
}

impl IoRates {
    /// Whether nothing is bounded.
    #[must_use]
    pub fn is_unbounded(&self) -> bool {
        *self == Self::default()
    }
}

impl JailBounds {
    /// Of a VMM with a guest of so many processors and so much memory. A bound that is never met by
    /// one that was not taken over: what a VMM needs beside its guest is by
    /// [`VmmKind::overhead_mib`] and [`VmmKind::tasks_beside_vcpus`], and page tables are at most
    /// one part in 256 of the guest's memory on each side.
    #[must_use]
    pub fn of(vmm: VmmKind, vcpus: u32, memory_mib: u32) -> Self {
        let guest = u64::from(memory_mib);
        Self {
            memory_mib: guest + guest / 32 + vmm.overhead_mib(),
            tasks: vcpus.saturating_add(vmm.tasks_beside_vcpus()),
            ..Self::default()
        }
    }

    /// What a group would show that is held to them.
    #[must_use]
    pub fn held(&self) -> BoundsSeen {
        let rates = self.io.rates;
        let bounded = self.io.devices.iter().filter(|_| !rates.is_unbounded());
        BoundsSeen {
            memory_bytes: Some(self.memory_mib.saturating_mul(1 << 20)),
            tasks: Some(self.tasks),
            cpu_weight: Some(if self.cpu_weight == 0 { USUAL_WEIGHT } else { self.cpu_weight }),
            cpu_millis: Some(self.cpu_millis),
            io: Some(bounded.map(|device| (*device, rates)).collect()),
        }
    }

    /// Whether a group that has the controllers for it is held to something else.
    #[must_use]
    pub fn differs(&self, seen: &BoundsSeen) -> bool {
        fn differ<T: PartialEq>(wanted: &Option<T>, seen: &Option<T>) -> bool {
            seen.is_some() && seen != wanted
        }
        let wanted = self.held();
        differ(&wanted.memory_bytes, &seen.memory_bytes)
            || differ(&wanted.tasks, &seen.tasks)
            || differ(&wanted.cpu_weight, &seen.cpu_weight)
            || differ(&wanted.cpu_millis, &seen.cpu_millis)
            || differ(&wanted.io, &seen.io)
    }

    /// The bounds that somebody asked for and that this group cannot hold, each as the controller
    /// that it lacks. Memory and tasks nobody asks for: that they are missing, the host's check
    /// says.
    #[must_use]
    pub fn unheld(&self, seen: &BoundsSeen) -> Vec<&'static str> {
        let cpu = self.cpu_weight != 0 || self.cpu_millis != 0;
        let io = !self.io.rates.is_unbounded();
        let no_cpu = seen.cpu_weight.is_none() || seen.cpu_millis.is_none();
        let no_io = seen.io.is_none() || self.io.devices.is_empty();
        [(cpu && no_cpu, "cpu"), (io && no_io, "io")]
            .into_iter()
            .filter_map(|(unheld, controller)| unheld.then_some(controller))
            .collect()
    }
}

/// What a control group holds its processes to. `None` where the controller is not there, zero
/// where it holds no bound.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BoundsSeen {
    /// Memory.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub tasks: Option<u32>,
    /// Share of the processors.
    pub cpu_weight: Option<u32>,
    /// Thousandths of a processor.
    pub cpu_millis: Option<u32>,
    /// The devices with which traffic is bounded, in order.
    pub io: Option<Vec<(DeviceNumber, IoRates)>>,
}

impl BoundsSeen {
    /// The controllers that are not there.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        [
            (self.cpu_weight.is_none() || self.cpu_millis.is_none(), "cpu"),
            (self.io.is_none(), "io"),
            (self.memory_bytes.is_none(), "memory"),
            (self.tasks.is_none(), "pids"),
        ]
        .into_iter()
        .filter_map(|(missing, controller)| missing.then_some(controller))
        .collect()
    }
}

#[cfg(test)]
mod tests;
