//! Puts one archive on top of a tree: a whole root file system, or a layer of a container image
//! with its whiteouts.
//!
//! The rules are OCI's (image-spec `layer.md`): a name replaces what a lower layer has there, a
//! directory over a directory keeps what is in it, `.wh.NAME` hides NAME of lower layers, and
//! `.wh..wh..opq` hides everything of lower layers in its directory. Beyond them, what no good
//! archive has is refused: see [`Refusal`].

use std::collections::BTreeMap;
use std::io::Read;

use crate::budget::Budget;
use crate::tarball::{EntryKind, TarEntry, Tarball};
use crate::tree::{Body, Contents, Entry, Ino, Meta, ROOT, Tree, check_characters, parts};
use crate::{Devices, ImportError, Refusal};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Bytes of a symbolic link's target (`PATH_MAX` without its end).
const MOST_TARGET_BYTES: usize = 4095;

/// Bytes of extended attributes that surely fit into one block with their names and headers.
const MOST_XATTR_BYTES: usize = 3500;

/// What was left out of all layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub(crate) devices: u64,
    pub(crate) xattrs: u64,
}

/// How a layer is read.
pub(crate) struct LayerRules {
    /// Its number, from 1; later ones lie on top.
    pub(crate) layer: u32,
    /// Whether names that begin with `.wh.` are whiteouts.
    pub(crate) whiteouts: bool,
    pub(crate) devices: Devices,
}

/// Puts all entries of `archive` on top of `tree`.
pub(crate) fn put_layer<R: Read>(
    archive: &mut Tarball<R>,
    rules: &LayerRules,
    tree: &mut Tree,
    left_out: &mut LeftOut,
    budget: &Budget<'_>,
) -> Result<(), ImportError> {
    while let Some(entry) = archive.next()? {
        budget.spend_entry().map_err(|stop| archive.stopped(stop))?;
        if entry.path.len() as u64 > budget.limits.path_bytes {
            return Err(archive.limited(budget.limits.path_bytes, "bytes in a path"));
        }
        let put = Layer { rules, tree, left_out }.put(&entry);
        put.map_err(|why| archive.refused(&entry.path, why))?;
    }
    Ok(())
}

struct Layer<'a> {
    rules: &'a LayerRules,
    tree: &'a mut Tree,
    left_out: &'a mut LeftOut,
}

impl Layer<'_> {
    fn put(&mut self, entry: &TarEntry) -> Result<(), Refusal> {
        let path = parts(&entry.path)?;
        let Some((name, above)) = path.split_last() else {
            // The root itself, "./".
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
            EntryKind::Symlink => Body::Symlink(checked_target(above.len(), &entry.link)?.into()),
            EntryKind::Fifo => Body::Fifo,
            EntryKind::CharDevice(major, minor) => match self.device()? {
                true => Body::CharDevice(major, minor),
                false => return Ok(()),
            },
            EntryKind::BlockDevice(major, minor) => match self.device()? {
                true => Body::BlockDevice(major, minor),
                false => return Ok(()),
            },
            EntryKind::Unsupported => return Err(Refusal::UnsupportedKind),
        };
        let meta = self.meta(entry)?;
        let directory = self.place(above, name)?;
        let ino = self.tree.add(meta, body);
        self.tree.link(directory, name, ino, self.rules.layer);
        Ok(())
    }

    /// Whether a device node is kept.
    fn device(&mut self) -> Result<bool, Refusal> {
        match self.rules.devices {
            Devices::Refuse => Err(Refusal::Device),
            Devices::Keep => Ok(true),
            Devices::LeaveOut => {
                self.left_out.devices += 1;
                Ok(false)
            }
        }
    }

    /// The directory for a name that this layer does not have yet.
    fn place(&mut self, above: &[&[u8]], name: &[u8]) -> Result<Ino, Refusal> {
        let directory = self.tree.make_directories(above, self.rules.layer)?;
        match self.tree.entry(directory, name) {
            Some(Entry { layer, .. }) if layer == self.rules.layer => Err(Refusal::Duplicate),
            _ => Ok(directory),
        }
    }

    /// A directory may be named again, also by what lies in it; the last one's rights stand.
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
            Some(there) if there.layer == self.rules.layer => return Err(Refusal::Duplicate),
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
        let target = parts(&entry.link).map_err(|why| match why {
            Refusal::ParentPart | Refusal::Absolute => Refusal::LinkOut,
            other => other,
        })?;
        let directory = self.place(above, name)?;
        let ino = self.tree.find(&target).ok_or(Refusal::LinkTarget)?;
        if self.tree.entries(ino).is_some() {
            return Err(Refusal::LinkTarget);
        }
        self.tree.link(directory, name, ino, self.rules.layer);
        Ok(())
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

    /// Takes everything out of a directory that this layer did not name. Not deeper than the
    /// longest path, so the recursion is bounded.
    fn hide_lower(&mut self, directory: Ino) {
        let layer = self.rules.layer;
        let Some(entries) = self.tree.entries_mut(directory) else { return };
        entries.retain(|_, entry| entry.layer == layer);
        let kept: Vec<_> = entries.values().map(|entry| entry.ino).collect();
        for ino in kept {
            self.hide_lower(ino);
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

/// A symbolic link's target, which must not climb above the root of the archive. Absolute ones
/// are the guest's own: nothing here follows them.
pub(crate) fn checked_target(depth: usize, target: &[u8]) -> Result<&[u8], Refusal> {
    check_characters(target)?;
    if target.is_empty() || target.len() > MOST_TARGET_BYTES {
        return Err(Refusal::BadTarget);
    }
    let mut depth = if target.starts_with(b"/") { 0 } else { depth };
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => depth = depth.checked_sub(1).ok_or(Refusal::LinkOut)?,
            _ => depth += 1,
        }
    }
    Ok(target)
}

#[cfg(test)]
mod tests;
