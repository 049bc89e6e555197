//! Jail directories of the fake machine: the seam of `host/jails.rs`.
//!
//! What can go wrong: a file to be linked is missing, the disk is full, a live process sits in the
//! jail that is to be removed.

use std::path::PathBuf;

use async_trait::async_trait;

use super::files::full;
use super::kernel::FakeKernel;
use super::kernel::gate::{Repeat, Seam};
use super::kernel::space::{BLOCK, Full};
use super::kernel::state::{ApiLink, FakeJail, JailEntry, State, file_id, refuse};
use super::processes::SIGKILL;
use crate::host::jails::MOST_MEMBERS;
use crate::host::{
    BackingFile, BoundsSeen, Change, DeviceNumber, ExitStatus, HostErrorKind, HostResult,
    JailAccess, JailBounds, JailFacts, JailId, JailSpec, JailSurvey, Jails, MountFacts, PathPart,
    Pid, SocketEntry, VmmKind, in_jail,
};

/// A name in a jail's root, from its absolute path as the VMM sees it.
pub(super) fn root_entry(path: &str) -> PathPart {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    PathPart::new(first).expect("the paths of `in_jail` and the jailer are plain file names")
}

const FIFOS: [&str; 4] = [in_jail::CONSOLE, in_jail::CONSOLE_INPUT, in_jail::LOG, in_jail::METRICS];

/// What a run of the jailer leaves and the next one trips over.
pub(super) const fn leftovers(vmm: VmmKind) -> [&'static str; 3] {
    [in_jail::pidfile(vmm), "/dev", "/run"]
}

impl State {
    fn wanted_entries(&self, spec: &JailSpec) -> HostResult<Vec<(PathPart, JailEntry)>> {
        let verb = "build jail";
        let mut entries: Vec<(PathPart, JailEntry)> =
            FIFOS.iter().map(|path| (root_entry(path), JailEntry::Fifo)).collect();
        for file in &spec.files {
            let write = match (file.access, &file.from) {
                (JailAccess::Write, BackingFile::Image(name)) => {
                    let why = format!("image {name} is never written");
                    return Err(refuse(HostErrorKind::Invalid, verb, &spec.id, why));
                }
                (JailAccess::Write, BackingFile::Scratch { .. }) => true,
                (JailAccess::Read, _) => false,
            };
            let Some(inode) = self.inode_of(&file.from) else {
                let why = format!("there is no {}", file.from);
                return Err(refuse(HostErrorKind::NotFound, verb, &spec.id, why));
            };
            entries.push((file.name.clone(), JailEntry::File { inode, write }));
        }
        let devices = spec.devices.iter();
        entries.extend(devices.map(|node| (node.name.clone(), JailEntry::Device(node.device))));
        Ok(entries)
    }

    fn build_jail(&mut self, spec: &JailSpec) -> HostResult<Change> {
        let entries = self.wanted_entries(spec)?;
        let jail = self.jails.get(&spec.id);
        if jail.is_some_and(|jail| jail.root.is_some() && jail.vmm != spec.vmm) {
            let why = "there is a jail for another VMM of that name";
            return Err(refuse(HostErrorKind::NameTaken, "build jail", &spec.id, why));
        }
        let root = match jail.and_then(|jail| jail.root) {
            Some(root) => root,
            None => {
                self.space.create(BLOCK, BLOCK, &[]).map_err(|Full| full("build jail", &spec.id))?
            }
        };
        let jail = self.jails.entry(spec.id.clone()).or_default();
        let mut changed = jail.root != Some(root)
            || jail.uid != spec.uid
            || !jail.cgroup
            || jail.bounds.as_ref().is_none_or(|seen| spec.bounds.differs(seen))
            || !jail.vsock_link
            || jail.api_link != ApiLink::Ours;
        for (name, entry) in entries {
            if jail.entries.get(&name) == Some(&entry) {
                continue;
            }
            changed = true;
            if let JailEntry::File { inode, .. } = &entry {
                self.space.link(*inode);
            }
            if let Some(JailEntry::File { inode, .. }) = jail.entries.insert(name, entry) {
                self.space.unlink(inode);
            }
        }
        jail.root = Some(root);
        jail.vmm = spec.vmm;
        jail.uid = spec.uid;
        jail.cgroup = true;
        jail.bounds = Some(spec.bounds.held());
        jail.vsock_link = true;
        jail.api_link = ApiLink::Ours;
        Ok(Change::from_bool(changed))
    }

