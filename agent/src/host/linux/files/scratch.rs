//! Scratch directories on a real file system.
//!
//! What can go wrong is mostly that the disk is full. Then a VM must still be stopped and deleted,
//! which frees the disk and takes a record that has to be written first: for these small files
//! there is a [`ballast`].

use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use rustix::fs::{AtFlags, FallocateFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::beneath::{self, Roots, missing_is_none};
use crate::host::linux::blocking;
use crate::host::{
    Change, DirFacts, FileFacts, Files, HostError, HostErrorKind, HostResult, ImageName, PathPart,
    Room,
};

mod ballast;
mod copies;

use ballast::Ballast;

/// The largest scratch file that is read.
const READ_LIMIT: u64 = 1024 * 1024;

/// Scratch directories beneath one root.
pub(crate) struct LinuxFiles {
    roots: Arc<Roots>,
    // Two writers of one file would share its temporary file; the lock is chosen by the file's
    // name, so that writers of different files seldom wait for each other.
    writers: Arc<[Mutex<()>; 64]>,
    hasher: RandomState,
    ballast: Arc<Ballast>,
}

impl LinuxFiles {
    pub(crate) fn new(roots: Arc<Roots>) -> Self {
        Self {
            ballast: Arc::new(Ballast::new(roots.clone())),
            roots,
            writers: Arc::new(std::array::from_fn(|_| Mutex::new(()))),
            hasher: RandomState::new(),
        }
    }
}

fn relative(dir: &PathPart, file: &PathPart) -> PathBuf {
    Path::new(dir.as_str()).join(file.as_str())
}

/// Refuses what took a file's name without being one.
fn is_regular(fd: &OwnedFd, what: &'static str, path: &Path) -> HostResult<()> {
    let failed = |error: Errno| HostError::io(what, path.display(), error);
    if beneath::is_a(fd, FileType::RegularFile).map_err(failed)? {
        return Ok(());
    }
    Err(HostError::new(HostErrorKind::NameTaken, what, path.display())
        .detail("something that is no regular file has its name"))
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

    async fn survey(&self) -> HostResult<Vec<DirFacts>> {
        let roots = self.roots.clone();
        blocking(move || {
            let failed = |error| HostError::io("survey", roots.scratch.path().display(), error);
            let mut found = Vec::new();
            for name in roots.scratch.names().map_err(failed)? {
                let Ok(dir) = PathPart::new(&name) else { continue };
                let Some(fd) = missing_is_none(roots.scratch.dir(&name)).map_err(failed)? else {
                    let entry =
                        rustix::fs::statat(&roots.scratch, &*name, AtFlags::SYMLINK_NOFOLLOW);
                    let link = missing_is_none(entry).map_err(failed)?.is_some_and(|entry| {
                        FileType::from_raw_mode(entry.st_mode) == FileType::Symlink
                    });
                    if link {
                        found.push(DirFacts { dir, born: None, occupied_bytes: 0, files: None });
                    }
                    continue;
                };
                let names = beneath::names(fd.as_fd()).map_err(failed)?;
                found.push(DirFacts {
                    dir,
                    born: beneath::born(&fd),
                    occupied_bytes: beneath::occupied(fd.as_fd(), |_| true).map_err(failed)?,
                    files: Some(names.iter().filter_map(|name| PathPart::new(name).ok()).collect()),
                });
            }
            Ok(found)
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
        let (writers, ballast) = (self.writers.clone(), self.ballast.clone());
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
            let written = ballast.behind(|| {
                write().inspect_err(|_| {
                    // Half a temporary file on a full disk would keep it full. It may not be there.
                    let _ = rustix::fs::unlinkat(&folder, &*temporary, AtFlags::empty());
                })
            });
            written.map_err(failed)
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
            is_regular(&fd, "make", &path)?;
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

    async fn ensure_reserved(
        &self,
        dir: &PathPart,
        file: &PathPart,
        size_bytes: u64,
    ) -> HostResult<Change> {
        let (roots, dir, file) = (self.roots.clone(), dir.clone(), file.clone());
        blocking(move || {
            let path = relative(&dir, &file);
            let failed = |error: Errno| HostError::io("reserve room for", path.display(), error);
            let flags = OFlags::RDWR | OFlags::NONBLOCK;
            let found = missing_is_none(roots.scratch.open_at(&path, flags, 0)).map_err(failed)?;
            let (fd, found) = match found {
                Some(fd) => (fd, true),
                None => {
                    let flags = flags | OFlags::CREATE | OFlags::EXCL;
                    (roots.scratch.open_at(&path, flags, 0o600).map_err(failed)?, false)
                }
            };
            is_regular(&fd, "reserve room for", &path)?;
            let before = beneath::file_facts(&fd).map_err(failed)?;
            // Asked first: what is taken within the file's length before the disk turns out to be
            // full could not be given back, as nobody could tell it from what was reserved before.
            let lacks = size_bytes.saturating_sub(before.allocated_bytes);
            let fits = fits(&fd, lacks);
            let reserved = fits.and_then(|()| reserve(&fd, before.size_bytes, size_bytes));
            let reserved = reserved.map_err(|error| {
                if !found {
                    // An empty file that a loop device could be made of helps nobody.
                    let folder = roots.scratch.dir(dir.as_str());
                    let _ = folder.and_then(|folder| {
                        rustix::fs::unlinkat(&folder, file.as_str(), AtFlags::empty())
                    });
                }
                failed(error)
            })?;
            let after = beneath::file_facts(&fd).map_err(failed)?;
            let more = after.allocated_bytes > before.allocated_bytes;
            Ok(Change::from_bool(reserved || more || !found))
        })
        .await
    }

    async fn shorten(
        &self,
        dir: &PathPart,
        file: &PathPart,
        size_bytes: u64,
    ) -> HostResult<Change> {
        let (roots, path) = (self.roots.clone(), relative(dir, file));
        blocking(move || {
            let failed = |error: Errno| HostError::io("shorten", path.display(), error);
            let flags = OFlags::RDWR | OFlags::NONBLOCK;
            let found = missing_is_none(roots.scratch.open_at(&path, flags, 0)).map_err(failed)?;
            let Some(fd) = found else { return Ok(Change::AlreadySo) };
            is_regular(&fd, "shorten", &path)?;
            let length = beneath::file_facts(&fd).map_err(failed)?.size_bytes;
            if length <= size_bytes {
                return Ok(Change::AlreadySo);
            }
            tracing::warn!(file = %path.display(), length, size_bytes, "cut to what it is to be");
            rustix::fs::ftruncate(&fd, size_bytes).map_err(failed)?;
            rustix::fs::fsync(&fd).map_err(failed)?;
            Ok(Change::Made)
        })
        .await
    }

    async fn room(&self) -> HostResult<Room> {
        let roots = self.roots.clone();
        blocking(move || {
            let room = rustix::fs::fstatvfs(&roots.scratch)
                .map_err(|error| HostError::io("look at", roots.scratch.path().display(), error))?;
            // Not `f_bfree`: ext4 counts blocks in there that nobody gets, not even root.
            Ok(Room {
                free_bytes: room.f_bavail.saturating_mul(room.f_frsize),
                total_bytes: room.f_blocks.saturating_mul(room.f_frsize),
            })
        })
        .await
    }

    async fn ensure_copy(
        &self,
        dir: &PathPart,
        file: &PathPart,
        image: &ImageName,
    ) -> HostResult<Change> {
        let (roots, dir, file, image) =
            (self.roots.clone(), dir.clone(), file.clone(), image.clone());
        blocking(move || copies::ensure(&roots, &dir, &file, &image)).await
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

/// Whether these bytes can be taken from a file's file system at all: by root, from its last blocks
/// too.
fn fits(fd: &OwnedFd, bytes: u64) -> rustix::io::Result<()> {
    let room = rustix::fs::fstatvfs(fd)?;
    // Some have no number of blocks to tell.
    let full = room.f_blocks > 0 && room.f_bfree.saturating_mul(room.f_frsize) < bytes;
    if full { Err(Errno::NOSPC) } else { Ok(()) }
}

/// Reserves the first bytes of a file, and makes it that long: `fallocate(2)`. Whether it became
/// longer. On a failure it is as long as before; what was reserved within that length stays.
fn reserve(fd: &OwnedFd, before: u64, wanted: u64) -> rustix::io::Result<bool> {
    if wanted == 0 {
        return Ok(false);
    }
    match rustix::fs::fallocate(fd, FallocateFlags::empty(), 0, wanted) {
        Ok(()) => {}
        Err(Errno::OPNOTSUPP) => rustix::fs::ftruncate(fd, wanted.max(before))?,
        Err(error) => {
            // It is done piece by piece, and a piece that fails leaves those before it. Nobody uses
            // what lies past the old end: a loop device has that size until it is told otherwise.
            let _ = rustix::fs::ftruncate(fd, before);
            return Err(error);
        }
    }
    rustix::fs::fsync(fd)?;
    Ok(wanted > before)
}

#[cfg(test)]
mod tests;
