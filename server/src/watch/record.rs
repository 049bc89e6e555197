//! One VM as everybody reads it: what is wanted, what was seen, and what follows.
//!
//! A record is made by the view under its mutex, never changed, and replaced as a whole. Readers
//! hold it behind an `Arc` for as long as they like.

use std::sync::Arc;

use banger_proto::ids::{Revision, Version, VmId};
use jiff::Timestamp;

use crate::model::filter::VmFilter;
use crate::model::host::HostView;
use crate::model::intent::VmIntent;
use crate::model::observed::{
    DiskTrouble, NetworkTrouble, Observation, ObservedVm, Phase, ProcessSeen,
};
use crate::model::status::{Trouble, VmState, VmStatus};

/// One VM at one revision.
#[derive(Debug, Clone)]
pub struct VmRecord {
    /// What is wanted.
    pub intent: Arc<VmIntent>,
    /// What is known.
    pub observation: Observation,
    /// What keeps the intent from its agent, if something does.
    pub trouble: Option<Arc<Trouble>>,
    /// What a user is shown; follows from the others.
    pub status: VmStatus,
    /// The host the VM is placed on, as it was known at this revision.
    pub host: Option<Arc<HostView>>,
    /// The revision of the newest change shown here.
    pub revision: Revision,
    /// The revision at which the VM first appeared in this life of the server.
    pub added: Revision,
    /// The newest sight of it, kept while nothing is known.
    pub(super) last_sight: Option<Sight>,
    /// What its host has put into its history lately.
    pub(super) told: Told,
}

/// How much of a VM's history came from its host lately, so that one that flaps or lies fills
/// neither the history nor the disk below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// The hour counted, by the server's clock.
    pub(super) hour: i64,
    pub(super) lines: u16,
}

/// What is remembered of an observation while nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) phase: Phase,
    pub(super) phase_since: Timestamp,
    pub(super) process: Option<ProcessSeen>,
    pub(super) adopted_at: Option<Timestamp>,
    pub(super) disk: Option<DiskTrouble>,
    pub(super) network: Option<NetworkTrouble>,
    pub(super) store_sectors: u64,
    pub(super) settled: Version,
}

impl Sight {
    pub(super) fn of(observation: &Observation) -> Option<Self> {
        match observation {
            Observation::Present(vm) => Some(Self {
                phase: vm.phase,
                phase_since: vm.phase_since,
                process: vm.process,
                adopted_at: vm.adopted_at,
                disk: vm.fault.as_ref().and_then(|fault| DiskTrouble::of(&fault.reason)),
                network: NetworkTrouble::of_vm(vm),
                store_sectors: vm.devices.cow_total_sectors,
                settled: vm.settled,
            }),
            Observation::Unknown { .. } | Observation::Absent => None,
        }
    }
}

impl VmRecord {
    pub fn id(&self) -> VmId {
        self.intent.id
    }

    /// What the VM is seen to be.
    pub fn state(&self) -> VmState {
        self.status.state
    }

    /// What the agent saw, if it is known.
    pub fn seen(&self) -> Option<&ObservedVm> {
        match &self.observation {
            Observation::Present(vm) => Some(vm),
            Observation::Unknown { .. } | Observation::Absent => None,
        }
    }

    /// Whether the filter shows this record.
    pub fn matches(&self, filter: &VmFilter) -> bool {
        filter.matches(&self.intent, self.status.state)
    }

    /// Whether a reader would see no difference but in the revision.
    pub(super) fn shows_the_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.intent, &other.intent)
            && self.status == other.status
            && self.observation == other.observation
            && host_as_shown(self) == host_as_shown(other)
    }

    /// A rough size in bytes of this record, what its agent said included, to bound what is kept
    /// of them.
    pub(super) fn weight(&self) -> usize {
        let spec = &self.intent.spec;
        let labels: usize = spec.labels().iter().map(|(k, v)| k.len() + v.len() + 8).sum();
        let seen = self.seen().map_or(0, ObservedVm::weight);
        // A metadata document is kept as text here, and is longer in a message.
        let metadata = 2 * spec.metadata().map_or(0, str::len);
        1024 + metadata + spec.boot_args().len() + labels + seen + self.status.message.len()
    }
}

/// What of a host is shown with each of its VMs: name, whether it is simulated, agent epoch.
fn host_as_shown(record: &VmRecord) -> Option<(&str, Option<(bool, u64)>)> {
    record.host.as_ref().map(|host| {
        let facts = host.facts.as_ref().map(|facts| (facts.simulated, facts.agent_epoch));
        (host.record.name.as_str(), facts)
    })
}