    /// Takes away what a jailer and a VMM left.
    fn clean_jail(&mut self, id: &JailId) {
        let Some(jail) = self.jails.get_mut(id) else { return };
        (jail.pidfile, jail.socket) = (None, None);
        for path in leftovers(jail.vmm).into_iter().chain([in_jail::VSOCK]) {
            jail.entries.remove(&root_entry(path));
        }
    }

    fn members_of(&self, id: &JailId) -> Vec<Pid> {
        self.members.get(id).into_iter().flatten().copied().take(MOST_MEMBERS).collect()
    }

    fn end_members(&mut self, id: &JailId) -> HostResult<Change> {
        let members = self.members_of(id);
        let change = Change::from_bool(!members.is_empty());
        for pid in members {
            if self.processes.get(&pid).is_some_and(|process| process.unkillable) {
                let why = format!("process {pid} does not die of SIGKILL");
                return Err(refuse(HostErrorKind::Busy, "end the processes of jail", id, why));
            }
            self.end_process(pid, ExitStatus::Signal(SIGKILL));
        }
        Ok(change)
    }

    fn remove_jail(&mut self, id: &JailId) -> HostResult<Change> {
        if !self.jails.contains_key(id) {
            return Ok(Change::AlreadySo);
        }
        if let Some(pid) = self.pid_of(id) {
            let why = format!("process {pid} is in its control group");
            return Err(refuse(HostErrorKind::Busy, "remove jail", id, why));
        }
        if self.mounts.contains(id) {
            let why = "something is mounted in it";
            return Err(refuse(HostErrorKind::Other, "remove jail", id, why));
        }
        let jail = self.jails.remove(id).unwrap_or_default();
        self.drop_jail_files(jail);
        Ok(Change::Made)
    }

    /// Takes the room of a jail's files back.
    pub(super) fn drop_jail_files(&mut self, jail: FakeJail) {
        for entry in jail.entries.into_values() {
            if let JailEntry::File { inode, .. } = entry {
                self.space.unlink(inode);
            }
        }
        if let Some(root) = jail.root {
            self.space.unlink(root);
        }
    }
}

impl FakeKernel {
    /// Somebody holds a jail to other bounds.
    pub fn tamper_with_bounds(&self, jail: &JailId, bounds: BoundsSeen) {
        self.with(|state| {
            if let Some(jail) = state.jails.get_mut(jail) {
                jail.bounds = Some(bounds);
            }
        });
    }

    /// Somebody takes away what a jailer and a VMM left in the jail.
    pub fn clean_jail(&self, jail: &JailId) {
        self.with(|state| state.clean_jail(jail));
    }
}

#[async_trait]
impl Jails for Seam {
    async fn list(&self) -> HostResult<Vec<JailId>> {
        self.read("jails.list", |state| Ok(state.jails.keys().cloned().collect())).await
    }

    async fn survey(&self) -> HostResult<Vec<JailSurvey>> {
        self.read("jails.survey", |state| {
            let jails = state.jails.iter();
            Ok(jails
                .map(|(id, jail)| JailSurvey {
                    id: id.clone(),
                    vmm: jail.root.map(|_| jail.vmm),
                    files: jail.root.is_some()
                        || jail.vsock_link
                        || jail.api_link != ApiLink::Missing,
                    root: jail.root.map(file_id),
                    cgroup: jail.cgroup,
                    members: state.members_of(id),
                    born: None,
                    occupied_bytes: jail
                        .root
                        .and_then(|root| state.space.get(root))
                        .map_or(0, |inode| inode.allocated),
                })
                .collect())
        })
        .await
    }

    async fn mounts(&self) -> HostResult<Vec<MountFacts>> {
        self.read("jails.mounts", |state| {
            let mounts = state.mounts.iter();
            Ok(mounts
                .map(|id| MountFacts {
                    path: self.root_path(id, VmmKind::Firecracker).join("mnt"),
                    inside: id.clone(),
                })
                .collect())
        })
        .await
    }

