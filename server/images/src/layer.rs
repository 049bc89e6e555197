//! Puts one archive on top of a tree: a whole root file system, or a layer of a container image
//! with its whiteouts.
//!
//! The rules are OCI's (image-spec `layer.md`): a name replaces what is there, be it of a lower
//! layer or of this one, a directory over a directory keeps what is in it, `.wh.NAME` hides NAME of
//! lower layers, and `.wh..wh..opq` hides everything of lower layers in its directory. Where the
//! spec is silent the answer is containerd's (`pkg/archive/tar.go`): names are taken from the root
//! on, links on the way to a name are followed within the tree, the last of two entries stands.
//! Beyond that, a hard link may come before its target. What no good archive has is refused: see
//! [`Refusal`].
//!
//! Work is bounded: an entry takes a bounded number of steps, all of an import together take a
//! number in proportion to the entries, and what a directory hides is taken out of it once per
//! layer, however often the layer says so.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;

use crate::budget::{Budget, Stop};
use crate::tarball::{EntryKind, TarEntry, Tarball, shown};
use crate::tree::{Body, Contents, Ino, Meta, ROOT, Tree, check_characters, parts};
use crate::{Devices, ImportError, Refusal};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Bytes of a symbolic link's target (`PATH_MAX` without its end).
const MOST_TARGET_BYTES: usize = 4095;

/// Bytes of extended attributes that surely fit into one block with their names and headers.
const MOST_XATTR_BYTES: usize = 3500;

/// What was left out of all layers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub(crate) devices: u64,
    pub(crate) xattrs: u64,
    pub(crate) sockets: u64,
    /// Where something is mounted: the first of them, and how many.
    pub(crate) mounts: Vec<String>,
    pub(crate) mount_count: u64,
}

impl LeftOut {
    /// Something is mounted at `path`.
    pub(crate) fn mount(&mut self, path: &[u8]) {
        const NAMED: usize = 8;
        self.mount_count += 1;
        if self.mounts.len() < NAMED {
            self.mounts.push(shown(path));
        }
    }
}

/// How a layer is read.
pub(crate) struct LayerRules {
    /// Its number, from 1; later ones lie on top.
    pub(crate) layer: u32,
    /// Whether names that begin with `.wh.` are whiteouts.
    pub(crate) whiteouts: bool,
    pub(crate) devices: Devices,
}

/// How often links that wait for their targets are gone through: a chain of links to links, each
/// before its target, may have as many.
const MOST_ROUNDS: usize = 8;

/// Memory of an entry beside its names and attributes, in bytes: an inode and its place.
const ENTRY_BYTES: u64 = 256;

/// What an extended attribute takes in memory beside its texts, about.
const XATTR_BYTES: usize = 128;

/// Puts all entries of `archive` on top of `tree`.
pub(crate) fn put_layer<R: Read>(
    archive: &mut Tarball<R>,
    rules: &LayerRules,
    tree: &mut Tree,
    left_out: &mut LeftOut,
    budget: &Budget<'_>,
) -> Result<(), ImportError> {
    let (hidden, waiting) = (HashSet::new(), Vec::new());
    let mut layer = Layer { rules, tree, left_out, hidden, waiting, budget };
    while let Some(entry) = archive.next()? {
        budget.spend_entry().map_err(|stop| archive.stopped(stop))?;
        if entry.path.len() as u64 > budget.limits.path_bytes {
            return Err(archive.limited(budget.limits.path_bytes, "bytes in a path"));
        }
        let (before, steps_before) = (layer.tree.len() as u64, layer.tree.steps());
        layer.put(&entry).map_err(|why| archive.refused(&entry.path, why))?;
        let made = layer.tree.len() as u64 - before;
        let steps = layer.tree.steps() - steps_before;
        budget.spend_steps(steps).map_err(|stop| archive.stopped(stop))?;
        let of_xattr = |(name, value): &(Vec<u8>, Vec<u8>)| XATTR_BYTES + name.len() + value.len();
        let xattrs = entry.xattrs.iter().map(of_xattr);
        let texts = entry.path.len() + entry.link.len() + xattrs.sum::<usize>();
        let memory = (made + 1).saturating_mul(ENTRY_BYTES).saturating_add(texts as u64);
        budget.spend_memory(memory).map_err(|stop| archive.stopped(stop))?;
    }
    layer.link_waiting().map_err(|end| match end {
        LateEnd::Refused(path, why) => archive.refused(&path, why),
        LateEnd::Stopped(stop) => archive.stopped(stop),
    })?;
    budget.check_cancel().map_err(|stop| archive.stopped(stop))
}

struct Layer<'a> {
    rules: &'a LayerRules,
    tree: &'a mut Tree,
    left_out: &'a mut LeftOut,
    /// Directories that have nothing of lower layers left.
    hidden: HashSet<Ino>,
    waiting: Vec<WaitingLink>,
    budget: &'a Budget<'a>,
}

