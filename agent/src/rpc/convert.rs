//! Wire messages to this agent's types and back.
//!
//! What comes from the server ends in names of kernel objects and in files of a root process, so
//! it is checked here as strictly as if a stranger had sent it: an assignment that parses is safe
//! to act upon. Each refusal names the field.

mod limits;

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

use banger_proto::agent_v1 as wire;
use banger_proto::bounds::{
    MAX_COMMAND_LINE_BYTES, MAX_LEFT_BEHIND, MAX_METADATA_BYTES, MAX_STOP_GRACE, MEMORY_MIB,
    ROOT_DISK_MIB, VCPUS, WORK_DISK_MIB,
};
use banger_proto::ids::{Epoch, Generation, Version, VmId};
use banger_proto::v1::GuestStatus;
use banger_proto::words;

use crate::assignment::{
    Assignment, Exit, GuestNetwork, Image, Limits, Power, RestartPolicy, Shape,
};
use crate::guests::GuestSeen;
use crate::host::{MacAddress, Subnet};
use crate::report::phase::{Fault, Phase};
use crate::report::{Devices, VmReport};

/// A field that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub(super) struct WireError {
    /// Path of the field, such as `assignment.shape.vcpus`.
    pub(super) field: String,
    /// What is wrong with it.
    pub(super) problem: String,
}

fn wrong(field: &str, problem: impl Into<String>) -> WireError {
    WireError { field: field.to_owned(), problem: problem.into() }
}

fn within(field: &str, value: u32, bounds: RangeInclusive<u32>) -> Result<u32, WireError> {
    if bounds.contains(&value) {
        return Ok(value);
    }
    let (low, high) = bounds.into_inner();
    Err(wrong(field, format!("{value} is not within {low} to {high}")))
}

fn text(field: &str, value: String, longest: usize) -> Result<String, WireError> {
    if value.len() > longest {
        return Err(wrong(field, format!("longer than {longest} bytes")));
    }
    if !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(wrong(field, "has a character that is not printable ASCII"));
    }
    Ok(value)
}

pub(super) fn vm_id(field: &str, value: &str) -> Result<VmId, WireError> {
    value.parse().map_err(|error| wrong(field, format!("{error}")))
}

pub(super) fn version(field: &str, value: Option<wire::Version>) -> Result<Version, WireError> {
    match value {
        Some(wire::Version { epoch, generation }) if epoch > 0 && generation > 0 => {
            Ok(Version { epoch: Epoch(epoch), generation: Generation(generation) })
        }
        Some(_) => Err(wrong(field, "epoch and generation count from 1")),
        None => Err(wrong(field, "missing")),
    }
}

pub(super) fn stop_grace(
    field: &str,
    value: Option<prost_types::Duration>,
) -> Result<Duration, WireError> {
    let Some(value) = value else { return Ok(Duration::from_secs(10)) };
    // By hand: the conversion of prost-types overflows for extreme values.
    let grace = u64::try_from(value.seconds)
        .ok()
        .zip(u32::try_from(value.nanos).ok())
        .filter(|&(seconds, nanos)| seconds <= MAX_STOP_GRACE.as_secs() && nanos < 1_000_000_000)
        .map(|(seconds, nanos)| Duration::new(seconds, nanos))
        .filter(|grace| *grace <= MAX_STOP_GRACE);
    grace.ok_or_else(|| wrong(field, "is not within 0 to 1 hour"))
}

/// Reads an assignment.
///
/// # Errors
/// The first field that makes no sense.
pub(super) fn assignment(value: Option<wire::Assignment>) -> Result<Assignment, WireError> {
    let value = value.ok_or_else(|| wrong("assignment", "missing"))?;
    let vm = vm_id("assignment.vm_id", &value.vm_id)?;
    let power = match value.desired() {
        wire::Power::Running => Power::Running,
        wire::Power::Paused => Power::Paused,
        wire::Power::Stopped => Power::Stopped,
        wire::Power::Absent => Power::Absent,
        wire::Power::Unspecified => {
            return Err(wrong("assignment.desired", "is not one that this agent knows"));
        }
    };
    let shape = match (power, value.shape) {
        (Power::Absent, None) => None,
        (_, Some(shape)) => Some(self::shape(shape)?),
        (Power::Running | Power::Paused | Power::Stopped, None) => {
            return Err(wrong("assignment.shape", "missing"));
        }
    };
    Ok(Assignment {
        vm,
        version: version("assignment.version", value.version)?,
        power,
        shape,
        stop_grace: stop_grace("assignment.stop_grace", value.stop_grace)?,
        boot_number: value.boot_number,
        root_disk_number: value.root_disk_number,
        traceparent: traceparent(value.traceparent),
    })
}

