//! Inodes and extents as bytes (Documentation/filesystems/ext4/{inodes,ifork}.rst).

use super::bytes::{BLOCK, put16, put32};
use super::plan::{EXTENTS_IN_BLOCK, EXTENTS_IN_INODE, Node, SHORT_TARGET_BYTES};
use super::{BLOCK_BYTES, Extent, xattr};
use crate::tree::{Body, Inode};

const SECTORS_PER_BLOCK: u64 = BLOCK_BYTES / 512;

const EXTENTS_FLAG: u32 = 0x0008_0000;
const EXTENT_MAGIC: u16 = 0xf30a;

/// The time that 34 bits hold.
const LATEST: i64 = (1 << 34) - (1 << 31) - 1;
const EARLIEST: i64 = -(1 << 31);

/// Type as a mode says it, and as a directory does.
fn types(body: &Body) -> (u16, u8) {
    match body {
        Body::File { .. } => (0o100_000, 1),
        Body::Directory(_) => (0o040_000, 2),
        Body::CharDevice(..) => (0o020_000, 3),
        Body::BlockDevice(..) => (0o060_000, 4),
        Body::Fifo => (0o010_000, 5),
        Body::Symlink(_) => (0o120_000, 7),
    }
}

pub(super) fn directory_type(body: &Body) -> u8 {
    types(body).1
}

/// The 256 bytes of an inode.
pub(super) fn inode(node: &Node, inode: &Inode) -> [u8; 256] {
    let meta = &inode.meta;
    let mode = types(&inode.body).0 | (meta.mode & 0o7777);
    let mut bytes = [0; 256];
    let (low, high) = split(meta.uid);
    put16(&mut bytes, 2, low);
    put16(&mut bytes, 120, high);
    let (low, high) = split(meta.gid);
    put16(&mut bytes, 24, low);
    put16(&mut bytes, 122, high);
    fields(&mut bytes, mode, node.links, node.size, meta.mtime);
    let mut blocks = node.extent_blocks.len() as u64 + u64::from(node.xattr_block.is_some());
    blocks += node.extents.iter().map(|extent| u64::from(extent.blocks)).sum::<u64>();
    put_blocks(&mut bytes, blocks);
    put32(&mut bytes, 104, node.xattr_block.unwrap_or(0));
    match &inode.body {
        Body::Symlink(target) if target.len() < SHORT_TARGET_BYTES => {
            bytes[40..40 + target.len()].copy_from_slice(target);
        }
        Body::CharDevice(major, minor) | Body::BlockDevice(major, minor) => {
            put_device(&mut bytes, *major, *minor);
        }
        Body::Fifo => {}
        Body::File { .. } | Body::Directory(_) | Body::Symlink(_) => {
            put32(&mut bytes, 32, EXTENTS_FLAG);
            extent_root(&mut bytes[40..100], &node.extents, &node.extent_blocks);
        }
    }
    if node.xattr_block.is_none()
        && let Some(attributes) = xattr::in_inode(&meta.xattrs)
    {
        bytes[160..160 + attributes.len()].copy_from_slice(&attributes);
    }
    bytes
}

/// The inode of the journal: a file of root's without a name.
pub(super) fn journal_inode(extents: &[Extent]) -> [u8; 256] {
    let mut bytes = [0; 256];
    let blocks = extents.iter().map(|extent| u64::from(extent.blocks)).sum::<u64>();
    fields(&mut bytes, 0o100_600, 1, blocks * BLOCK_BYTES, super::MADE_AT.into());
    put_blocks(&mut bytes, blocks);
    put32(&mut bytes, 32, EXTENTS_FLAG);
    extent_root(&mut bytes[40..100], extents, &[]);
    bytes
}

fn fields(bytes: &mut [u8], mode: u16, links: u32, size: u64, time: i64) {
    put16(bytes, 0, mode);
    put32(bytes, 4, size as u32);
    put32(bytes, 108, (size >> 32) as u32);
    put16(bytes, 26, links as u16);
    put16(bytes, 128, 32); // bytes used beyond the first 128
    let time = time.clamp(EARLIEST, LATEST);
    // The first two bits beyond 32 count periods from 1901 on.
    let period = ((time - EARLIEST) >> 32) as u32;
    for (at, extra) in [(8, 140), (12, 132), (16, 136), (144, 148)] {
        put32(bytes, at, time as u32);
        put32(bytes, extra, period);
    }
}

fn put_blocks(bytes: &mut [u8], blocks: u64) {
    let sectors = blocks * SECTORS_PER_BLOCK;
    put32(bytes, 28, sectors as u32);
    put16(bytes, 116, (sectors >> 32) as u16);
}

fn put_device(bytes: &mut [u8], major: u32, minor: u32) {
    if major < 256 && minor < 256 {
        put32(bytes, 40, major << 8 | minor);
    } else {
        put32(bytes, 44, (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12);
    }
}

fn split(id: u32) -> (u16, u16) {
    (id as u16, (id >> 16) as u16)
}

/// The root of the extents: themselves, or the blocks that hold them.
fn extent_root(bytes: &mut [u8], extents: &[Extent], extent_blocks: &[u32]) {
    if extent_blocks.is_empty() {
        extent_node(bytes, extents, EXTENTS_IN_INODE, 0);
        return;
    }
    extent_header(bytes, extent_blocks.len(), EXTENTS_IN_INODE, 1);
    let mut logical = 0;
    for (place, (leaf, held)) in
        extent_blocks.iter().zip(extents.chunks(EXTENTS_IN_BLOCK)).enumerate()
    {
        let at = 12 + place * 12;
        put32(bytes, at, logical);
        put32(bytes, at + 4, *leaf);
        logical += held.iter().map(|extent| extent.blocks).sum::<u32>();
    }
}

/// The blocks that hold the extents of a node whose inode cannot, in order.
pub(super) fn extent_leaves(node: &Node) -> Vec<(u32, Vec<u8>)> {
    let mut logical = 0;
    let leaf = |(block, held): (&u32, &[Extent])| {
        let mut bytes = vec![0; BLOCK];
        extent_node(&mut bytes, held, EXTENTS_IN_BLOCK, logical);
        logical += held.iter().map(|extent| extent.blocks).sum::<u32>();
        (*block, bytes)
    };
    node.extent_blocks.iter().zip(node.extents.chunks(EXTENTS_IN_BLOCK)).map(leaf).collect()
}

fn extent_node(bytes: &mut [u8], extents: &[Extent], most: usize, mut logical: u32) {
    extent_header(bytes, extents.len(), most, 0);
    for (place, extent) in extents.iter().enumerate() {
        let at = 12 + place * 12;
        put32(bytes, at, logical);
        put16(bytes, at + 4, extent.blocks as u16);
        put32(bytes, at + 8, extent.start);
        logical += extent.blocks;
    }
}

fn extent_header(bytes: &mut [u8], entries: usize, most: usize, depth: u16) {
    put16(bytes, 0, EXTENT_MAGIC);
    put16(bytes, 2, entries as u16);
    put16(bytes, 4, most as u16);
    put16(bytes, 6, depth);
}
