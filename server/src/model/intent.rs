//! One VM as it is wanted and stored: spec, power, host, address, generation; and the fingerprint
//! of its create.
//!
//! A [`VmIntent`] is one row of the store. Only the ledger makes one, only the writer stores one;
//! everybody else holds it behind an `Arc` and reads.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::ids::{Generation, HostId, VmId};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::etag::etag;
use super::host::Resources;
use super::placement::NoHost;
use super::project::{Named, ProjectName};
use super::spec::VmSpec;
use super::subnet::{MacAddr, Subnet};

/// How long a guest has to shut down by itself when nothing else was said.
pub const DEFAULT_STOP_GRACE: Duration = Duration::from_secs(10);

/// Which power state is wanted. Nobody can want "booting".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Desired {
    /// The guest runs.
    Running,
    /// The guest is in memory, its vCPUs stopped.
    Paused,
    /// No process; the disks stay.
    Stopped,
    /// Nothing of the VM is left.
    Absent,
}

impl Desired {
    /// The word stored and logged.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Stopped => "STOPPED",
            Self::Absent => "ABSENT",
        }
    }

    /// The reverse of [`Desired::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Paused, Self::Stopped, Self::Absent]
            .into_iter()
            .find(|desired| desired.as_str() == text)
    }

    /// Whether a process is wanted.
    pub const fn wants_process(self) -> bool {
        match self {
            Self::Running | Self::Paused => true,
            Self::Stopped | Self::Absent => false,
        }
    }
}

impl fmt::Display for Desired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a VM has of its host's guest subnet. All of it follows from subnet and slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetAllocation {
    /// Unique on its host, 2 or more, free again only when the VM is confirmed gone.
    pub slot: u32,
    /// The guest's address: base of the subnet plus slot.
    pub address: Ipv4Addr,
    /// 02:fc and the address.
    pub mac: MacAddr,
    /// vsock context id: slot + 1, so 3 or more (0 to 2 are reserved, see vsock(7)).
    pub cid: u32,
}

impl NetAllocation {
    /// The allocation of a slot; `None` when the subnet has no such slot.
    pub fn of(subnet: Subnet, slot: u32) -> Option<Self> {
        let address = subnet.address(slot)?;
        Some(Self { slot, address, mac: MacAddr::of(address), cid: slot + 1 })
    }
}

/// Identifies what a create asked for, so that its repetition is recognised whatever was changed
/// since.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of the name as asked for (empty when it was left to the server), the stored form of the
    /// spec, which is frozen, and the desired state.
    pub fn of(name: &str, spec: &VmSpec, desired: Desired) -> Self {
        let mut hash = Sha256::new();
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update(desired.as_str().as_bytes());
        hash.update([0]);
        hash.update(spec.to_json().as_bytes());
        Self(hash.finalize().into())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0[..4]))
    }
}

/// Where a VM goes, or why nowhere yet.
pub type FoundPlace = Result<(HostId, NetAllocation), NoHost>;

/// What is wanted of one VM: a row of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmIntent {
    /// Never changes, never reused.
    pub id: VmId,
    /// DNS label, unique among living VMs of its project.
    pub name: String,
    /// Never changes.
    pub project: ProjectName,
    /// The wanted shape.
    pub spec: Arc<VmSpec>,
    /// The wanted power state.
    pub desired: Desired,
    /// Where it is placed; `None` while no host was found.
    pub host: Option<HostId>,
    /// Set with `host`.
    pub net: Option<NetAllocation>,
    /// Why there is no host yet; `None` once there is one.
    pub pending: Option<NoHost>,
    /// Counts changes of what is wanted, from 1. Finding a host is not such a change.
    pub generation: Generation,
    /// Raised whenever the next process must be a new one.
    pub boot_number: u64,
    /// Raised whenever the root disk must be made anew.
    pub root_disk_number: u64,
    /// How long the content of the root image is, in MiB, rounded up: the root disk is as long at
    /// least. 0: nobody here knows, as for a file of the hosts.
    pub root_image_mib: u64,
    /// How long the guest has to shut down by itself when it is to stop.
    pub stop_grace: Duration,
    /// Of the request that created the VM.
    pub fingerprint: Fingerprint,
    /// The request id of the create when it is not the VM's id.
    pub request_id: Option<VmId>,
    /// When the VM was created.
    pub created_at: Timestamp,
    /// When what is wanted last changed.
    pub updated_at: Timestamp,
    /// W3C trace context of the request that last changed it; empty when it had none.
    pub traceparent: String,
    /// Who last changed it.
    pub actor: String,
}

impl VmIntent {
    /// What finds it while it lives, besides its id.
    pub fn named(&self) -> Named {
        Named::new(&self.project, &self.name)
    }

    /// What it is called in the DNS below this domain: two projects may each have a `web`.
    pub fn dns_name(&self, domain: &str) -> String {
        match self.project.is_default() {
            true => format!("{}.{domain}", self.name),
            false => format!("{}.{}.{domain}", self.name, self.project),
        }
    }

    /// What it counts for in the quota of its project.
    pub fn counted(&self) -> Resources {
        self.spec.counted(self.root_image_mib)
    }

    /// It has a host and an address there, or there is a reason why not yet.
    pub fn set_place(&mut self, place: FoundPlace) {
        match place {
            Ok((host, net)) => {
                self.host = Some(host);
                self.net = Some(net);
                self.pending = None;
            }
            Err(why) => self.pending = Some(why),
        }
    }

    /// The etag of this generation.
    pub fn etag(&self) -> String {
        etag(b"vm", &self.id.to_string(), self.generation.0)
    }
}

#[cfg(test)]
mod tests;
