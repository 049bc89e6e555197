//! VMMs that this life of the agent started: reaped when they end, their exit status kept.
//!
//! A process whose parent we are can say how it ended; one that an earlier life started is init's
//! child and cannot. What can go wrong: nothing asks for a status; then it is forgotten when there
//! are many. And a VMM that was taken over makes processes whose parent is its own, us
//! (`CLONE_PARENT`): nobody started them here, so that nobody would wait for them: [`strays`] does.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::ready::readable;
use crate::host::linux::processes::start_ticks;
use crate::host::{ExitStatus, HostError, HostErrorKind, HostResult, Launched, Pid};

/// How many statuses of ended processes are kept.
const KEPT: usize = 1024;

mod strays;

pub(crate) use strays::follow;

type Exits = HashMap<(Pid, u64), watch::Receiver<Option<ExitStatus>>>;

/// The processes we are the parent of.
#[derive(Default)]
pub(crate) struct Children {
    exits: Arc<Mutex<Exits>>,
    /// Held while a process is started and not in the table yet.
    starting: Mutex<()>,
}

impl Children {
    /// Starts a process and follows it: there is none in between that nobody knows. Must be called
    /// within a tokio runtime.
    pub(crate) fn start(&self, start: impl FnOnce() -> HostResult<Child>) -> HostResult<Launched> {
        let _starting = self.starting.lock();
        let mut child = start()?;
        match Self::identify(&child) {
            Ok((launched, pidfd)) => {
                let (ended, exit) = watch::channel(None);
                let mut exits = self.exits.lock();
                if exits.len() >= KEPT {
                    exits.retain(|_, exit| exit.borrow().is_none());
                }
                exits.insert((launched.pid, launched.start_ticks), exit);
                drop(exits);
                tokio::spawn(reap(child, pidfd, ended));
                Ok(launched)
            }
            Err(error) => {
                // We cannot follow it, so it must not live. It is ours and not reaped: no other
                // process can have its pid.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    fn identify(child: &Child) -> HostResult<(Launched, AsyncFd<OwnedFd>)> {
        let verb = "follow";
        let object = format!("process {}", child.id());
        let pid = Pid::new(child.id())
            .ok_or_else(|| HostError::new(HostErrorKind::Other, verb, &object))?;
        let raw = rustix::process::Pid::from_child(child);
        let pidfd = rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty())
            .map_err(|error| HostError::io(verb, &object, error))?;
        let pidfd = readable(pidfd).map_err(|error| HostError::io(verb, &object, error))?;
        // Not reaped, so the pid is still its own, dead or alive.
        let start_ticks = start_ticks(pid)?.ok_or_else(|| {
            HostError::new(HostErrorKind::NotFound, verb, &object).detail("it is not in /proc")
        })?;
        Ok((Launched { pid, start_ticks }, pidfd))
    }

    /// Where the exit of a process that the agent started will be told.
    pub(crate) fn exit_of(
        &self,
        pid: Pid,
        start_ticks: u64,
    ) -> Option<watch::Receiver<Option<ExitStatus>>> {
        self.exits.lock().get(&(pid, start_ticks)).cloned()
    }
}

async fn reap(mut child: Child, pidfd: AsyncFd<OwnedFd>, ended: watch::Sender<Option<ExitStatus>>) {
    // A pidfd becomes readable when its process ends: pidfd_open(2).
    let readable = pidfd.readable().await.map(drop);
    let status = match readable {
        Ok(()) => child.try_wait(),
        Err(error) => Err(error),
    };
    let exit = match status {
        Ok(Some(status)) => match (status.code(), status.signal()) {
            (Some(code), _) => ExitStatus::Code(code),
            (None, Some(signal)) => ExitStatus::Signal(signal),
            (None, None) => ExitStatus::Unknown,
        },
        Ok(None) | Err(_) => ExitStatus::Unknown,
    };
    // Nobody may be waiting; the receiver in the table keeps the value.
    ended.send_replace(Some(exit));
}
