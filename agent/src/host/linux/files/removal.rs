//! Removing a tree that somebody hostile may have made.
//!
//! A jail's root belonged to a VMM that may have been taken over: it may hold hundreds of thousands
//! of names, directories as deep as the disk has room for, and symlinks to anywhere. So nothing
//! here recurses, holds more than two directories open, or collects names; what is done at once is
//! bounded, and what is left over is where the next call goes on, because all state is on the disk.
//!
//! Depth is taken away instead of followed: a directory in a directory of the tree is moved up into
//! the top of the tree, and emptied there like its former parent. Nothing is ever deeper than it
//! was, and every name is touched at most three times.
//!
//! Driven by the verbs that remove jails and scratch directories. What can go wrong: something is
//! mounted in the tree (`EXDEV`, and it stays), or somebody goes on putting files into it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use super::beneath::{NO_ESCAPE, Root, some_tries};

/// How many names are looked at in one call of [`remove_part`] for a jail: less than a second, on a
/// disk that is not idle either.
pub(crate) const AT_ONCE: u32 = 20_000;

/// How often [`remove_tree`] goes on. What it is for holds a few files; more than this many times
/// [`AT_ONCE`] names is somebody who makes them as fast as they go.
const MOST_ROUNDS: u32 = 50;

/// How much of a tree was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removed {
    /// There was nothing of that name.
    Nothing,
    /// All of it.
    All,
    /// As much as was allowed; the next call goes on.
    Part,
}

/// How many names may still be looked at.
struct Budget(u32);

impl Budget {
    /// One more; `false` when it is used up.
    fn spend(&mut self) -> bool {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// Removes whatever has this name in `parent`, with all below. Whether there was anything.
/// Follows no symlink (it is removed itself) and enters no mount (`EXDEV`).
pub(crate) fn remove_tree(parent: BorrowedFd<'_>, name: &str) -> rustix::io::Result<bool> {
    let mut changed = false;
    for _ in 0..MOST_ROUNDS {
        match remove_part(parent, name, AT_ONCE)? {
            Removed::Nothing => return Ok(changed),
            Removed::All => return Ok(true),
            Removed::Part => changed = true,
        }
    }
    Err(Errno::NOTEMPTY)
}

impl Root {
    /// Removes whatever has this name directly beneath it, with all below. Whether there was
    /// anything.
    pub(crate) fn remove_tree(&self, name: &str) -> rustix::io::Result<bool> {
        remove_tree(self.as_fd(), name)
    }
}

/// As [`remove_tree`], but looks at no more than `at_once` names.
pub(crate) fn remove_part(
    parent: BorrowedFd<'_>,
    name: &str,
    at_once: u32,
) -> rustix::io::Result<Removed> {
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    match unlink(parent, &name)? {
        Unlinked::Gone => return Ok(Removed::All),
        Unlinked::Missing => return Ok(Removed::Nothing),
        Unlinked::IsDirectory => {}
    }
    let Some(top) = open_dir(parent, &name)? else { return Ok(Removed::Nothing) };
    let mut budget = Budget(at_once);
    loop {
        for entry in Dir::read_from(&top)? {
            let entry = entry?;
            let inner = entry.file_name();
            if !is_dots(inner) && !remove_child(top.as_fd(), inner, &mut budget)? {
                return Ok(Removed::Part);
            }
        }
        match rustix::fs::unlinkat(parent, &name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(Removed::All),
            // What was moved up, or what somebody put in meanwhile.
            Err(Errno::NOTEMPTY | Errno::EXIST) if budget.spend() => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(Removed::Part),
            Err(error) => return Err(mounted(error)),
        }
    }
}

/// Removes an entry of the tree's top; the directories in it are moved up into the top. `false`
/// when the budget is used up before.
fn remove_child(top: BorrowedFd<'_>, name: &CStr, budget: &mut Budget) -> rustix::io::Result<bool> {
    if !budget.spend() {
        return Ok(false);
    }
    match unlink(top, name)? {
        Unlinked::Gone | Unlinked::Missing => return Ok(true),
        Unlinked::IsDirectory => {}
    }
    let Some(dir) = open_dir(top, name)? else { return Ok(true) };
    loop {
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let inner = entry.file_name();
            if is_dots(inner) {
                continue;
            }
            if !budget.spend() {
                return Ok(false);
            }
            match unlink(dir.as_fd(), inner)? {
                Unlinked::Gone | Unlinked::Missing => {}
                Unlinked::IsDirectory => move_up(dir.as_fd(), inner, top)?,
            }
        }
        match rustix::fs::unlinkat(top, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) if budget.spend() => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(false),
            Err(error) => return Err(mounted(error)),
        }
    }
}

/// Moves a directory into the top of the tree, under its inode's number, which no other has.
fn move_up(dir: BorrowedFd<'_>, name: &CStr, top: BorrowedFd<'_>) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(error) => return Err(mounted(error)),
    }
    let inode = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat.st_ino,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error),
    };
    // Unless somebody hostile gave them to others: then there are a few more.
    for attempt in 0..8 {
        let up = format!(".removed-{inode}-{attempt}");
        match rustix::fs::renameat_with(dir, name, top, &*up, RenameFlags::NOREPLACE) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(mounted(error)),
        }
    }
    Err(Errno::EXIST)
}

enum Unlinked {
    Gone,
    Missing,
    IsDirectory,
}

fn unlink(dir: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Unlinked> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) => Ok(Unlinked::Gone),
        Err(Errno::NOENT) => Ok(Unlinked::Missing),
        // Linux says EISDIR for a directory; POSIX allows EPERM.
        Err(Errno::ISDIR | Errno::PERM) => Ok(Unlinked::IsDirectory),
        Err(error) => Err(mounted(error)),
    }
}

/// The kernel says of a place that something is mounted on that it is busy: unlink(2), rename(2).
fn mounted(error: Errno) -> Errno {
    if error == Errno::BUSY { Errno::XDEV } else { error }
}

fn open_dir(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = NO_ESCAPE.union(ResolveFlags::NO_XDEV);
    match some_tries(|| rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve)) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

#[cfg(test)]
mod tests;
