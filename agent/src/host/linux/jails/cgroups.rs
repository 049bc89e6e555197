//! The control groups of the guests: `<mount>/<parent>/<id>`, outside the agent's own unit, so that
//! systemd does not count them to it.
//!
//! The jailer moves itself into a group that exists (`--parent-cgroup` without `--cgroup`,
//! `Env::new` in its `env.rs`), so that the group is made here.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use crate::host::linux::blocking;
use crate::host::{HostError, HostErrorKind, HostResult, JailId};

/// How often the removal of a group is tried again while the kernel still counts a process that
/// just died, and the wait between.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// The guests' group.
#[derive(Debug, Clone)]
pub(crate) struct Cgroups {
    parent: PathBuf,
    relative: PathBuf,
}

impl Cgroups {
    /// Finds where version 2 is mounted, as the jailer does: the first such line. `None` when it
    /// is nowhere.
    pub(crate) fn detect(relative: &Path) -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
        mount_point(&mounts).map(|mount| Self::at(&mount, relative))
    }

    pub(crate) fn at(mount: &Path, relative: &Path) -> Self {
        Self { parent: mount.join(relative), relative: relative.to_owned() }
    }

    /// As the jailer is told it.
    pub(super) fn relative(&self, id: &JailId) -> String {
        self.relative.join(id.as_str()).to_string_lossy().into_owned()
    }

    pub(super) fn path(&self, id: &JailId) -> PathBuf {
        self.parent.join(id.as_str())
    }

    pub(super) fn exists(&self, id: &JailId) -> bool {
        self.path(id).is_dir()
    }

    pub(super) fn ensure(&self, id: &JailId) -> HostResult<bool> {
        let path = self.path(id);
        if path.is_dir() {
            return Ok(false);
        }
        let mut attempts = 0;
        loop {
            match std::fs::create_dir_all(&path) {
                Ok(()) => return Ok(true),
                // The removal of the last guest took the group above away meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound && attempts < 3 => attempts += 1,
                Err(error) => {
                    return Err(HostError::io("make control group", path.display(), error));
                }
            }
        }
    }

    pub(super) async fn remove(&self, id: &JailId) -> HostResult<bool> {
        let verb = "remove control group";
        for _ in 0..ATTEMPTS {
            let (path, parent) = (self.path(id), self.parent.clone());
            let removed = blocking(move || match rustix::fs::rmdir(&path) {
                Ok(()) => {
                    // Ours too, and kept by the kernel while there is another guest in it. What is
                    // above belongs to the system.
                    let _ = rustix::fs::rmdir(&parent);
                    Ok(Some(true))
                }
                Err(Errno::NOENT) => Ok(Some(false)),
                Err(Errno::BUSY) => Ok(None),
                Err(error) => Err(HostError::io(verb, path.display(), error)),
            });
            if let Some(removed) = removed.await? {
                return Ok(removed);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(HostError::new(HostErrorKind::Busy, verb, id).detail("a process is still in it"))
    }

    pub(super) fn names(&self) -> HostResult<Vec<String>> {
        let entries = match std::fs::read_dir(&self.parent) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(HostError::io("list", self.parent.display(), error));
            }
        };
        Ok(entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect())
    }
}

/// The mount point of the first line of type `cgroup2` in proc_mounts(5).
pub(super) fn mount_point(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(point))
    })
}
