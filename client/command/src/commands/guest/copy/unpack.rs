//! Unpacks an archive that a guest has sent, which may be hostile.
//!
//! Nothing is written but beneath the one name that was asked for. Every directory on the way to an
//! entry is opened without following links, so that neither a link in the archive nor one that is
//! there already leads out; `..`, absolute names and other first names are refused. Links are made
//! as they are and never followed, devices are left out, and so are the bits that run a program as
//! another user (setuid, setgid), and what the umask of this process takes.
//!
//! A small archive can stand for much: holes stay holes on this side, names and maps of holes are
//! read up to [`HEADERS`] bytes an entry, and past the [`Limits`] somebody is asked. What no entry
//! names counts as well: each directory that is made on the way to one, and what is left out.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use banger_terminal::progress::Count;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use tar::EntryType;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Unpacked {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    /// What was not, with the reason.
    pub(super) left_out: Vec<String>,
}

/// How many of those are named.
const NAMED: usize = 20;

/// The most that is read of one entry before its content: long names and the map of its holes.
const HEADERS: u64 = 4 * 1024 * 1024;

/// The longest name: `PATH_MAX` of Linux.
const LONGEST_NAME: usize = 4096;

/// The most names in one path; the server's importer has the same.
const MOST_PARTS: usize = 256;

/// What a directory counts, in bytes: about what it takes on a disk.
const DIRECTORY_BYTES: u64 = 4096;

/// Names of directories whose mode is given at the end, in bytes of all. Those past it stay
/// writable by their owner.
const REMEMBERED: usize = 16 * 1024 * 1024;

/// How much may come of a guest before somebody is asked.
pub(super) struct Limits {
    /// Bytes of files, holes counted as if they were none.
    pub(super) bytes: u64,
    /// Files, directories and links.
    pub(super) entries: u64,
    /// Whether to go on without limits.
    pub(super) ask: Box<dyn FnMut() -> bool + Send>,
    /// Told how many bytes were written, and of how many where the first entry says it.
    pub(super) count: Count,
    /// What this process takes from every mode.
    pub(super) umask: u32,
}

/// What came so far, held against the limits before it is made.
struct Spent<'a> {
    limits: &'a mut Limits,
    bytes: u64,
    entries: u64,
}

impl Spent<'_> {
    fn more(&mut self, bytes: u64, entries: u64) -> io::Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        self.entries = self.entries.saturating_add(entries);
        let limits = &mut *self.limits;
        if self.bytes <= limits.bytes && self.entries <= limits.entries {
            return Ok(());
        }
        if !(limits.ask)() {
            let (bytes, entries) = (limits.bytes, limits.entries);
            return Err(io::Error::other(format!(
                "the guest sends more than {bytes} bytes or {entries} entries, and nobody said that \
                 it may; add --max-size"
            )));
        }
        (limits.bytes, limits.entries) = (u64::MAX, u64::MAX);
        Ok(())
    }
}

/// What is read of an archive may be bounded for a while.
struct Bounded<'a, R> {
    archive: &'a mut R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 && !into.is_empty() {
            return Err(io::Error::other("the guest sent an entry whose name has no end"));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(into.len());
        let read = self.archive.read(&mut into[..most])?;
        self.left.set(left - read as u64);
        Ok(read)
    }
}

