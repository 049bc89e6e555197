//! The real link: gRPC over mutual TLS.
//!
//! Each observation dials anew, with the certificates of the moment, and commands go over the
//! connection of the newest observation: where that is gone, nothing is sent. The agent is known by
//! the name in its certificate and by its key ([`secured`]), never by its address or by what it
//! says.
//!
//! A call that breaks off or times out may have been acted on ([`LinkError::OutcomeUnknown`]): with
//! tonic a timeout of the client's own surfaces as `CANCELLED`, so no code but an answer from the
//! agent itself counts as a refusal.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use banger_proto::agent_v1 as wire;
use banger_proto::agent_v1::agent_service_client::AgentServiceClient;
use banger_proto::bounds;
use banger_proto::ids::{Epoch, VmId};
use banger_proto::words;
use banger_wire::causes::with_causes;
use banger_wire::limits;
use banger_wire::tls::{DefaultTimeProvider, TimeProvider};
use futures_util::{StreamExt as _, stream};
use http::Uri;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower::service_fn;
use tower::util::BoxCloneSyncService;

use self::said::Said;
use self::secured::Peer;
use super::certificates::CertificateLink;
use super::convert::entrance::Entrance;
use super::convert::{self, GuestNet, objects};
use super::guests::GuestLink;
use super::link::{
    AgentLink, Command, Delivery, Dialer, ImageContent, ImageToPut, LinkError, Observations,
    RefusalReason,
};
use crate::clock::SharedClock;
use crate::model::host::HostRecord;
use crate::model::intent::Desired;
use crate::model::inventory::{HostObject, SweepOutcome, SweepPolicy};

mod answers;
mod certificates;
mod guests;

/// How long a command may take. The agent answers when the assignment is on its disk.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a look at all objects of a host may take: a few lists of the kernel's, some thousands
/// of entries each.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a sweep may take: a device that is busy is tried for some seconds.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(120);

/// Most objects of one host: many times what its VMs can have.
const MAX_OBJECTS: usize = 20_000;

/// Most bytes of what is said of them.
const MAX_OBJECT_BYTES: usize = 8 << 20;

/// What one message of assignments may weigh: a message less what gRPC and the list add.
const BATCH_BYTES: usize = bounds::MAX_MESSAGE_BYTES - 64 * 1024;

/// With what the server shows who it is, and by what it knows agents.
#[derive(Clone)]
pub struct ClientIdentity {
    /// The CA that signed the agents' certificates, PEM.
    pub ca_pem: Vec<u8>,
    /// The server's client certificate, PEM.
    pub certificate_pem: Vec<u8>,
    pub key_pem: Vec<u8>,
}

impl std::fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientIdentity(..)")
    }
}

/// A connection below TLS.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Makes connections otherwise than by the kernel, such as in a simulated network.
pub type Connector = BoxCloneSyncService<Uri, TokioIo<Box<dyn Wire>>, std::io::Error>;

/// Makes links over mutual TLS.
#[derive(Debug)]
pub struct GrpcDialer {
    identity: Arc<ArcSwap<ClientIdentity>>,
    epoch: Epoch,
    dns_domain: String,
    connector: Option<Connector>,
    time: Arc<dyn TimeProvider>,
}

impl GrpcDialer {
    /// `identity` is read anew with every dial: swap it to change certificates.
    pub fn new(identity: Arc<ArcSwap<ClientIdentity>>, epoch: Epoch, dns_domain: String) -> Self {
        let time = Arc::new(DefaultTimeProvider);
        Self { identity, epoch, dns_domain, connector: None, time }
    }

    /// The same by another clock than the machine's: it says which certificates are good.
    #[must_use]
    pub fn at(mut self, clock: SharedClock) -> Self {
        self.time = Arc::new(secured::TlsClock(clock));
        self
    }

    /// The same over other connections than the kernel's. TLS goes over them all the same.
    #[must_use]
    pub fn over(mut self, connector: Connector) -> Self {
        self.connector = Some(connector);
        self
    }
}

