//! Filling one jail's root directory: files, device nodes, FIFOs.
//!
//! An entry of the right kind and content stays; anything else by its name is removed first. The
//! directory may have belonged to a hostile VMM until now, so entries are told by their own inode
//! and never followed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timestamps};
use rustix::io::Errno;

use super::{give, owner};
use crate::host::linux::files::beneath::{self, Roots};
use crate::host::linux::files::removal::remove_tree;
use crate::host::{
    BackingFile, HostError, HostErrorKind, HostResult, JailAccess, JailDevice, JailFile,
};

/// Of a copy that a jail reads by its group.
const COPY_MODE: u32 = 0o440;

/// A jail's root, being filled.
pub(super) struct JailRoot<'a> {
    pub(super) root: BorrowedFd<'a>,
    pub(super) roots: &'a Roots,
    pub(super) uid: u32,
}

impl JailRoot<'_> {
    fn look(&self, name: &str) -> rustix::io::Result<Option<Stat>> {
        match rustix::fs::statat(self.root, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a file in its place; whether there was anything to do.
    pub(super) fn ensure_file(&self, file: &JailFile) -> HostResult<bool> {
        let verb = "put into the jail";
        let failed = |error: Errno| HostError::io(verb, &file.from, error);
        let flags = match file.access {
            JailAccess::Read => OFlags::RDONLY,
            JailAccess::Write => OFlags::RDWR,
        };
        let source = self.roots.open(&file.from, flags | OFlags::NONBLOCK).map_err(failed)?;
        if !beneath::is_a(&source, FileType::RegularFile).map_err(failed)? {
            return Err(HostError::new(HostErrorKind::Invalid, verb, &file.from)
                .detail("it is no regular file"));
        }
        let wanted = rustix::fs::fstat(&source).map_err(failed)?;
        let name = file.name.as_str();
        let present = self.look(name).map_err(failed)?;
        match file.access {
            JailAccess::Write => {
                let linked = present.as_ref().is_some_and(|stat| same_file(stat, &wanted));
                let owned = wanted.st_uid == self.uid && wanted.st_gid == self.uid;
                // Its owner may have let others in, or made it one that runs as its owner.
                let private = wanted.st_mode & 0o7777 == 0o600;
                if linked && owned && private {
                    return Ok(false);
                }
                let (user, group) = owner(self.uid);
                rustix::fs::fchown(&source, user, group).map_err(failed)?;
                rustix::fs::fchmod(&source, Mode::RUSR | Mode::WUSR).map_err(failed)?;
                if !linked {
                    self.link(&file.from, name, &wanted).map_err(failed)?;
                }
                Ok(true)
            }
            JailAccess::Read => {
                let good = present
                    .as_ref()
                    .is_some_and(|stat| same_file(stat, &wanted) || self.is_copy_of(stat, &wanted));
                if good {
                    return Ok(false);
                }
                // A link has the file's own mode: the jail's user reads it as one of "others".
                let readable = Mode::from_raw_mode(wanted.st_mode).contains(Mode::ROTH);
                if readable {
                    match self.link(&file.from, name, &wanted) {
                        Ok(()) => return Ok(true),
                        // Another file system, too many links, or one without links.
                        Err(Errno::XDEV | Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP) => {}
                        Err(error) => return Err(failed(error)),
                    }
                }
                self.copy(source, name, &wanted)
                    .map_err(|error| HostError::io(verb, &file.from, error))?;
                Ok(true)
            }
        }
    }

    /// A copy has the owner, the mode, the size and the modification time that [`Self::copy`] gave
    /// it last of all, so that a half-made one is none. It is ours: its reader can change none of
    /// them.
    fn is_copy_of(&self, copy: &Stat, source: &Stat) -> bool {
        FileType::from_raw_mode(copy.st_mode) == FileType::RegularFile
            && copy.st_mode & 0o7777 == COPY_MODE
            && copy.st_uid == rustix::process::geteuid().as_raw()
            && copy.st_gid == self.uid
            && copy.st_size == source.st_size
            && (copy.st_mtime, copy.st_mtime_nsec) == (source.st_mtime, source.st_mtime_nsec)
    }

    fn link(&self, from: &BackingFile, name: &str, wanted: &Stat) -> rustix::io::Result<()> {
        remove_tree(self.root, name)?;
        let (folder, file) = self.roots.parent(from)?;
        rustix::fs::linkat(&folder, file, self.root, name, AtFlags::empty())?;
        // The name may have been given to another file since it was opened.
        match self.look(name)? {
            Some(stat) if same_file(&stat, wanted) => Ok(()),
            Some(_) | None => Err(Errno::AGAIN),
        }
    }

    fn copy(&self, source: OwnedFd, name: &str, wanted: &Stat) -> std::io::Result<()> {
        remove_tree(self.root, name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let target = rustix::fs::openat(self.root, name, flags, Mode::empty())?;
        if rustix::fs::ioctl_ficlone(&target, &source).is_err() {
            // No shared blocks here: copy them (in the kernel, by copy_file_range).
            let mut from = std::fs::File::from(source);
            let mut to = std::fs::File::from(target.try_clone()?);
            std::io::copy(&mut from, &mut to)?;
        }
        // Not its user's, who could change what the next run of the guest is given.
        let (_, group) = owner(self.uid);
        rustix::fs::fchown(&target, None, group)?;
        rustix::fs::fchmod(&target, Mode::from_raw_mode(COPY_MODE))?;
        let time = rustix::fs::Timespec {
            tv_sec: wanted.st_mtime,
            tv_nsec: i64::try_from(wanted.st_mtime_nsec).unwrap_or(0),
        };
        let times = Timestamps { last_access: time, last_modification: time };
        Ok(rustix::fs::futimens(&target, &times)?)
    }

    /// Puts a block device node in its place.
    pub(super) fn ensure_device(&self, device: &JailDevice) -> HostResult<bool> {
        let name = device.name.as_str();
        let make = || -> rustix::io::Result<bool> {
            let number = rustix::fs::makedev(device.device.major, device.device.minor);
            if let Some(stat) = self.look(name)?
                && FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice
                && stat.st_rdev == number
                && stat.st_uid == self.uid
            {
                return Ok(false);
            }
            remove_tree(self.root, name)?;
            let mode = Mode::RUSR | Mode::WUSR;
            rustix::fs::mknodat(self.root, name, FileType::BlockDevice, mode, number)?;
            give(self.root, name, self.uid)?;
            Ok(true)
        };
        make().map_err(|error| HostError::io("make the device node of", device.device, error))
    }

    /// Puts a FIFO in its place. One that is there stays: it may hold what was not read yet.
    pub(super) fn ensure_fifo(&self, name: &str) -> HostResult<bool> {
        let make = || -> rustix::io::Result<bool> {
            if let Some(stat) = self.look(name)?
                && FileType::from_raw_mode(stat.st_mode) == FileType::Fifo
                && stat.st_uid == self.uid
            {
                return Ok(false);
            }
            remove_tree(self.root, name)?;
            let mode = Mode::RUSR | Mode::WUSR;
            rustix::fs::mknodat(self.root, name, FileType::Fifo, mode, 0)?;
            give(self.root, name, self.uid)?;
            Ok(true)
        };
        make().map_err(|error| HostError::io("make FIFO", name, error))
    }
}

fn same_file(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

impl Roots {
    /// The directory a backing file lies in, and its name there.
    fn parent<'a>(&self, file: &'a BackingFile) -> rustix::io::Result<(OwnedFd, &'a str)> {
        match file {
            BackingFile::Image(image) => {
                let folder = rustix::io::fcntl_dupfd_cloexec(self.images.as_fd(), 0)?;
                Ok((folder, image.as_str()))
            }
            BackingFile::Scratch { dir, file } => {
                Ok((self.scratch.dir(dir.as_str())?, file.as_str()))
            }
        }
    }
}
