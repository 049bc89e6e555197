//! Children that nobody started here: reaped, so that none stays as a zombie for as long as we
//! live.
//!
//! Driven by a task of its own, every few seconds. A child is nobody's if its user is not ours and
//! it is not in the table of VMMs: tools run as our own user, and whoever starts a VMM holds a lock
//! until it is in the table. Such a child has no waiter, so that its pid is its own until we wait
//! for it here.
//!
//! What can go wrong: somebody makes them faster than they are reaped, which their control group
//! bounds; a kernel does not list children (`CONFIG_PROC_CHILDREN`), and then they stay.

use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::process::{WaitId, WaitIdOptions, getuid, waitid};

use super::Children;
use crate::host::Pid;
use crate::host::linux::processes::user_of_zombie;

/// How often they are looked for.
const PAUSE: Duration = Duration::from_secs(5);

/// How many are reaped at once.
const MOST: usize = 4096;

/// Reaps for as long as the children are followed. Within a runtime.
pub(crate) fn follow(children: &Arc<Children>) {
    let children = Arc::downgrade(children);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(PAUSE).await;
            let followed = Weak::clone(&children);
            let swept = tokio::task::spawn_blocking(move || {
                followed.upgrade().map(|children| children.reap_strays())
            });
            match swept.await {
                Ok(Some(0)) => {}
                Ok(Some(reaped)) => tracing::warn!(reaped, "processes that a VMM left to us ended"),
                // Nobody is followed any more, or the runtime goes away.
                Ok(None) | Err(_) => return,
            }
        }
    });
}

impl Children {
    /// Waits for what has ended and is nobody's. How many those were.
    pub(crate) fn reap_strays(&self) -> usize {
        listed().into_iter().take(MOST).filter(|pid| self.reap_stray(*pid)).count()
    }

    fn reap_stray(&self, pid: Pid) -> bool {
        // A VMM that was just started has its own user already, perhaps, and no place in the table.
        let _starting = self.starting.lock();
        let strangers = user_of_zombie(pid).is_some_and(|user| user != getuid().as_raw());
        if !strangers || self.is_followed(pid) {
            return false;
        }
        let raw = i32::try_from(pid.get()).ok().and_then(rustix::process::Pid::from_raw);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        raw.is_some_and(|raw| matches!(waitid(WaitId::Pid(raw), options), Ok(Some(_))))
    }

    /// Whether a process of this id is waited for. One that has just been reaped still counts.
    fn is_followed(&self, pid: Pid) -> bool {
        self.exits.lock().iter().any(|((of, _), exit)| *of == pid && exit.borrow().is_none())
    }
}

/// The children of all of our threads, dead or alive: proc_pid_task_tid_children(5).
fn listed() -> Vec<Pid> {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    let mut all = Vec::new();
    for thread in threads.flatten() {
        let text = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        all.extend(text.split_ascii_whitespace().filter_map(|pid| Pid::new(pid.parse().ok()?)));
    }
    all
}

#[cfg(test)]
mod tests;
