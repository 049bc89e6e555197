//! Scratch directories on a real file system.

use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::beneath::{self, Roots, missing_is_none};
use super::blocking;
use crate::host::{Change, FileFacts, Files, HostError, HostErrorKind, HostResult, PathPart};

/// The largest scratch file that is read.
const READ_LIMIT: u64 = 1024 * 1024;

/// Scratch directories beneath one root.
pub(crate) struct LinuxFiles {
    roots: Arc<Roots>,
    // Two writers of one file would share its temporary file; the lock is chosen by the file's
    // name, so that writers of different files seldom wait for each other.
    writers: Arc<[Mutex<()>; 64]>,
    hasher: RandomState,
}

impl LinuxFiles {
    pub(crate) fn new(roots: Arc<Roots>) -> Self {
        Self {
            roots,
            writers: Arc::new(std::array::from_fn(|_| Mutex::new(()))),
            hasher: RandomState::new(),
        }
    }
}

fn relative(dir: &PathPart, file: &PathPart) -> PathBuf {
    Path::new(dir.as_str()).join(file.as_str())
}

#[async_trait]
impl Files for LinuxFiles {
    async fn list_dirs(&self) -> HostResult<Vec<PathPart>> {
        let roots = self.roots.clone();
        blocking(move || {
            let failed = |error| HostError::io("list", roots.scratch.path().display(), error);
            let mut dirs = Vec::new();
            for name in roots.scratch.names().map_err(failed)? {
                let Ok(part) = PathPart::new(&name) else { continue };
                if missing_is_none(roots.scratch.dir(&name)).map_err(failed)?.is_some() {
                    dirs.push(part);
                }
            }
            Ok(dirs)
        })
        .await
    }

    async fn ensure_dir(&self, dir: &PathPart) -> HostResult<Change> {
        let (roots, dir) = (self.roots.clone(), dir.clone());
        blocking(move || {
            let failed = |error: Errno| HostError::io("make directory", &dir, error);
            match rustix::fs::mkdirat(&roots.scratch, dir.as_str(), Mode::RWXU) {
                Ok(()) => {
                    rustix::fs::fsync(&roots.scratch).map_err(failed)?;
                    Ok(Change::Made)
                }
                // It must be a directory, not a symlink to one.
                Err(Errno::EXIST) => {
                    roots.scratch.dir(dir.as_str()).map_err(failed)?;
                    Ok(Change::AlreadySo)
                }
                Err(error) => Err(failed(error)),
            }
        })
        .await
    }

    async fn remove_dir(&self, dir: &PathPart) -> HostResult<Change> {
        let (roots, dir) = (self.roots.clone(), dir.clone());
        blocking(move || {
            let failed = |error: Errno| HostError::io("remove directory", &dir, error);
            let removed = roots.scratch.remove_tree(dir.as_str()).map_err(failed)?;
            if removed {
                rustix::fs::fsync(&roots.scratch).map_err(failed)?;
            }
            Ok(Change::from_bool(removed))
        })
        .await
    }

    async fn read(&self, dir: &PathPart, file: &PathPart) -> HostResult<Option<Vec<u8>>> {
        let (roots, path) = (self.roots.clone(), relative(dir, file));
        blocking(move || {
            let failed = |error: Errno| HostError::io("read", path.display(), error);
            // Non-blocking, so that a FIFO somebody put there does not hold us.
            let flags = OFlags::RDONLY | OFlags::NONBLOCK;
            let Some(fd) =
                missing_is_none(roots.scratch.open_at(&path, flags, 0)).map_err(failed)?
            else {
                return Ok(None);
            };
            let invalid = |why: &str| {
                Err(HostError::new(HostErrorKind::Invalid, "read", path.display()).detail(why))
            };
            if !beneath::is_a(&fd, FileType::RegularFile).map_err(failed)? {
                return invalid("it is no regular file");
            }
            let mut content = Vec::new();
            std::fs::File::from(fd)
                .take(READ_LIMIT + 1)
                .read_to_end(&mut content)
                .map_err(|error| HostError::io("read", path.display(), error))?;
            if u64::try_from(content.len()).unwrap_or(u64::MAX) > READ_LIMIT {
                return invalid("it is larger than 1 MiB");
            }
            Ok(Some(content))
        })
        .await
    }

