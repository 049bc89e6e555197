//! Jail directories, laid out for Firecracker's jailer (its `docs/jailer.md` and
//! `src/jailer/src/env.rs` of 1.16), and for QEMU alike: `<base>/<vmm>/<id>/root`. Which VMM a jail
//! was built for is told by where it lies, and by nothing else.
//!
//! The jailer itself makes `/dev/kvm`, `/dev/net/tun`, `/dev/urandom`, `/run` and the copy of the
//! VMM, gives the root directory to the jail's user and writes the pidfile. It refuses device nodes
//! and a pidfile that are there already, and writes its copy over an older one without shortening
//! it; so the whole jail is removed before each start ([`Jails::remove`]).
//!
//! What can go wrong: the image directory is another file system than the jails' (files are
//! copied), the kernel's control groups are not version 2 (then guests stay in the agent's group).

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::blocking;
use super::files::beneath::{self, Root, Roots, missing_is_none};
use super::files::removal::{self, AT_ONCE, Removed};
use crate::host::{
    BoundsSeen, Change, DeviceNumber, FileId, HostError, HostErrorKind, HostResult, JailBounds,
    JailFacts, JailId, JailSpec, JailSurvey, Jails, MountFacts, Pid, SocketEntry, VmmKind, in_jail,
};

mod cgroups;
mod fill;
mod survey;

pub(crate) use cgroups::Cgroups;

/// The FIFOs between a VMM and us. QEMU's console is a socket, and it has no metrics.
const fn fifos(vmm: VmmKind) -> &'static [&'static str] {
    match vmm {
        VmmKind::Firecracker => {
            &[in_jail::CONSOLE, in_jail::CONSOLE_INPUT, in_jail::LOG, in_jail::METRICS]
        }
        VmmKind::Qemu => &[in_jail::LOG],
    }
}

/// Where jails lie.
#[derive(Debug)]
pub(crate) struct JailTree {
    base: Root,
    runtime: Root,
    roots: Arc<Roots>,
    cgroups: Option<Cgroups>,
}

impl JailTree {
    pub(crate) fn new(
        base: Root,
        runtime: Root,
        roots: Arc<Roots>,
        cgroups: Option<Cgroups>,
    ) -> Self {
        Self { base, runtime, roots, cgroups }
    }

    /// The jailer's `--chroot-base-dir`.
    pub(crate) fn base_path(&self) -> &Path {
        self.base.path()
    }

    /// The jailer's `--parent-cgroup`; `None` without control groups of version 2.
    pub(crate) fn cgroup(&self, id: &JailId) -> Option<String> {
        self.cgroups.as_ref().map(|cgroups| cgroups.relative(id))
    }

    /// The directory of a jail's control group.
    pub(crate) fn cgroup_path(&self, id: &JailId) -> Option<PathBuf> {
        self.cgroups.as_ref().map(|cgroups| cgroups.path(id))
    }

    pub(crate) fn root_path(&self, id: &JailId, vmm: VmmKind) -> PathBuf {
        self.base.path().join(vmm.as_str()).join(id.as_str()).join("root")
    }

    /// The root directory of a jail, and what it was built for.
    fn find_root(&self, id: &JailId) -> rustix::io::Result<Option<(VmmKind, OwnedFd)>> {
        for vmm in VmmKind::ALL {
            let path = Path::new(vmm.as_str()).join(id.as_str()).join("root");
            if let Some(root) = missing_is_none(self.base.dir(path))? {
                return Ok(Some((vmm, root)));
            }
        }
        Ok(None)
    }

    fn open_root(&self, id: &JailId) -> rustix::io::Result<Option<OwnedFd>> {
        Ok(self.find_root(id)?.map(|(_, root)| root))
    }

    /// What a jail was built for; `None` when there is none.
    pub(crate) fn vmm_of(&self, id: &JailId) -> HostResult<Option<VmmKind>> {
        let found = self.find_root(id).map_err(|error| HostError::io("look at jail", id, error))?;
        Ok(found.map(|(vmm, _)| vmm))
    }

    /// Opens something in a jail, `None` when it is not there. `path` is as the VMM sees it, such
    /// as `/log.fifo`. Nothing in a jail is followed: the VMM owns it.
    pub(crate) fn open_in(
        &self,
        id: &JailId,
        path: &str,
        flags: OFlags,
    ) -> rustix::io::Result<Option<OwnedFd>> {
        let Some(root) = self.open_root(id)? else { return Ok(None) };
        let path = Path::new(path.trim_start_matches('/'));
        missing_is_none(beneath::open_beneath(root.as_fd(), path, flags, 0))
    }

