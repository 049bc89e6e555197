//! What happens to the fake machine behind the agent's back.
//!
//! Driven by tests and by demonstrations. Nothing here passes the gate or is traced: it is the
//! world, not the agent. What names a jail means the live process in it; with none there, nothing
//! happens and the answer says so.

use crate::host::{
    DmName, ExitStatus, FileId, HostErrorKind, JailId, LinkName, PathPart, Pid, ProcessFacts,
    RootDiskKind, SocketEntry, VmmConfig, VmmKind, VmmState,
};

use super::kernel::{FakeKernel, unix_seconds};
use super::machine::Birth;
use super::space::{Full, Store};
use super::state::{ApiLink, LinkKind};

impl FakeKernel {
    /// The VMM ends by itself: a crash, or with `Code(0)` a guest that shut down. Whether there
    /// was one.
    pub fn crash(&self, jail: &JailId, status: ExitStatus) -> bool {
        self.with(|state| match state.pid_of(jail) {
            Some(pid) => state.end_process(pid, status),
            None => false,
        })
    }

    /// The guest does not hear Ctrl-Alt-Del, from now on.
    pub fn guest_ignores_shutdown(&self, jail: &JailId) {
        self.with(|state| state.deaf_guests.insert(jail.clone()));
    }

    /// The VMM's API stops answering, or answers again.
    pub fn hang_vmm(&self, jail: &JailId, hung: bool) {
        self.with(|state| {
            if hung {
                state.hung_vmms.insert(jail.clone());
            } else {
                state.hung_vmms.remove(jail);
            }
        });
    }

    /// Signals do nothing to the process any more, or do again. Whether there was one.
    pub fn make_unkillable(&self, jail: &JailId, unkillable: bool) -> bool {
        self.with(|state| {
            let pid = state.pid_of(jail);
            let process = pid.and_then(|pid| state.processes.get_mut(&pid));
            process.map(|process| process.unkillable = unkillable).is_some()
        })
    }

    /// The process dies and nobody reaps it: until [`Self::end_process`] it is a zombie. Whether
    /// there was one.
    pub fn make_zombie(&self, jail: &JailId) -> bool {
        self.with(|state| match state.pid_of(jail) {
            Some(pid) => state.end_unreaped(pid),
            None => false,
        })
    }

    /// The process dies, and its pid is another's at once: one with this `comm` and command line,
    /// in the host's root. `None` when there was no process.
    pub fn stage_pid_reuse(
        &self,
        jail: &JailId,
        comm: &str,
        arguments: &[&str],
    ) -> Option<ProcessFacts> {
        let now = unix_seconds(&self.inner.clock);
        self.with(|state| {
            let pid = state.pid_of(jail)?;
            state.end_process(pid, ExitStatus::Signal(9));
            state.spawn(pid, foreign(comm, arguments, Some(HOST_ROOT)), now);
            state.processes.get(&pid).map(|process| process.facts())
        })
    }

    /// Somebody starts a process that is not in a jail. `root` is its root directory, `None` one
    /// that may not be read; [`Self::host_root`] is the usual one.
    pub fn spawn(&self, comm: &str, arguments: &[&str], root: Option<FileId>) -> ProcessFacts {
        let now = unix_seconds(&self.inner.clock);
        self.with(|state| {
            let pid = state.free_pid();
            state.spawn(pid, foreign(comm, arguments, root), now);
            let process = state.processes.get(&pid);
            process.map(|process| process.facts()).expect("it was started above, under one lock")
        })
    }

    /// The root directory of the host.
    #[must_use]
    pub fn host_root(&self) -> FileId {
        HOST_ROOT
    }

    /// Any process ends, or a zombie is reaped. Whether there was one.
    pub fn end_process(&self, pid: Pid) -> bool {
        self.with(|state| state.end_process(pid, ExitStatus::Signal(9)))
    }

