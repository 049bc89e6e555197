//! Files of this machine that may be imported: only those beneath the import directories.
//!
//! The path comes from the API and is hostile: it is opened relative to the directory with
//! `openat2(2)`, through no symlink, and handed on as that descriptor, so that nothing swapped in
//! afterwards is read instead.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// A file or directory that may be imported, held open.
#[derive(Debug)]
pub struct OpenedSource {
    fd: OwnedFd,
}

impl OpenedSource {
    /// A path to it that leads nowhere else, good while this is held.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }
}

/// Why a path is not imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// No import directory holds it, or there are none.
    #[error("is not below an import directory of this server (images.import_dirs)")]
    Outside,
    #[error("is not there")]
    NotThere,
    /// A part of it is a symlink, or it can't be read.
    #[error("can't be opened: {0}")]
    Unreadable(String),
}

/// Opens a path beneath one of the directories.
///
/// # Errors
/// It is not beneath one, is not there, or goes through a symlink.
pub fn open(dirs: &[PathBuf], path: &str) -> Result<OpenedSource, SourceError> {
    let path = Path::new(path);
    let within = dirs.iter().find_map(|dir| Some((dir, path.strip_prefix(dir).ok()?)));
    let (dir, rest) = within.ok_or(SourceError::Outside)?;
    if rest.components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(SourceError::Outside);
    }
    let failed = |errno: Errno| match errno {
        Errno::NOENT | Errno::NOTDIR => SourceError::NotThere,
        other => SourceError::Unreadable(other.to_string()),
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(CWD, dir, flags | OFlags::DIRECTORY, Mode::empty());
    let dir = dir.map_err(failed)?;
    // Not to hang on a pipe that somebody put there.
    let (flags, beneath) = (
        flags | OFlags::NONBLOCK,
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    );
    let rest = if rest.as_os_str().is_empty() { Path::new(".") } else { rest };
    let fd = rustix::fs::openat2(&dir, rest, flags, Mode::empty(), beneath).map_err(failed)?;
    Ok(OpenedSource { fd })
}

#[cfg(test)]
mod tests;
