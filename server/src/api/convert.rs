//! Turns stored VMs, hosts, images and history into messages of the API. Inwards is in
//! [`incoming`].
//!
//! Every match on our enums and every message is written out, so that a new field does not compile
//! until it is decided here.

mod capacity;
mod filter;
mod host_parts;
pub mod incoming;
mod limits;
pub mod metadata;
mod verdicts;

use std::time::Duration;

use banger_proto::ids::{HostId, Revision, VmId};
use banger_proto::v1;
use jiff::Timestamp;

use crate::model::access::Secrets;
use crate::model::audience::Audience;
use crate::model::caller::{Caller, ProjectRole, Rights, Role};
use crate::model::capacity::AcceptedCapacity;
use crate::model::host::{HostState, HostView};
use crate::model::image::{ImageRecord, StoredKind};
use crate::model::intent::{Desired, VmIntent};
use crate::model::observed::{
    DevicesSeen, ExitSeen, GuestSeen, Observation, ObservedVm, ProcessSeen,
};
use crate::model::past::GoneThing;
use crate::model::placement::{HostOvercommit, Overcommit};
use crate::model::spec::{Egress, ImageRef, RestartPolicy, VmSpec};
use crate::model::status::{VmState, VmStatus};
use crate::model::subnet::FIRST_SLOT;
use crate::store::StoredEvent;
use crate::watch::{HostSnapshot, PastThing, View, VmRecord};

pub use self::capacity::accepted;
pub use self::filter::{filter, host_filter};
use self::host_parts::{images, reason_of, shown_certificate};
pub use self::verdicts::evaluation;
use self::verdicts::{affinity, strategy};

/// A VM at one revision.
pub fn vm(record: &VmRecord, domain: &str, to: Audience) -> v1::Vm {
    let mut vm = vm_of(
        &record.intent,
        &record.observation,
        &record.status,
        record.host.as_deref(),
        record.revision,
        domain,
        to,
    );
    if let Some(status) = &mut vm.status {
        status.observed_at = record.observed_at.map(timestamp);
    }
    vm
}

/// A VM that was gone before this life of the server, by what is known of it still.
pub fn gone_vm(id: VmId, past: &PastThing) -> v1::Vm {
    let GoneThing { thing: _, name, project } = &past.gone;
    v1::Vm {
        id: id.to_string(),
        name: name.clone(),
        status: Some(v1::VmStatus { state: v1::VmState::Deleted.into(), ..Default::default() }),
        revision: past.revision.0,
        project: project.as_ref().map(ToString::to_string).unwrap_or_default(),
        ..v1::Vm::default()
    }
}

/// A host that was gone before this life of the server.
pub fn gone_host(id: HostId, past: &PastThing) -> v1::Host {
    let (id, name, revision) = (id.to_string(), past.gone.name.clone(), past.revision.0);
    v1::Host { id, name, revision, ..v1::Host::default() }
}

/// The same for who asks how it is now, with when its host last said that it is so.
pub fn vm_now(record: &VmRecord, view: &View, domain: &str, to: Audience) -> v1::Vm {
    let mut vm = self::vm(record, domain, to);
    if let Some(status) = &mut vm.status {
        status.confirmed_at = view.confirmed(record).map(timestamp);
        status.traffic = view.traffic(record).map(|(seen, told_at)| v1::VmTraffic {
            sent_bytes: seen.sent_bytes,
            sent_packets: seen.sent_packets,
            received_bytes: seen.received_bytes,
            received_packets: seen.received_packets,
            refused_packets: seen.refused_packets,
            told_at: Some(timestamp(told_at)),
        });
    }
    vm
}

/// A VM from its parts, for one that the view does not show, or not any more.
pub fn vm_of(
    intent: &VmIntent,
    observation: &Observation,
    status: &VmStatus,
    host: Option<&HostView>,
    revision: Revision,
    domain: &str,
    to: Audience,
) -> v1::Vm {
    v1::Vm {
        id: intent.id.to_string(),
        name: intent.name.clone(),
        spec: Some(spec(&intent.spec, to.secrets)),
        desired_state: desired(intent.desired).into(),
        status: Some(vm_status(intent, observation, status, host, domain, to)),
        generation: intent.generation.0,
        etag: intent.etag(),
        revision: revision.0,
        create_time: Some(timestamp(intent.created_at)),
        update_time: Some(timestamp(intent.updated_at)),
        project: intent.project.to_string(),
        // Of a create that is only checked: see `verdicts`.
        placement_evaluation: None,
    }
}

