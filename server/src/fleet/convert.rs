//! Between the agent's messages and what they mean here.
//!
//! Used by the gRPC link only, and the only place where an agent's words come in. An agent is
//! believed about its host, but not about form: an id, a time or a number that can't be is a broken
//! protocol, answered with an error that names the field, so that the session ends and the log says
//! why. Texts are clipped and freed of what steers ([`words`]); how much an agent may say in all is
//! for the [`entrance`].

use std::time::Duration;

use banger_proto::agent_v1 as wire;
use banger_proto::bounds::{MAX_GUESTS_TOLD, MAX_HOST_IMAGES, MAX_LEFT_BEHIND};
use banger_proto::ids::{Epoch, Generation, Version, VmId};
use banger_proto::v1::{self, GuestStatus};
use banger_proto::words;
use jiff::Timestamp;

use super::link::{Command, Message, Report};
use crate::model::host::{HostFacts, ImageFile, ImageKind, Resources};
use crate::model::image::host_file;
use crate::model::intent::Desired;
use crate::model::observed::{
    DevicesSeen, ExitCause, ExitSeen, Fault, GuestSeen, IoLimitSeen, LimitsSeen, ObservedVm, Phase,
    ProcessSeen, TrafficSeen,
};
use crate::model::spec::{Egress, ImageRef, RestartPolicy};
use crate::model::subnet::Subnet;

pub(super) mod entrance;
pub(super) mod objects;