    /// The process's root directory cannot be read any more. Whether there was one.
    pub fn hide_root(&self, jail: &JailId) -> bool {
        self.with(|state| {
            let pid = state.pid_of(jail);
            let process = pid.and_then(|pid| state.processes.get_mut(&pid));
            process.map(|process| process.root = None).is_some()
        })
    }

    /// The live process of a jail.
    #[must_use]
    pub fn process_of(&self, jail: &JailId) -> Option<ProcessFacts> {
        self.peek(|state| state.process_of(jail).map(|process| process.facts()))
    }

    /// What the jail's VMM was told last; `None` before that and after a load from a file.
    #[must_use]
    pub fn vmm_config(&self, jail: &JailId) -> Option<VmmConfig> {
        self.peek(|state| state.process_of(jail)?.vmm.as_ref()?.config.clone())
    }

    /// The state of the jail's VMM, hung or not.
    #[must_use]
    pub fn vmm_state(&self, jail: &JailId) -> Option<VmmState> {
        self.peek(|state| Some(state.process_of(jail)?.vmm.as_ref()?.state.into()))
    }

    /// The metadata document of the jail's guest.
    #[must_use]
    pub fn metadata(&self, jail: &JailId) -> Option<String> {
        self.peek(|state| state.process_of(jail)?.vmm.as_ref()?.metadata.clone())
    }

    /// The guest prints on its console.
    pub fn guest_prints(&self, jail: &JailId, text: &str) {
        self.with(|state| state.console(jail, text));
    }

    /// The VMM writes to its log.
    pub fn vmm_logs(&self, jail: &JailId, text: &str) {
        self.with(|state| state.log(jail, text));
    }

    /// Somebody writes the jail's pidfile, or removes it. Whether there was a jail.
    pub fn set_pidfile(&self, jail: &JailId, content: Option<&[u8]>) -> bool {
        self.with(|state| {
            let found = state.jails.get_mut(jail);
            found.map(|jail| jail.pidfile = content.map(<[u8]>::to_vec)).is_some()
        })
    }

    /// Somebody changes what lies at the API socket's place. Whether there was a jail.
    pub fn set_api_socket(&self, jail: &JailId, entry: SocketEntry) -> bool {
        self.with(|state| {
            let link = match entry {
                SocketEntry::Missing => ApiLink::Missing,
                SocketEntry::NotALink => ApiLink::NotALink,
                SocketEntry::Link(target) => ApiLink::Elsewhere(target),
            };
            state.jails.get_mut(jail).map(|jail| jail.api_link = link).is_some()
        })
    }

    /// Somebody removes a jail's directory, live process or not. Whether there was one.
    pub fn lose_jail(&self, jail: &JailId) -> bool {
        self.with(|state| match state.jails.remove(jail) {
            Some(lost) => {
                state.drop_jail_files(lost);
                true
            }
            None => false,
        })
    }

    /// Somebody changes a scratch file's content, or removes the file. Whether the directory is
    /// there and has room.
    pub fn set_file(&self, dir: &PathPart, file: &PathPart, content: Option<&[u8]>) -> bool {
        self.with(|state| state.put_scratch(dir, file, content).is_ok())
    }

    /// What a scratch file holds.
    #[must_use]
    pub fn file(&self, dir: &PathPart, file: &PathPart) -> Option<Vec<u8>> {
        self.peek(|state| state.read_scratch(dir, file).ok().flatten())
    }

