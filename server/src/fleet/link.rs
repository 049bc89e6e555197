//! What the server can ask of an agent, what can come of it, and by which reason users see a
//! refusal.
//!
//! A link is made without connecting and never ends: every call connects when it must. The real
//! one is [`GrpcLink`](super::grpc::GrpcLink); tests bring their own. A call that got no answer has
//! an unknown outcome, never a failed one: the observation says what became of it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use banger_proto::ids::{Version, VmId};
use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::certificates::CertificateLink;
pub use super::error::LinkError;
use super::guests::GuestLink;
use crate::model::host::{HostFacts, HostRecord};
use crate::model::intent::VmIntent;
use crate::model::inventory::{HostObject, SweepOutcome, SweepPolicy};
use crate::model::observed::{ObservedVm, TrafficSeen};

/// What an agent is to hold of one VM: a snapshot of intent.
#[derive(Debug, Clone)]
pub struct Command {
    /// Orders it against other commands for the VM.
    pub version: Version,
    /// What is wanted.
    pub intent: Arc<VmIntent>,
}

impl Command {
    pub fn vm(&self) -> VmId {
        self.intent.id
    }
}

/// What an agent answered for one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// It holds this version now.
    Accepted,
    /// It was to delete, and holds nothing of the VM.
    Absent,
    /// It holds a newer version.
    Stale {
        /// The version it holds.
        seen: Version,
    },
    /// It won't take the command.
    Refused {
        /// Why, as a word for the VM's status.
        reason: RefusalReason,
        /// Why, as the agent says it.
        message: String,
    },
}

/// Why an agent does not take a command, as far as programs are to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// Its sentence says it.
    Other,
    /// The host's disk is full.
    DiskFull,
}

impl RefusalReason {
    /// From the reason that an agent gave, which may be newer than this server.
    pub fn of(reason: &str) -> Self {
        if reason == "DISK_FULL" { Self::DiskFull } else { Self::Other }
    }

    /// The reason code shown to users.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Other => "AGENT_REFUSED",
            Self::DiskFull => "DISK_FULL",
        }
    }
}

/// One message of an observation.
#[derive(Debug, Clone)]
pub struct Message {
    /// Grows by one with each, from 1.
    pub sequence: u64,
    pub report: Report,
}

impl Message {
    /// About how many bytes it is in memory.
    pub fn weight(&self) -> usize {
        let vm = |vm: &ObservedVm| vm.weight();
        let said = match &self.report {
            Report::Host(facts) => facts.images.iter().map(|image| 128 + image.name.len()).sum(),
            Report::Inventory { vms, .. } => vms.iter().map(|(_, seen)| vm(seen)).sum(),
            Report::Vm(_, seen) => vm(seen),
            Report::Traffic(guests) => guests.len() * size_of::<(VmId, TrafficSeen)>(),
            Report::Gone(_) | Report::Heartbeat => 0,
        };
        size_of::<Self>() + said
    }
}

/// What an agent reports.
#[derive(Debug, Clone)]
pub enum Report {
    /// What is true of the host. Begins every stream.
    Host(Box<HostFacts>),
    /// A part of the full inventory.
    Inventory {
        vms: Vec<(VmId, Box<ObservedVm>)>,
        /// Whether it is the last part.
        last: bool,
    },
    /// A VM changed.
    Vm(VmId, Box<ObservedVm>),
    /// The agent holds nothing of this VM any more.
    Gone(VmId),
    /// Nothing happened.
    Heartbeat,
    /// The same, with what the guests that run have sent and received.
    Traffic(Vec<(VmId, TrafficSeen)>),
}

/// An image to bring to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageToPut {
    /// Of the content, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// How much of it is no holes, in bytes.
    pub data_bytes: u64,
}

/// The content of an image, in order. It ends early when it can't be read: the agent then keeps
/// nothing.
pub type ImageContent = BoxStream<'static, Bytes>;

/// Everything an agent reports, from now on.
pub type Observations = BoxStream<'static, Result<Message, LinkError>>;

/// One agent, as the server calls it.
#[async_trait]
pub trait AgentLink: fmt::Debug + Send + Sync + 'static {
    /// Hands over commands, and answers for each one that was answered for. A command without an
    /// answer has an unknown outcome.
    ///
    /// # Errors
    /// When none of them was answered for.
    async fn send(&self, commands: &[Command]) -> Result<Vec<(VmId, Delivery)>, LinkError>;

    /// Everything of banger's on the host, from its operating system. `claimed` are VMs that the
    /// server knows: what is named after them is told by that.
    ///
    /// # Errors
    /// The agent can't be reached, does not answer, or is of a version without this call, as a link
    /// that is made for commands alone is.
    async fn objects(&self, claimed: &[VmId]) -> Result<(Vec<HostObject>, SweepPolicy), LinkError> {
        let _ = claimed;
        Err(commands_only())
    }

    /// Removes what nobody owns, or says what would be removed. Nothing of the `claimed` VMs is
    /// removed.
    ///
    /// # Errors
    /// As for [`Self::objects`]; with an unknown outcome, something may have been removed.
    async fn sweep(
        &self,
        dry_run: bool,
        claimed: &[VmId],
        actor: &str,
    ) -> Result<SweepOutcome, LinkError> {
        let _ = (dry_run, claimed, actor);
        Err(commands_only())
    }

    /// Begins an observation: facts, the full inventory, then every change.
    ///
    /// # Errors
    /// The agent can't be reached, or refuses.
    async fn observe(&self) -> Result<Observations, LinkError>;

    /// Brings an image. Takes as long as it takes: the caller gives up when nothing is taken from
    /// `content` any more. Dropping the call leaves nothing on the host.
    ///
    /// # Errors
    /// The host does not have it then, as far as is known.
    async fn put_image(&self, image: &ImageToPut, content: ImageContent) -> Result<(), LinkError>;

    /// Takes an image away. One that is not there is no error.
    ///
    /// # Errors
    /// A VM of the host uses it, or the agent was not reached.
    async fn remove_image(&self, sha256: &str) -> Result<(), LinkError>;

    /// Closes every connection, whoever uses it; nothing can be asked any more. Of a host that is
    /// gone, or whose agent has another key or address from now on.
    fn close(&self) {}

    /// The record of the host has changed, and the link stays: whom it lets in from now on.
    fn follow(&self, host: &Arc<HostRecord>) {
        let _ = host;
    }

    /// The agent's certificate; `None` for a link that can't renew it.
    fn certificates(self: Arc<Self>) -> Option<Arc<dyn CertificateLink>> {
        None
    }

    /// The guests of the host; `None` for a link that reaches none.
    fn guests(self: Arc<Self>) -> Option<Arc<dyn GuestLink>> {
        None
    }
}

fn commands_only() -> LinkError {
    LinkError::Refused {
        address: String::new(),
        message: "this link takes commands alone".to_owned(),
    }
}

/// Makes links.
pub trait Dialer: fmt::Debug + Send + Sync + 'static {
    /// A link to the agent of this host, at the address that the record says. Does not connect.
    ///
    /// # Errors
    /// The address can't be dialled at all.
    fn link(&self, host: &HostRecord) -> Result<Arc<dyn AgentLink>, LinkError>;
}
