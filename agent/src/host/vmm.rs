//! The seam to the VMM's API.
//!
//! Driven by the VM tasks. What can go wrong: nobody listens, no answer comes (the API is one
//! thread of the VMM, so every call has a time limit), or the VMM says no.

use std::time::Duration;

use async_trait::async_trait;

use super::{HostResult, JailId, MacAddress, PathPart, TapName};

/// A bucket of tokens that fills up once a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimit {
    /// Bytes each second; 0 means no limit.
    pub bytes_per_second: u64,
    /// Operations each second; 0 means no limit.
    pub ops_per_second: u64,
}

/// A disk of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drive {
    /// The VMM's name for it, such as `rootfs`.
    pub id: &'static str,
    /// The file or block device in the jail.
    pub name: PathPart,
    /// The guest boots from it.
    pub root: bool,
    /// The guest cannot write it.
    pub read_only: bool,
    /// Bounds on it.
    pub limit: RateLimit,
}

/// The guest's network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetInterface {
    /// The host's end.
    pub tap: TapName,
    /// The guest's Ethernet address.
    pub mac: MacAddress,
    /// Bounds on what the guest receives.
    pub receive: RateLimit,
    /// Bounds on what the guest sends.
    pub send: RateLimit,
}

/// The machine, as the VMM is told before it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmmConfig {
    /// Virtual processors, 1 to 32.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// The kernel's name in the jail.
    pub kernel: PathPart,
    /// The initial RAM disk's name in the jail.
    pub initrd: Option<PathPart>,
    /// The kernel's command line.
    pub boot_args: String,
    /// Disks, the root disk first.
    pub drives: Vec<Drive>,
    /// At most one interface for now.
    pub interface: Option<NetInterface>,
    /// The guest's vsock address.
    pub vsock_cid: Option<u32>,
    /// The metadata document, JSON text.
    pub metadata_json: Option<String>,
}

/// What the VMM says of its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VmmState {
    /// Being configured.
    NotStarted,
    /// The guest runs.
    Running,
    /// The guest is paused.
    Paused,
}

/// The API of each VMM, over the symlink in the runtime directory. Every call has a time limit.
///
/// # Errors
/// [`NotFound`](super::HostErrorKind::NotFound) when there is no socket or nobody listens,
/// [`TimedOut`](super::HostErrorKind::TimedOut) when no answer came,
/// [`Refused`](super::HostErrorKind::Refused) with the VMM's words when it said no.
#[async_trait]
pub trait Vmm: Send + Sync {
    /// Waits until the API answers, for at most `limit`.
    async fn wait_ready(&self, id: &JailId, limit: Duration) -> HostResult<()>;

    /// Tells everything of [`VmmConfig`] that the VMM was not told at its launch. Before the
    /// start; repeating it before the start is harmless.
    async fn configure(&self, id: &JailId, config: &VmmConfig) -> HostResult<()>;

    /// Starts the guest.
    async fn start(&self, id: &JailId) -> HostResult<()>;

    /// Pauses the guest; pausing a paused one succeeds.
    async fn pause(&self, id: &JailId) -> HostResult<()>;

    /// Resumes the guest; resuming a running one succeeds.
    async fn resume(&self, id: &JailId) -> HostResult<()>;

    /// Presses Ctrl-Alt-Del in the guest, which asks a usual guest to shut down.
    async fn send_ctrl_alt_del(&self, id: &JailId) -> HostResult<()>;

    /// What state the machine is in.
    async fn describe(&self, id: &JailId) -> HostResult<VmmState>;

    /// Replaces the metadata document of a running guest.
    async fn put_metadata(&self, id: &JailId, json: &str) -> HostResult<()>;
}
