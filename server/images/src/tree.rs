//! A file tree in memory, as it will stand in the root file system.
//!
//! Layers are put on top of each other here and the guest agent is added; nothing of it is ever
//! a path on this machine, so nothing that an archive says can lead anywhere. Contents stay where
//! they are: a file only says where they can be read.

use std::collections::BTreeMap;
use std::ops::{Deref, Range};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use crate::Refusal;

/// Index of an inode in its tree.
pub(crate) type Ino = usize;

pub(crate) const ROOT: Ino = 0;

/// Parts of a path; more is nothing that anybody meant.
const MOST_PARTS: usize = 256;

/// Symbolic links followed in one path, as Linux has it (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Parts gone through for one path, those of links and `..` included.
const MOST_STEPS: usize = 4096;

/// Bytes of a link's target that cost as much as a step: they are copied and looked through.
const STEP_BYTES: usize = 64;

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
    /// See [`Tree::steps`].
    steps: u64,
}

/// The parts of a path in an archive, from the archive's root on: a slash before it, `./` and
/// double slashes are left out; what could mean another place is refused.
pub(crate) fn parts(path: &[u8]) -> Result<Vec<&[u8]>, Refusal> {
    check_characters(path)?;
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

/// A file system takes any byte in a name but NUL, and so do people. Whoever shows one escapes it.
pub(crate) fn check_characters(name: &[u8]) -> Result<(), Refusal> {
    if name.contains(&0) { Err(Refusal::Nul) } else { Ok(()) }
}

impl Tree {
    /// An empty root directory of root's, 0755.
    pub(crate) fn new() -> Self {
        let body = Body::Directory(BTreeMap::new());
        Self { inodes: vec![Inode { meta: Meta::root(0o755, 0), body }], steps: 0 }
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

    /// Steps that ways through the tree have taken so far, those that led nowhere included. One way
    /// is bounded; how many there may be is for the caller to say.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
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

    /// The directory that `parts` name, made where it is missing. Symbolic links are followed
    /// within the tree, as in the running guest: `..` of the root is the root. Every directory on
    /// the way is marked as named by `layer`.
    pub(crate) fn make_directories(&mut self, parts: &[&[u8]], layer: u32) -> Result<Ino, Refusal> {
        let mut way = Way::of(parts);
        let made = self.make_along(&mut way, layer);
        self.steps += way.steps as u64;
        made
    }

    fn make_along(&mut self, way: &mut Way<'_>, layer: u32) -> Result<Ino, Refusal> {
        while let Some(part) = way.next()? {
            let here = way.here();
            let next = match self.entry(here, &part) {
                Some(Entry { ino, .. }) => match &self.inodes[ino].body {
                    Body::Directory(_) => {
                        if let Some(entry) =
                            self.entries_mut(here).and_then(|all| all.get_mut(&*part))
                        {
                            entry.layer = layer;
                        }
                        ino
                    }
                    // The link itself is what it was.
                    Body::Symlink(target) => {
                        way.follow(target)?;
                        continue;
                    }
                    _ => return Err(Refusal::ThroughNonDirectory),
                },
                None => {
                    let meta = Meta::root(0o755, self.inodes[here].meta.mtime);
                    let made = self.add(meta, Body::Directory(BTreeMap::new()));
                    self.link(here, &part, made, layer);
                    made
                }
            };
            way.enter(next)?;
        }
        Ok(way.here())
    }

    /// What `path` names; no link is followed.
    pub(crate) fn find(&self, parts: &[&[u8]]) -> Option<Ino> {
        parts.iter().try_fold(ROOT, |at, part| Some(self.entry(at, part)?.ino))
    }

    /// What the target of a hard link names: links are followed within the tree on the way to it,
    /// the last part is not. `None` where nothing is.
    pub(crate) fn find_linked(&mut self, target: &[u8]) -> Result<Option<Ino>, Refusal> {
        check_characters(target)?;
        let parts: Vec<_> = split(target).collect();
        let Some((last, above)) = parts.split_last() else { return Ok(None) };
        let mut way = Way::of(above);
        let found = self.find_along(&mut way, last);
        self.steps += way.steps as u64;
        found
    }

    fn find_along(&self, way: &mut Way<'_>, last: &[u8]) -> Result<Option<Ino>, Refusal> {
        while let Some(part) = way.next()? {
            let Some(Entry { ino, .. }) = self.entry(way.here(), &part) else { return Ok(None) };
            match &self.inodes[ino].body {
                Body::Directory(_) => way.enter(ino)?,
                Body::Symlink(target) => way.follow(target)?,
                _ => return Ok(None),
            }
        }
        Ok(self.entry(way.here(), last).map(|entry| entry.ino))
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

/// A way through the tree from its root, over links, and bounded: neither longer nor deeper than
/// anybody meant, so that no entry costs more than some thousand steps.
struct Way<'p> {
    /// Directories from the root down to where we are.
    at: Vec<Ino>,
    /// What is still to go of the path that was given.
    given: &'p [&'p [u8]],
    /// What is still to go before that: the rests of links' targets, the last link's last.
    targets: Vec<(Rc<[u8]>, usize)>,
    links: usize,
    steps: usize,
}

/// A part of the path that was given, or of a link's target.
enum Part<'p> {
    Given(&'p [u8]),
    Linked(Rc<[u8]>, Range<usize>),
}

impl Deref for Part<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Given(part) => part,
            Self::Linked(target, range) => &target[range.clone()],
        }
    }
}

