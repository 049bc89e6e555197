//! What to do with a VM at the start of the agent, from its hints and its process. Pure.
//!
//! Driven by the VM's task at its first look. A live process outranks the file: the file may be
//! older, or another VM's, or gone. A dead process does not take the file's other hints with it:
//! they name what has to be torn down.

use crate::handles::{ProcessHandle, ProcessIdentity, VmHandles};
use crate::jail::process::{Liveness, WhyNot, WhyUnclear};

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adoption {
    /// The process lives: keep it, with these handles.
    Keep {
        /// With the live process among them.
        handles: VmHandles,
        /// What the file said of the process was not so.
        corrected: bool,
    },
    /// The process is dead: the VM is stopped, and these name what to tear down.
    Demote {
        /// Without a process.
        handles: VmHandles,
        /// The process the hints named, which has ended.
        ended: Option<ProcessHandle>,
        /// Why no process was found.
        why: WhyNot,
    },
    /// Nothing may be done: the handles as they were.
    Unclear {
        /// Unchanged.
        handles: VmHandles,
        /// What could not be told.
        why: WhyUnclear,
    },
}

/// Joins hints and process. `boot_id` is the present boot's.
#[must_use]
pub fn adopt(hints: VmHandles, liveness: &Liveness, boot_id: &str) -> Adoption {
    match liveness {
        Liveness::Alive(identity) => keep(hints, identity),
        Liveness::Dead(why) => demote(hints, why.clone(), boot_id),
        Liveness::SomebodyElses { pid, .. } => {
            demote(hints, WhyNot::SomebodyElses { pid: *pid }, boot_id)
        }
        Liveness::CannotTell(why) => Adoption::Unclear { handles: hints, why: why.clone() },
    }
}

fn keep(mut hints: VmHandles, identity: &ProcessIdentity) -> Adoption {
    let known = hints.process.take().filter(|process| process.identity == *identity);
    let corrected = known.is_none();
    hints.process = Some(known.unwrap_or_else(|| ProcessHandle {
        identity: identity.clone(),
        ending: false,
        started_at: None,
        user: None,
    }));
    Adoption::Keep { handles: hints, corrected }
}

fn demote(mut hints: VmHandles, why: WhyNot, boot_id: &str) -> Adoption {
    let ended = hints.process.take();
    if ended.as_ref().is_some_and(|process| process.identity.boot_id != boot_id) {
        // Another boot: every kernel object is gone with it, and numbers mean other things now.
        // The names stay: removing by name what is not there does nothing.
        for handle in [&mut hints.base_loop, &mut hints.cow_loop].into_iter().flatten() {
            handle.attached = None;
        }
    }
    Adoption::Demote { handles: hints, ended, why }
}

#[cfg(test)]
mod tests;
