//! VMs before and after an update: who they were, and what became of each. Pure.
//!
//! The kernel says which process is which VM; the server says what was wanted of it meanwhile, and
//! how it ended. A VM that somebody stopped, or that shut itself down, while the update ran is no
//! loss; one whose process is gone without either, or is another than before, is.

use std::collections::BTreeMap;

use serde::Serialize;

/// A VMM's process, from `/proc`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Guest {
    /// The VM's id, from its command line.
    pub(super) vm: String,
    pub(super) pid: u32,
    /// Field 22 of `/proc/<pid>/stat` (proc_pid_stat(5)).
    pub(super) start_ticks: u64,
}

/// What the server knows of a VM of this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) name: String,
    /// Counts changes of what is wanted.
    pub(super) generation: u64,
    /// Such as "RUNNING".
    pub(super) state: String,
    /// The process, as the agent reported it: pid and start.
    pub(super) process: Option<(u32, u64)>,
    /// How it last ended: whether by a crash, and in a sentence.
    pub(super) exit: Option<(bool, String)>,
}

/// What the server knows of this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fleet {
    pub(super) online: bool,
    /// In words.
    pub(super) state: String,
    /// Counts the starts of the agent.
    pub(super) epoch: u64,
    /// By id.
    pub(super) vms: BTreeMap<String, Known>,
}

/// What became of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "fate", rename_all = "camelCase")]
pub(super) enum Fate {
    /// The same process, and the server, if it was asked, says the same.
    Kept,
    /// It runs on, but the server does not say so yet.
    NotReported { seen: String },
    /// Ended by itself, which a guest may at any time.
    Ended { how: String },
    /// Somebody asked for something else meanwhile.
    Changed,
    /// The process is gone.
    Lost,
    /// Another process has its place.
    Restarted { pid: u32 },
}

impl Fate {
    /// The update is to blame.
    pub(super) fn is_bad(&self) -> bool {
        match self {
            Self::Lost | Self::Restarted { .. } => true,
            Self::Kept | Self::NotReported { .. } | Self::Ended { .. } | Self::Changed => false,
        }
    }
}

/// What is known of this host at one time. Without `fleet` the server could not be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct View {
    pub(super) guests: Vec<Guest>,
    pub(super) fleet: Option<Fleet>,
}

impl View {
    fn guest(&self, vm: &str) -> Option<&Guest> {
        self.guests.iter().find(|guest| guest.vm == vm)
    }

    fn known(&self, vm: &str) -> Option<&Known> {
        self.fleet.as_ref()?.vms.get(vm)
    }
}

/// What became of every VM that ran before.
pub(super) fn fates(before: &View, after: &View) -> Vec<(Guest, Fate)> {
    before.guests.iter().map(|guest| (guest.clone(), fate(guest, before, after))).collect()
}

fn fate(was: &Guest, before: &View, after: &View) -> Fate {
    let known = after.known(&was.vm);
    match after.guest(&was.vm) {
        Some(is) if is == was => match (&after.fleet, known) {
            (None, _) => Fate::Kept,
            (Some(_), Some(known)) if known.process == Some((was.pid, was.start_ticks)) => {
                Fate::Kept
            }
            (Some(_), Some(known)) => Fate::NotReported { seen: known.state.clone() },
            // The server never knew it: nothing is to be heard of it.
            (Some(_), None) if before.fleet.is_some() && before.known(&was.vm).is_none() => {
                Fate::Kept
            }
            (Some(_), None) => Fate::NotReported { seen: "nothing".to_owned() },
        },
        now => {
            let asked = match (before.known(&was.vm), known) {
                (Some(before), Some(after)) => before.generation != after.generation,
                // Deleted meanwhile.
                (Some(_), None) => after.fleet.is_some(),
                (None, _) => false,
            };
            let earlier = before.known(&was.vm).and_then(|known| known.exit.as_ref());
            let exit = known.and_then(|known| known.exit.as_ref()).filter(|e| Some(*e) != earlier);
            match (asked, exit, now) {
                (true, _, _) => Fate::Changed,
                (false, Some((false, how)), _) => Fate::Ended { how: how.clone() },
                (false, _, None) => Fate::Lost,
                (false, _, Some(is)) => Fate::Restarted { pid: is.pid },
            }
        }
    }
}

/// One line for each, and none for those that are as before.
pub(super) fn text(fates: &[(Guest, Fate)]) -> Vec<String> {
    let line = |(guest, fate): &(Guest, Fate)| {
        let Guest { vm, pid, .. } = guest;
        match fate {
            Fate::Kept => None,
            Fate::NotReported { seen } => {
                Some(format!("VM {vm} runs on as pid {pid}; the server says {seen}"))
            }
            Fate::Ended { how } => Some(format!("VM {vm} ended on its own meanwhile: {how}")),
            Fate::Changed => Some(format!("VM {vm} was changed by somebody meanwhile")),
            Fate::Lost => Some(format!("VM {vm} is LOST: pid {pid} is gone")),
            Fate::Restarted { pid: now } => {
                Some(format!("VM {vm} was RESTARTED: pid {pid} is now pid {now}"))
            }
        }
    };
    fates.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests;