fn vm_status(
    intent: &VmIntent,
    observation: &Observation,
    status: &VmStatus,
    host: Option<&HostView>,
    domain: &str,
    to: Audience,
) -> v1::VmStatus {
    let seen: Option<&ObservedVm> = match observation {
        Observation::Present(seen) => Some(seen),
        Observation::Unknown { .. } | Observation::Absent => None,
    };
    let facts = host.and_then(|host| host.facts.as_ref());
    // Of its host: numbers of processes, too, which tell how many others there are.
    let of_host = seen.filter(|_| to.sees_hosts);
    v1::VmStatus {
        state: state(status.state).into(),
        reason: status.reason.to_string(),
        message: to.told(&status.reason, &status.message),
        // Of the newest report that somebody could see: see `vm`.
        observed_at: None,
        host_id: intent.host.as_ref().map(HostId::to_string).unwrap_or_default(),
        host_name: host.map(|host| host.record.name.clone()).unwrap_or_default(),
        simulated: facts.is_some_and(|facts| facts.simulated),
        observed_generation: status.observed_generation.0,
        guest_address: intent.net.map(|net| net.address.to_string()).unwrap_or_default(),
        mac_address: intent.net.map(|net| net.mac.to_string()).unwrap_or_default(),
        vsock_cid: intent.net.map_or(0, |net| net.cid),
        dns_name: intent.dns_name(domain),
        host_boot_id: of_host.map(|seen| seen.boot_id.clone()).unwrap_or_default(),
        process: of_host.and_then(|seen| seen.process).map(process),
        exit: seen.and_then(|seen| seen.exit.as_ref()).map(|seen| exit(seen, to)),
        restart_count: seen.map_or(0, |seen| seen.restart_count),
        adopted_at: seen.and_then(|seen| seen.adopted_at).map(timestamp),
        agent_epoch: facts.filter(|_| to.sees_hosts).map_or(0, |facts| facts.agent_epoch),
        unknown_since: status.unknown_since.map(timestamp),
        state_since: Some(timestamp(status.since)),
        devices: seen
            .map(|seen| &seen.devices)
            .filter(|seen| seen.is_any())
            .map(|seen| devices(seen, to)),
        next_attempt_at: seen.and_then(|seen| seen.next_attempt_at).map(timestamp),
        guest: seen.and_then(|seen| seen.guest.as_ref()).map(guest),
        limits: seen.and_then(|seen| seen.limits.as_ref()).map(limits::effective),
        // Of now, not of a revision: see `vm_now`.
        confirmed_at: None,
        traffic: None,
    }
}

