//! A process of the fake machine, and the VMM that it may be. Plain data that can be saved.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::host::{
    DmName, FileId, JailId, Pid, ProcessFacts, TapName, VmmConfig, VmmKind, VmmState,
};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pub(crate) start_ticks: u64,
    pub(crate) comm: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) root: Option<FileId>,
    /// The user who runs it.
    #[serde(default)]
    pub(crate) user: u32,
    #[serde(default)]
    pub(crate) zombie: bool,
    /// The life of the agent that started it.
    pub(crate) parent_life: Option<u64>,
    /// The jail it sits in.
    pub(crate) jail: Option<JailId>,
    pub(crate) vmm: Option<FakeVmm>,
    /// Signals do nothing: it waits for a disk that never answers.
    #[serde(default)]
    pub(crate) unkillable: bool,
    #[serde(skip)]
    pub(crate) ended: Arc<Notify>,
}

impl Process {
    pub(crate) fn facts(&self) -> ProcessFacts {
        ProcessFacts {
            pid: self.pid,
            start_ticks: self.start_ticks,
            comm: self.comm.clone(),
            zombie: self.zombie,
            arguments: if self.zombie { Vec::new() } else { self.arguments.clone() },
            root: self.root.filter(|_| !self.zombie),
            user: Some(self.user),
            program: Some(program_of(&self.comm)),
        }
    }
}

/// The virtual machine that a VMM runs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct FakeVmm {
    pub(crate) configured: bool,
    pub(crate) state: SavedVmmState,
    /// Snapshots it has open.
    pub(crate) disks: Vec<DmName>,
    pub(crate) tap: Option<TapName>,
    pub(crate) metadata: Option<String>,
    /// Ctrl-Alt-Del came while the guest was paused.
    pub(crate) asked_to_stop: bool,
    /// What it was told; forgotten when the state is saved.
    #[serde(skip)]
    pub(crate) config: Option<VmmConfig>,
}

/// [`VmmState`] in a form that can be saved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SavedVmmState {
    #[default]
    NotStarted,
    Running,
    Paused,
}

impl From<SavedVmmState> for VmmState {
    fn from(state: SavedVmmState) -> Self {
        match state {
            SavedVmmState::NotStarted => Self::NotStarted,
            SavedVmmState::Running => Self::Running,
            SavedVmmState::Paused => Self::Paused,
        }
    }
}

/// The file that a process executes, by the name it began with: the kernel keeps 15 bytes of it.
fn program_of(comm: &str) -> String {
    let vmm = VmmKind::ALL.into_iter().find(|vmm| vmm.comm() == comm);
    vmm.map_or_else(|| comm.to_owned(), |vmm| vmm.program().to_owned())
}
