//! What happens to the fake machine behind the agent's back.
//!
//! Driven by tests and by demonstrations. Nothing here passes the gate or is traced: it is the
//! world, not the agent. What names a jail means the live process in it; with none there, nothing
//! happens and the answer says so.

use crate::host::{
    DmName, ExitStatus, FileId, HostErrorKind, JailId, LinkName, PathPart, Pid, ProcessFacts,
    RootDiskKind, SocketEntry, TapName, VmmConfig, VmmKind, VmmState,
};

use super::machine::Birth;
use super::space::{Full, Store};
use super::state::{ApiLink, LinkKind};
use crate::host::fakes::kernel::{FakeKernel, unix_seconds};

impl FakeKernel {
    /// The guest shuts down by itself, and its kernel says so on the console. Whether there was
    /// one.
    pub fn guest_ends(&self, jail: &JailId) -> bool {
        self.with(|state| {
            let there = state.pid_of(jail).is_some();
            state.guest_shuts_down(jail);
            there
        })
    }

    /// The guest's kernel panics, and resets the machine. Whether there was one.
    pub fn guest_panics(&self, jail: &JailId, why: &str) -> bool {
        self.with(|state| {
            state.console(jail, &format!("Kernel panic - not syncing: {why}\n"));
            state.console(jail, "Rebooting in 1 seconds..\n");
            match state.pid_of(jail) {
                Some(pid) => state.end_process(pid, ExitStatus::Code(0)),
                None => false,
            }
        })
    }

    /// The VMM ends by itself: a crash, or with `Code(0)` an end without a word. Whether there was
    /// one.
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

    /// As [`Self::spawn`], by this user.
    pub fn spawn_as(&self, user: u32, comm: &str, arguments: &[&str]) -> ProcessFacts {
        let now = unix_seconds(&self.inner.clock);
        self.with(|state| {
            let pid = state.free_pid();
            let birth = Birth { user, ..foreign(comm, arguments, Some(HOST_ROOT)) };
            state.spawn(pid, birth, now);
            let process = state.processes.get(&pid);
            process.map(|process| process.facts()).expect("it was started above, under one lock")
        })
    }

    /// The VMM was taken over: it calls itself otherwise, forgets its arguments, and leaves its
    /// root. Whether there was one.
    pub fn disguise(&self, jail: &JailId, comm: &str) -> bool {
        self.with(|state| {
            let pid = state.pid_of(jail);
            let Some(process) = pid.and_then(|pid| state.processes.get_mut(&pid)) else {
                return false;
            };
            comm.clone_into(&mut process.comm);
            process.arguments = vec![comm.to_owned()];
            process.root = None;
            true
        })
    }

    /// The VMM was taken over: it starts another process, which stays in its control group. `None`
    /// when there was no VMM.
    pub fn fork_in_jail(&self, jail: &JailId, comm: &str) -> Option<ProcessFacts> {
        let now = unix_seconds(&self.inner.clock);
        self.with(|state| {
            let user = state.process_of(jail)?.user;
            let pid = state.free_pid();
            let jail = Some(jail.clone());
            state.spawn(pid, Birth { user, jail, ..foreign(comm, &[comm], None) }, now);
            state.processes.get(&pid).map(|process| process.facts())
        })
    }

    /// How many processes are in the jail's control group.
    #[must_use]
    pub fn members(&self, jail: &JailId) -> usize {
        self.peek(|state| state.members.get(jail).map_or(0, |members| members.len()))
    }

    /// The names in a jail's root.
    #[must_use]
    pub fn jail_entries(&self, jail: &JailId) -> Vec<PathPart> {
        self.peek(|state| {
            let jail = state.jails.get(jail);
            jail.map_or_else(Vec::new, |jail| jail.entries.keys().cloned().collect())
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
    /// past the store's end every write fails until the snapshot is made anew, and where the disk
    /// has no room for what the store has not reserved, the snapshot is invalid for ever. Whether
    /// there is the snapshot and room on the disk.
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
        self.with(|state| {
            state.uplink = uplink;
            state.net_changes += 1;
        });
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
            state.pins.clear();
            state.flushes += 1;
            state.net_changes += 1;
        });
    }