/// A hard link whose target did not come yet.
struct WaitingLink {
    path: Vec<u8>,
    target: Vec<u8>,
}

/// Why links that waited were not all made.
#[derive(Debug, PartialEq, Eq)]
enum LateEnd {
    /// One of this path can't be.
    Refused(Vec<u8>, Refusal),
    Stopped(Stop),
}

impl Layer<'_> {
    fn put(&mut self, entry: &TarEntry) -> Result<(), Refusal> {
        let path = parts(&entry.path)?;
        let Some((name, above)) = path.split_last() else {
            // The root itself, "./" or "/".
            if entry.kind != EntryKind::Directory {
                return Err(Refusal::BadPart);
            }
            *self.tree.meta_mut(ROOT) = self.meta(entry)?;
            return Ok(());
        };
        if self.rules.whiteouts {
            if above.iter().any(|part| part.starts_with(WHITEOUT)) {
                return Err(Refusal::BadWhiteout);
            }
            if let Some(hidden) = name.strip_prefix(WHITEOUT) {
                return self.hide(above, name, hidden);
            }
        }
        let body = match entry.kind {
            EntryKind::Directory => return self.put_directory(above, name, entry),
            EntryKind::HardLink => return self.put_hard_link(above, name, entry),
            EntryKind::File => {
                let contents = Contents::Layer { layer: self.rules.layer, index: entry.index };
                Body::File { size: entry.size, contents }
            }
            EntryKind::Symlink => Body::Symlink(checked_target(&entry.link)?.into()),
            EntryKind::Fifo => Body::Fifo,
            EntryKind::CharDevice(major, minor) => match self.device(major, minor)? {
                true => Body::CharDevice(major, minor),
                false => return Ok(()),
            },
            EntryKind::BlockDevice(major, minor) => match self.device(major, minor)? {
                true => Body::BlockDevice(major, minor),
                false => return Ok(()),
            },
            EntryKind::Sparse => return Err(Refusal::Sparse),
            EntryKind::Unsupported => return Err(Refusal::UnsupportedKind),
        };
        let meta = self.meta(entry)?;
        let directory = self.tree.make_directories(above, self.rules.layer)?;
        let ino = self.tree.add(meta, body);
        self.tree.link(directory, name, ino, self.rules.layer);
        Ok(())
    }

    /// Whether a device node is kept.
    fn device(&mut self, major: u32, minor: u32) -> Result<bool, Refusal> {
        match self.rules.devices {
            Devices::Refuse => Err(Refusal::Device),
            Devices::LeaveOut => {
                self.left_out.devices += 1;
                Ok(false)
            }
            // As much as an inode of ext4 holds.
            Devices::Keep if major < 1 << 12 && minor < 1 << 20 => Ok(true),
            Devices::Keep => Err(Refusal::DeviceNumber),
        }
    }

    /// A directory over a directory keeps what is in it; the last one's rights stand.
    fn put_directory(
        &mut self,
        above: &[&[u8]],
        name: &[u8],
        entry: &TarEntry,
    ) -> Result<(), Refusal> {
        let meta = self.meta(entry)?;
        let directory = self.tree.make_directories(above, self.rules.layer)?;
        let ino = match self.tree.entry(directory, name) {
            Some(there) if self.tree.entries(there.ino).is_some() => {
                *self.tree.meta_mut(there.ino) = meta;
                there.ino
            }
            _ => self.tree.add(meta, Body::Directory(BTreeMap::new())),
        };
        self.tree.link(directory, name, ino, self.rules.layer);
        Ok(())
    }

    fn put_hard_link(
        &mut self,
        above: &[&[u8]],
        name: &[u8],
        entry: &TarEntry,
    ) -> Result<(), Refusal> {
        match self.tree.find_linked(&entry.link)? {
            Some(ino) if self.tree.entries(ino).is_none() => {
                let directory = self.tree.make_directories(above, self.rules.layer)?;
                self.tree.link(directory, name, ino, self.rules.layer);
                Ok(())
            }
            Some(_) => Err(Refusal::LinkTarget),
            None => {
                let (path, target) = (entry.path.clone(), entry.link.clone());
                self.waiting.push(WaitingLink { path, target });
                Ok(())
            }
        }
    }

    /// Makes the links whose targets came after them. A name that came itself meanwhile stands.
    fn link_waiting(&mut self) -> Result<(), LateEnd> {
        for _ in 0..MOST_ROUNDS {
            let waiting = std::mem::take(&mut self.waiting);
            let before = waiting.len();
            for link in waiting {
                self.budget.check_cancel().map_err(LateEnd::Stopped)?;
                let steps_before = self.tree.steps();
                match self.link_late(&link) {
                    Ok(true) => {}
                    Ok(false) => self.waiting.push(link),
                    Err(why) => return Err(LateEnd::Refused(link.path, why)),
                }
                let steps = self.tree.steps() - steps_before;
                self.budget.spend_steps(steps).map_err(LateEnd::Stopped)?;
            }
            if self.waiting.is_empty() || self.waiting.len() == before {
                break;
            }
        }
        match self.waiting.pop() {
            None => Ok(()),
            Some(link) => Err(LateEnd::Refused(link.path, Refusal::LinkTarget)),
        }
    }

    fn link_late(&mut self, link: &WaitingLink) -> Result<bool, Refusal> {
        let Some(ino) = self.tree.find_linked(&link.target)? else { return Ok(false) };
        if self.tree.entries(ino).is_some() {
            return Err(Refusal::LinkTarget);
        }
        let path = parts(&link.path)?;
        let Some((name, above)) = path.split_last() else { return Err(Refusal::BadPart) };
        let directory = self.tree.make_directories(above, self.rules.layer)?;
        let layer = self.rules.layer;
        if self.tree.entry(directory, name).is_none_or(|there| there.layer != layer) {
            self.tree.link(directory, name, ino, layer);
        }
        Ok(true)
    }

    fn hide(&mut self, above: &[&[u8]], name: &[u8], hidden: &[u8]) -> Result<(), Refusal> {
        if name == OPAQUE {
            let directory = self.tree.make_directories(above, self.rules.layer)?;
            self.hide_lower(directory);
            return Ok(());
        }
        if hidden.is_empty() || hidden == b"." || hidden == b".." {
            return Err(Refusal::BadWhiteout);
        }
        // AUFS kept its own books under such names.
        if hidden.starts_with(WHITEOUT) {
            return Ok(());
        }
        let directory = self.tree.make_directories(above, self.rules.layer)?;
        match self.tree.entry(directory, hidden) {
            Some(there) if there.layer == self.rules.layer => self.hide_lower(there.ino),
            Some(_) => drop(self.tree.unlink(directory, hidden)),
            None => {}
        }
        Ok(())
    }

    /// Takes everything out of a directory, and of those in it, that this layer did not name. What
    /// comes in afterwards is this layer's, so each directory needs it once.
    fn hide_lower(&mut self, directory: Ino) {
        let layer = self.rules.layer;
        let mut open = vec![directory];
        while let Some(directory) = open.pop() {
            // The caller looks whether it was cancelled, and ends then.
            if self.budget.check_cancel().is_err() {
                return;
            }
            if self.tree.entries(directory).is_none() || !self.hidden.insert(directory) {
                continue;
            }
            let Some(entries) = self.tree.entries_mut(directory) else { continue };
            entries.retain(|_, entry| entry.layer == layer);
            open.extend(entries.values().map(|entry| entry.ino));
        }
    }

    fn meta(&mut self, entry: &TarEntry) -> Result<Meta, Refusal> {
        let (mode, uid, gid, mtime) = (entry.mode, entry.uid, entry.gid, entry.mtime);
        let (xattrs, left_out) = kept_xattrs(entry.xattrs.iter().cloned())?;
        self.left_out.xattrs += left_out;
        Ok(Meta { mode, uid, gid, mtime, xattrs })
    }
}

