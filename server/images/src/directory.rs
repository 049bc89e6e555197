//! A directory of this machine as a tree: owners, rights, extended attributes and hard links as
//! they are there.
//!
//! Every path is opened beneath the directory and through no symbolic link (openat2(2)), so
//! one that changes while it is read leads nowhere. File systems mounted inside are left out:
//! their mount points stay as empty directories.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};

use crate::budget::Budget;
use crate::layer::{LeftOut, Xattrs, checked_target, kept_xattrs};
use crate::tarball::shown;
use crate::tree::{Body, Contents, Ino, Meta, ROOT, Tree, check_characters};
use crate::{Devices, ImportError, Refusal};

/// As for archives.
const MOST_PARTS: usize = 256;

/// Bytes of all attributes of a file that are looked at: what Linux takes at most.
const XATTR_LIST_BYTES: usize = 64 << 10;

/// An open directory that is a source.
pub(crate) struct OpenDirectory {
    from: String,
    root: OwnedFd,
}

impl OpenDirectory {
    pub(crate) fn open(path: &Path) -> Result<Self, ImportError> {
        let from = path.display().to_string();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
            Ok(root) => Ok(Self { from, root }),
            Err(errno) => Err(ImportError::Read { from, source: errno.into() }),
        }
    }

    /// A file of it, for reading.
    pub(crate) fn file(&self, path: &Path) -> Result<File, ImportError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        self.open_beneath(path, flags).map(File::from)
    }

    fn open_beneath(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, ImportError> {
        let beneath =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), beneath)
            .map_err(|errno| self.failed(path, errno))
    }

    /// The whole tree. Names come in order, so the same directory gives the same tree.
    pub(crate) fn read(
        &self,
        devices: Devices,
        left_out: &mut LeftOut,
        budget: &Budget<'_>,
    ) -> Result<Tree, ImportError> {
        let root =
            rustix::fs::fstat(&self.root).map_err(|errno| self.failed("".as_ref(), errno))?;
        let mut tree = Tree::new();
        let xattrs = self.xattrs(&self.root, "".as_ref(), left_out)?;
        *tree.meta_mut(ROOT) = meta_of(&root, xattrs);
        let mut walk = Walk {
            source: self,
            devices,
            left_out,
            budget,
            device: root.st_dev,
            links: HashMap::new(),
        };
        let mut open = vec![(PathBuf::new(), ROOT)];
        while let Some((path, ino)) = open.pop() {
            walk.directory(&path, ino, &mut tree, &mut open)?;
        }
        Ok(tree)
    }

    fn names(&self, path: &Path) -> Result<Vec<CString>, ImportError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let at = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let directory = self.open_beneath(at, flags)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory).map_err(|errno| self.failed(path, errno))? {
            let entry = entry.map_err(|errno| self.failed(path, errno))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn xattrs(
        &self,
        file: &impl AsFd,
        path: &Path,
        left_out: &mut LeftOut,
    ) -> Result<Xattrs, ImportError> {
        let mut list = vec![0; XATTR_LIST_BYTES];
        let listed = match rustix::fs::flistxattr(file, &mut list[..]) {
            Ok(listed) => listed,
            Err(rustix::io::Errno::OPNOTSUPP) => 0,
            Err(errno) => return Err(self.failed(path, errno)),
        };
        let mut found = Vec::new();
        for name in list[..listed].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let mut value = vec![0; XATTR_LIST_BYTES];
            let read = rustix::fs::fgetxattr(file, name, &mut value[..]);
            value.truncate(read.map_err(|errno| self.failed(path, errno))?);
            found.push((name.to_vec(), value));
        }
        let (kept, others) =
            kept_xattrs(found.into_iter()).map_err(|why| self.refused(path, why))?;
        left_out.xattrs += others;
        Ok(kept)
    }

    fn failed(&self, path: &Path, errno: rustix::io::Errno) -> ImportError {
        let from = format!("{}/{}", self.from, path.display());
        ImportError::Read { from, source: errno.into() }
    }

    pub(crate) fn refused(&self, path: &Path, why: Refusal) -> ImportError {
        let entry = shown(path.as_os_str().as_bytes());
        ImportError::Refused { from: self.from.clone(), entry, why }
    }
}

struct Walk<'a> {
    source: &'a OpenDirectory,
    devices: Devices,
    left_out: &'a mut LeftOut,
    budget: &'a Budget<'a>,
    device: u64,
    /// Files of several names, by their number on the file system.
    links: HashMap<u64, Ino>,
}