impl<'p> Way<'p> {
    fn of(parts: &'p [&'p [u8]]) -> Self {
        Self { at: vec![ROOT], given: parts, targets: Vec::new(), links: 0, steps: 0 }
    }

    fn here(&self) -> Ino {
        self.at.last().copied().unwrap_or(ROOT)
    }

    /// The next part to be entered or followed; `..` is gone on the way.
    fn next(&mut self) -> Result<Option<Part<'p>>, Refusal> {
        while let Some(part) = self.take() {
            self.step(1)?;
            if *part != b".."[..] {
                return Ok(Some(part));
            }
            self.at.truncate(self.at.len().saturating_sub(1).max(1));
        }
        Ok(None)
    }

    fn take(&mut self) -> Option<Part<'p>> {
        while let Some((target, rest)) = self.targets.last_mut() {
            let from = *rest;
            let part = target[from..].split(|byte| *byte == b'/').next().unwrap_or_default();
            let range = from..from + part.len();
            *rest = (range.end + 1).min(target.len());
            match part {
                b"" if range.end == target.len() => drop(self.targets.pop()),
                b"" | b"." => {}
                _ => return Some(Part::Linked(Rc::clone(target), range)),
            }
        }
        let (first, rest) = self.given.split_first()?;
        self.given = rest;
        Some(Part::Given(first))
    }

    fn step(&mut self, steps: usize) -> Result<(), Refusal> {
        self.steps += steps;
        if self.steps > MOST_STEPS { Err(Refusal::TooDeep) } else { Ok(()) }
    }

    fn enter(&mut self, directory: Ino) -> Result<(), Refusal> {
        if self.at.len() > MOST_PARTS {
            return Err(Refusal::TooDeep);
        }
        self.at.push(directory);
        Ok(())
    }

    fn follow(&mut self, target: &[u8]) -> Result<(), Refusal> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(Refusal::LinkLoop);
        }
        self.step(target.len() / STEP_BYTES)?;
        if target.starts_with(b"/") {
            self.at.truncate(1);
        }
        self.targets.push((target.into(), 0));
        Ok(())
    }
}

/// The parts of a path that lead anywhere.
fn split(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

/// The parts of a path, the last one first.
fn reversed(path: &[u8]) -> Vec<Vec<u8>> {
    let parts: Vec<_> = split(path).collect();
    parts.into_iter().rev().map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
pub(crate) mod tests;