/// A trace is never worth a refused call: what is none is dropped.
pub(super) fn traceparent(value: String) -> String {
    if banger_wire::trace::is_traceparent(&value) { value } else { String::new() }
}

fn shape(value: wire::Shape) -> Result<Shape, WireError> {
    let restart = match value.restart_policy() {
        // A server of an older version may not say; what it did then was this.
        wire::RestartPolicy::Unspecified | wire::RestartPolicy::Never => RestartPolicy::Never,
        wire::RestartPolicy::OnFailure => RestartPolicy::OnFailure,
        wire::RestartPolicy::Always => RestartPolicy::Always,
    };
    let metadata_json = match value.metadata_json {
        none if none.is_empty() => None,
        json if json.len() > MAX_METADATA_BYTES => {
            return Err(wrong(
                "assignment.shape.metadata_json",
                format!("longer than {MAX_METADATA_BYTES} bytes"),
            ));
        }
        json => match serde_json::from_str::<serde_json::Value>(&json) {
            Ok(serde_json::Value::Object(_)) => Some(json),
            Ok(_) | Err(_) => {
                return Err(wrong("assignment.shape.metadata_json", "is no JSON object"));
            }
        },
    };
    let limits = value.rate_limits.unwrap_or_default();
    let prefix = "assignment.shape";
    Ok(Shape {
        name: name(value.name)?,
        vcpus: within(&format!("{prefix}.vcpus"), value.vcpus, VCPUS)?,
        memory_mib: within(&format!("{prefix}.memory_mib"), value.memory_mib, MEMORY_MIB)?,
        kernel: image("kernel", value.kernel)?
            .ok_or_else(|| wrong("assignment.shape.kernel", "missing"))?,
        initrd: image("initrd", value.initrd)?,
        root_image: image("root_image", value.root_image)?
            .ok_or_else(|| wrong("assignment.shape.root_image", "missing"))?,
        root_disk_mib: within(
            &format!("{prefix}.root_disk_mib"),
            value.root_disk_mib,
            ROOT_DISK_MIB,
        )?,
        work_disk_mib: match value.work_disk_mib {
            0 => 0,
            size => within(&format!("{prefix}.work_disk_mib"), size, WORK_DISK_MIB)?,
        },
        boot_args: text(&format!("{prefix}.boot_args"), value.boot_args, MAX_COMMAND_LINE_BYTES)?,
        metadata_json,
        network: network(
            value.network.ok_or_else(|| wrong("assignment.shape.network", "missing"))?,
        )?,
        limits: Limits {
            disk_bytes_per_second: limits.disk_bytes_per_second,
            disk_ops_per_second: limits.disk_ops_per_second,
            net_rx_bytes_per_second: limits.net_rx_bytes_per_second,
            net_tx_bytes_per_second: limits.net_tx_bytes_per_second,
        },
        resources: limits::resources(value.limits)?,
        restart,
    })
}

/// A DNS label: it is shown and logged, and becomes the guest's host name.
fn name(value: String) -> Result<String, WireError> {
    let inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let label = (1..=63).contains(&value.len())
        && value.bytes().all(inner)
        && !value.starts_with('-')
        && !value.ends_with('-');
    if label { Ok(value) } else { Err(wrong("assignment.shape.name", "is no DNS label")) }
}

fn image(which: &str, value: Option<wire::Image>) -> Result<Option<Image>, WireError> {
    let Some(value) = value else { return Ok(None) };
    let name = value
        .name
        .parse()
        .map_err(|error| wrong(&format!("assignment.shape.{which}.name"), format!("{error}")))?;
    let sha256 = match value.sha256 {
        none if none.is_empty() => None,
        digest
            if digest.len() == 64
                && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) =>
        {
            Some(digest)
        }
        _ => {
            let field = format!("assignment.shape.{which}.sha256");
            return Err(wrong(&field, "is not 64 lower-case hexadecimal digits"));
        }
    };
    Ok(Some(Image { name, sha256 }))
}

fn network(value: wire::Network) -> Result<GuestNetwork, WireError> {
    let prefix = "assignment.shape.network";
    let address = |field: &str, value: &str| {
        value
            .parse::<Ipv4Addr>()
            .map_err(|_| wrong(&format!("{prefix}.{field}"), "is no IPv4 address"))
    };
    let guest = address("guest_address", &value.guest_address)?;
    let gateway = address("gateway", &value.gateway)?;
    let length = within(&format!("{prefix}.prefix_length"), value.prefix_length, 8..=30)?;
    let length = u8::try_from(length)
        .map_err(|_| wrong(&format!("{prefix}.prefix_length"), "is more than 30"))?;
    let subnet = Subnet::containing(guest, length);
    if guest == gateway || !subnet.is_some_and(|subnet| subnet.contains(gateway)) {
        return Err(wrong(
            &format!("{prefix}.gateway"),
            "is not another address of the guest's subnet",
        ));
    }
    let mac: MacAddress = value
        .mac_address
        .parse()
        .map_err(|_| wrong(&format!("{prefix}.mac_address"), "is no Ethernet address"))?;
    if value.vsock_cid < 3 {
        return Err(wrong(&format!("{prefix}.vsock_cid"), "context ids below 3 are reserved"));
    }
    Ok(GuestNetwork {
        address: guest,
        gateway,
        prefix: length,
        mac,
        vsock_cid: value.vsock_cid,
        nat: value.nat,
        dns_name: text(&format!("{prefix}.dns_name"), value.dns_name, 253)?,
    })
}

