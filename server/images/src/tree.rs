//! A file tree in memory, as it will stand in the root file system.
//!
//! Layers are put on top of each other here and the guest agent is added; nothing of it is ever
//! a path on this machine, so nothing that an archive says can lead anywhere. Contents stay where
//! they are: a file only says where they can be read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Refusal;

/// Index of an inode in its tree.
pub(crate) type Ino = usize;

/// The root directory.
pub(crate) const ROOT: Ino = 0;

/// Parts of a path; more is nothing that anybody meant.
const MOST_PARTS: usize = 256;

/// Symbolic links followed in one path, as Linux has it (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Bytes of one part of a path (`NAME_MAX`).
const MOST_NAME_BYTES: usize = 255;

/// A part of a path.
pub(crate) type Name = Box<[u8]>;

/// Owner, rights and times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Without the type: 0o7777 at most.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970.
    pub(crate) mtime: i64,
    /// Name with its prefix, and value; sorted, each name once.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Meta {
    /// Root's, without extended attributes.
    pub(crate) fn root(mode: u16, mtime: i64) -> Self {
        Self { mode, uid: 0, gid: 0, mtime, xattrs: Vec::new() }
    }
}

/// Where the contents of a file are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Contents {
    /// In the archive of this layer, the entry of this index.
    Layer { layer: u32, index: u64 },
    /// Here.
    Bytes(Arc<[u8]>),
    /// In a file of this machine: the guest agent.
    Host(PathBuf),
    /// In the directory that is the source, at this path.
    Source(PathBuf),
}

/// What an inode is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    Directory(BTreeMap<Name, Entry>),
    File { size: u64, contents: Contents },
    Symlink(Box<[u8]>),
    Fifo,
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
}

/// A name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) ino: Ino,
    /// The last layer that named it, or something in it.
    pub(crate) layer: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inode {
    pub(crate) meta: Meta,
    pub(crate) body: Body,
}

/// All inodes; those that were replaced stay, and no name leads to them.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    inodes: Vec<Inode>,
}

/// The parts of a path in an archive. `./` and double slashes are left out; what could mean
/// another place is refused.
pub(crate) fn parts(path: &[u8]) -> Result<Vec<&[u8]>, Refusal> {
    check_characters(path)?;
    if path.starts_with(b"/") {
        return Err(Refusal::Absolute);
    }
    let parts: Vec<_> =
        path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if path.is_empty() || parts.iter().any(|part| part.len() > MOST_NAME_BYTES) {
        return Err(Refusal::BadPart);
    }
    if parts.contains(&&b".."[..]) {
        return Err(Refusal::ParentPart);
    }
    if parts.len() > MOST_PARTS {
        return Err(Refusal::TooDeep);
    }
    Ok(parts)
}

/// Names are shown in terminals and lists; none of them needs a control character.
pub(crate) fn check_characters(name: &[u8]) -> Result<(), Refusal> {
    if name.iter().any(u8::is_ascii_control) { Err(Refusal::ControlCharacter) } else { Ok(()) }
}

impl Tree {
    /// An empty root directory of root's, 0755.
    pub(crate) fn new() -> Self {
        let body = Body::Directory(BTreeMap::new());
        Self { inodes: vec![Inode { meta: Meta::root(0o755, 0), body }] }
    }

    pub(crate) fn inode(&self, ino: Ino) -> &Inode {
        &self.inodes[ino]
    }

    pub(crate) fn meta_mut(&mut self, ino: Ino) -> &mut Meta {
        &mut self.inodes[ino].meta
    }

    pub(crate) fn set_body(&mut self, ino: Ino, body: Body) {
        self.inodes[ino].body = body;
    }

    /// How many inodes there are, those without a name included.
    pub(crate) fn len(&self) -> usize {
        self.inodes.len()
    }

    pub(crate) fn entries(&self, ino: Ino) -> Option<&BTreeMap<Name, Entry>> {
        match &self.inodes[ino].body {
            Body::Directory(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn entries_mut(&mut self, ino: Ino) -> Option<&mut BTreeMap<Name, Entry>> {
        match &mut self.inodes[ino].body {
            Body::Directory(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn entry(&self, directory: Ino, name: &[u8]) -> Option<Entry> {
        self.entries(directory)?.get(name).copied()
    }

    /// A new inode that has no name yet.
    pub(crate) fn add(&mut self, meta: Meta, body: Body) -> Ino {
        self.inodes.push(Inode { meta, body });
        self.inodes.len() - 1
    }

    /// Gives an inode a name in a directory; what had it loses it.
    pub(crate) fn link(&mut self, directory: Ino, name: &[u8], ino: Ino, layer: u32) {
        if let Some(entries) = self.entries_mut(directory) {
            entries.insert(name.into(), Entry { ino, layer });
        }
    }

    pub(crate) fn unlink(&mut self, directory: Ino, name: &[u8]) -> Option<Entry> {
        self.entries_mut(directory)?.remove(name)
    }

    /// The directory that `parts` name, made where it is missing; no link is followed. Every
    /// directory on the way is marked as named by `layer`.
    pub(crate) fn make_directories(&mut self, parts: &[&[u8]], layer: u32) -> Result<Ino, Refusal> {
        let mut at = ROOT;
        for part in parts {
            at = match self.entry(at, part) {
                Some(Entry { ino, .. }) if self.entries(ino).is_some() => {
                    self.link(at, part, ino, layer);
                    ino
                }
                Some(_) => return Err(Refusal::ThroughNonDirectory),
                None => {
                    let meta = Meta::root(0o755, self.inodes[at].meta.mtime);
                    let made = self.add(meta, Body::Directory(BTreeMap::new()));
                    self.link(at, part, made, layer);
                    made
                }
            };
        }
        Ok(at)
    }

    /// What `path` names; no link is followed.
    pub(crate) fn find(&self, parts: &[&[u8]]) -> Option<Ino> {
        parts.iter().try_fold(ROOT, |at, part| Some(self.entry(at, part)?.ino))
    }

    /// What `path` names in the running guest: links are followed within the tree.
    pub(crate) fn resolve(&self, path: &[u8]) -> Option<Ino> {
        // Directories from the root down to where we are.
        let mut at = vec![ROOT];
        let mut rest: Vec<Vec<u8>> = reversed(path);
        let mut links = 0;
        while let Some(part) = rest.pop() {
            if part == b".." {
                if at.len() > 1 {
                    at.pop();
                }
                continue;
            }
            let here = *at.last()?;
            let found = self.entry(here, &part)?.ino;
            if let Body::Symlink(target) = &self.inodes[found].body {
                links += 1;
                if links > MOST_LINKS {
                    return None;
                }
                if target.starts_with(b"/") {
                    at.truncate(1);
                }
                rest.extend(reversed(target));
            } else {
                at.push(found);
            }
        }
        at.pop()
    }
}

/// The parts of a path, the last one first.
fn reversed(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .rev()
        .map(<[u8]>::to_vec)
        .collect()
}

#[cfg(test)]
mod tests;