/// A spec, as somebody may see it.
pub fn spec(spec: &VmSpec, secrets: Secrets) -> v1::VmSpec {
    let limits = spec.rate_limits();
    let placement = spec.placement();
    v1::VmSpec {
        vcpus: spec.vcpus(),
        memory_mib: spec.memory_mib(),
        kernel: Some(image_ref(spec.kernel())),
        root_image: Some(image_ref(spec.root_image())),
        root_disk_mib: spec.root_disk_mib(),
        work_disk: spec.work_disk_mib().map(|size_mib| v1::WorkDisk { size_mib }),
        boot_args: spec.boot_args().to_owned(),
        metadata: match secrets {
            Secrets::Shown => spec.metadata().map(metadata::to_struct),
            Secrets::Hidden => None,
        },
        network: Some(v1::NetworkSpec {
            egress: match spec.egress() {
                Egress::Nat => v1::EgressPolicy::Nat,
                Egress::None => v1::EgressPolicy::None,
            }
            .into(),
            ports: Vec::new(),
            // What is deprecated is never set.
            ..v1::NetworkSpec::default()
        }),
        rate_limits: (!limits.is_unbounded()).then_some(v1::RateLimits {
            disk_bytes_per_second: limits.disk_bytes_per_second,
            disk_ops_per_second: limits.disk_ops_per_second,
            net_rx_bytes_per_second: limits.net_rx_bytes_per_second,
            net_tx_bytes_per_second: limits.net_tx_bytes_per_second,
        }),
        labels: spec.labels().clone(),
        placement: (!placement.is_anywhere()).then(|| v1::Placement {
            host: placement.host.clone().unwrap_or_default(),
            host_labels: placement.host_labels.clone(),
            strategy: strategy(placement.strategy).into(),
            affinity: placement.affinity.iter().map(affinity).collect(),
            priority: placement.priority,
            pool: placement.pool.clone().unwrap_or_default(),
            scheduler_name: placement.scheduler.clone().unwrap_or_default(),
        }),
        restart_policy: match spec.restart_policy() {
            RestartPolicy::Never => v1::RestartPolicy::Never,
            RestartPolicy::OnFailure => v1::RestartPolicy::OnFailure,
            RestartPolicy::Always => v1::RestartPolicy::Always,
        }
        .into(),
        initrd: spec.initrd().map(image_ref),
        limits: (!spec.limits().is_usual()).then(|| limits::wanted(spec.limits())),
    }
}

/// An image with the hosts that have it or are being sent it. Who made one of another project,
/// which is public, and of what, is theirs alone.
pub fn image(
    image: &ImageRecord,
    vm_count: usize,
    hosts: Vec<v1::ImageHost>,
    caller: &Caller,
) -> v1::Image {
    let told = |text: &str| match caller.sees(&image.project) {
        true => text.to_owned(),
        false => String::new(),
    };
    v1::Image {
        name: image.name.clone(),
        sha256: image.sha256.clone(),
        size_bytes: image.size_bytes,
        create_time: Some(timestamp(image.created_at)),
        kind: match image.kind {
            StoredKind::Kernel => v1::ImageKind::Kernel,
            StoredKind::Root => v1::ImageKind::Root,
            StoredKind::Initrd => v1::ImageKind::Initrd,
        }
        .into(),
        origin: told(&image.origin),
        guest_agent: image.guest_agent,
        vm_count: u32::try_from(vm_count).unwrap_or(u32::MAX),
        hosts,
        notes: match caller.sees(&image.project) {
            true => image.notes.clone(),
            false => Vec::new(),
        },
        created_by: told(&image.created_by),
        boot: image.boot.as_ref().map(|boot| v1::ImageBoot {
            kernel: boot.kernel.clone(),
            initrd: boot.initrd.clone().unwrap_or_default(),
            boot_args: boot.boot_args.clone(),
        }),
        project: image.project.to_string(),
        public: image.public,
    }
}

/// A role.
pub fn role(rights: &Rights) -> v1::Role {
    match rights {
        Rights::Fleet(Role::Viewer) | Rights::Project(_, ProjectRole::Viewer) => v1::Role::Viewer,
        Rights::Fleet(Role::Operator) => v1::Role::Operator,
        Rights::Project(_, ProjectRole::Developer) => v1::Role::Developer,
        Rights::Fleet(Role::Admin) | Rights::Project(_, ProjectRole::Admin) => v1::Role::Admin,
    }
}

fn image_ref(image: &ImageRef) -> v1::ImageRef {
    v1::ImageRef { name: image.name.clone(), sha256: image.sha256.clone().unwrap_or_default() }
}

/// A wanted power state.
pub fn desired(desired: Desired) -> v1::DesiredState {
    match desired {
        Desired::Running => v1::DesiredState::Running,
        Desired::Paused => v1::DesiredState::Paused,
        Desired::Stopped => v1::DesiredState::Stopped,
        Desired::Absent => v1::DesiredState::Absent,
    }
}