impl Walk<'_> {
    fn directory(
        &mut self,
        path: &Path,
        ino: Ino,
        tree: &mut Tree,
        open: &mut Vec<(PathBuf, Ino)>,
    ) -> Result<(), ImportError> {
        for name in self.source.names(path)? {
            self.budget.spend_entry().map_err(|stop| stop.at(&self.source.from))?;
            let name = name.into_bytes();
            let inside = path.join(std::ffi::OsString::from_vec(name.clone()));
            let length = inside.as_os_str().len() as u64;
            let limit = self.budget.limits.path_bytes;
            if length > limit {
                let (from, unit) = (self.source.from.clone(), "bytes in a path");
                return Err(ImportError::Limit { from, limit, unit });
            }
            let put = self.entry(&inside, &name, ino, tree)?;
            if let Some(directory) = put {
                if inside.components().count() >= MOST_PARTS {
                    return Err(self.source.refused(&inside, Refusal::TooDeep));
                }
                open.push((inside, directory));
            }
        }
        Ok(())
    }

    /// Puts one name in; answers with the inode if it is a directory to be gone into.
    fn entry(
        &mut self,
        path: &Path,
        name: &[u8],
        parent: Ino,
        tree: &mut Tree,
    ) -> Result<Option<Ino>, ImportError> {
        let source = self.source;
        let refuse = |why| source.refused(path, why);
        check_characters(name).map_err(refuse)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = source.open_beneath(path, flags)?;
        let stat = rustix::fs::fstat(&handle).map_err(|errno| source.failed(path, errno))?;
        let elsewhere = stat.st_dev != self.device;
        if stat.st_nlink > 1
            && !elsewhere
            && let Some(ino) = self.links.get(&stat.st_ino)
        {
            tree.link(parent, name, *ino, 1);
            return Ok(None);
        }
        let file_type = FileType::from_raw_mode(stat.st_mode);
        let mut xattrs = Xattrs::new();
        if matches!(file_type, FileType::RegularFile | FileType::Directory) && !elsewhere {
            let file = source.file(path)?;
            xattrs = source.xattrs(&file, path, self.left_out)?;
        }
        let body = match file_type {
            FileType::Directory => Body::Directory(BTreeMap::new()),
            FileType::RegularFile => {
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                self.budget.spend(size).map_err(|stop| stop.at(&source.from))?;
                Body::File { size, contents: Contents::Source(path.to_owned()) }
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&handle, "", Vec::new())
                    .map_err(|errno| source.failed(path, errno))?;
                Body::Symlink(checked_target(target.as_bytes()).map_err(refuse)?.into())
            }
            FileType::Fifo => Body::Fifo,
            FileType::CharacterDevice | FileType::BlockDevice => match self.devices {
                Devices::Refuse => return Err(refuse(Refusal::Device)),
                Devices::LeaveOut => {
                    self.left_out.devices += 1;
                    return Ok(None);
                }
                Devices::Keep => device_of(&stat, file_type),
            },
            // A socket without the process behind it is of no use.
            _ => {
                self.left_out.sockets += 1;
                return Ok(None);
            }
        };
        let is_directory = matches!(body, Body::Directory(_));
        if elsewhere {
            self.left_out.mount(path.as_os_str().as_bytes());
        }
        let ino = tree.add(meta_of(&stat, xattrs), body);
        if stat.st_nlink > 1 && !is_directory && !elsewhere {
            self.links.insert(stat.st_ino, ino);
        }
        tree.link(parent, name, ino, 1);
        Ok((is_directory && !elsewhere).then_some(ino))
    }
}

fn device_of(stat: &Stat, file_type: FileType) -> Body {
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    match file_type {
        FileType::CharacterDevice => Body::CharDevice(major, minor),
        _ => Body::BlockDevice(major, minor),
    }
}

fn meta_of(stat: &Stat, xattrs: Xattrs) -> Meta {
    let (uid, gid, mtime) = (stat.st_uid, stat.st_gid, stat.st_mtime);
    Meta { mode: (stat.st_mode & 0o7777) as u16, uid, gid, mtime, xattrs }
}

/// Whether `path` is a directory; an error if it is not there.
pub(crate) fn is_directory(path: &Path) -> Result<bool, ImportError> {
    match rustix::fs::statat(CWD, path, AtFlags::empty()) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
        Err(errno) => {
            Err(ImportError::Read { from: path.display().to_string(), source: errno.into() })
        }
    }
}