    /// A guest writes through its snapshot until `sectors` of 512 bytes of the store are in use;
    /// past the store's end every write fails until the snapshot is made anew, and where the disk has
    /// no room for what the store has not reserved, the snapshot is invalid for ever. Whether there
    /// is the snapshot and room on the disk.
    pub fn fill_snapshot(&self, name: &DmName, sectors: u64) -> bool {
        self.with(|state| {
            let Some(cow) = state.snapshots.get(name).and_then(|s| state.loops.get(&s.cow)) else {
                return false;
            };
            let (inode, total) = (cow.inode, cow.size_bytes / 512);
            let room = state.space.occupy(inode, sectors.min(total) * 512);
            if let Some(found) = state.space.get_mut(inode) {
                let was_invalid = found.store.is_some_and(|store| store.invalid);
                let invalid = was_invalid || room == Err(Full);
                found.store = Some(Store { used_sectors: sectors.min(total), invalid });
            }
            if let Some(snapshot) = state.snapshots.get_mut(name) {
                snapshot.overflowed |= sectors > total;
            }
            room.is_ok()
        })
    }

    /// Somebody else, such as udev, has the snapshot open, or closes it. Whether there is one.
    pub fn hold_snapshot(&self, name: &DmName, held: bool) -> bool {
        self.with(|state| state.snapshots.get_mut(name).map(|s| s.held = held).is_some())
    }

    /// Only so many bytes are left for scratch directories and jails; `None` is no limit worth
    /// speaking of.
    pub fn set_disk_left(&self, bytes: Option<u64>) {
        self.with(|state| {
            state.space.limit = bytes.map_or(u64::MAX, |left| state.space.used + left);
        });
    }

    /// No byte is left.
    pub fn fill_disk(&self) {
        self.set_disk_left(Some(0));
    }

    /// The device of the default route, from now on.
    pub fn set_uplink(&self, uplink: Option<LinkName>) {
        self.with(|state| state.uplink = uplink);
    }

    /// What new guests run under, from now on.
    pub fn set_vmm(&self, vmm: VmmKind) {
        self.with(|state| state.vmm = vmm);
    }

    /// How new guests get their root disk, from now on.
    pub fn set_root_disks(&self, root_disks: RootDiskKind) {
        self.with(|state| state.root_disks = root_disks);
    }

    /// Why no guest can be started here, from now on; `None` when one can.
    pub fn set_preflight(&self, refusal: Option<HostErrorKind>) {
        self.with(|state| state.preflight = refusal);
    }

    /// Somebody mounts something in a jail, or unmounts it.
    pub fn mount_in_jail(&self, jail: &JailId, mounted: bool) {
        self.with(|state| {
            if mounted {
                state.mounts.insert(jail.clone());
            } else {
                state.mounts.remove(jail);
            }
        });
    }

    /// Somebody makes an interface of another kind under this name.
    pub fn add_foreign_link(&self, name: &str) {
        self.with(|state| state.add_link(name, LinkKind::Other));
    }

    /// Somebody flushes all rules. Whoever asks is told from memory until the next list.
    pub fn flush_rules(&self) {
        self.with(|state| {
            state.rules.clear();
            state.flushes += 1;
        });
    }

    /// The machine reboots: another boot id; processes, devices, links, rules, control groups and
    /// the runtime directory are gone, files stay. Every bundle made before is dead; this begins
    /// a new life of the agent, too.
    pub fn reboot(&self) {
        let now = unix_seconds(&self.inner.clock);
        let mut core = self.inner.core.lock();
        let life = core.state.life;
        core.gate.freeze(life);
        core.gate.crashed = false;
        core.state.reboot(now);
        drop(core);
        self.inner.touched();
    }

    /// The boot id.
    #[must_use]
    pub fn boot_id(&self) -> String {
        self.peek(|state| state.boot_id())
    }

    /// Whether packets are forwarded.
    #[must_use]
    pub fn forwards(&self) -> bool {
        self.peek(|state| state.forwarding)
    }
}

/// The host's root directory: `stat /` of an ext4 file system has inode 2.
const HOST_ROOT: FileId = FileId { device: super::state::DEVICE, inode: 2 };

fn foreign(comm: &str, arguments: &[&str], root: Option<FileId>) -> Birth {
    Birth {
        comm: comm.to_owned(),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        root,
        jail: None,
        vmm: None,
        ours: false,
    }
}
