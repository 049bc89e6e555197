//! What is left of all jails, and what somebody mounted in our directories: one look each.
//!
//! Driven by the inventory of the host. What can go wrong: a jail goes while it is looked at (it is
//! left out), or a directory in it was replaced by something else (what it occupies is not
//! counted).

use std::ffi::OsString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::JailTree;
use crate::host::linux::files::beneath::{self, missing_is_none};
use crate::host::{HostError, HostResult, JailId, JailSurvey, MountFacts, VmmKind};

/// The mounts of this mount namespace: proc_pid_mountinfo(5).
const MOUNTS: &str = "/proc/self/mountinfo";

impl JailTree {
    pub(super) fn survey(&self) -> HostResult<Vec<JailSurvey>> {
        let mut found = Vec::new();
        for id in self.list()? {
            let failed = |error: Errno| HostError::io("survey jail", &id, error);
            let root = self.look_for_root(&id).map_err(failed)?;
            let built_for = root.as_ref().map(|(vmm, _)| *vmm);
            let dir = self.find_dir(&id, built_for).map_err(failed)?;
            let root = root.map(|(_, root)| root);
            let occupied_bytes = match &root {
                None => 0,
                // A file with another name stays when the jail goes.
                Some(root) => {
                    beneath::occupied(root.as_fd(), |links| links == 1).map_err(failed)?
                }
            };
            let root = root.as_ref().map(beneath::file_facts).transpose().map_err(failed)?;
            let mut files = dir.is_some();
            for suffix in ["sock", "vsock"] {
                let link = Self::link_name(&id, suffix);
                let entry = rustix::fs::statat(&self.runtime, &*link, AtFlags::SYMLINK_NOFOLLOW);
                files |= missing_is_none(entry).map_err(failed)?.is_some()
                    && self.is_own_entry(&link).map_err(failed)?;
            }
            let survey = JailSurvey {
                vmm: dir.as_ref().map(|(vmm, _)| *vmm),
                files,
                root: root.map(|facts| facts.id),
                cgroup: self.cgroups.as_ref().is_some_and(|cgroups| cgroups.exists(&id)),
                members: self.members(&id)?,
                born: dir.as_ref().and_then(|(_, dir)| beneath::born(dir)),
                occupied_bytes,
                id,
            };
            if survey.files || survey.cgroup {
                found.push(survey);
            }
        }
        Ok(found)
    }

    pub(super) fn mounts(&self) -> HostResult<Vec<MountFacts>> {
        let text = std::fs::read(MOUNTS).map_err(|error| HostError::io("read", MOUNTS, error))?;
        let mut parents = VmmKind::ALL.map(|vmm| self.base.path().join(vmm.as_str())).to_vec();
        parents.push(self.roots.scratch.path().to_owned());
        Ok(mounts_inside(&text, &parents))
    }

    /// As [`JailTree::find_root`]. We make no symlink in place of a jail: one is not ours, and what
    /// is behind it neither.
    fn look_for_root(&self, id: &JailId) -> rustix::io::Result<Option<(VmmKind, OwnedFd)>> {
        match self.find_root(id) {
            Err(Errno::LOOP) => Ok(None),
            other => other,
        }
    }

    /// The directory of a jail, whole or in part, and what it was built for: that with a root
    /// first.
    fn find_dir(
        &self,
        id: &JailId,
        built_for: Option<VmmKind>,
    ) -> rustix::io::Result<Option<(VmmKind, OwnedFd)>> {
        for vmm in built_for.into_iter().chain(VmmKind::ALL) {
            let path = Path::new(vmm.as_str()).join(id.as_str());
            if let Some(dir) = missing_is_none(self.base.dir(path))? {
                return Ok(Some((vmm, dir)));
            }
        }
        Ok(None)
    }
}

/// What is mounted on or beneath a directory that lies in one of `parents`.
fn mounts_inside(mountinfo: &[u8], parents: &[PathBuf]) -> Vec<MountFacts> {
    mountinfo
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(unescaped)
        .filter_map(|path| {
            let within = parents.iter().find_map(|parent| path.strip_prefix(parent).ok())?;
            let first = within.components().next()?.as_os_str().to_str()?;
            let inside = JailId::new(first).ok()?;
            Some(MountFacts { inside, path })
        })
        .collect()
}

/// A path in which the kernel wrote blanks, tabs, line ends and backslashes as three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|digits| digits.iter().all(|d| (b'0'..b'8').contains(d)));
        match digits {
            Some([a, b, c]) if *first == b'\\' && *a < b'4' => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = &tail[3..];
            }
            Some(_) | None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests;
