//! How a file system of a size is divided: groups, tables, journal. Pure.

use super::BLOCK_BYTES;

/// One bitmap block has a bit for each.
pub(super) const BLOCKS_PER_GROUP: u32 = 8 * BLOCK_BYTES as u32;
pub(super) const INODE_BYTES: u32 = 256;
const INODES_PER_BLOCK: u32 = BLOCK_BYTES as u32 / INODE_BYTES;
const DESCRIPTOR_BYTES: u32 = 32;
const DESCRIPTORS_PER_BLOCK: u32 = BLOCK_BYTES as u32 / DESCRIPTOR_BYTES;

/// 16 MiB: below it a journal leaves nothing.
const FEWEST_BLOCKS: u64 = 4096;

/// A last group with less room than this is left out.
const FEWEST_DATA_BLOCKS: u32 = 64;

/// One inode for so many blocks (16 KiB), as mke2fs has it.
const BLOCKS_PER_INODE: u64 = 4;

/// Inodes that are there beyond the ones used and a quarter more.
const SPARE_INODES: u64 = 1024;

/// The division of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) blocks: u32,
    pub(super) groups: u32,
    pub(super) inodes_per_group: u32,
    pub(super) descriptor_blocks: u32,
    pub(super) journal_blocks: u32,
}

impl Geometry {
    /// For at most so many blocks and at least so many inodes; `None` if that cannot be.
    pub(super) fn new(blocks: u64, inodes: u64) -> Option<Self> {
        if blocks < FEWEST_BLOCKS {
            return None;
        }
        let blocks = u32::try_from(blocks).ok()?;
        let groups = blocks.div_ceil(BLOCKS_PER_GROUP);
        let spared = inodes + inodes / 4 + SPARE_INODES;
        let most = u64::from(BLOCKS_PER_GROUP) * u64::from(groups);
        if inodes > most {
            return None;
        }
        let wanted = spared.max(u64::from(blocks) / BLOCKS_PER_INODE).min(most);
        let per_group = wanted.div_ceil(u64::from(groups));
        let per_group = per_group.next_multiple_of(u64::from(INODES_PER_BLOCK));
        let geometry = Self {
            blocks,
            groups,
            inodes_per_group: u32::try_from(per_group).ok()?,
            descriptor_blocks: groups.div_ceil(DESCRIPTORS_PER_BLOCK),
            journal_blocks: journal_blocks(blocks),
        };
        let last = geometry.data(groups - 1);
        if last.1.saturating_sub(last.0) < FEWEST_DATA_BLOCKS {
            let without = u64::from(groups - 1) * u64::from(BLOCKS_PER_GROUP);
            return Self::new(without, inodes);
        }
        Some(geometry)
    }

    /// Groups 0, 1 and the powers of 3, 5 and 7 hold a copy of the superblock.
    pub(super) fn has_superblock(group: u32) -> bool {
        let power_of = |base: u32| {
            let mut power = base;
            while power < group {
                power = power.saturating_mul(base);
            }
            power == group
        };
        group <= 1 || [3, 5, 7].into_iter().any(power_of)
    }

    pub(super) fn group_start(group: u32) -> u32 {
        group * BLOCKS_PER_GROUP
    }

    /// Where the group's block bitmap is; the inode bitmap and the inode table follow.
    pub(super) fn block_bitmap(&self, group: u32) -> u32 {
        let copy = if Self::has_superblock(group) { 1 + self.descriptor_blocks } else { 0 };
        Self::group_start(group) + copy
    }

    pub(super) fn inode_bitmap(&self, group: u32) -> u32 {
        self.block_bitmap(group) + 1
    }

    pub(super) fn inode_table(&self, group: u32) -> u32 {
        self.block_bitmap(group) + 2
    }

    pub(super) fn inode_table_blocks(&self) -> u32 {
        self.inodes_per_group / INODES_PER_BLOCK
    }

    /// First block for data of a group, and the one after its last.
    pub(super) fn data(&self, group: u32) -> (u32, u32) {
        let start = self.inode_table(group) + self.inode_table_blocks();
        (start, self.group_end(group))
    }

    pub(super) fn group_end(&self, group: u32) -> u32 {
        let end = u64::from(group + 1) * u64::from(BLOCKS_PER_GROUP);
        end.min(u64::from(self.blocks)) as u32
    }

    pub(super) fn inodes(&self) -> u32 {
        self.groups * self.inodes_per_group
    }

    /// Blocks for files, the journal not counted.
    pub(super) fn room(&self) -> u64 {
        let all: u64 = (0..self.groups)
            .map(|group| self.data(group))
            .map(|(start, end)| u64::from(end.saturating_sub(start)))
            .sum();
        all.saturating_sub(u64::from(self.journal_blocks))
    }
}

/// As mke2fs has it, but never more than 64 MiB.
fn journal_blocks(blocks: u32) -> u32 {
    match blocks {
        0..32_768 => 1024,
        32_768..262_144 => 4096,
        262_144..524_288 => 8192,
        _ => 16_384,
    }
}