    /// Somebody switches forwarding of packets off.
    pub fn stop_forwarding(&self) {
        // Nobody is told: the kernel has another group for this.
        self.with(|state| state.forwarding = false);
    }

    /// Somebody removes an interface. A VMM that has it open goes on with a tap that leads nowhere.
    /// Whether there was one.
    pub fn lose_link(&self, name: &str) -> bool {
        self.with(|state| {
            let Some(lost) = state.links.remove(name) else { return false };
            state.net_changes += 1;
            for link in state.links.values_mut() {
                if let LinkKind::Tap { master, .. } = &mut link.kind {
                    *master = master.filter(|master| *master != lost.index);
                }
            }
            true
        })
    }

    /// Somebody takes a bridge's address away, or switches it off. Whether there is the bridge.
    pub fn spoil_bridge(&self, name: &LinkName, takes_address: bool) -> bool {
        self.with(|state| {
            state.net_changes += 1;
            match state.links.get_mut(name.as_str()).map(|link| &mut link.kind) {
                Some(LinkKind::Bridge { address, up, .. }) => {
                    if takes_address {
                        *address = None;
                    } else {
                        *up = false;
                    }
                    true
                }
                Some(LinkKind::Tap { .. } | LinkKind::Other) | None => false,
            }
        })
    }

    /// Somebody takes a tap off its bridge, or lets it reach other taps. Whether there is the tap.
    pub fn spoil_tap(&self, name: &TapName, takes_off: bool) -> bool {
        self.with(|state| {
            state.net_changes += 1;
            match state.links.get_mut(name.as_str()).map(|link| &mut link.kind) {
                Some(LinkKind::Tap { master, isolated, .. }) => {
                    if takes_off {
                        *master = None;
                    } else {
                        *isolated = false;
                    }
                    true
                }
                Some(LinkKind::Bridge { .. } | LinkKind::Other) | None => false,
            }
        })
    }

    /// The device of the default route.
    #[must_use]
    pub fn uplink(&self) -> Option<LinkName> {
        self.peek(|state| state.uplink.clone())
    }

    /// The device that a guest's rules let it leave by.
    #[must_use]
    pub fn rule_uplink(&self, key: &crate::host::GuestKey) -> Option<LinkName> {
        self.peek(|state| state.rules.get(key)?.uplink.clone())
    }

    /// What a bridge's address is; `None` without the bridge or its address.
    #[must_use]
    pub fn bridge_address(&self, name: &LinkName) -> Option<std::net::Ipv4Addr> {
        self.peek(|state| match state.links.get(name.as_str()).map(|link| &link.kind) {
            Some(LinkKind::Bridge { address, .. }) => *address,
            Some(LinkKind::Tap { .. } | LinkKind::Other) | None => None,
        })
    }

    /// Whether a tap is an isolated port of a bridge of this name, and switched on.
    #[must_use]
    pub fn is_port(&self, tap: &TapName, bridge: &LinkName) -> bool {
        self.peek(|state| {
            let index = state.links.get(bridge.as_str()).map(|link| link.index);
            match state.links.get(tap.as_str()).map(|link| &link.kind) {
                Some(LinkKind::Tap { master, up: true, isolated: true, .. }) => {
                    index.is_some() && *master == index
                }
                _ => false,
            }
        })
    }

    /// The machine uses these networks beside the guests', from now on: address, prefix, device.
    pub fn set_networks(&self, networks: &[(std::net::Ipv4Addr, u8, &str)]) {
        self.with(|state| {
            state.net_changes += 1;
            let owned = networks
                .iter()
                .map(|(address, prefix, device)| (*address, *prefix, (*device).to_owned()));
            state.networks = owned.collect();
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
        user: 0,
        jail: None,
        vmm: None,
        ours: false,
    }
}
