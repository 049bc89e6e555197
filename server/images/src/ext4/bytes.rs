//! Numbers in blocks: ext4 has all of its own with the lowest byte first.

use super::BLOCK_BYTES;

pub(super) const BLOCK: usize = BLOCK_BYTES as usize;

pub(super) fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

pub(super) fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
