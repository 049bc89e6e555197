//! How processes of the fake machine begin and end.
//!
//! Driven by the launcher, by signals, by the guests' own shutdowns and by staging. A process that
//! ends closes what it had open and wakes who waits for it; what it left in its jail stays.

use std::sync::Arc;

use super::process::{FakeVmm, Process};
use super::state::{EXITS_KEPT, LinkKind, State, file_id};
use crate::host::{ExitStatus, FileId, JailId, Launched, Pid};

/// Clock ticks in a second: `sysconf(_SC_CLK_TCK)` of every Linux there is.
pub(crate) const TICKS_PER_SECOND: u64 = 100;

/// The largest pid plus one, as on 64-bit machines: proc_sys_kernel(5), `pid_max`.
const PID_MAX: u32 = 4_194_304;

/// A process to be.
pub(crate) struct Birth {
    pub(crate) comm: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) root: Option<FileId>,
    pub(crate) user: u32,
    pub(crate) jail: Option<JailId>,
    pub(crate) vmm: Option<FakeVmm>,
    pub(crate) ours: bool,
}

impl State {
    /// A pid that nobody has.
    pub(crate) fn free_pid(&mut self) -> Pid {
        loop {
            let number = self.next_pid;
            self.next_pid = if number + 1 < PID_MAX { number + 1 } else { 300 };
            if let Some(pid) = Pid::new(number).filter(|pid| !self.processes.contains_key(pid)) {
                return pid;
            }
        }
    }

    /// A start time after every earlier one of this boot.
    pub(crate) fn next_ticks(&mut self, now: u64) -> u64 {
        let since_boot = now.saturating_sub(self.boot_unix_seconds) * TICKS_PER_SECOND;
        self.last_ticks = since_boot.max(self.last_ticks + 1);
        self.last_ticks
    }

    /// Starts a process under a pid nobody has.
    pub(crate) fn spawn(&mut self, pid: Pid, birth: Birth, now: u64) -> Launched {
        let start_ticks = self.next_ticks(now);
        if let Some(jail) = &birth.jail {
            let members = self.members.entry(jail.clone()).or_default();
            members.insert(pid);
            // Without a machine it is not a VMM that we started, but the child of one.
            if members.len() > 1 && birth.vmm.is_some() {
                self.violations.push(format!("two live processes in jail {jail}"));
            }
        }
        if birth.vmm.is_some() {
            let before = self.vmm_of_user.insert(birth.user, pid);
            let other = before.and_then(|before| self.processes.get(&before)).filter(|other| {
                other.user == birth.user && other.jail != birth.jail && !other.zombie
            });
            if let Some(other) = other {
                let (user, theirs, jail) = (birth.user, &other.jail, &birth.jail);
                let how = format!("user {user} of {theirs:?} was given to {jail:?} while it lives");
                self.violations.push(how);
            }
        }
        let Birth { comm, arguments, root, user, jail, vmm, ours } = birth;
        let parent_life = ours.then_some(self.life);
        let process = Process {
            pid,
            start_ticks,
            comm,
            arguments,
            root,
            user,
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
    pub(crate) fn end_process(&mut self, pid: Pid, status: ExitStatus) -> bool {
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
    pub(crate) fn end_unreaped(&mut self, pid: Pid) -> bool {
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
    pub(crate) fn close_devices(&mut self, pid: Pid, vmm: &mut FakeVmm) {
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

    /// The live VMM of a jail, the newest if there are several; with none, the newest of what else
    /// lives in it.
    pub(crate) fn process_of(&self, jail: &JailId) -> Option<&Process> {
        let pids = self.members.get(jail)?;
        let live = pids.iter().filter_map(|pid| self.processes.get(pid));
        live.max_by_key(|process| (process.vmm.is_some(), process.start_ticks))
    }

    /// The pid of [`Self::process_of`].
    pub(crate) fn pid_of(&self, jail: &JailId) -> Option<Pid> {
        self.process_of(jail).map(|process| process.pid)
    }

    /// The root directory of a jail.
    pub(crate) fn root_of(&self, jail: &JailId) -> Option<FileId> {
        self.jails.get(jail)?.root.map(file_id)
    }
}