/// Unpacks what was `asked` for as `name` in `directory`, which must be there.
pub(super) fn unpack(
    archive: &mut impl Read,
    asked: &str,
    directory: &Path,
    name: &OsStr,
    limits: &mut Limits,
) -> io::Result<Unpacked> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let base = rustix::fs::openat(CWD, directory, flags, Mode::empty())?;
    let mut done = Unpacked::default();
    let umask = limits.umask;
    let mut spent = Spent { limits, bytes: 0, entries: 0 };
    // Given at the end: one that may not be written could take nothing before.
    let (mut modes, mut remembered) = (BTreeMap::new(), 0);
    let left = Rc::new(Cell::new(HEADERS));
    let mut archive = tar::Archive::new(Bounded { archive, left: Rc::clone(&left) });
    let mut entries = archive.entries()?;
    loop {
        left.set(HEADERS);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry?;
        left.set(u64::MAX);
        let (name_bytes, link_bytes) = (entry.path_bytes(), entry.link_name_bytes());
        let longest = link_bytes.map_or(0, |link| link.len()).max(name_bytes.len());
        if longest > LONGEST_NAME {
            let text = format!("the guest sent a name of {longest} bytes");
            return Err(io::Error::other(text));
        }
        let sent = entry.path()?.into_owned();
        let path = checked(&sent, asked, name)?;
        let mode = entry.header().mode().unwrap_or(0o644) & 0o777 & !umask;
        let mode = Mode::from_raw_mode(mode);
        let kind = entry.header().entry_type();
        // A directory counts when it is made, as those on the way to it do.
        if kind != EntryType::Directory {
            spent.more(0, 1)?;
        }
        match kind {
            EntryType::Directory => {
                let (directory, made) = make_directory(&base, &path, &mut spent)?;
                if !made {
                    spent.more(0, 1)?;
                }
                // One that was there before keeps its own.
                if made && mode.contains(Mode::RWXU) {
                    rustix::fs::fchmod(&directory, mode)?;
                } else if made && remembered < REMEMBERED {
                    remembered += longest;
                    modes.insert(path, mode);
                }
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let (parent, last) = parent_of(&base, &path, &mut spent)?;
                make_room(&parent, last)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
                let file = rustix::fs::openat(
                    &parent,
                    last,
                    flags | OFlags::CLOEXEC,
                    Mode::RUSR | Mode::WUSR,
                )?;
                let mut file = std::fs::File::from(file);
                // A file that comes first comes alone: only a directory has more than one entry.
                if done.entries == 0 {
                    spent.limits.count.expect(entry.size());
                }
                done.bytes += write_file(&mut entry, &mut file, &mut spent)?;
                rustix::fs::fchmod(&file, mode)?;
            }
            EntryType::Symlink => {
                let target = link_of(&entry)?;
                let (parent, last) = parent_of(&base, &path, &mut spent)?;
                make_room(&parent, last)?;
                rustix::fs::symlinkat(&target, &parent, last)?;
            }
            EntryType::Link => {
                // To another entry of this archive, found as that was.
                let target = checked(&link_of(&entry)?, asked, name)?;
                let (from, from_last) = parent_of(&base, &target, &mut spent)?;
                let (parent, last) = parent_of(&base, &path, &mut spent)?;
                if target != path {
                    make_room(&parent, last)?;
                    rustix::fs::linkat(&from, from_last, &parent, last, AtFlags::empty())?;
                }
            }
            other => {
                if done.left_out.len() < NAMED {
                    done.left_out.push(format!("{}: it is a {other:?}", sent.display()));
                }
            }
        }
        if matches!(
            kind,
            EntryType::Regular
                | EntryType::Continuous
                | EntryType::GNUSparse
                | EntryType::Directory
                | EntryType::Symlink
                | EntryType::Link
        ) {
            done.entries += 1;
        }
        // What is left of an entry is read, else it would count as part of the next one's name.
        if !kind.is_file() && !kind.is_contiguous() && !kind.is_gnu_sparse() {
            spent.more(entry.size(), 0)?;
        }
        io::copy(&mut entry, &mut io::sink())?;
    }
    for (path, mode) in modes.into_iter().rev() {
        rustix::fs::fchmod(open_directory(&base, &path)?, mode)?;
    }
    Ok(done)
}

/// Writes the content of a file, and says how many bytes it has. Zeros are not written: what was a
/// hole stays one.
fn write_file(
    content: &mut impl Read,
    file: &mut std::fs::File,
    spent: &mut Spent<'_>,
) -> io::Result<u64> {
    let mut piece = vec![0; 64 * 1024];
    let (mut hole, mut bytes) = (false, 0);
    loop {
        let length = match content.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let piece = &piece[..length];
        spent.more(length as u64, 0)?;
        hole = piece.iter().all(|byte| *byte == 0);
        if hole {
            file.seek(SeekFrom::Current(i64::try_from(length).unwrap_or(0)))?;
        } else {
            file.write_all(piece)?;
        }
        bytes += length as u64;
        spent.limits.count.add(length as u64);
    }
    if hole {
        let end = file.stream_position()?;
        file.set_len(end)?;
    }
    Ok(bytes)
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
    if names.len() > MOST_PARTS {
        return Err(refused(sent, "which lies deeper than anybody meant"));
    }
    match names.first_mut() {
        Some(first) if first == asked => *first = name.to_owned(),
        Some(_) | None => return Err(refused(sent, "which was not asked for")),
    }
    Ok(names)
}

/// Opens a directory beneath. Follows no link.
fn open_directory(base: &OwnedFd, names: &[OsString]) -> io::Result<OwnedFd> {
    let mut at = base.try_clone()?;
    for name in names {
        at = open_one(&at, name)?;
    }
    Ok(at)
}

fn open_one(at: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name, flags, Mode::empty())?)
}

/// The same, made where it is missing, and counted before it is. Whether the last was.
fn make_directory(
    base: &OwnedFd,
    names: &[OsString],
    spent: &mut Spent<'_>,
) -> io::Result<(OwnedFd, bool)> {
    let (mut at, mut made) = (base.try_clone()?, false);
    for name in names {
        made = match rustix::fs::statat(&at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => false,
            Err(rustix::io::Errno::NOENT) => {
                spent.more(DIRECTORY_BYTES, 1)?;
                match rustix::fs::mkdirat(&at, name, Mode::RWXU) {
                    Ok(()) => true,
                    Err(rustix::io::Errno::EXIST) => false,
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        };
        at = open_one(&at, name)?;
    }
    Ok((at, made))
}

/// The directory that an entry lies in, and its name there.
fn parent_of<'a>(
    base: &OwnedFd,
    names: &'a [OsString],
    spent: &mut Spent<'_>,
) -> io::Result<(OwnedFd, &'a OsStr)> {
    match names.split_last() {
        Some((last, before)) => Ok((make_directory(base, before, spent)?.0, last)),
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