pub(super) fn version_to_wire(version: Version) -> wire::Version {
    wire::Version { epoch: version.epoch.0, generation: version.generation.0 }
}

pub(super) fn timestamp(at: jiff::Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }.normalized()
}

/// What is sent of a VM.
pub(super) fn observed(report: &VmReport) -> wire::ObservedVm {
    wire::ObservedVm {
        vm_id: report.vm.to_string(),
        name: report.name.clone(),
        guest_address: report.guest_address.map(|address| address.to_string()).unwrap_or_default(),
        accepted: Some(version_to_wire(report.accepted)),
        settled: report.settled.map(version_to_wire),
        phase: phase(report.phase).into(),
        phase_since: Some(timestamp(report.phase_since)),
        fault: report.fault.as_ref().map(fault),
        next_attempt_at: report.next_attempt_at.map(timestamp),
        observed_at: Some(timestamp(report.observed_at)),
        process: report.process.as_ref().map(|process| wire::Process {
            pid: process.pid.into(),
            start_ticks: process.start_ticks,
            start_time: report.process_started_at.map(timestamp),
        }),
        boot_id: report.boot_id.clone(),
        exit: report.exit.as_ref().map(exit),
        restart_count: report.restart_count,
        adopted_at: report.adopted_at.map(timestamp),
        devices: Some(devices(&report.devices)),
        guest: report.guest.as_ref().map(guest),
        limits: report.bounds.as_ref().map(limits::held),
    }
}

const fn phase(phase: Phase) -> wire::Phase {
    match phase {
        Phase::Preparing => wire::Phase::Preparing,
        Phase::Starting => wire::Phase::Starting,
        Phase::Running => wire::Phase::Running,
        Phase::Paused => wire::Phase::Paused,
        Phase::Stopping => wire::Phase::Stopping,
        Phase::Stopped => wire::Phase::Stopped,
        Phase::Crashed => wire::Phase::Crashed,
        Phase::Failed => wire::Phase::Failed,
        // Gone is told by a message of its own; a report of it is the last moment of deleting.
        Phase::Deleting | Phase::Gone => wire::Phase::Deleting,
        Phase::Unclear => wire::Phase::Unclear,
    }
}

fn fault(fault: &Fault) -> wire::Fault {
    wire::Fault {
        reason: fault.reason.as_str().to_owned(),
        step: fault.step.to_owned(),
        message: words::sentence(fault.message.clone()),
        left_behind: fault
            .left_behind
            .iter()
            .take(MAX_LEFT_BEHIND)
            .map(|object| words::name(object.clone()))
            .collect(),
        retrying: fault.retry_at.is_some(),
    }
}

fn exit(exit: &Exit) -> wire::Exit {
    wire::Exit {
        crashed: exit.crashed,
        code: exit.code,
        signal: exit.signal,
        message: words::sentence(exit.message.clone()),
        time: Some(timestamp(exit.at)),
        reason: exit.cause.as_str().to_owned(),
    }
}

fn guest(seen: &GuestSeen) -> GuestStatus {
    GuestStatus {
        agent_version: seen.agent_version.clone(),
        boot_id: seen.boot_id.clone(),
        hostname: seen.hostname.clone(),
        ready_at: Some(timestamp(seen.ready_at)),
        connected: seen.connected,
        transport: seen.transport.to_owned(),
    }
}

fn devices(devices: &Devices) -> wire::Devices {
    let (used, total) = devices.cow_sectors.unwrap_or_default();
    wire::Devices {
        tap: devices.tap.clone(),
        base_loop: devices.base_loop.clone(),
        cow_loop: devices.cow_loop.clone(),
        snapshot: devices.snapshot.clone(),
        cow_used_sectors: used,
        cow_total_sectors: total,
        api_socket: devices.api_socket.clone(),
        vsock_socket: devices.vsock_socket.clone(),
        vmm: devices.vmm.to_owned(),
        root_disk: devices.root_disk.to_owned(),
    }
}

#[cfg(test)]
mod tests;
