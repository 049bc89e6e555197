//! The `Observe` stream: facts of the host, the full inventory in parts, then changes.
//!
//! One task a stream. It ends when the reader is gone or the agent drains. A slow reader holds up
//! only its own task: what changes meanwhile coalesces in its subscription. While nothing changes
//! a heartbeat is sent, and the facts of the host again when they are not what was sent last (an
//! image was added, a digest is known).

use std::sync::Arc;
use std::time::Duration;

use banger_proto::agent_v1 as wire;
use banger_proto::agent_v1::observe_response::Event;
use banger_proto::bounds::{
    INVENTORY_PART_VMS, MAX_GUESTS_TOLD, MAX_HOST_IMAGES, MAX_MESSAGE_BYTES,
};
use banger_proto::ids::VmId;
use banger_proto::v1::VmTraffic;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{AgentApi, HostFacts, convert, status};
use crate::host::taps::BRIDGE_PORTS;
use crate::host::{ImageKind, Traffic};
use crate::report::{Reported, VmReport};

/// Messages on their way to one reader; more wait in its subscription, coalesced.
const QUEUE: usize = 64;

/// Most bytes of VMs in one part of an inventory; the rest of a message is for what is around them.
const PART_BYTES: usize = MAX_MESSAGE_BYTES / 2;

/// How often what guests send and receive is told, with the next heartbeat.
const TRAFFIC: Duration = Duration::from_secs(30);

type Sent = Result<wire::ObserveResponse, Status>;

/// Starts the stream's task.
pub(super) fn start<A: AgentApi>(api: Arc<A>) -> ReceiverStream<Sent> {
    let (send, stream) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let draining = api.draining();
        // Cancel-safe: the stream is over in either case, and a report that was taken and not
        // sent is in the full inventory that begins the next stream.
        tokio::select! {
            Err(ReaderGone) = run(&*api, Sender { send: send.clone(), sequence: 0 }) => {}
            () = draining.cancelled() => drop(send.send(Err(status::shutting_down())).await),
        }
    });
    ReceiverStream::new(stream)
}

struct ReaderGone;

struct Sender {
    send: mpsc::Sender<Sent>,
    sequence: u64,
}

impl Sender {
    async fn event(&mut self, event: Event) -> Result<(), ReaderGone> {
        self.sequence += 1;
        let message = wire::ObserveResponse { sequence: self.sequence, event: Some(event) };
        self.send.send(Ok(message)).await.map_err(|_| ReaderGone)
    }
}

async fn run<A: AgentApi>(
    api: &A,
    mut sender: Sender,
) -> Result<std::convert::Infallible, ReaderGone> {
    let (inventory, mut subscription) = api.reporter().subscribe();
    let mut facts = api.host_facts().await;
    sender.event(Event::Host(host_facts(&facts))).await?;
    for part in inventory_parts(&inventory) {
        sender.event(Event::Inventory(part)).await?;
    }
    drop(inventory);
    let mut heartbeat = tokio::time::interval(facts.heartbeat_interval);
    heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    heartbeat.reset();
    let mut told = tokio::time::Instant::now();
    loop {
        // Both arms are cancel-safe: `changes` takes only what it returns, a tick that is not
        // taken comes at the next turn.
        tokio::select! {
            changes = subscription.changes() => {
                // A reader this slow begins anew: the end of the stream asks for that.
                let Ok(changes) = changes else { return Err(ReaderGone) };
                for change in changes {
                    sender.event(change_event(change)).await?;
                }
            }
            _ = heartbeat.tick() => {
                let now = api.host_facts().await;
                if now != facts {
                    facts = now;
                    sender.event(Event::Host(host_facts(&facts))).await?;
                }
                let mut beat = wire::Heartbeat::default();
                if told.elapsed() >= TRAFFIC {
                    told = tokio::time::Instant::now();
                    let all = api.reporter().traffic();
                    let all = all.iter().take(MAX_GUESTS_TOLD);
                    beat.traffic = all.map(|(vm, traffic)| traffic_of(*vm, traffic)).collect();
                }
                sender.event(Event::Heartbeat(beat)).await?;
            }
        }
    }
}

/// At least one part: an empty inventory is told too. No part has more VMs or bytes than a message
/// may, so that no VM keeps the others of its host from being told.
fn inventory_parts(reports: &[Arc<VmReport>]) -> Vec<wire::InventoryPart> {
    let mut parts = Vec::new();
    let (mut vms, mut bytes) = (Vec::new(), 0);
    for report in reports {
        let vm = convert::observed(report);
        let size = vm.encoded_len();
        if vms.len() == INVENTORY_PART_VMS || (bytes + size > PART_BYTES && !vms.is_empty()) {
            parts.push(wire::InventoryPart { vms: std::mem::take(&mut vms), last: false });
            bytes = 0;
        }
        bytes += size;
        vms.push(vm);
    }
    parts.push(wire::InventoryPart { vms, last: true });
    parts
}

fn change_event(change: Reported) -> Event {
    match change {
        Reported::Vm(report) => Event::Vm(convert::observed(&report)),
        Reported::Gone { vm, version } => Event::Gone(wire::VmGone {
            vm_id: vm.to_string(),
            version: Some(convert::version_to_wire(version)),
        }),
    }
}

fn traffic_of(vm: VmId, traffic: &Traffic) -> wire::GuestTraffic {
    wire::GuestTraffic {
        vm_id: vm.to_string(),
        traffic: Some(VmTraffic {
            sent_bytes: traffic.sent_bytes,
            sent_packets: traffic.sent_packets,
            received_bytes: traffic.received_bytes,
            received_packets: traffic.received_packets,
            refused_packets: traffic.refused_packets,
            told_at: None,
        }),
    }
}

/// The facts as sent.
pub(super) fn host_facts(facts: &HostFacts) -> wire::HostFacts {
    let images = facts.images.iter().take(MAX_HOST_IMAGES).map(|image| wire::ImageFile {
        name: image.name.to_string(),
        size_bytes: image.size_bytes,
        sha256: image.sha256.clone().unwrap_or_default(),
        kind: match image.kind {
            ImageKind::Kernel => wire::ImageKind::Kernel,
            ImageKind::Root => wire::ImageKind::Root,
            ImageKind::Other => wire::ImageKind::Unspecified,
        }
        .into(),
    });
    wire::HostFacts {
        host_id: facts.host.to_string(),
        boot_id: facts.boot_id.clone(),
        agent_epoch: facts.agent_epoch,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        simulated: facts.simulated,
        vmm: facts.vmm.clone(),
        root_disks: facts.root_disks.clone(),
        kernel_release: facts.kernel_release.clone(),
        vcpus: facts.capacity.vcpus,
        memory_mib: facts.capacity.memory_mib,
        disk_mib: facts.capacity.disk_mib,
        images: images.collect(),
        // A simulated bridge has as many ports as are wanted.
        max_guests: if facts.simulated { 0 } else { BRIDGE_PORTS },
        heartbeat_interval: prost_types::Duration::try_from(facts.heartbeat_interval).ok(),
        certificate_not_after: facts.certificate.as_ref().and_then(|shown| {
            shown.not_after.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 })
        }),
        trusted_ca_sha256: facts
            .certificate
            .iter()
            .flat_map(|shown| shown.trusted.iter().map(|sha256| sha256.to_vec()))
            .collect(),
    }
}

#[cfg(test)]
mod tests;