/// A shown state.
pub fn state(state: VmState) -> v1::VmState {
    match state {
        VmState::Pending => v1::VmState::Pending,
        VmState::Preparing => v1::VmState::Preparing,
        VmState::Starting => v1::VmState::Starting,
        VmState::Running => v1::VmState::Running,
        VmState::Paused => v1::VmState::Paused,
        VmState::Stopping => v1::VmState::Stopping,
        VmState::Stopped => v1::VmState::Stopped,
        VmState::Crashed => v1::VmState::Crashed,
        VmState::Failed => v1::VmState::Failed,
        VmState::Deleting => v1::VmState::Deleting,
        VmState::Unknown => v1::VmState::Unknown,
        VmState::Deleted => v1::VmState::Deleted,
    }
}

fn process(seen: ProcessSeen) -> v1::VmProcess {
    let ProcessSeen { pid, start_ticks, start_time } = seen;
    v1::VmProcess { pid, start_ticks, start_time: start_time.map(timestamp) }
}

fn exit(seen: &ExitSeen, to: Audience) -> v1::VmExit {
    let ExitSeen { cause, crashed, code, signal, message, time } = seen;
    v1::VmExit {
        crashed: *crashed,
        code: *code,
        signal: *signal,
        message: to.told("", message),
        time: time.map(timestamp),
        reason: cause.as_str().to_owned(),
    }
}

fn guest(seen: &GuestSeen) -> v1::GuestStatus {
    v1::GuestStatus {
        agent_version: seen.agent_version.clone(),
        boot_id: seen.boot_id.clone(),
        hostname: seen.hostname.clone(),
        ready_at: seen.ready_at.map(timestamp),
        connected: seen.connected,
        transport: seen.transport.clone(),
    }
}

/// Devices. Their names and paths are the host's, and loop devices are numbered over all guests.
fn devices(seen: &DevicesSeen, to: Audience) -> v1::VmDevices {
    if !to.sees_hosts {
        return v1::VmDevices {
            cow_used_sectors: seen.cow_used_sectors,
            cow_total_sectors: seen.cow_total_sectors,
            vmm: seen.vmm.clone(),
            root_disk: seen.root_disk.clone(),
            ..v1::VmDevices::default()
        };
    }
    v1::VmDevices {
        tap: seen.tap.clone(),
        base_loop: seen.base_loop.clone(),
        cow_loop: seen.cow_loop.clone(),
        snapshot: seen.snapshot.clone(),
        cow_used_sectors: seen.cow_used_sectors,
        cow_total_sectors: seen.cow_total_sectors,
        api_socket: seen.api_socket.clone(),
        vsock_socket: seen.vsock_socket.clone(),
        vmm: seen.vmm.clone(),
        root_disk: seen.root_disk.clone(),
    }
}

/// A line of history, as somebody may see it.
pub fn history_event(event: StoredEvent, to: Audience) -> v1::VmHistoryEvent {
    v1::VmHistoryEvent {
        time: Some(timestamp(event.at)),
        generation: event.generation.0,
        r#type: event.kind,
        message: to.told(&event.reason, &event.message),
        reason: event.reason,
        actor: event.actor,
        times: event.times,
        last_time: Some(timestamp(event.last_at)),
    }
}

/// How many unclaimed VMs of a host are named: it says itself how many it has, and every reader and
/// watcher gets them.
const MAX_UNCLAIMED: usize = 256;

