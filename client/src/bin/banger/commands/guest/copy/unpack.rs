//! Unpacks an archive that a guest has sent, which may be hostile.
//!
//! Nothing is written but beneath the one name that was asked for. Every directory on the way to an
//! entry is opened without following links, so that neither a link in the archive nor one that is
//! there already leads out; `..`, absolute names and other first names are refused. Links are made
//! as they are and never followed, devices are left out, and so are the bits that run a program as
//! another user (setuid, setgid).

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use tar::EntryType;

/// What was unpacked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Unpacked {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    /// What was not, with the reason.
    pub(super) left_out: Vec<String>,
}

/// How many of those are named.
const NAMED: usize = 20;

/// Unpacks what was `asked` for as `name` in `directory`, which must be there.
pub(super) fn unpack(
    archive: &mut impl Read,
    asked: &str,
    directory: &Path,
    name: &OsStr,
) -> io::Result<Unpacked> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let base = rustix::fs::openat(CWD, directory, flags, Mode::empty())?;
    let mut done = Unpacked::default();
    // Given at the end: one that may not be written could take nothing before.
    let mut modes = BTreeMap::new();
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let sent = entry.path()?.into_owned();
        let path = checked(&sent, asked, name)?;
        let mode = Mode::from_raw_mode(entry.header().mode().unwrap_or(0o644) & 0o777);
        let kind = entry.header().entry_type();
        match kind {
            EntryType::Directory => {
                open_directory(&base, &path, true)?;
                modes.insert(path, mode);
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let (parent, last) = parent_of(&base, &path)?;
                make_room(&parent, last)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
                let file = rustix::fs::openat(
                    &parent,
                    last,
                    flags | OFlags::CLOEXEC,
                    Mode::RUSR | Mode::WUSR,
                )?;
                let mut file = std::fs::File::from(file);
                done.bytes += io::copy(&mut entry, &mut file)?;
                rustix::fs::fchmod(&file, mode)?;
            }
            EntryType::Symlink => {
                let target = link_of(&entry)?;
                let (parent, last) = parent_of(&base, &path)?;
                make_room(&parent, last)?;
                rustix::fs::symlinkat(&target, &parent, last)?;
            }
            EntryType::Link => {
                // To another entry of this archive, found as that was.
                let target = checked(&link_of(&entry)?, asked, name)?;
                let (from, from_last) = parent_of(&base, &target)?;
                let (parent, last) = parent_of(&base, &path)?;
                if target != path {
                    make_room(&parent, last)?;
                    rustix::fs::linkat(&from, from_last, &parent, last, AtFlags::empty())?;
                }
            }
            other => {
                if done.left_out.len() < NAMED {
                    done.left_out.push(format!("{}: it is a {other:?}", sent.display()));
                }
                continue;
            }
        }
        done.entries += 1;
    }
    for (path, mode) in modes.into_iter().rev() {
        rustix::fs::fchmod(open_directory(&base, &path, false)?, mode)?;
    }
    Ok(done)
}

fn refused(sent: &Path, why: &str) -> io::Error {
    io::Error::other(format!("the guest sent {:?}, {why}", sent.display().to_string()))
}

fn link_of<R: Read>(entry: &tar::Entry<'_, R>) -> io::Result<PathBuf> {
    let target = entry.link_name()?;
    target.map(std::borrow::Cow::into_owned).ok_or_else(|| io::Error::other("a link leads nowhere"))
}

/// The names of an entry's path, the first of which is the one asked for, which becomes `name`.
fn checked(sent: &Path, asked: &str, name: &OsStr) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for component in sent.components() {
        match component {
            Component::Normal(part) => names.push(part.to_owned()),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(refused(sent, "which leads elsewhere"));
            }
        }
    }
    match names.first_mut() {
        Some(first) if first == asked => *first = name.to_owned(),
        Some(_) | None => return Err(refused(sent, "which was not asked for")),
    }
    Ok(names)
}

/// Opens a directory beneath, made where it is missing if so wished. Follows no link.
fn open_directory(base: &OwnedFd, names: &[OsString], make: bool) -> io::Result<OwnedFd> {
    let mut at = base.try_clone()?;
    for name in names {
        if make {
            match rustix::fs::mkdirat(&at, name, Mode::RWXU) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        at = rustix::fs::openat(&at, name, flags, Mode::empty())?;
    }
    Ok(at)
}

/// The directory that an entry lies in, and its name there.
fn parent_of<'a>(base: &OwnedFd, names: &'a [OsString]) -> io::Result<(OwnedFd, &'a OsStr)> {
    match names.split_last() {
        Some((last, before)) => Ok((open_directory(base, before, true)?, last)),
        None => Err(io::Error::other("an entry has no name")),
    }
}

/// Takes away what has the name, unless it is a directory.
fn make_room(parent: impl AsFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
