//! Carries a [`Plan`] out: structures and directories from the tree, contents as they are brought.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};

use super::bytes::BLOCK;
use super::directory::directory;
use super::encode;
use super::geometry::{BLOCKS_PER_GROUP, Geometry};
use super::plan::{Node, Plan, SHORT_TARGET_BYTES};
use super::superblock::{GroupUse, descriptors, journal_superblock, superblock};
use super::{BLOCK_BYTES, Extent, FIRST_NUMBER, JOURNAL_NUMBER, xattr};
use crate::tree::{Body, Ino, Tree};

impl Plan {
    /// Writes everything but the contents of files into `file`, which is empty, until `stop` says
    /// so: then it is an error, and what was written is nothing.
    pub(crate) fn write_structures(
        &self,
        tree: &Tree,
        file: &File,
        stop: &dyn Fn() -> bool,
    ) -> io::Result<()> {
        file.set_len(self.size_bytes())?;
        for node in &self.nodes {
            if stop() {
                return Err(stopped());
            }
            self.write_node(tree, node, file)?;
        }
        self.write_inodes(tree, file, stop)?;
        let id = self.id(tree);
        let journal_blocks = self.geometry.journal_blocks;
        if let Some(first) = self.journal.first() {
            write_blocks(file, first.start, &journal_superblock(journal_blocks, &id))?;
        }
        self.write_groups(tree, &id, file)
    }

    /// Takes the contents of a file of the tree; `None` if it is no file with a name.
    pub(crate) fn file_writer<'a>(&'a self, ino: Ino, file: &'a File) -> Option<FileWriter<'a>> {
        let node = self.node(ino)?;
        let size = node.size;
        Some(FileWriter { file, extents: &node.extents, in_extent: 0, size, written: 0 })
    }

    /// Directories, long targets, and what an inode has no room for.
    fn write_node(&self, tree: &Tree, node: &Node, file: &File) -> io::Result<()> {
        let inode = tree.inode(node.ino);
        match &inode.body {
            Body::Directory(entries) => {
                let named = entries.iter().filter_map(|(name, entry)| {
                    let number = self.node(entry.ino)?.number;
                    Some((&**name, number, encode::directory_type(&tree.inode(entry.ino).body)))
                });
                let bytes = directory(node.number, node.parent, named);
                write_extents(file, &node.extents, &bytes)?;
            }
            Body::Symlink(target) if target.len() >= SHORT_TARGET_BYTES => {
                write_extents(file, &node.extents, target)?;
            }
            Body::Symlink(_)
            | Body::File { .. }
            | Body::Fifo
            | Body::CharDevice(..)
            | Body::BlockDevice(..) => {}
        }
        for (block, bytes) in encode::extent_leaves(node) {
            write_blocks(file, block, &bytes)?;
        }
        if let Some(block) = node.xattr_block {
            let bytes = xattr::in_block(&inode.meta.xattrs)
                .ok_or_else(|| io::Error::other("extended attributes past a block"))?;
            write_blocks(file, block, &bytes)?;
        }
        Ok(())
    }

    /// Inodes in order of their numbers, a table at a time.
    fn write_inodes(&self, tree: &Tree, file: &File, stop: &dyn Fn() -> bool) -> io::Result<()> {
        let per_group = self.geometry.inodes_per_group;
        let mut by_number: Vec<_> = self.nodes.iter().collect();
        by_number.sort_by_key(|node| node.number);
        for group in 0..self.geometry.groups {
            if stop() {
                return Err(stopped());
            }
            let first = group * per_group + 1;
            let from = by_number.partition_point(|node| node.number < first);
            let to = by_number.partition_point(|node| node.number < first + per_group);
            let mut table: Vec<u8> = Vec::new();
            let mut put = |number: u32, inode: [u8; 256]| {
                let at = (number - first) as usize * inode.len();
                table.resize(table.len().max(at + inode.len()), 0);
                table[at..at + inode.len()].copy_from_slice(&inode);
            };
            for node in &by_number[from..to] {
                put(node.number, encode::inode(node, tree.inode(node.ino)));
            }
            if group == 0 {
                put(JOURNAL_NUMBER, encode::journal_inode(&self.journal));
            }
            write_blocks(file, self.geometry.inode_table(group), &table)?;
        }
        Ok(())
    }

