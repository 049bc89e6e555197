//! The answers to "is the VM's process alive?", each with its reason.
//!
//! Given by [`vm_alive`](super::vm_alive) alone; adoption and the plan act on them. A reason is a
//! sentence for people, so that a VM that is waited for says what for.

use std::path::PathBuf;

use crate::handles::ProcessIdentity;
use crate::host::{HostError, Pid};
use crate::jail::pidfile;

/// Whether the VM's process is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Liveness {
    /// Ours, alive, wholly identified.
    Alive(ProcessIdentity),
    /// There is none.
    Dead(WhyNot),
    /// What our record points to is somebody else's process: the record is dropped, the process
    /// is never signalled.
    SomebodyElses {
        /// Whose pid it is now.
        pid: Pid,
        /// What gave it away.
        why: Foreign,
    },
    /// Nothing may be concluded, so nothing is done.
    CannotTell(WhyUnclear),
}

/// Why no process was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhyNot {
    /// The runtime directory has no API socket for the VM.
    #[error("there is no API socket")]
    SocketMissing,
    /// The API socket is no symlink, so it leads to no chroot.
    #[error("the API socket is no symlink")]
    SocketNotALink,
    /// The API socket's symlink leads elsewhere than to the VM's jail.
    #[error("the API socket leads to {}, which is not the VM's jail", target.display())]
    SocketElsewhere {
        /// Where it leads.
        target: PathBuf,
    },
    /// The jail has no pidfile.
    #[error("there is no pidfile")]
    PidfileMissing,
    /// The pidfile holds something else than a pid.
    #[error(transparent)]
    PidfileGarbage(pidfile::Garbage),
    /// No process has the pid.
    #[error("no process has the pid {pid}")]
    NoSuchProcess {
        /// The pid.
        pid: Pid,
    },
    /// The process is dead and waits to be reaped.
    #[error("process {pid} is a zombie")]
    Zombie {
        /// The pid.
        pid: Pid,
    },
    /// The process of that pid runs something else.
    #[error("process {pid} is {comm:?}, which is not the VMM of the jail")]
    WrongComm {
        /// The pid.
        pid: Pid,
        /// What it runs.
        comm: String,
    },
    /// The pid belongs to another process now.
    #[error("process {pid} is somebody else's")]
    SomebodyElses {
        /// The pid.
        pid: Pid,
    },
}

/// What shows that a process is not the VM's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// It started at another time: the pid was recycled.
    #[error("it started at another time")]
    StartedAtAnotherTime,
    /// Its command line names another VM, or none.
    #[error("its command line does not have the id of this VM")]
    AnotherId,
    /// Its root is another directory than the VM's jail.
    #[error("its root is not the VM's jail")]
    AnotherRoot,
    /// It was recorded in another boot of the machine.
    #[error("it was recorded before the machine booted")]
    AnotherBoot,
    /// Nobody who may run the VM's process runs it, or it runs a program that we do not start: what
    /// it says of itself counts for nothing.
    #[error("its user or its program is not one that the agent starts")]
    AnotherUser,
}

/// Why nothing can be concluded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhyUnclear {
    /// The machine did not answer.
    #[error("{what}")]
    Unreadable {
        /// The error, whole.
        what: String,
    },
    /// It is the jailer, which has not become the VMM yet.
    #[error("process {pid} is still the jailer")]
    StillTheJailer {
        /// The pid.
        pid: Pid,
    },
    /// Its command line fits but its root may not be read.
    #[error("the root of process {pid} cannot be read")]
    RootUnreadable {
        /// The pid.
        pid: Pid,
    },
    /// Its command line fits but the jail to compare its root with is gone.
    #[error("the jail of process {pid} is gone, so that its root cannot be compared")]
    JailGone {
        /// The pid.
        pid: Pid,
    },
}

impl WhyUnclear {
    pub(super) fn unreadable(error: &HostError) -> Self {
        Self::Unreadable { what: error.chain() }
    }
}
