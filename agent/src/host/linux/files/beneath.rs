//! Opening and looking at files beneath one of our directories, through no symlink. Removing them
//! is in [`removal`](super::removal).
//!
//! Used by every file verb. A directory is opened once, at the start; from then on files are
//! opened relative to that descriptor with `openat2(2)` and `RESOLVE_BENEATH |
//! RESOLVE_NO_SYMLINKS`, so that neither a name nor a symlink put there later leads outside. A
//! jail's root belongs to a VMM that may be hostile: nothing in it is opened by path.
//!
//! What can go wrong: `ELOOP` where somebody put a symlink, `EXDEV` where a mount or `..` was met,
//! `EAGAIN` where somebody keeps a lease on a file.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use crate::host::{BackingFile, FileFacts, FileId};

pub(super) const NO_ESCAPE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// How often something is tried to be opened. Races with renames are short and seldom.
const TRIES: u32 = 64;

/// How many entries of a directory are counted.
const MOST_COUNTED: usize = 4096;

/// One of our directories, held open.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens a directory, made with mode 0700 if it is missing. Here, and only here, symlinks on
    /// the way are followed: the operator chose the place.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if !path.is_dir() {
            use std::os::unix::fs::DirBuilderExt;
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        }
        let path = path.canonicalize()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, &path, flags, Mode::empty())?;
        Ok(Self { fd, path })
    }

    /// Where it lies, without symlinks.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens something beneath it.
    pub(crate) fn open_at(
        &self,
        path: impl AsRef<Path>,
        flags: OFlags,
        mode: u32,
    ) -> rustix::io::Result<OwnedFd> {
        open_beneath(self.fd.as_fd(), path.as_ref(), flags, mode)
    }

    /// Opens a directory beneath it.
    pub(crate) fn dir(&self, path: impl AsRef<Path>) -> rustix::io::Result<OwnedFd> {
        self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY, 0)
    }

    /// The names directly beneath it, in order.
    pub(crate) fn names(&self) -> rustix::io::Result<Vec<String>> {
        names(self.fd.as_fd())
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// `openat2` that cannot leave `dir`.
pub(crate) fn open_beneath(
    dir: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: u32,
) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mode = Mode::from_raw_mode(mode);
    some_tries(|| rustix::fs::openat2(dir, path, flags, mode, NO_ESCAPE))
}

/// Tries to open something again when the kernel asks for it, because a rename elsewhere raced with
/// the walk. It asks for the same without end while somebody has a lease on the file (`F_SETLEASE`,
/// fcntl(2)) and it is opened without waiting: then that is the answer.
pub(super) fn some_tries(
    mut open: impl FnMut() -> rustix::io::Result<OwnedFd>,
) -> rustix::io::Result<OwnedFd> {
    for _ in 1..TRIES {
        match open() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    open()
}

/// `None` in place of "there is no such file".
pub(crate) fn missing_is_none<T>(result: rustix::io::Result<T>) -> rustix::io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Facts of an open file.
pub(crate) fn file_facts(fd: impl AsFd) -> rustix::io::Result<FileFacts> {
    let stat = rustix::fs::fstat(fd)?;
    Ok(FileFacts {
        id: FileId { device: stat.st_dev, inode: stat.st_ino },
        size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
        // POSIX counts in 512 bytes whatever the file system's block size is.
        allocated_bytes: u64::try_from(stat.st_blocks).unwrap_or(0) * 512,
    })
}

/// When an open file was made, in seconds since 1970: statx(2). `None` where the file system keeps
/// no such time.
pub(crate) fn born(fd: impl AsFd) -> Option<u64> {
    let stat = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME).ok()?;
    let known = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    known.then(|| u64::try_from(stat.stx_btime.tv_sec).ok()).flatten()
}

/// What the entries of an open directory occupy, in bytes; only those whose number of names
/// `counts`. Goes no deeper, follows nothing, and ends after some thousands: a hostile VMM may fill
/// its jail with names.
pub(crate) fn occupied(
    dir: BorrowedFd<'_>,
    counts: impl Fn(u64) -> bool,
) -> rustix::io::Result<u64> {
    let mut bytes = 0_u64;
    for entry in Dir::read_from(dir)?.take(MOST_COUNTED) {
        let entry = entry?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = rustix::fs::statat(dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
        if let Some(stat) = missing_is_none(stat)?
            && counts(stat.st_nlink)
        {
            bytes = bytes.saturating_add(u64::try_from(stat.st_blocks).unwrap_or(0) * 512);
        }
    }
    Ok(bytes)
}

/// Whether an open file is of this type.
pub(crate) fn is_a(fd: impl AsFd, what: FileType) -> rustix::io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == what)
}

/// The names in an open directory, in order, without `.` and `..`. Names that are no UTF-8 are
/// not the agent's and left out.
pub(crate) fn names(dir: BorrowedFd<'_>) -> rustix::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        if let Ok(name) = entry?.file_name().to_str()
            && name != "."
            && name != ".."
        {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The two directories that files for loop devices and jails come from.
#[derive(Debug)]
pub(crate) struct Roots {
    pub(crate) images: Root,
    pub(crate) scratch: Root,
}

impl Roots {
    pub(crate) fn open(&self, file: &BackingFile, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        match file {
            BackingFile::Image(image) => self.images.open_at(image.as_str(), flags, 0),
            BackingFile::Scratch { dir, file } => {
                self.scratch.open_at(Path::new(dir.as_str()).join(file.as_str()), flags, 0)
            }
        }
    }

    /// Where a backing file lies, for comparing with what the kernel shows.
    pub(crate) fn shown_path(&self, file: &BackingFile) -> PathBuf {
        match file {
            BackingFile::Image(image) => self.images.path().join(image.as_str()),
            BackingFile::Scratch { dir, file } => {
                self.scratch.path().join(dir.as_str()).join(file.as_str())
            }
        }
    }
}

#[cfg(test)]
mod tests;