/// A host with all that is known of it now.
pub fn host(snapshot: &HostSnapshot, all: Overcommit) -> v1::Host {
    let HostView { record, health, facts } = &*snapshot.view;
    let facts = facts.as_deref();
    let certificate = snapshot.certificate.as_deref();
    let (reason, message) = reason_of(health, certificate);
    let said = facts.map(|facts| facts.capacity);
    let ceiling = record.ceiling().or(said.map(AcceptedCapacity::of).unwrap_or_default());
    let holds = all.over(record.overcommit);
    let HostOvercommit { vcpus_milli, memory_milli } = record.overcommit;
    let addresses = (record.subnet.last_slot() + 1).saturating_sub(FIRST_SLOT);
    let taken = snapshot.vm_count + snapshot.unclaimed.len();
    v1::Host {
        id: record.id.to_string(),
        name: record.name.clone(),
        agent_address: record.agent_address.clone(),
        labels: record.labels.clone(),
        cordoned: record.cordoned,
        guest_subnet: record.subnet.to_string(),
        create_time: Some(timestamp(record.created_at)),
        certificate_expire_time: Some(timestamp(record.certificate_expires_at)),
        status: Some(v1::HostStatus {
            state: host_state(health.state).into(),
            reason: reason.to_owned(),
            message,
            last_seen: health.last_seen.map(timestamp),
            state_since: Some(timestamp(health.since)),
            simulated: facts.is_some_and(|facts| facts.simulated),
            agent_version: facts.map(|facts| facts.agent_version.clone()).unwrap_or_default(),
            agent_epoch: facts.map_or(0, |facts| facts.agent_epoch),
            boot_id: facts.map(|facts| facts.boot_id.clone()).unwrap_or_default(),
            capacity: said.map(capacity::resources),
            booked: Some(capacity::resources(snapshot.booked)),
            vm_count: u32::try_from(snapshot.vm_count).unwrap_or(u32::MAX),
            images: facts.map(|facts| images(&facts.images)).unwrap_or_default(),
            vmm: facts.map(|facts| facts.vmm.clone()).unwrap_or_default(),
            kernel_release: facts.map(|facts| facts.kernel_release.clone()).unwrap_or_default(),
            root_disks: facts.map(|facts| facts.root_disks.clone()).unwrap_or_default(),
            unclaimed_vm_ids: snapshot
                .unclaimed
                .iter()
                .take(MAX_UNCLAIMED)
                .map(ToString::to_string)
                .collect(),
            unclaimed_vm_count: u32::try_from(snapshot.unclaimed.len()).unwrap_or(u32::MAX),
            allocatable: said.map(|said| {
                let counts = ceiling.counted(said);
                capacity::resources(holds.limit(counts))
            }),
            addresses_free: addresses.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX)),
            overcommit: Some(v1::HostOvercommit { vcpus: holds.vcpus, memory: holds.memory }),
            certificate: certificate.map(shown_certificate),
            accepted_capacity: capacity::ceiling(ceiling),
            conditions: said
                .and_then(|said| capacity::condition(&record.name, ceiling, said))
                .into_iter()
                .collect(),
        }),
        accepted_capacity: capacity::ceiling(record.accepted),
        etag: record.etag(),
        revocation: record.revoked.as_ref().map(|revoked| v1::HostRevocation {
            time: Some(timestamp(revoked.at)),
            actor: revoked.by.clone(),
            reason: revoked.reason.clone(),
        }),
        overcommit: (record.overcommit != HostOvercommit::default()).then(|| v1::HostOvercommit {
            vcpus: HostOvercommit::ratio(vcpus_milli),
            memory: HostOvercommit::ratio(memory_milli),
        }),
        revision: snapshot.revision.0,
    }
}

pub fn host_state(state: HostState) -> v1::HostState {
    match state {
        HostState::Connecting => v1::HostState::Connecting,
        HostState::Online => v1::HostState::Online,
        HostState::Suspect => v1::HostState::Suspect,
        HostState::Offline => v1::HostState::Offline,
        HostState::Revoked => v1::HostState::Revoked,
    }
}

/// A time.
pub fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    let nanos = at.as_nanosecond();
    prost_types::Timestamp {
        seconds: i64::try_from(nanos.div_euclid(1_000_000_000)).expect("a year below 10000"),
        nanos: i32::try_from(nanos.rem_euclid(1_000_000_000)).expect("less than a second"),
    }
}

/// A duration from a request.
///
/// # Errors
/// A sentence, when it is negative or beyond `max`.
pub fn duration(given: prost_types::Duration, max: Duration) -> Result<Duration, String> {
    // Not by prost's own conversion, which overflows on the most negative numbers.
    let parts = u64::try_from(given.seconds).ok().zip(u32::try_from(given.nanos).ok());
    parts
        .filter(|(_, nanos)| *nanos < 1_000_000_000)
        .map(|(seconds, nanos)| Duration::new(seconds, nanos))
        .filter(|given| *given <= max)
        .ok_or_else(|| format!("must be 0 to {} s", max.as_secs()))
}

#[cfg(test)]
mod tests;