/// Extended attributes by name.
pub(crate) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// `user.*` and `security.*`, sorted, the last of each name, and how many others there were: access
/// lists are stored differently in ext4, and `trusted.*` are this machine's own.
pub(crate) fn kept_xattrs(
    all: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
) -> Result<(Xattrs, u64), Refusal> {
    let mut kept = BTreeMap::new();
    let mut left_out = 0;
    for (name, value) in all {
        check_characters(&name)?;
        let suffix = name.strip_prefix(b"user.").or_else(|| name.strip_prefix(b"security."));
        match suffix {
            Some(suffix) if !suffix.is_empty() && suffix.len() < 250 => {
                kept.insert(name, value);
            }
            _ => left_out += 1,
        }
    }
    let bytes: usize = kept.iter().map(|(name, value)| name.len() + value.len() + 24).sum();
    if bytes > MOST_XATTR_BYTES {
        return Err(Refusal::Attributes);
    }
    Ok((kept.into_iter().collect(), left_out))
}

/// A symbolic link's target. Where it leads is for the guest to see, whose root has nothing above
/// it: nothing here leaves the tree.
pub(crate) fn checked_target(target: &[u8]) -> Result<&[u8], Refusal> {
    check_characters(target)?;
    if target.is_empty() || target.len() > MOST_TARGET_BYTES {
        return Err(Refusal::BadTarget);
    }
    Ok(target)
}

#[cfg(test)]
mod tests;
