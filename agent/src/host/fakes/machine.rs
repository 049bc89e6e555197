//! Processes of the fake machine, and the VMMs among them.
//!
//! Driven by the launcher, by signals, by the guests' own shutdowns and by staging. A process that
//! ends closes what it had open and wakes who waits for it; what it left in its jail stays.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::state::{EXITS_KEPT, LinkKind, State, file_id};
use crate::host::{
    DmName, ExitStatus, FileId, JailId, Launched, Pid, ProcessFacts, TapName, VmmConfig, VmmState,
};

/// Clock ticks in a second: `sysconf(_SC_CLK_TCK)` of every Linux there is.
pub(super) const TICKS_PER_SECOND: u64 = 100;

/// The largest pid plus one, as on 64-bit machines: proc_sys_kernel(5), `pid_max`.
const PID_MAX: u32 = 4_194_304;

/// A process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) pid: Pid,
    pub(super) start_ticks: u64,
    pub(super) comm: String,
    pub(super) arguments: Vec<String>,
    pub(super) root: Option<FileId>,
    #[serde(default)]
    pub(super) zombie: bool,
    /// The life of the agent that started it.
    pub(super) parent_life: Option<u64>,
    /// The jail it sits in.
    pub(super) jail: Option<JailId>,
    pub(super) vmm: Option<Machine>,
    /// Signals do nothing: it waits for a disk that never answers.
    #[serde(default)]
    pub(super) unkillable: bool,
    #[serde(skip)]
    pub(super) ended: Arc<Notify>,
}

impl Process {
    pub(super) fn facts(&self) -> ProcessFacts {
        ProcessFacts {
            pid: self.pid,
            start_ticks: self.start_ticks,
            comm: self.comm.clone(),
            zombie: self.zombie,
            arguments: if self.zombie { Vec::new() } else { self.arguments.clone() },
            root: self.root.filter(|_| !self.zombie),
        }
    }
}

/// The virtual machine that a VMM runs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) configured: bool,
    pub(super) state: SavedVmmState,
    /// Snapshots it has open.
    pub(super) disks: Vec<DmName>,
    pub(super) tap: Option<TapName>,
    pub(super) metadata: Option<String>,
    /// Ctrl-Alt-Del came while the guest was paused.
    pub(super) asked_to_stop: bool,
    /// What it was told; forgotten when the state is saved.
    #[serde(skip)]
    pub(super) config: Option<VmmConfig>,
}

/// [`VmmState`] in a form that can be saved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum SavedVmmState {
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

/// A process to be.
pub(super) struct Birth {
    pub(super) comm: String,
    pub(super) arguments: Vec<String>,
    pub(super) root: Option<FileId>,
    pub(super) jail: Option<JailId>,
    pub(super) vmm: Option<Machine>,
    pub(super) ours: bool,
}

impl State {
    /// A pid that nobody has.
    pub(super) fn free_pid(&mut self) -> Pid {
        loop {
            let number = self.next_pid;
            self.next_pid = if number + 1 < PID_MAX { number + 1 } else { 300 };
            if let Some(pid) = Pid::new(number).filter(|pid| !self.processes.contains_key(pid)) {
                return pid;
            }
        }
    }

    /// A start time after every earlier one of this boot.
    pub(super) fn next_ticks(&mut self, now: u64) -> u64 {
        let since_boot = now.saturating_sub(self.boot_unix_seconds) * TICKS_PER_SECOND;
        self.last_ticks = since_boot.max(self.last_ticks + 1);
        self.last_ticks
    }

    /// Starts a process under a pid nobody has.
    pub(super) fn spawn(&mut self, pid: Pid, birth: Birth, now: u64) -> Launched {
        let start_ticks = self.next_ticks(now);
        if let Some(jail) = &birth.jail {
            let members = self.members.entry(jail.clone()).or_default();
            members.insert(pid);
            if members.len() > 1 {
                self.violations.push(format!("two live processes in jail {jail}"));
            }
        }
        let Birth { comm, arguments, root, jail, vmm, ours } = birth;
        let parent_life = ours.then_some(self.life);
        let process = Process {
            pid,
            start_ticks,
            comm,
            arguments,
            root,
            zombie: false,
            parent_life,
            jail,
            vmm,
            unkillable: false,
            ended: Arc::default(),
        };
        self.processes.insert(pid, process);
        Launched { pid, start_ticks }
    }

    /// Ends a process: reaped at once, its status kept for this life of the agent if it was its
    /// parent. Whether there was one.
    pub(super) fn end_process(&mut self, pid: Pid, status: ExitStatus) -> bool {
        let Some(mut process) = self.processes.remove(&pid) else { return false };
        self.let_go(&mut process);
        if !process.zombie && process.parent_life == Some(self.life) {
            let key = (pid, process.start_ticks);
            self.exits.insert(key, status);
            self.exit_order.push_back(key);
            if self.exit_order.len() > EXITS_KEPT
                && let Some(oldest) = self.exit_order.pop_front()
            {
                self.exits.remove(&oldest);
            }
        }
        process.ended.notify_waiters();
        true
    }

    /// Ends a process whose parent does not reap it. Whether there was one.
    pub(super) fn end_unreaped(&mut self, pid: Pid) -> bool {
        let Some(mut process) = self.processes.remove(&pid) else { return false };
        self.let_go(&mut process);
        process.zombie = true;
        process.ended.notify_waiters();
        self.processes.insert(pid, process);
        true
    }

    /// Closes what a process has open and takes it out of its control group.
    fn let_go(&mut self, process: &mut Process) {
        if let Some(jail) = &process.jail
            && let Some(members) = self.members.get_mut(jail)
        {
            members.remove(&process.pid);
            if members.is_empty() {
                self.members.remove(jail);
            }
        }
        if let Some(mut vmm) = process.vmm.take() {
            self.close_devices(process.pid, &mut vmm);
        }
    }

    /// Closes the devices of a VMM.
    pub(super) fn close_devices(&mut self, pid: Pid, vmm: &mut Machine) {
        for name in vmm.disks.drain(..) {
            if let Some(snapshot) = self.snapshots.get_mut(&name) {
                snapshot.open_count = snapshot.open_count.saturating_sub(1);
            }
        }
        if let Some(tap) = vmm.tap.take()
            && let Some(link) = self.links.get_mut(tap.as_str())
            && let LinkKind::Tap { open, .. } = &mut link.kind
            && *open == Some(pid)
        {
            *open = None;
        }
    }

    /// The newest live process of a jail.
    pub(super) fn process_of(&self, jail: &JailId) -> Option<&Process> {
        let pids = self.members.get(jail)?;
        pids.iter().filter_map(|pid| self.processes.get(pid)).max_by_key(|p| p.start_ticks)
    }

    /// The pid of [`Self::process_of`].
    pub(super) fn pid_of(&self, jail: &JailId) -> Option<Pid> {
        self.process_of(jail).map(|process| process.pid)
    }

    /// The root directory of a jail.
    pub(super) fn root_of(&self, jail: &JailId) -> Option<FileId> {
        self.jails.get(jail)?.root.map(file_id)
    }
}
