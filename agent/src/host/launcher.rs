//! The seam to the jailers, and to what a VMM and its guest print.
//!
//! Driven by the VM tasks. What can go wrong: the jailer refuses (its words are in the VMM's log),
//! or a guest prints without end (what exceeds the bounds is dropped, oldest first).

use async_trait::async_trait;

use super::{Change, Console, HostResult, JailId, PathPart, Pid, VmmConfig, VmmKind};

/// A jailed VMM to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchSpec {
    /// Whose jail, which is built.
    pub id: JailId,
    /// User and group to run as.
    pub uid: u32,
    /// What the jail was built for.
    pub vmm: VmmKind,
    /// The machine: a VMM that takes it from its command line is told it here, the others by
    /// [`Vmm::configure`](super::Vmm::configure).
    pub machine: VmmConfig,
}

/// A process that was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launched {
    /// Its id. The jailer execs the VMM, so that both are this one process.
    pub pid: Pid,
    /// When it started, in clock ticks since boot: field 22 of `/proc/<pid>/stat`.
    pub start_ticks: u64,
}

/// Starts jailers.
#[async_trait]
pub trait Launcher: Send + Sync {
    /// Starts a jailer in a process group of its own; answers when it runs, not when the VMM is
    /// ready. Not idempotent: the jailer refuses a jail whose pidfile is there.
    async fn launch(&self, spec: &LaunchSpec) -> HostResult<Launched>;
}

/// Collects what a jail's FIFOs carry into bounded files of a scratch directory:
/// `console.log`, `firecracker.log` or `qemu.log`, and `metrics.log`, each with one older part
/// beside it.
#[async_trait]
pub trait Outputs: Send + Sync {
    /// Begins to collect; again after a restart of the agent.
    async fn ensure(&self, id: &JailId, dir: &PathPart) -> HostResult<Change>;

    /// Takes what is still in the FIFOs and stops collecting.
    async fn remove(&self, id: &JailId) -> HostResult<Change>;

    /// The last lines of the VMM's log, to explain an exit. At most 4 KiB; empty when there is
    /// none.
    async fn log_tail(&self, dir: &PathPart) -> HostResult<String>;

    /// Opens the guest's console for reading: the last `past` bytes of what is kept, and what comes
    /// from then on, also from a later run of the guest. There need be no jail.
    async fn console(&self, id: &JailId, dir: &PathPart, past: u64) -> HostResult<Console>;

    /// Types into the guest's console. Answers when the VMM's end has taken it all, which may be
    /// never while the guest does not read; safe to give up. With nothing to type it only says
    /// whether there is anything to type into.
    ///
    /// # Errors
    /// [`NotFound`](super::HostErrorKind::NotFound) without a jail,
    /// [`Refused`](super::HostErrorKind::Refused) when the jail was built without an input.
    async fn type_in(&self, id: &JailId, bytes: &[u8]) -> HostResult<()>;
}
