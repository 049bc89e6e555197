//! The superblock, the descriptors of the groups and the journal's own superblock
//! (Documentation/filesystems/ext4/{super,group_descr,journal}.rst).

use super::bytes::{BLOCK, put16, put32};
use super::geometry::{BLOCKS_PER_GROUP, Geometry, INODE_BYTES};
use super::{FIRST_NUMBER, JOURNAL_NUMBER, MADE_AT};

pub(super) const MAGIC: u16 = 0xef53;

/// has_journal, ext_attr, dir_index.
const COMPATIBLE: u32 = 0x4 | 0x8 | 0x20;
/// filetype, extents.
const INCOMPATIBLE: u32 = 0x2 | 0x40;
/// sparse_super, large_file, huge_file, dir_nlink, extra_isize.
const READ_ONLY_COMPATIBLE: u32 = 0x1 | 0x2 | 0x8 | 0x20 | 0x40;

/// What is free and used in one group.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct GroupUse {
    pub(super) free_blocks: u32,
    pub(super) free_inodes: u32,
    pub(super) directories: u32,
}

/// The superblock as it lies in `group`, 1024 bytes.
pub(super) fn superblock(
    geometry: &Geometry,
    uses: &[GroupUse],
    id: &[u8; 16],
    journal_inode: &[u8; 256],
    group: u32,
) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    let b = &mut bytes[..];
    let sum = |of: fn(&GroupUse) -> u32| uses.iter().map(of).sum::<u32>();
    put32(b, 0, geometry.inodes());
    put32(b, 4, geometry.blocks);
    put32(b, 12, sum(|group| group.free_blocks));
    put32(b, 16, sum(|group| group.free_inodes));
    put32(b, 24, 2); // blocks of 1024 << 2 bytes
    put32(b, 28, 2);
    put32(b, 32, BLOCKS_PER_GROUP);
    put32(b, 36, BLOCKS_PER_GROUP);
    put32(b, 40, geometry.inodes_per_group);
    put32(b, 48, MADE_AT);
    put16(b, 54, u16::MAX); // mounted as often as one likes without a check
    put16(b, 56, MAGIC);
    put16(b, 58, 1); // clean
    put16(b, 60, 1); // goes on after an error
    put32(b, 64, MADE_AT);
    put32(b, 76, 1);
    put32(b, 84, FIRST_NUMBER);
    put16(b, 88, INODE_BYTES as u16);
    put16(b, 90, group as u16);
    put32(b, 92, COMPATIBLE);
    put32(b, 96, INCOMPATIBLE);
    put32(b, 100, READ_ONLY_COMPATIBLE);
    b[104..120].copy_from_slice(id);
    put32(b, 224, JOURNAL_NUMBER);
    b[236..252].copy_from_slice(id); // seed of the directories' hashes
    b[252] = 1; // half MD4
    b[253] = 1; // the journal's blocks are backed up here
    put32(b, 256, 0x000c); // user_xattr, acl
    put32(b, 264, MADE_AT);
    b[268..328].copy_from_slice(&journal_inode[40..100]);
    b[328..332].copy_from_slice(&journal_inode[108..112]);
    b[332..336].copy_from_slice(&journal_inode[4..8]);
    put16(b, 348, 32);
    put16(b, 350, 32);
    put32(b, 352, 1); // hashes are of signed characters, as on x86
    bytes
}

/// The descriptors of all groups, in whole blocks.
pub(super) fn descriptors(geometry: &Geometry, uses: &[GroupUse]) -> Vec<u8> {
    let mut bytes = vec![0; geometry.descriptor_blocks as usize * BLOCK];
    for (group, (used, b)) in uses.iter().zip(bytes.chunks_mut(32)).enumerate() {
        let group = group as u32;
        put32(b, 0, geometry.block_bitmap(group));
        put32(b, 4, geometry.inode_bitmap(group));
        put32(b, 8, geometry.inode_table(group));
        put16(b, 12, used.free_blocks as u16);
        put16(b, 14, used.free_inodes as u16);
        put16(b, 16, used.directories as u16);
    }
    bytes
}

/// The first block of an empty journal; its fields are big-endian.
pub(super) fn journal_superblock(blocks: u32, id: &[u8; 16]) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    put(0, 0xc03b_3998);
    put(4, 4); // a superblock, version 2
    put(12, BLOCK as u32);
    put(16, blocks);
    put(20, 1); // its first block of the log
    put(24, 1); // the first transaction expected
    put(64, 1); // users
    bytes[48..64].copy_from_slice(id);
    bytes
}