    fn link_name(id: &JailId, suffix: &str) -> String {
        format!("{id}.{suffix}")
    }

    fn links(&self, id: &JailId, vmm: VmmKind) -> [(String, PathBuf); 2] {
        let root = self.root_path(id, vmm);
        let inside = |path: &str| root.join(path.trim_start_matches('/'));
        [
            (Self::link_name(id, "sock"), inside(in_jail::api_socket(vmm))),
            (Self::link_name(id, "vsock"), inside(in_jail::VSOCK)),
        ]
    }

    /// Whether an entry of the runtime directory may belong to one of the agent's jails: a link
    /// that leads into another agent's jails is that agent's.
    fn is_own_entry(&self, name: &str) -> rustix::io::Result<bool> {
        use std::os::unix::ffi::OsStrExt as _;
        match rustix::fs::readlinkat(&self.runtime, name, Vec::new()) {
            Ok(target) => {
                let target = Path::new(std::ffi::OsStr::from_bytes(target.as_bytes()));
                Ok(target.starts_with(self.base.path()))
            }
            // Something that is no link, in the place of one.
            Err(Errno::INVAL) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn ensure_link(&self, name: &str, target: &Path) -> rustix::io::Result<bool> {
        let current = rustix::fs::readlinkat(&self.runtime, name, Vec::new());
        match current {
            Ok(current) if current.as_bytes() == target.as_os_str().as_encoded_bytes() => {
                return Ok(false);
            }
            Ok(_) => {}
            Err(Errno::NOENT) => {}
            // Something that is no symlink.
            Err(Errno::INVAL) => drop(self.runtime.remove_tree(name)?),
            Err(error) => return Err(error),
        }
        let temporary = format!(".{name}.new");
        self.runtime.remove_tree(&temporary)?;
        rustix::fs::symlinkat(target, &self.runtime, &*temporary)?;
        rustix::fs::renameat(&self.runtime, &*temporary, &self.runtime, name)?;
        Ok(true)
    }

    fn ensure(&self, spec: &JailSpec) -> HostResult<Change> {
        let verb = "build jail";
        let failed = |error: Errno| HostError::io(verb, &spec.id, error);
        let mut changed = false;
        if let Some(other) = self.vmm_of(&spec.id)?.filter(|vmm| *vmm != spec.vmm) {
            return Err(HostError::new(HostErrorKind::NameTaken, verb, &spec.id)
                .detail(format!("there is a jail for {other} of that name")));
        }
        let mut path = PathBuf::new();
        for part in [spec.vmm.as_str(), spec.id.as_str(), "root"] {
            path.push(part);
            match rustix::fs::mkdirat(&self.base, &path, Mode::RWXU) {
                Ok(()) => changed = true,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        let root = self.open_root(&spec.id).map_err(failed)?.ok_or_else(|| {
            HostError::new(HostErrorKind::NotFound, verb, &spec.id)
                .detail("its directory was removed at once by somebody else")
        })?;
        let jail = fill::JailRoot { root: root.as_fd(), roots: &self.roots, uid: spec.uid };
        for file in &spec.files {
            changed |= jail.ensure_file(file)?;
        }
        for device in &spec.devices {
            changed |= jail.ensure_device(device)?;
        }
        for fifo in fifos(spec.vmm) {
            changed |= jail.ensure_fifo(fifo.trim_start_matches('/'))?;
        }
        if let Some(cgroups) = &self.cgroups {
            changed |= cgroups.ensure(&spec.id, &spec.bounds)?;
        }
        for (name, target) in self.links(&spec.id, spec.vmm) {
            changed |= self.ensure_link(&name, &target).map_err(failed)?;
        }
        Ok(Change::from_bool(changed))
    }

    fn observe(&self, id: &JailId) -> HostResult<Option<JailFacts>> {
        let failed = |error: Errno| HostError::io("look at jail", id, error);
        let cgroup = self.cgroups.as_ref().is_some_and(|cgroups| cgroups.exists(id));
        let Some((vmm, root)) = self.find_root(id).map_err(failed)? else {
            let mut part = None;
            for vmm in VmmKind::ALL {
                let path = Path::new(vmm.as_str()).join(id.as_str());
                part = part.or(missing_is_none(self.base.dir(path)).map_err(failed)?.map(|_| vmm));
            }
            return Ok((part.is_some() || cgroup).then_some(JailFacts {
                vmm: part,
                root: None,
                cgroup,
            }));
        };
        Ok(Some(JailFacts {
            vmm: Some(vmm),
            root: Some(beneath::file_facts(&root).map_err(failed)?.id),
            cgroup,
        }))
    }

    /// Removes what there is of a jail's files, or a part of it: see [`Jails::remove`]. Whether
    /// there was any.
    fn remove_files(&self, id: &JailId) -> HostResult<bool> {
        let failed = |error: Errno| HostError::io("remove jail", id, error);
        let mut changed = false;
        for vmm in VmmKind::ALL {
            let Some(jails) = missing_is_none(self.base.dir(vmm.as_str())).map_err(failed)? else {
                continue;
            };
            match removal::remove_part(jails.as_fd(), id.as_str(), AT_ONCE).map_err(failed)? {
                Removed::Nothing => {}
                Removed::All => changed = true,
                // The links last: they, too, say that there is something.
                Removed::Part => return Ok(true),
            }
        }
        for suffix in ["sock", "vsock"] {
            let name = Self::link_name(id, suffix);
            changed |= self.runtime.remove_tree(&name).map_err(failed)?;
        }
        Ok(changed)
    }

    fn members(&self, id: &JailId) -> HostResult<Vec<Pid>> {
        self.cgroups.as_ref().map_or(Ok(Vec::new()), |cgroups| cgroups.members(id))
    }

    fn list(&self) -> HostResult<Vec<JailId>> {
        let failed = |error: Errno| HostError::io("list", "jails", error);
        let mut names = Vec::new();
        for vmm in VmmKind::ALL {
            if let Some(jails) = missing_is_none(self.base.dir(vmm.as_str())).map_err(failed)? {
                names.extend(beneath::names(jails.as_fd()).map_err(failed)?);
            }
        }
        for name in self.runtime.names().map_err(failed)? {
            let stem = name.strip_suffix(".sock").or_else(|| name.strip_suffix(".vsock"));
            if let Some(stem) = stem
                && self.is_own_entry(&name).map_err(failed)?
            {
                names.push(stem.to_owned());
            }
        }
        if let Some(cgroups) = &self.cgroups {
            names.extend(cgroups.names()?);
        }
        let mut ids: Vec<_> = names.iter().filter_map(|name| JailId::new(name).ok()).collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// The root directories of all jails, as they are.
    pub(crate) fn roots(&self) -> HostResult<BTreeSet<FileId>> {
        let failed = |error: Errno| HostError::io("list", "jails", error);
        let mut roots = BTreeSet::new();
        for vmm in VmmKind::ALL {
            let Some(jails) = missing_is_none(self.base.dir(vmm.as_str())).map_err(failed)? else {
                continue;
            };
            for name in beneath::names(jails.as_fd()).map_err(failed)? {
                let path = Path::new(vmm.as_str()).join(name).join("root");
                // One that is being made or removed has none.
                let Some(root) = missing_is_none(self.base.dir(path)).map_err(failed)? else {
                    continue;
                };
                let stat = rustix::fs::fstat(root).map_err(failed)?;
                roots.insert(FileId { device: stat.st_dev, inode: stat.st_ino });
            }
        }
        Ok(roots)
    }

    fn observe_api_socket(&self, id: &JailId) -> HostResult<SocketEntry> {
        let name = Self::link_name(id, "sock");
        match rustix::fs::readlinkat(&self.runtime, &*name, Vec::new()) {
            Ok(target) => {
                use std::os::unix::ffi::OsStringExt;
                let target = std::ffi::OsString::from_vec(target.into_bytes());
                Ok(SocketEntry::Link(PathBuf::from(target)))
            }
            Err(Errno::NOENT) => Ok(SocketEntry::Missing),
            Err(Errno::INVAL) => Ok(SocketEntry::NotALink),
            Err(error) => Err(HostError::io("read the API socket's link of", id, error)),
        }
    }

    fn read_pidfile(&self, id: &JailId, vmm: VmmKind) -> HostResult<Option<Vec<u8>>> {
        use std::io::Read;
        let failed = |error: Errno| HostError::io("read the pidfile of", id, error);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let Some(fd) = self.open_in(id, in_jail::pidfile(vmm), flags).map_err(failed)? else {
            return Ok(None);
        };
        if !beneath::is_a(&fd, FileType::RegularFile).map_err(failed)? {
            return Err(HostError::new(HostErrorKind::Invalid, "read the pidfile of", id)
                .detail("it is no regular file"));
        }
        let mut content = Vec::new();
        std::fs::File::from(fd)
            .take(64)
            .read_to_end(&mut content)
            .map_err(|error| HostError::io("read the pidfile of", id, error))?;
        Ok(Some(content))
    }
}

/// Jail directories of this machine.
pub(crate) struct LinuxJails {
    tree: Arc<JailTree>,
}

impl LinuxJails {
    pub(crate) fn new(tree: Arc<JailTree>) -> Self {
        Self { tree }
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&JailTree) -> HostResult<T> + Send + 'static,
    ) -> HostResult<T> {
        let tree = self.tree.clone();
        blocking(move || work(&tree)).await
    }
}

#[async_trait]
impl Jails for LinuxJails {
    async fn list(&self) -> HostResult<Vec<JailId>> {
        self.with(JailTree::list).await
    }

    async fn survey(&self) -> HostResult<Vec<JailSurvey>> {
        self.with(JailTree::survey).await
    }

    async fn mounts(&self) -> HostResult<Vec<MountFacts>> {
        self.with(JailTree::mounts).await
    }

    async fn observe(&self, id: &JailId) -> HostResult<Option<JailFacts>> {
        let id = id.clone();
        self.with(move |tree| tree.observe(&id)).await
    }

    async fn ensure(&self, spec: &JailSpec) -> HostResult<Change> {
        let spec = spec.clone();
        self.with(move |tree| tree.ensure(&spec)).await
    }

    async fn members(&self, id: &JailId) -> HostResult<Vec<Pid>> {
        let id = id.clone();
        self.with(move |tree| tree.members(&id)).await
    }

    async fn end_members(&self, id: &JailId) -> HostResult<Change> {
        match &self.tree.cgroups {
            Some(cgroups) => cgroups.end_members(id).await,
            None => Ok(Change::AlreadySo),
        }
    }

    async fn bounds(&self, ids: &[JailId]) -> HostResult<Vec<BoundsSeen>> {
        let Some(cgroups) = self.tree.cgroups.clone() else {
            return Ok(vec![BoundsSeen::default(); ids.len()]);
        };
        let ids = ids.to_vec();
        blocking(move || ids.iter().map(|id| cgroups.bounds(id)).collect()).await
    }

    async fn bound(&self, id: &JailId, bounds: &JailBounds) -> HostResult<Change> {
        let Some(cgroups) = self.tree.cgroups.clone() else { return Ok(Change::AlreadySo) };
        let (id, bounds) = (id.clone(), bounds.clone());
        blocking(move || cgroups.bound(&id, &bounds).map(Change::from_bool)).await
    }

    async fn bounded_device(&self, device: DeviceNumber) -> HostResult<Option<DeviceNumber>> {
        blocking(move || Ok(cgroups::bounded_device(Path::new("/sys"), device))).await
    }

    async fn remove(&self, id: &JailId) -> HostResult<Change> {
        // The group first: while a process is in it, the jail is in use.
        let group = match &self.tree.cgroups {
            Some(cgroups) => cgroups.remove(id).await?,
            None => false,
        };
        let id = id.clone();
        let files = self.with(move |tree| tree.remove_files(&id)).await?;
        Ok(Change::from_bool(group || files))
    }

    async fn observe_api_socket(&self, id: &JailId) -> HostResult<SocketEntry> {
        let id = id.clone();
        self.with(move |tree| tree.observe_api_socket(&id)).await
    }

    async fn read_pidfile(&self, id: &JailId, vmm: VmmKind) -> HostResult<Option<Vec<u8>>> {
        let id = id.clone();
        self.with(move |tree| tree.read_pidfile(&id, vmm)).await
    }

    fn root_path(&self, id: &JailId, vmm: VmmKind) -> PathBuf {
        self.tree.root_path(id, vmm)
    }

    fn api_socket_path(&self, id: &JailId) -> PathBuf {
        self.tree.runtime.path().join(JailTree::link_name(id, "sock"))
    }

    fn vsock_path(&self, id: &JailId) -> PathBuf {
        self.tree.runtime.path().join(JailTree::link_name(id, "vsock"))
    }
}

/// A user's number as the file calls take it. User and group of a jail have the same number.
fn owner(uid: u32) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid)))
}

/// Gives an entry of a directory, never what it points to, to a jail's user.
fn give(dir: impl AsFd, name: &str, uid: u32) -> rustix::io::Result<()> {
    let (user, group) = owner(uid);
    rustix::fs::chownat(dir, name, user, group, AtFlags::SYMLINK_NOFOLLOW)
}

#[cfg(test)]
mod tests;
