//! Writes a tree as an ext4 file system, block by block into a file.
//!
//! ```text
//! Tree ── Plan::new (pure: numbers, blocks, sizes) ─▶ Plan ── write_structures, file_writer ─▶ file
//! ```
//!
//! The whole tree is known before the first byte is written, so everything is laid out once, in
//! order, with no fragment beyond what the groups force. What is written is plain: 4 KiB blocks,
//! extents, 256-byte inodes, a journal, sparse copies of the superblock, linear directories; the
//! same tree gives the same bytes. (Documentation/filesystems/ext4/ of Linux is where the formats
//! are from; the tests have e2fsck read every file system that they make.)
//!
//! Why not a library or a program: `arcbox-ext4` 0.1 writes no journal, so a guest that is killed
//! may lose its file system, leaves few inodes free, and takes names in UTF-8 alone; `lwext4` is C
//! and partly GPL; `mke2fs -d` needs the tree on this machine's file system first, with rights that
//! the server does not have to make files of other owners.

mod bytes;
mod check;
mod directory;
mod encode;
mod geometry;
mod plan;
mod superblock;
mod write;
mod xattr;

pub(crate) use check::check_superblock;
pub(crate) use plan::{Plan, PlanError};
pub(crate) use write::is_zero;

/// The only block size we write.
pub(crate) const BLOCK_BYTES: u64 = 4096;

/// Inode numbers with a meaning of their own.
const ROOT_NUMBER: u32 = 2;
const JOURNAL_NUMBER: u32 = 8;
const FIRST_NUMBER: u32 = 11;

/// Names at the root that e2fsck wants to find.
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// When the file system was made and last written, as it says: the same for all, so that the
/// same contents give the same bytes. 2024-01-01T00:00:00Z.
const MADE_AT: u32 = 1_704_067_200;

/// Blocks that lie side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: u32,
    pub(crate) blocks: u32,
}

#[cfg(test)]
mod tests;