impl Dialer for GrpcDialer {
    fn link(&self, host: &HostRecord) -> Result<Arc<dyn AgentLink>, LinkError> {
        let address = host.agent_address.clone();
        // Only to see that it can be dialled at all.
        endpoint(&address)?;
        Ok(Arc::new(GrpcLink {
            peer: Peer::new(host),
            address,
            cut: CancellationToken::new(),
            epoch: self.epoch,
            net: GuestNet { subnet: host.subnet, dns_domain: self.dns_domain.clone() },
            identity: Arc::clone(&self.identity),
            connector: self.connector.clone(),
            time: Arc::clone(&self.time),
            channel: Mutex::new(None),
        }))
    }
}

/// One agent over mutual TLS.
#[derive(Debug)]
pub struct GrpcLink {
    peer: Peer,
    address: String,
    /// Ends every connection.
    cut: CancellationToken,
    epoch: Epoch,
    net: GuestNet,
    identity: Arc<ArcSwap<ClientIdentity>>,
    connector: Option<Connector>,
    time: Arc<dyn TimeProvider>,
    channel: Mutex<Option<Channel>>,
}

fn endpoint(address: &str) -> Result<Endpoint, LinkError> {
    let unusable = |error: &dyn std::error::Error| LinkError::Unreachable {
        address: address.to_owned(),
        message: error.to_string(),
    };
    // TLS is in the connection already; tonic would begin its own for the scheme that is true.
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|e| unusable(&e))?;
    let origin = Uri::try_from(format!("https://{address}")).map_err(|e| unusable(&e))?;
    Ok(endpoint
        .origin(origin)
        .http2_keep_alive_interval(limits::KEEPALIVE_INTERVAL)
        .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

impl GrpcLink {
    async fn dial(&self) -> Result<Channel, LinkError> {
        let endpoint = endpoint(&self.address)?;
        let (peer, connector) = (self.peer.clone(), self.connector.clone());
        let (identity, cut) = (self.identity.load_full(), self.cut.clone());
        let time = Arc::clone(&self.time);
        let connecting = endpoint.connect_with_connector(service_fn(move |_: Uri| {
            let (identity, time) = (Arc::clone(&identity), Arc::clone(&time));
            secured::connect(peer.clone(), identity, connector.clone(), time, cut.clone())
        }));
        // The timeouts within are of the steps; this is of the whole.
        match tokio::time::timeout(2 * limits::CONNECT_TIMEOUT, connecting).await {
            Ok(connected) => connected.map_err(|error| self.unreachable(&error)),
            Err(_) => Err(LinkError::Unreachable {
                address: self.address.clone(),
                message: "the connection took too long".to_owned(),
            }),
        }
    }

    fn client(&self) -> Result<AgentServiceClient<Channel>, LinkError> {
        match self.channel.lock().clone() {
            Some(channel) => Ok(client(channel)),
            None => Err(LinkError::Unreachable {
                address: self.address.clone(),
                message: "there is no connection".to_owned(),
            }),
        }
    }

    fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> LinkError {
        LinkError::Unreachable { address: self.address.clone(), message: with_causes(error) }
    }

    /// What a status that is not about one VM means.
    fn failed(&self, status: &Status) -> LinkError {
        let address = self.address.clone();
        let message = match std::error::Error::source(status) {
            Some(source) => format!("{}: {}", status.message(), with_causes(source)),
            None => format!("{:?}: {}", status.code(), status.message()),
        };
        let message = words::sentence(message);
        match status.code() {
            Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Unimplemented
            | Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::ResourceExhausted
            | Code::NotFound
            | Code::AlreadyExists
            | Code::OutOfRange => LinkError::Refused { address, message },
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => LinkError::OutcomeUnknown { address, message },
        }
    }

    fn broken(&self, how: &impl std::fmt::Display) -> LinkError {
        LinkError::Protocol { address: self.address.clone(), message: how.to_string() }
    }

    fn too_late(&self) -> LinkError {
        LinkError::OutcomeUnknown {
            address: self.address.clone(),
            message: "the deadline is past".to_owned(),
        }
    }

    /// One command by the call that is made for it.
    async fn send_one(&self, command: &Command) -> Result<Delivery, LinkError> {
        let traceparent = command.intent.traceparent.as_str();
        let limit = COMMAND_TIMEOUT;
        let assignment = Some(convert::assignment(command, &self.net));
        let answered = match command.intent.desired {
            Desired::Running | Desired::Paused => {
                let message = wire::CreateVmRequest { assignment };
                let call =
                    self.unary(message, limit, traceparent, |mut client, request| async move {
                        client.create_vm(request).await
                    });
                call.await?.map(|_| Delivery::Accepted)
            }
            Desired::Stopped => {
                let message = wire::StopVmRequest { assignment };
                let call =
                    self.unary(message, limit, traceparent, |mut client, request| async move {
                        client.stop_vm(request).await
                    });
                call.await?.map(|_| Delivery::Accepted)
            }
            Desired::Absent => {
                let message = wire::DeleteVmRequest {
                    vm_id: command.vm().to_string(),
                    version: Some(convert::version(command.version)),
                    stop_grace: Some(convert::duration(command.intent.stop_grace)),
                    traceparent: traceparent.to_owned(),
                };
                let call =
                    self.unary(message, limit, traceparent, |mut client, request| async move {
                        client.delete_vm(request).await
                    });
                let absent = |answer: wire::DeleteVmResponse| match answer.absent {
                    true => Delivery::Absent,
                    false => Delivery::Accepted,
                };
                call.await?.map(absent)
            }
        };
        match answered {
            Ok(delivery) => Ok(delivery),
            Err(status) => answers::about_the_vm(&status).ok_or_else(|| self.failed(&status)),
        }
    }

    async fn send_many(
        &self,
        assignments: Vec<wire::Assignment>,
    ) -> Result<Vec<(VmId, Delivery)>, LinkError> {
        let message = wire::ReconcileRequest { assignments };
        let call = self.unary(message, COMMAND_TIMEOUT, "", |mut client, request| async move {
            client.reconcile(request).await
        });
        let answer = call.await?.map_err(|status| self.failed(&status))?;
        answer
            .results
            .into_iter()
            .map(|result| {
                let vm = result.vm_id.parse().map_err(|_| LinkError::Protocol {
                    address: self.address.clone(),
                    message: "a result has no VM id".to_owned(),
                })?;
                let delivery = if !result.error.is_empty() {
                    let reason = RefusalReason::of(&result.reason);
                    let message = words::sentence(result.error);
                    Delivery::Refused { reason, message }
                } else if result.stale {
                    Delivery::Stale { seen: convert::seen_version(result.accepted) }
                } else if result.absent {
                    Delivery::Absent
                } else {
                    Delivery::Accepted
                };
                Ok((vm, delivery))
            })
            .collect()
    }
}

fn client(channel: Channel) -> AgentServiceClient<Channel> {
    AgentServiceClient::new(channel)
        .max_decoding_message_size(bounds::MAX_MESSAGE_BYTES)
        .max_encoding_message_size(bounds::MAX_MESSAGE_BYTES)
}

#[async_trait]
impl AgentLink for GrpcLink {
    async fn send(&self, commands: &[Command]) -> Result<Vec<(VmId, Delivery)>, LinkError> {
        if let [one] = commands {
            return Ok(vec![(one.vm(), self.send_one(one).await?)]);
        }
        let mut deliveries = Vec::with_capacity(commands.len());
        let mut assignments = Vec::new();
        let mut bytes = 0;
        for command in commands {
            let assignment = convert::assignment(command, &self.net);
            // Tag and length of the entry are below 16 bytes.
            let weight = assignment.encoded_len() + 16;
            let full = assignments.len() == bounds::MAX_ASSIGNMENTS_PER_MESSAGE
                || bytes + weight > BATCH_BYTES;
            if full {
                match self.send_many(std::mem::take(&mut assignments)).await {
                    Ok(part) => deliveries.extend(part),
                    // What was answered for stays answered for.
                    Err(error) if deliveries.is_empty() => return Err(error),
                    Err(_) => return Ok(deliveries),
                }
                bytes = 0;
            }
            bytes += weight;
            assignments.push(assignment);
        }
        if !assignments.is_empty() {
            match self.send_many(assignments).await {
                Ok(part) => deliveries.extend(part),
                Err(error) if deliveries.is_empty() => return Err(error),
                Err(_) => {}
            }
        }
        Ok(deliveries)
    }

    async fn objects(&self, claimed: &[VmId]) -> Result<(Vec<HostObject>, SweepPolicy), LinkError> {
        let mut client = self.client()?;
        let message = wire::ListObjectsRequest { claimed_vm_ids: objects::ids(claimed) };
        let request = unary::request(message, LOOK_TIMEOUT, "");
        let read = async {
            let mut parts =
                client.list_objects(request).await.map_err(|s| self.failed(&s))?.into_inner();
            let (mut found, mut bytes) = (Vec::new(), 0);
            let mut policy = None;
            while let Some(part) = parts.message().await.map_err(|s| self.failed(&s))? {
                for object in part.objects {
                    let object = objects::object(object).map_err(|e| self.broken(&e))?;
                    bytes += size_of::<HostObject>() + object.name.len() + object.detail.len();
                    if found.len() >= MAX_OBJECTS || bytes > MAX_OBJECT_BYTES {
                        return Err(self.broken(&"more objects than any host has"));
                    }
                    found.push(object);
                }
                policy = part.policy;
            }
            // The last part has it: without it the list was cut.
            Ok((found, objects::policy(policy).map_err(|e| self.broken(&e))?))
        };
        // The deadline in the request bounds the agent; this bounds a connection that is silent.
        tokio::time::timeout(LOOK_TIMEOUT, read).await.unwrap_or_else(|_| Err(self.too_late()))
    }

    async fn sweep(
        &self,
        dry_run: bool,
        claimed: &[VmId],
        actor: &str,
    ) -> Result<SweepOutcome, LinkError> {
        let message = wire::SweepRequest {
            dry_run,
            claimed_vm_ids: objects::ids(claimed),
            actor: actor.to_owned(),
        };
        let call = self.unary(message, SWEEP_TIMEOUT, "", |mut client, request| async move {
            client.sweep(request).await
        });
        let answer = call.await?.map_err(|status| self.failed(&status))?;
        objects::swept(answer).map_err(|error| self.broken(&error))
    }

    async fn observe(&self) -> Result<Observations, LinkError> {
        *self.channel.lock() = None;
        let channel = self.dial().await?;
        let request = wire::ObserveRequest {
            server_name: "banger-server".to_owned(),
            server_epoch: self.epoch.0,
        };
        let mut client = client(channel.clone());
        // Of the head alone: what comes after it has the time of a heartbeat.
        let head = tokio::time::timeout(COMMAND_TIMEOUT, client.observe(request)).await;
        let head = head.map_err(|_| self.too_late())?;
        let stream = head.map_err(|status| self.failed(&status))?.into_inner();
        *self.channel.lock() = Some(channel);
        let entrance = Entrance::new(self.peer.host, Instant::now());
        let said = Said { address: self.address.clone(), stream, entrance };
        Ok(stream::unfold(said, |mut said| async move { Some((said.next().await?, said)) }).boxed())
    }

    async fn put_image(&self, image: &ImageToPut, content: ImageContent) -> Result<(), LinkError> {
        images::put(self.client()?, image, content).await.map_err(|status| self.failed(&status))
    }

    async fn remove_image(&self, sha256: &str) -> Result<(), LinkError> {
        let message = images::removal(sha256);
        let call = self.unary(message, COMMAND_TIMEOUT, "", |mut client, request| async move {
            client.remove_image(request).await
        });
        call.await?.map(drop).map_err(|status| self.failed(&status))
    }

    fn close(&self) {
        *self.channel.lock() = None;
        self.cut.cancel();
    }

    fn follow(&self, host: &Arc<HostRecord>) {
        self.peer.record.store(Arc::clone(host));
    }

    fn certificates(self: Arc<Self>) -> Option<Arc<dyn CertificateLink>> {
        Some(self)
    }

    fn guests(self: Arc<Self>) -> Option<Arc<dyn GuestLink>> {
        Some(self)
    }
}

mod images;
mod said;
mod secured;
#[cfg(test)]
mod tests;
mod unary;
