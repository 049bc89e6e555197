//! The same seams over one stateful fake kernel.
//!
//! [`FakeKernel`] is the machine: processes, devices, links, rules, files, jails and VMMs, and the
//! refusals that a kernel, the jailer and Firecracker would give; its own state is in `kernel`,
//! what the agent asks of it in the same rooms as in [`linux`](super::linux). [`host`] makes the
//! bundle of seams over it. Driven by tests, by fault sweeps, and by `banger-agent run --simulate`,
//! where the agent is the real one and only the machine pretends.
//!
//! Each effectful verb passes one gate (`kernel::gate`), which counts, writes the trace and can
//! fail, hang, crash or repeat as a [`FaultPlan`] says. A verb that only reads passes no gate.
//!
//! What can go wrong: a bundle outlives its agent. After [`FakeKernel::reboot`] or a staged crash
//! every verb of the bundles made before pends for ever, as a dead program's would; make a new
//! bundle.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Capacity, Host};

mod disks;
mod facts;
mod files;
mod images;
mod jails;
mod kernel;
mod network;
mod processes;
mod vmm;

pub use images::{DEMO_KERNEL, DEMO_ROOT, demo_content};
pub use kernel::FakeKernel;
pub use kernel::faults::{At, FaultPlan, InjectedFault};
pub use kernel::oracle::{Broken, Difference, Invariant, Oracle};

use kernel::gate::Seam;

/// How a bundle over a fake kernel looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostOptions {
    /// What VMs may use; `None` leaves what the kernel has (64 vCPUs, 256 GiB of memory, 4 TiB of
    /// disk unless set otherwise).
    pub capacity: Option<Capacity>,
    /// How long each effect takes; `None` leaves what the kernel has (nothing at all unless set
    /// otherwise).
    pub effect_delay: Option<Duration>,
    /// Where images are said to lie.
    pub image_dir: PathBuf,
    /// Where scratch directories are said to lie.
    pub scratch_dir: PathBuf,
    /// The jailer's base directory, as shown.
    pub jail_dir: PathBuf,
    /// The runtime directory, as shown.
    pub runtime_dir: PathBuf,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            capacity: None,
            effect_delay: None,
            image_dir: PathBuf::from("/var/lib/banger-agent/images"),
            scratch_dir: PathBuf::from("/var/lib/banger-agent/vms"),
            jail_dir: PathBuf::from("/var/lib/banger-agent/jails"),
            runtime_dir: PathBuf::from("/run/banger-agent"),
        }
    }
}

/// The whole bundle over a fake kernel, for the present life of the agent.
#[must_use]
pub fn host(kernel: &FakeKernel, options: HostOptions) -> Host {
    if let Some(capacity) = options.capacity {
        kernel.set_capacity(capacity);
    }
    if let Some(delay) = options.effect_delay {
        kernel.set_effect_delay(delay);
    }
    let seam = Arc::new(Seam::new(kernel.clone(), options));
    Host {
        simulated: true,
        files: seam.clone(),
        images: seam.clone(),
        loops: seam.clone(),
        snapshots: seam.clone(),
        taps: seam.clone(),
        firewall: seam.clone(),
        pins: seam.clone(),
        network: seam.clone(),
        jails: seam.clone(),
        launcher: seam.clone(),
        outputs: seam.clone(),
        vmm: seam.clone(),
        guests: seam.clone(),
        processes: seam.clone(),
        facts: seam,
    }
}

#[cfg(test)]
pub(crate) mod tests;
