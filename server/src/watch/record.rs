//! One VM as everybody reads it: what is wanted, what was seen, and what follows.
//!
//! A record is made by the view under its mutex, never changed, and replaced as a whole. Readers
//! hold it behind an `Arc` for as long as they like.

use std::sync::Arc;

use banger_proto::ids::{Generation, HostId, Revision, Version, VmId};
use jiff::Timestamp;

use crate::model::audience::Audiences;
use crate::model::filter::VmFilter;
use crate::model::host::HostView;
use crate::model::intent::{Desired, NetAllocation, VmIntent};
use crate::model::observed::{
    DevicesSeen, DiskTrouble, GuestSeen, LimitsSeen, NetworkTrouble, Observation, ObservedVm,
    Phase, ProcessSeen,
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
    /// When its host last said something of it that somebody could see. What an agent says again,
    /// or says that nobody is shown, moves neither this nor the revision.
    pub observed_at: Option<Timestamp>,
    /// The revision of the newest change shown here.
    pub revision: Revision,
    /// The revision at which the VM first appeared; of one that is older than what is known, one
    /// that nobody resumes from before.
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

    /// Who is shown a difference to the state before, but for the revision and for when the host
    /// looked. What is compared here is what the API encodes: a test there holds the two together.
    pub(super) fn differs_for(&self, before: &Self) -> Audiences {
        if shown_to_all(self) != shown_to_all(before) || !specs_are_alike(self, before) {
            return Audiences::EVERYBODY;
        }
        let of_host = shown_of_the_host(self) != shown_of_the_host(before);
        let words = |record: &Self| {
            let exit = record.seen().and_then(|vm| vm.exit.as_ref());
            (record.status.message.clone(), exit.map_or_else(String::new, |e| e.message.clone()))
        };
        let (now, was) = (words(self), words(before));
        if now == was && !of_host {
            return Audiences::default();
        }
        let reason = &*self.status.reason;
        Audiences::of(|to| {
            (of_host && to.sees_hosts)
                || !to.reads_alike((reason, &now.0), (reason, &was.0))
                || !to.reads_alike(("", &now.1), ("", &was.1))
        })
    }

    /// Whether nothing is different, shown or not.
    pub(super) fn is_the_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.intent, &other.intent)
            && self.status == other.status
            && self.observation == other.observation
            && self.trouble == other.trouble
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

/// How a VMM ended: its cause, whether that was a crash, code, signal and time.
type ShownExit = (&'static str, bool, Option<i32>, Option<i32>, Option<Timestamp>);

/// What everybody who sees a VM is shown of it, but for its spec, and for sentences.
#[derive(PartialEq)]
struct ShownToAll<'a> {
    intent: (Generation, Timestamp, Desired, Option<HostId>, Option<NetAllocation>, &'a str),
    state: (VmState, &'a str, Timestamp, Generation, Option<Timestamp>),
    host: Option<(&'a str, Option<bool>)>,
    /// Without its sentence.
    exit: Option<ShownExit>,
    restart_count: u32,
    times: (Option<Timestamp>, Option<Timestamp>),
    guest: Option<&'a GuestSeen>,
    limits: Option<&'a LimitsSeen>,
    /// How full its store is, what it runs under, and how its root disk is made.
    devices: Option<(u64, u64, &'a str, &'a str)>,
}

/// What those are shown besides who see the hosts.
#[derive(PartialEq)]
struct ShownOfTheHost<'a> {
    agent_epoch: Option<u64>,
    process: Option<ProcessSeen>,
    boot_id: &'a str,
    devices: Option<&'a DevicesSeen>,
}

fn shown_to_all(record: &VmRecord) -> ShownToAll<'_> {
    let VmRecord { intent, status, .. } = record;
    let seen = record.seen();
    let exit = seen.and_then(|vm| vm.exit.as_ref());
    ShownToAll {
        intent: (
            intent.generation,
            intent.updated_at,
            intent.desired,
            intent.host,
            intent.net,
            &intent.name,
        ),
        state: (
            status.state,
            &status.reason,
            status.since,
            status.observed_generation,
            status.unknown_since,
        ),
        host: host_as_shown(record).map(|(name, facts)| (name, facts.map(|facts| facts.0))),
        exit: exit.map(|e| (e.cause.as_str(), e.crashed, e.code, e.signal, e.time)),
        restart_count: seen.map_or(0, |vm| vm.restart_count),
        times: (seen.and_then(|vm| vm.adopted_at), seen.and_then(|vm| vm.next_attempt_at)),
        guest: seen.and_then(|vm| vm.guest.as_ref()),
        limits: seen.and_then(|vm| vm.limits.as_ref()),
        devices: devices_of(record)
            .map(|d| (d.cow_used_sectors, d.cow_total_sectors, &*d.vmm, &*d.root_disk)),
    }
}

fn shown_of_the_host(record: &VmRecord) -> ShownOfTheHost<'_> {
    let seen = record.seen();
    ShownOfTheHost {
        agent_epoch: host_as_shown(record).and_then(|(_, facts)| facts).map(|facts| facts.1),
        process: seen.and_then(|vm| vm.process),
        boot_id: seen.map_or("", |vm| &vm.boot_id),
        devices: devices_of(record),
    }
}

fn devices_of(record: &VmRecord) -> Option<&DevicesSeen> {
    record.seen().map(|vm| &vm.devices).filter(|devices| devices.is_any())
}

fn specs_are_alike(one: &VmRecord, other: &VmRecord) -> bool {
    let (one, other) = (&one.intent.spec, &other.intent.spec);
    Arc::ptr_eq(one, other) || one == other
}

/// What of a host is shown with each of its VMs: name, whether it is simulated, agent epoch.
fn host_as_shown(record: &VmRecord) -> Option<(&str, Option<(bool, u64)>)> {
    record.host.as_ref().map(|host| {
        let facts = host.facts.as_ref().map(|facts| (facts.simulated, facts.agent_epoch));
        (host.record.name.as_str(), facts)
    })
}