    async fn replace(&self, dir: &PathPart, file: &PathPart, content: &[u8]) -> HostResult<()> {
        let (roots, dir, file) = (self.roots.clone(), dir.clone(), file.clone());
        let content = content.to_vec();
        let writers = self.writers.clone();
        let lock = self.hasher.hash_one((&dir, &file)) % 64;
        blocking(move || {
            let shown = relative(&dir, &file);
            let failed = |error: std::io::Error| HostError::io("write", shown.display(), error);
            let index = usize::try_from(lock).unwrap_or(0);
            let _writing = writers[index].lock();
            let folder = roots.scratch.dir(dir.as_str()).map_err(|error| failed(error.into()))?;
            let temporary = format!(".{file}.new");
            let write = || -> std::io::Result<()> {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
                let fd = rustix::fs::openat(
                    &folder,
                    &*temporary,
                    flags | OFlags::CLOEXEC,
                    Mode::RUSR | Mode::WUSR,
                )?;
                let mut out = std::fs::File::from(fd);
                out.write_all(&content)?;
                out.sync_all()?;
                rustix::fs::renameat(&folder, &*temporary, &folder, file.as_str())?;
                rustix::fs::fsync(&folder)?;
                Ok(())
            };
            write().map_err(|error| {
                // Half a temporary file on a full disk would keep it full. It may not be there.
                let _ = rustix::fs::unlinkat(&folder, &*temporary, AtFlags::empty());
                failed(error)
            })
        })
        .await
    }

    async fn remove(&self, dir: &PathPart, file: &PathPart) -> HostResult<Change> {
        let (roots, dir, file) = (self.roots.clone(), dir.clone(), file.clone());
        blocking(move || {
            let failed =
                |error: Errno| HostError::io("remove", relative(&dir, &file).display(), error);
            let Some(folder) = missing_is_none(roots.scratch.dir(dir.as_str())).map_err(failed)?
            else {
                return Ok(Change::AlreadySo);
            };
            match rustix::fs::unlinkat(&folder, file.as_str(), AtFlags::empty()) {
                Ok(()) => Ok(Change::Made),
                Err(Errno::NOENT) => Ok(Change::AlreadySo),
                Err(error) => Err(failed(error)),
            }
        })
        .await
    }

    async fn ensure_sparse(
        &self,
        dir: &PathPart,
        file: &PathPart,
        size_bytes: u64,
    ) -> HostResult<Change> {
        let (roots, path) = (self.roots.clone(), relative(dir, file));
        blocking(move || {
            let failed = |error: Errno| HostError::io("make", path.display(), error);
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK;
            let fd = roots.scratch.open_at(&path, flags, 0o600).map_err(failed)?;
            if !beneath::is_a(&fd, FileType::RegularFile).map_err(failed)? {
                return Err(HostError::new(HostErrorKind::NameTaken, "make", path.display())
                    .detail("something that is no regular file has its name"));
            }
            let facts = beneath::file_facts(&fd).map_err(failed)?;
            if facts.size_bytes >= size_bytes {
                return Ok(Change::AlreadySo);
            }
            rustix::fs::ftruncate(&fd, size_bytes).map_err(failed)?;
            rustix::fs::fsync(&fd).map_err(failed)?;
            Ok(Change::Made)
        })
        .await
    }

    async fn observe(&self, dir: &PathPart, file: &PathPart) -> HostResult<Option<FileFacts>> {
        let (roots, path) = (self.roots.clone(), relative(dir, file));
        blocking(move || {
            let failed = |error: Errno| HostError::io("look at", path.display(), error);
            let fd = missing_is_none(roots.scratch.open_at(&path, OFlags::PATH, 0));
            match fd.map_err(failed)? {
                Some(fd) => Ok(Some(beneath::file_facts(&fd).map_err(failed)?)),
                None => Ok(None),
            }
        })
        .await
    }

    fn shown_path(&self, dir: &PathPart, file: &PathPart) -> PathBuf {
        self.roots.scratch.path().join(relative(dir, file))
    }
}

#[cfg(test)]
mod tests;