    async fn observe(&self, id: &JailId) -> HostResult<Option<JailFacts>> {
        self.read("jails.observe", |state| {
            Ok(state.jails.get(id).map(|jail| JailFacts {
                vmm: jail.root.map(|_| jail.vmm),
                root: jail.root.map(file_id),
                cgroup: jail.cgroup,
            }))
        })
        .await
    }

    async fn ensure(&self, spec: &JailSpec) -> HostResult<Change> {
        self.effect("jails.ensure", spec.id.to_string(), Repeat::MustBeSo, |state| {
            state.build_jail(spec)
        })
        .await
    }

    async fn members(&self, id: &JailId) -> HostResult<Vec<Pid>> {
        self.read("jails.members", |state| Ok(state.members_of(id))).await
    }

    async fn end_members(&self, id: &JailId) -> HostResult<Change> {
        self.effect("jails.end_members", id.to_string(), Repeat::MustBeSo, |state| {
            state.end_members(id)
        })
        .await
    }

    async fn bounds(&self, ids: &[JailId]) -> HostResult<Vec<BoundsSeen>> {
        self.read("jails.bounds", |state| {
            let seen = |id| state.jails.get(id).and_then(|jail| jail.bounds.clone());
            Ok(ids.iter().map(|id| seen(id).unwrap_or_default()).collect())
        })
        .await
    }

    async fn bound(&self, id: &JailId, bounds: &JailBounds) -> HostResult<Change> {
        self.effect("jails.bound", id.to_string(), Repeat::MustBeSo, |state| {
            let Some(jail) = state.jails.get_mut(id) else { return Ok(Change::AlreadySo) };
            let differs = jail.bounds.as_ref().is_none_or(|seen| bounds.differs(seen));
            jail.bounds = Some(bounds.held());
            Ok(Change::from_bool(differs))
        })
        .await
    }

    async fn bounded_device(&self, device: DeviceNumber) -> HostResult<Option<DeviceNumber>> {
        self.read("jails.bounded_device", |_| Ok(Some(device))).await
    }

    async fn remove(&self, id: &JailId) -> HostResult<Change> {
        self.effect("jails.remove", id.to_string(), Repeat::MustBeSo, |state| state.remove_jail(id))
            .await
    }

    async fn observe_api_socket(&self, id: &JailId) -> HostResult<SocketEntry> {
        let ours =
            |vmm| self.root_path(id, vmm).join(in_jail::api_socket(vmm).trim_start_matches('/'));
        self.read("jails.observe_api_socket", |state| {
            Ok(match state.jails.get(id).map(|jail| (&jail.api_link, jail.vmm)) {
                None | Some((ApiLink::Missing, _)) => SocketEntry::Missing,
                Some((ApiLink::NotALink, _)) => SocketEntry::NotALink,
                Some((ApiLink::Ours, vmm)) => SocketEntry::Link(ours(vmm)),
                Some((ApiLink::Elsewhere(target), _)) => SocketEntry::Link(target.clone()),
            })
        })
        .await
    }

    async fn read_pidfile(&self, id: &JailId, vmm: VmmKind) -> HostResult<Option<Vec<u8>>> {
        self.read("jails.read_pidfile", |state| {
            let jail = state.jails.get(id).filter(|jail| jail.vmm == vmm);
            let pidfile = jail.and_then(|jail| jail.pidfile.as_ref());
            Ok(pidfile.map(|content| content[..content.len().min(64)].to_vec()))
        })
        .await
    }

    fn root_path(&self, id: &JailId, vmm: VmmKind) -> PathBuf {
        self.shown.jail_dir.join(vmm.as_str()).join(id.as_str()).join("root")
    }

    fn api_socket_path(&self, id: &JailId) -> PathBuf {
        self.shown.runtime_dir.join(format!("{id}.sock"))
    }

    fn vsock_path(&self, id: &JailId) -> PathBuf {
        self.shown.runtime_dir.join(format!("{id}.vsock"))
    }
}
