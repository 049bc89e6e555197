//! The seam to processes: what the kernel says of them, signals, exits.
//!
//! Driven by the VM tasks and by adoption at the start of the agent. What can go wrong: a pid is
//! recycled between two looks. Against that a process is believed, signalled and waited for only
//! together with its start time, through a pidfd.

use async_trait::async_trait;

use super::{Change, FileId, HostResult, Pid};

/// What the kernel says of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Its id.
    pub pid: Pid,
    /// When it started, in clock ticks since boot: field 22 of `/proc/<pid>/stat`. Together with
    /// the pid it means one process in one boot.
    pub start_ticks: u64,
    /// The short name of what it runs, at most 15 bytes.
    pub comm: String,
    /// Dead, with all of its threads, and not yet reaped. A process whose first thread alone has
    /// ended lives.
    pub zombie: bool,
    /// The user who runs it; `None` when it is gone, or runs with the rights of another than who
    /// started it (set-user-ID), so that it is nobody's word.
    pub user: Option<u32>,
    /// The name of the file that it executes; `None` when it may not be read.
    pub program: Option<String>,
    /// The beginning of its command line; empty when its first thread has ended. Both this and
    /// `comm` are the process's own to change.
    pub arguments: Vec<String>,
    /// Its root directory; `None` when it is gone or may not be read.
    pub root: Option<FileId>,
}

/// Which process has a pid, and whether it lives: what it can't change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessStart {
    /// As in [`ProcessFacts`].
    pub start_ticks: u64,
    /// As in [`ProcessFacts`].
    pub zombie: bool,
}

/// Signals that are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM, which Firecracker does not handle: it ends at once, by the signal.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// With this code; 0 when the guest shut down or rebooted.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It ended, but it was not our child (it was started by an earlier life of the agent), so
    /// nobody can say how.
    Unknown,
}

/// Processes of the machine.
#[async_trait]
pub trait Processes: Send + Sync {
    /// All processes whose `comm` is this, zombies included.
    async fn list(&self, comm: &str) -> HostResult<Vec<ProcessFacts>>;

    /// One process, `None` when there is none of that id.
    async fn observe(&self, pid: Pid) -> HostResult<Option<ProcessFacts>>;

    /// As [`Processes::observe`], no more than is needed to know a process again: one small file.
    async fn started(&self, pid: Pid) -> HostResult<Option<ProcessStart>>;

    /// Signals exactly the process that has this id and start time, through a pidfd.
    /// [`Change::AlreadySo`] when it is gone or the id belongs to another process now: that one
    /// is never signalled.
    async fn signal(&self, pid: Pid, start_ticks: u64, signal: Signal) -> HostResult<Change>;

    /// Waits, however long, until exactly this process is dead. Answers at once when it is.
    /// Cancel-safe: dropping the future stops waiting and nothing else.
    async fn wait_exit(&self, pid: Pid, start_ticks: u64) -> HostResult<ExitStatus>;
}