    /// Bitmaps, and the superblock with all descriptors wherever there is a copy.
    fn write_groups(&self, tree: &Tree, id: &[u8; 16], file: &File) -> io::Result<()> {
        let geometry = &self.geometry;
        let mut directories: BTreeMap<u32, u32> = BTreeMap::new();
        let mut last_number = FIRST_NUMBER;
        for node in &self.nodes {
            last_number = last_number.max(node.number);
            if tree.entries(node.ino).is_some() {
                *directories.entry((node.number - 1) / geometry.inodes_per_group).or_default() += 1;
            }
        }
        let mut uses = Vec::with_capacity(geometry.groups as usize);
        for group in 0..geometry.groups {
            let (start, end) = (Geometry::group_start(group), geometry.group_end(group));
            let used = geometry.data(group).0.max(self.first_free.clamp(start, end));
            let mut bitmap = Bits::default();
            bitmap.set(0, used - start);
            bitmap.set(end - start, BLOCKS_PER_GROUP);
            write_blocks(file, geometry.block_bitmap(group), &bitmap.0)?;
            let before = group * geometry.inodes_per_group;
            let used_inodes = last_number.saturating_sub(before).min(geometry.inodes_per_group);
            let mut bitmap = Bits::default();
            bitmap.set(0, used_inodes);
            bitmap.set(geometry.inodes_per_group, BLOCKS_PER_GROUP);
            write_blocks(file, geometry.inode_bitmap(group), &bitmap.0)?;
            uses.push(GroupUse {
                free_blocks: end - used,
                free_inodes: geometry.inodes_per_group - used_inodes,
                directories: directories.get(&group).copied().unwrap_or(0),
            });
        }
        let table = descriptors(geometry, &uses);
        let journal = encode::journal_inode(&self.journal);
        for group in (0..geometry.groups).filter(|group| Geometry::has_superblock(*group)) {
            let copy = superblock(geometry, &uses, id, &journal, group);
            let at = u64::from(Geometry::group_start(group)) * BLOCK_BYTES;
            // Before the first one there is room for a boot sector.
            file.write_all_at(&copy, if group == 0 { 1024 } else { at })?;
            file.write_all_at(&table, at + BLOCK_BYTES)?;
        }
        Ok(())
    }

    /// A UUID of what the tree looks like: the same tree, the same id.
    fn id(&self, tree: &Tree) -> [u8; 16] {
        let mut hash = Sha256::new();
        hash.update(self.geometry.blocks.to_le_bytes());
        for node in &self.nodes {
            hash.update(encode::inode(node, tree.inode(node.ino)));
            for name in tree.entries(node.ino).into_iter().flatten().map(|(name, _)| name) {
                hash.update(name);
                hash.update([0]);
            }
        }
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize()[..16]);
        // Version 8, "custom", of RFC 9562.
        id[6] = id[6] & 0x0f | 0x80;
        id[8] = id[8] & 0x3f | 0x80;
        id
    }
}

fn stopped() -> io::Error {
    io::Error::other("it was stopped")
}

struct Bits(Vec<u8>);

impl Default for Bits {
    fn default() -> Self {
        Self(vec![0; BLOCK])
    }
}

impl Bits {
    fn set(&mut self, from: u32, to: u32) {
        for bit in from..to {
            self.0[bit as usize / 8] |= 1 << (bit % 8);
        }
    }
}

fn write_blocks(file: &File, block: u32, bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(bytes, u64::from(block) * BLOCK_BYTES)
}

fn write_extents(file: &File, extents: &[Extent], mut bytes: &[u8]) -> io::Result<()> {
    for extent in extents {
        let part = bytes.len().min(extent.blocks as usize * BLOCK);
        write_blocks(file, extent.start, &bytes[..part])?;
        bytes = &bytes[part..];
    }
    Ok(())
}

/// Writes the contents of one file from its beginning to its end; blocks of zeros become holes.
#[derive(Debug)]
pub(crate) struct FileWriter<'a> {
    file: &'a File,
    extents: &'a [Extent],
    /// Bytes written of the first extent.
    in_extent: u64,
    size: u64,
    written: u64,
}

impl FileWriter<'_> {
    /// The next bytes; `UnexpectedEof` when they are more than the file has.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if bytes.len() as u64 > self.size - self.written {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while !bytes.is_empty() {
            let Some((extent, rest)) = self.extents.split_first() else {
                return Err(io::Error::other("a file has more bytes than blocks"));
            };
            let length = u64::from(extent.blocks) * BLOCK_BYTES;
            if self.in_extent == length {
                (self.extents, self.in_extent) = (rest, 0);
                continue;
            }
            let in_block = BLOCK_BYTES - self.in_extent % BLOCK_BYTES;
            let part = in_block.min(length - self.in_extent).min(bytes.len() as u64);
            // As many whole blocks at once as are no holes.
            let part = if part == BLOCK_BYTES {
                let most = (length - self.in_extent).min(bytes.len() as u64) as usize;
                let full = bytes[..most].chunks_exact(BLOCK).take_while(|block| !is_zero(block));
                full.count().max(1) as u64 * BLOCK_BYTES
            } else {
                part
            };
            let (now, later) = bytes.split_at(part as usize);
            if !is_zero(now) {
                let at = u64::from(extent.start) * BLOCK_BYTES + self.in_extent;
                self.file.write_all_at(now, at)?;
            }
            self.in_extent += part;
            self.written += part;
            bytes = later;
        }
        Ok(())
    }

    /// Bytes that are to come in all.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Whether all of the file's bytes came.
    pub(crate) fn is_complete(&self) -> bool {
        self.written == self.size
    }
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Comparing slices is fast without optimization too.
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    bytes.chunks(BLOCK).all(|chunk| chunk == &ZEROS[..chunk.len()])
}
