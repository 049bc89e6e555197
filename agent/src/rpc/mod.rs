//! The edge to the server: `banger.agent.v1.AgentService` over mutual TLS.
//!
//! Thin: a request is read ([`convert`]), handed to the [`AgentApi`], and answered. All four
//! mutating calls end in [`AgentApi::assign`], which merges one assignment by its version and
//! answers when that is on disk. Nothing here waits for the host. What can go wrong: a message
//! that makes no sense, a stale version, a record that cannot be written; `status` is the only
//! builder of what is said then.
//!
//! Beside them are the report ([`observe`]), the host's objects and their sweep ([`objects`]),
//! images that are brought and taken away ([`images`]), and streams to a guest, which change
//! nothing that is held: its console ([`console`]), programs, files and connections ([`guest`]).

mod console;
mod convert;
mod guest;
mod images;
mod objects;
mod observe;
mod service;
mod status;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use banger_proto::ids::{Epoch, HostId, Version, VmId};
use tokio_util::sync::CancellationToken;

pub use self::service::AgentRpc;
pub(crate) use self::status::of_the_edge;

use crate::assignment::Assignment;
use crate::guests::{GuestClient, NoGuest};
use crate::host::{
    Announced, Capacity, Change, Console, HostResult, ImageFacts, ImageName, Receiving,
};
use crate::inventory::sweep::{Asker, Listed, Policy, Swept};
use crate::report::Reporter;

/// The agent API: what the edge asks of the agent.
#[async_trait]
pub trait AgentApi: Send + Sync + 'static {
    /// Merges an assignment into what is held of its VM, records it and wakes the VM's task.
    async fn assign(&self, offered: Assignment) -> Result<Assigned, NotAssigned>;

    /// What is true of the host now.
    async fn host_facts(&self) -> HostFacts;

    /// Everything of banger's on the host, from the operating system. `claimed` are VMs that the
    /// server knows.
    async fn inventory(&self, claimed: BTreeSet<VmId>) -> HostResult<(Vec<Listed>, Policy)>;

    /// Removes what nobody owns and is due, or says what would be removed.
    async fn sweep(&self, asker: Asker, dry_run: bool) -> HostResult<(Vec<Swept>, Policy)>;

    /// Begins to take an image from the server; `None` when it is there.
    async fn receive_image(&self, announced: Announced) -> HostResult<Option<Receiving>>;

    /// Removes an image that no VM of the host uses.
    async fn remove_image(&self, name: &ImageName) -> HostResult<Change>;

    /// The newest report of every VM.
    fn reporter(&self) -> &Reporter;

    /// A server with a store of this epoch observes the host: older ones are refused from now on.
    async fn server_seen(&self, name: &str, epoch: Epoch);

    /// Opens the console of a VM for reading, from the last `past` bytes on; `None` when no such VM
    /// is held here.
    async fn console(&self, vm: VmId, past: u64) -> HostResult<Option<VmConsole>>;

    /// Types into the console of a VM, or with no bytes says whether that can be done.
    async fn type_in(&self, vm: VmId, bytes: &[u8]) -> HostResult<()>;
    /// The guest agent of a VM; `None`: nothing is held of that VM.
    fn guest(&self, vm: VmId) -> Option<Result<GuestClient, NoGuest>>;

    /// Fires when the agent shuts down: streams end then.
    fn draining(&self) -> CancellationToken;

    /// The agent's certificate; `None`: it can't be renewed.
    fn certificates(&self) -> Option<Arc<dyn Certificates>> {
        None
    }
}

/// The agent's certificate, as the server renews it.
#[async_trait]
pub trait Certificates: Send + Sync + 'static {
    /// A request for the next certificate, PEM, whose key is on disk.
    async fn prepare(&self) -> Result<String, NotInstalled>;

    /// Takes a certificate (none where it is empty) and the CAs that are trusted into use.
    async fn install(&self, certificate: String, trusted: String) -> Result<(), NotInstalled>;

    /// What new connections are shown now.
    fn shown(&self) -> ShownCertificate;
}

/// Why a certificate is not in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotInstalled {
    /// The disk did not take it.
    NotKept(String),
    /// It is not this host's, or does not fit.
    Unusable(String),
}

/// The certificate that new connections are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShownCertificate {
    /// Seconds since 1970, after which it is not good.
    pub not_after: Option<i64>,
    /// sha256 of each CA whose server is let in.
    pub trusted: Vec<[u8; 32]>,
}

/// What became of an assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assigned {
    /// It is held, on disk, and its task is awake.
    Accepted(Version),
    /// A newer one is held, of this version; nothing changed.
    Stale(Version),
    /// It asked for the VM to be absent, and nothing of it is here.
    Absent,
}

/// Why nothing became of an assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAssigned {
    /// It could not be written to disk; nothing changed.
    NotRecorded(String),
    /// It could not be written because the disk is full; nothing changed.
    DiskFull(String),
    /// It gives a guest that runs another address; nothing changed.
    OtherAddress(String),
    /// The agent takes no more assignments.
    ShuttingDown,
}

/// A VM's console, opened for reading.
#[derive(Debug)]
pub struct VmConsole {
    /// What is kept, and what comes.
    pub console: Console,
    /// Fires when nothing of the VM is left here.
    pub gone: CancellationToken,
}

/// What is true of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// Which host.
    pub host: HostId,
    /// Changes with every boot.
    pub boot_id: String,
    /// Counts the starts of the agent.
    pub agent_epoch: u64,
    /// No kernel object is made.
    pub simulated: bool,
    /// Such as `firecracker 1.16.1`.
    pub vmm: String,
    /// `snapshot` or `copy`.
    pub root_disks: String,
    /// As `uname -r`.
    pub kernel_release: String,
    /// What VMs may use.
    pub capacity: Capacity,
    /// The image directory.
    pub images: Vec<ImageFacts>,
    /// The longest silence on an `Observe` stream.
    pub heartbeat_interval: Duration,
    /// `None`: it can't be renewed.
    pub certificate: Option<ShownCertificate>,
}
