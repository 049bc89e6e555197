//! The seam to facts of the machine as a whole.
//!
//! Driven by the report of the host and by the plan of a VM (is there an uplink, can a guest start
//! at all). What can go wrong: a fact cannot be read; then it is an error, never a guess.

use async_trait::async_trait;

use super::{HostResult, LinkName, RootDiskKind, VmmKind};

/// What VMs may use of the machine: what the kernel has, less what is reserved for the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Processors online.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Disk in MiB, of the file system with the scratch directories.
    pub disk_mib: u64,
}

/// What is true of the machine as a whole.
#[async_trait]
pub trait Facts: Send + Sync {
    /// Changes with every boot: `/proc/sys/kernel/random/boot_id`.
    async fn boot_id(&self) -> HostResult<String>;

    /// When the machine booted, in seconds since 1970, and the clock ticks in a second: what
    /// turns `start_ticks` into a time.
    async fn boot_time(&self) -> HostResult<BootTime>;

    /// What VMs may use.
    async fn capacity(&self) -> HostResult<Capacity>;

    /// As `uname -r`.
    async fn kernel_release(&self) -> HostResult<String>;

    /// The VMM, such as `firecracker 1.16.1`, `qemu 7.2.22 (software emulation)` or `simulated`.
    async fn vmm(&self) -> HostResult<String>;

    /// What new guests run under: what the configuration says, or by what this machine can. The
    /// answer does not change in one life of the agent.
    async fn vmm_kind(&self) -> HostResult<VmmKind>;

    /// How new guests get their root disk; as [`Facts::vmm_kind`].
    async fn root_disk_kind(&self) -> HostResult<RootDiskKind>;

    /// The devices by which packets leave for the world, in order of name: those of the default
    /// routes of the main table with the lowest metric, and those that the kernel says it would
    /// use, whatever table says so.
    ///
    /// # Errors
    /// [`NoUplink`](super::HostErrorKind::NoUplink) without one.
    async fn uplinks(&self) -> HostResult<Vec<LinkName>>;

    /// Whether a guest could be started: root, the tools there, and for Firecracker a `/dev/kvm`
    /// that answers.
    ///
    /// # Errors
    /// [`NotPermitted`](super::HostErrorKind::NotPermitted),
    /// [`KvmUnavailable`](super::HostErrorKind::KvmUnavailable),
    /// [`MissingTool`](super::HostErrorKind::MissingTool).
    async fn preflight(&self) -> HostResult<()>;
}

/// Turns clock ticks since boot into a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootTime {
    /// Seconds since 1970 when the machine booted.
    pub unix_seconds: u64,
    /// Clock ticks in a second.
    pub ticks_per_second: u64,
}