/// A message that can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its {0} can't be read")]
pub(super) struct Unreadable(pub(super) &'static str);

/// More than this no machine has: 65,536 CPUs, 64 TiB of memory, an EiB of disk.
const MOST: Resources =
    Resources { vcpus: 1 << 16, memory_mib: 1 << 26, disk_mib: 1 << 40, guests: u32::MAX };

/// Times of an agent are from 1970 to 2200, whatever its clock says.
const SECONDS: std::ops::Range<i64> = 0..7_258_118_400;

/// Devices and controllers that are believed of one VM: it has two disks, and there are four.
const MAX_IO_DEVICES: usize = 8;
const MAX_CONTROLLERS: usize = 8;

/// Used when an agent does not say how often it speaks.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(5);

/// Most CAs that an agent may say it trusts.
const MAX_TRUSTED: usize = 8;

// === to the agent ===

/// What the server decides about a guest beside its spec.
#[derive(Debug, Clone)]
pub(super) struct GuestNet {
    pub(super) subnet: Subnet,
    pub(super) dns_domain: String,
}

pub(super) fn version(version: Version) -> wire::Version {
    wire::Version { epoch: version.epoch.0, generation: version.generation.0 }
}

fn power(desired: Desired) -> wire::Power {
    match desired {
        Desired::Running => wire::Power::Running,
        Desired::Paused => wire::Power::Paused,
        Desired::Stopped => wire::Power::Stopped,
        Desired::Absent => wire::Power::Absent,
    }
}

/// One that the server keeps lies on the host under its digest, whatever it is called here.
fn image(image: &ImageRef) -> wire::Image {
    let name = image.stored_digest().map_or_else(|| image.name.clone(), host_file);
    wire::Image { name, sha256: image.sha256.clone().unwrap_or_default() }
}

/// A length of time for the wire. Ours are hours at most.
pub(super) fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

fn shape(command: &Command, net: &GuestNet) -> wire::Shape {
    let intent = &command.intent;
    let spec = &intent.spec;
    let (limits, held) = (spec.rate_limits(), spec.limits());
    wire::Shape {
        name: intent.name.clone(),
        vcpus: spec.vcpus(),
        memory_mib: spec.memory_mib(),
        kernel: Some(image(spec.kernel())),
        root_image: Some(image(spec.root_image())),
        initrd: spec.initrd().map(image),
        root_disk_mib: spec.root_disk_mib(),
        work_disk_mib: spec.work_disk_mib().unwrap_or(0),
        boot_args: spec.boot_args().to_owned(),
        metadata_json: spec.metadata().unwrap_or_default().to_owned(),
        network: intent.net.map(|guest| wire::Network {
            guest_address: guest.address.to_string(),
            gateway: net.subnet.gateway().to_string(),
            prefix_length: u32::from(net.subnet.prefix()),
            mac_address: guest.mac.to_string(),
            vsock_cid: guest.cid,
            nat: match spec.egress() {
                Egress::Nat => true,
                Egress::None => false,
            },
            dns_name: intent.dns_name(&net.dns_domain),
        }),
        rate_limits: Some(wire::RateLimits {
            disk_bytes_per_second: limits.disk_bytes_per_second,
            disk_ops_per_second: limits.disk_ops_per_second,
            net_rx_bytes_per_second: limits.net_rx_bytes_per_second,
            net_tx_bytes_per_second: limits.net_tx_bytes_per_second,
        }),
        limits: (!held.is_usual()).then_some(v1::ResourceLimits {
            cpu_weight: held.cpu_weight,
            cpu_millis: held.cpu_millis,
            io_read_bytes_per_second: held.io_read_bytes_per_second,
            io_write_bytes_per_second: held.io_write_bytes_per_second,
            io_read_ops_per_second: held.io_read_ops_per_second,
            io_write_ops_per_second: held.io_write_ops_per_second,
        }),
        restart_policy: match spec.restart_policy() {
            RestartPolicy::Never => wire::RestartPolicy::Never,
            RestartPolicy::OnFailure => wire::RestartPolicy::OnFailure,
            RestartPolicy::Always => wire::RestartPolicy::Always,
        }
        .into(),
    }
}

pub(super) fn assignment(command: &Command, net: &GuestNet) -> wire::Assignment {
    let intent = &command.intent;
    wire::Assignment {
        vm_id: intent.id.to_string(),
        version: Some(version(command.version)),
        desired: power(intent.desired).into(),
        shape: Some(shape(command, net)),
        stop_grace: Some(duration(intent.stop_grace)),
        boot_number: intent.boot_number,
        root_disk_number: intent.root_disk_number,
        traceparent: intent.traceparent.clone(),
    }
}

// === from the agent ===

fn id(text: &str) -> Result<VmId, Unreadable> {
    text.parse().map_err(|_| Unreadable("VM id"))
}

pub(super) fn seen_version(version: Option<wire::Version>) -> Version {
    let version = version.unwrap_or_default();
    Version { epoch: Epoch(version.epoch), generation: Generation(version.generation) }
}

fn time(time: prost_types::Timestamp) -> Result<Timestamp, Unreadable> {
    if !SECONDS.contains(&time.seconds) {
        return Err(Unreadable("time"));
    }
    Timestamp::new(time.seconds, time.nanos).map_err(|_| Unreadable("time"))
}

fn maybe_time(at: Option<prost_types::Timestamp>) -> Result<Option<Timestamp>, Unreadable> {
    at.map(time).transpose()
}

fn phase(number: i32) -> Result<Phase, Unreadable> {
    match wire::Phase::try_from(number) {
        Ok(wire::Phase::Preparing) => Ok(Phase::Preparing),
        Ok(wire::Phase::Starting) => Ok(Phase::Starting),
        Ok(wire::Phase::Running) => Ok(Phase::Running),
        Ok(wire::Phase::Paused) => Ok(Phase::Paused),
        Ok(wire::Phase::Stopping) => Ok(Phase::Stopping),
        Ok(wire::Phase::Stopped) => Ok(Phase::Stopped),
        Ok(wire::Phase::Crashed) => Ok(Phase::Crashed),
        Ok(wire::Phase::Failed) => Ok(Phase::Failed),
        Ok(wire::Phase::Deleting) => Ok(Phase::Deleting),
        Ok(wire::Phase::Unclear) => Ok(Phase::Unclear),
        Ok(wire::Phase::Unspecified) | Err(_) => Err(Unreadable("phase")),
    }
}

pub(super) fn observed(vm: wire::ObservedVm) -> Result<(VmId, Box<ObservedVm>), Unreadable> {
    let id = id(&vm.vm_id)?;
    let seen = ObservedVm {
        accepted: seen_version(vm.accepted),
        settled: seen_version(vm.settled),
        phase: phase(vm.phase)?,
        fault: vm.fault.map(fault),
        observed_at: time(vm.observed_at.ok_or(Unreadable("observed_at"))?)?,
        phase_since: time(vm.phase_since.ok_or(Unreadable("phase_since"))?)?,
        process: vm.process.map(process).transpose()?,
        boot_id: words::word(vm.boot_id),
        exit: vm.exit.map(exit).transpose()?,
        restart_count: vm.restart_count,
        adopted_at: maybe_time(vm.adopted_at)?,
        guest: vm.guest.map(guest).transpose()?,
        devices: vm.devices.map(devices).unwrap_or_default(),
        next_attempt_at: maybe_time(vm.next_attempt_at)?,
        name: words::word(vm.name),
        guest_address: vm.guest_address.parse().ok(),
        limits: vm.limits.map(limits_seen),
    };
    Ok((id, Box::new(seen)))
}

fn fault(fault: wire::Fault) -> Fault {
    Fault {
        reason: words::word(fault.reason),
        step: words::name(fault.step),
        message: words::sentence(fault.message),
        left_behind: fault.left_behind.into_iter().take(MAX_LEFT_BEHIND).map(words::name).collect(),
        retrying: fault.retrying,
    }
}

fn process(process: wire::Process) -> Result<ProcessSeen, Unreadable> {
    Ok(ProcessSeen {
        pid: process.pid,
        start_ticks: process.start_ticks,
        start_time: maybe_time(process.start_time)?,
    })
}

fn exit(exit: wire::Exit) -> Result<ExitSeen, Unreadable> {
    Ok(ExitSeen {
        cause: ExitCause::of(&exit.reason),
        crashed: exit.crashed,
        code: exit.code,
        signal: exit.signal,
        message: words::sentence(exit.message),
        time: maybe_time(exit.time)?,
    })
}

fn guest(guest: GuestStatus) -> Result<GuestSeen, Unreadable> {
    Ok(GuestSeen {
        agent_version: words::word(guest.agent_version),
        boot_id: words::word(guest.boot_id),
        hostname: words::name(guest.hostname),
        ready_at: maybe_time(guest.ready_at)?,
        connected: guest.connected,
        transport: words::word(guest.transport),
    })
}

fn limits_seen(limits: v1::EffectiveLimits) -> LimitsSeen {
    let io = |io: v1::EffectiveIoLimit| IoLimitSeen {
        device: words::word(io.device),
        read_bytes_per_second: io.read_bytes_per_second,
        write_bytes_per_second: io.write_bytes_per_second,
        read_ops_per_second: io.read_ops_per_second,
        write_ops_per_second: io.write_ops_per_second,
    };
    LimitsSeen {
        cpu_weight: limits.cpu_weight,
        cpu_millis: limits.cpu_millis,
        memory_bytes: limits.memory_bytes,
        tasks: limits.tasks,
        io: limits.io.into_iter().take(MAX_IO_DEVICES).map(io).collect(),
        missing: limits
            .missing_controllers
            .into_iter()
            .take(MAX_CONTROLLERS)
            .map(words::word)
            .collect(),
    }
}

fn devices(devices: wire::Devices) -> DevicesSeen {
    DevicesSeen {
        tap: words::name(devices.tap),
        base_loop: words::name(devices.base_loop),
        cow_loop: words::name(devices.cow_loop),
        snapshot: words::name(devices.snapshot),
        cow_used_sectors: devices.cow_used_sectors,
        cow_total_sectors: devices.cow_total_sectors,
        api_socket: words::name(devices.api_socket),
        vsock_socket: words::name(devices.vsock_socket),
        vmm: words::word(devices.vmm),
        root_disk: words::word(devices.root_disk),
    }
}

/// A length of time. Not by `TryFrom`, which panics at the ends of what can be said.
fn span(said: prost_types::Duration) -> Option<Duration> {
    let (seconds, nanos) = (u64::try_from(said.seconds).ok()?, u32::try_from(said.nanos).ok()?);
    Duration::from_secs(seconds).checked_add(Duration::from_nanos(nanos.into()))
}

fn facts(facts: wire::HostFacts) -> Result<HostFacts, Unreadable> {
    let heartbeat = facts.heartbeat_interval.and_then(span).filter(|beat| !beat.is_zero());
    let capacity = Resources {
        vcpus: facts.vcpus,
        memory_mib: facts.memory_mib,
        disk_mib: facts.disk_mib,
        guests: if facts.max_guests == 0 { u32::MAX } else { facts.max_guests },
    };
    if capacity.vcpus > MOST.vcpus
        || capacity.memory_mib > MOST.memory_mib
        || capacity.disk_mib > MOST.disk_mib
    {
        return Err(Unreadable("capacity"));
    }
    if facts.images.len() > MAX_HOST_IMAGES {
        return Err(Unreadable("list of more than 4096 images"));
    }
    Ok(HostFacts {
        boot_id: words::word(facts.boot_id),
        agent_epoch: facts.agent_epoch,
        agent_version: words::word(facts.agent_version),
        simulated: facts.simulated,
        vmm: words::name(facts.vmm),
        root_disks: words::word(facts.root_disks),
        kernel_release: words::name(facts.kernel_release),
        capacity,
        images: facts.images.into_iter().map(image_file).collect::<Result<_, _>>()?,
        heartbeat_interval: heartbeat.unwrap_or(DEFAULT_HEARTBEAT),
        trusted: trusted(&facts.trusted_ca_sha256),
    })
}

/// Of what is no digest, and of more than any agent trusts, nothing is taken.
fn trusted(said: &[Vec<u8>]) -> Vec<[u8; 32]> {
    let digests = said.iter().take(MAX_TRUSTED).filter_map(|one| one.as_slice().try_into().ok());
    let mut digests: Vec<[u8; 32]> = digests.collect();
    digests.sort_unstable();
    digests.dedup();
    digests
}

fn image_file(file: wire::ImageFile) -> Result<ImageFile, Unreadable> {
    let kind = match wire::ImageKind::try_from(file.kind) {
        Ok(wire::ImageKind::Kernel) => ImageKind::Kernel,
        Ok(wire::ImageKind::Root) => ImageKind::Root,
        // A kind of a newer agent is shown as unknown, and is the host's business.
        Ok(wire::ImageKind::Initrd | wire::ImageKind::Unspecified) | Err(_) => ImageKind::Unknown,
    };
    let is_digest = |text: &str| {
        text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    if !file.sha256.is_empty() && !is_digest(&file.sha256) {
        return Err(Unreadable("digest of an image"));
    }
    let name = words::name(file.name);
    Ok(ImageFile { name, size_bytes: file.size_bytes, sha256: file.sha256, kind })
}

fn traffic_seen(guest: wire::GuestTraffic) -> Result<(VmId, TrafficSeen), Unreadable> {
    let traffic = guest.traffic.unwrap_or_default();
    let seen = TrafficSeen {
        sent_bytes: traffic.sent_bytes,
        sent_packets: traffic.sent_packets,
        received_bytes: traffic.received_bytes,
        received_packets: traffic.received_packets,
        refused_packets: traffic.refused_packets,
    };
    Ok((id(&guest.vm_id)?, seen))
}

fn report(event: wire::observe_response::Event) -> Result<Report, Unreadable> {
    use wire::observe_response::Event;
    Ok(match event {
        Event::Host(host) => Report::Host(Box::new(facts(host)?)),
        Event::Inventory(part) => Report::Inventory {
            vms: part.vms.into_iter().map(observed).collect::<Result<_, _>>()?,
            last: part.last,
        },
        Event::Vm(vm) => {
            let (id, vm) = observed(vm)?;
            Report::Vm(id, vm)
        }
        Event::Gone(gone) => Report::Gone(id(&gone.vm_id)?),
        Event::Heartbeat(beat) if beat.traffic.is_empty() => Report::Heartbeat,
        Event::Heartbeat(beat) => {
            let traffic = beat.traffic.into_iter().take(MAX_GUESTS_TOLD).map(traffic_seen);
            Report::Traffic(traffic.collect::<Result<_, _>>()?)
        }
    })
}

fn message(response: wire::ObserveResponse) -> Result<Message, Unreadable> {
    // No event that is known here: of a newer agent, and as good as a heartbeat.
    let report = response.event.map_or(Ok(Report::Heartbeat), report)?;
    Ok(Message { sequence: response.sequence, report })
}

#[cfg(test)]
mod tests;
