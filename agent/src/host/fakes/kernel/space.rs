//! Inodes and the room they take.
//!
//! Driven by every seam that makes, links or removes files. A file lives as long as a name or a
//! loop device has it, as on a real file system: its room comes back when the last of them goes.
//! What can go wrong: the file system is full.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The unit in which room is taken, in bytes.
pub(crate) const BLOCK: u64 = 4096;

/// There is no room left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Inode {
    /// Length in bytes.
    pub(crate) size: u64,
    /// What it occupies, in bytes.
    pub(crate) allocated: u64,
    /// Names it has, in scratch directories, the image directory and jails.
    names: u32,
    /// Loop devices over it.
    loops: u32,
    /// Its first bytes; what is beyond is zeroes.
    #[serde(with = "content", default, skip_serializing_if = "no_content")]
    pub(crate) content: Arc<[u8]>,
    /// As a snapshot's store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) store: Option<Store>,
}

/// What a snapshot's store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Store {
    /// Sectors in use, metadata included.
    pub(crate) used_sectors: u64,
    /// It could not be written once, and is lost.
    pub(crate) invalid: bool,
}

/// All inodes of the one file system.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Space {
    next: u64,
    pub(crate) limit: u64,
    pub(crate) used: u64,
    inodes: BTreeMap<u64, Inode>,
}

/// What this many bytes of content occupy; an empty file too has its inode.
pub(crate) const fn room_for(bytes: usize) -> u64 {
    let blocks = (bytes as u64).div_ceil(BLOCK);
    (if blocks == 0 { 1 } else { blocks }) * BLOCK
}

impl Space {
    pub(crate) const fn new(limit: u64) -> Self {
        Self { next: 0x2_0000, limit, used: 0, inodes: BTreeMap::new() }
    }

    /// Makes a file or directory with one name. Its number was never used before.
    pub(crate) fn create(
        &mut self,
        size: u64,
        allocated: u64,
        content: &[u8],
    ) -> Result<u64, Full> {
        self.take(allocated)?;
        let number = self.next;
        self.next += 1;
        self.inodes.insert(
            number,
            Inode { size, allocated, names: 1, loops: 0, content: content.into(), store: None },
        );
        Ok(number)
    }

    pub(crate) fn get(&self, inode: u64) -> Option<&Inode> {
        self.inodes.get(&inode)
    }

    /// For changes that take no room.
    pub(crate) fn get_mut(&mut self, inode: u64) -> Option<&mut Inode> {
        self.inodes.get_mut(&inode)
    }

    /// Lets a file occupy more.
    pub(crate) fn occupy(&mut self, inode: u64, allocated: u64) -> Result<(), Full> {
        let has = self.inodes.get(&inode).map_or(0, |inode| inode.allocated);
        self.take(allocated.saturating_sub(has))?;
        if let Some(inode) = self.inodes.get_mut(&inode) {
            inode.allocated = inode.allocated.max(allocated);
        }
        Ok(())
    }

    /// Makes a file no longer than this; whether it was.
    pub(crate) fn cut(&mut self, inode: u64, size: u64) -> bool {
        let Some(found) = self.inodes.get_mut(&inode).filter(|found| found.size > size) else {
            return false;
        };
        let kept = found.allocated.min(size.div_ceil(BLOCK) * BLOCK);
        let freed = found.allocated - kept;
        (found.size, found.allocated) = (size, kept);
        self.used = self.used.saturating_sub(freed);
        true
    }

    /// Another name for it.
    pub(crate) fn link(&mut self, inode: u64) {
        if let Some(inode) = self.inodes.get_mut(&inode) {
            inode.names += 1;
        }
    }

    /// One name less.
    pub(crate) fn unlink(&mut self, inode: u64) {
        if let Some(found) = self.inodes.get_mut(&inode) {
            found.names = found.names.saturating_sub(1);
        }
        self.drop_unused(inode);
    }

    /// A loop device over it.
    pub(crate) fn attached(&mut self, inode: u64) {
        if let Some(inode) = self.inodes.get_mut(&inode) {
            inode.loops += 1;
        }
    }

    /// One loop device less.
    pub(crate) fn detached(&mut self, inode: u64) {
        if let Some(found) = self.inodes.get_mut(&inode) {
            found.loops = found.loops.saturating_sub(1);
        }
        self.drop_unused(inode);
    }

    /// Whether not even one block is left.
    pub(crate) const fn is_full(&self) -> bool {
        self.used.saturating_add(BLOCK) > self.limit
    }

    /// All files, named or not.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.inodes.keys().copied()
    }

    fn take(&mut self, bytes: u64) -> Result<(), Full> {
        let used = self.used.saturating_add(bytes);
        if bytes > 0 && used > self.limit {
            return Err(Full);
        }
        self.used = used;
        Ok(())
    }

    fn drop_unused(&mut self, inode: u64) {
        let unused = |found: &Inode| found.names == 0 && found.loops == 0;
        if self.inodes.get(&inode).is_some_and(unused)
            && let Some(gone) = self.inodes.remove(&inode)
        {
            self.used = self.used.saturating_sub(gone.allocated);
        }
    }
}

fn no_content(content: &Arc<[u8]>) -> bool {
    content.is_empty()
}

/// Content as text where it is text, else as `hex:` and digits.
mod content {
    use std::sync::Arc;

    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(content: &Arc<[u8]>, to: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(content) {
            Ok(text) if !text.starts_with("hex:") => to.serialize_str(text),
            Ok(_) | Err(_) => to.serialize_str(&format!("hex:{}", hex::encode(content))),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<[u8]>, D::Error> {
        let text = String::deserialize(from)?;
        match text.strip_prefix("hex:") {
            Some(digits) => hex::decode(digits).map(Arc::from).map_err(D::Error::custom),
            None => Ok(Arc::from(text.into_bytes())),
        }
    }
}
