//! Extended attributes, in the inode where they fit and else in a block of their own
//! (Documentation/filesystems/ext4/attributes.rst).

use super::BLOCK_BYTES;

const MAGIC: u32 = 0xea02_0000;

/// What an inode of 256 bytes has left, the magic number not counted.
const IN_INODE_BYTES: usize = 256 - 128 - 32 - 4;
const BLOCK_HEADER_BYTES: usize = 32;
const ENTRY_BYTES: usize = 16;

type Attribute = (Vec<u8>, Vec<u8>);

pub(super) fn needs_block(attributes: &[Attribute]) -> bool {
    !attributes.is_empty() && table(attributes, IN_INODE_BYTES, 0, false).is_none()
}

/// What follows the fields of an inode; `None` without any or where they do not fit.
pub(super) fn in_inode(attributes: &[Attribute]) -> Option<Vec<u8>> {
    if attributes.is_empty() {
        return None;
    }
    let table = table(attributes, IN_INODE_BYTES, 0, false)?;
    Some([MAGIC.to_le_bytes().to_vec(), table].concat())
}

/// A block of its own; `None` where they do not fit.
pub(super) fn in_block(attributes: &[Attribute]) -> Option<Vec<u8>> {
    let room = BLOCK_BYTES as usize - BLOCK_HEADER_BYTES;
    let table = table(attributes, room, BLOCK_HEADER_BYTES, true)?;
    let mut block = vec![0; BLOCK_HEADER_BYTES];
    block[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    block[4..8].copy_from_slice(&1_u32.to_le_bytes()); // reference count
    block[8..12].copy_from_slice(&1_u32.to_le_bytes()); // blocks
    let hash = sorted(attributes).iter().fold(0_u32, |hash, (index, name, value)| {
        let _ = index;
        hash.rotate_left(16) ^ entry_hash(name, value)
    });
    block[12..16].copy_from_slice(&hash.to_le_bytes());
    block.extend(table);
    Some(block)
}

/// Entries from the front, values from the back, at least four zero bytes between.
fn table(
    attributes: &[Attribute],
    room: usize,
    values_from: usize,
    hashed: bool,
) -> Option<Vec<u8>> {
    let mut table = vec![0; room];
    let (mut front, mut back) = (0, room);
    for (index, name, value) in sorted(attributes) {
        back = back.checked_sub(value.len().next_multiple_of(4))?;
        let length = ENTRY_BYTES + name.len().next_multiple_of(4);
        if front + length + 4 > back {
            return None;
        }
        table[back..back + value.len()].copy_from_slice(value);
        let entry = &mut table[front..front + length];
        entry[0] = u8::try_from(name.len()).ok()?;
        entry[1] = index;
        let offset = if value.is_empty() { 0 } else { u16::try_from(back + values_from).ok()? };
        entry[2..4].copy_from_slice(&offset.to_le_bytes());
        entry[8..12].copy_from_slice(&u32::try_from(value.len()).ok()?.to_le_bytes());
        if hashed {
            entry[12..16].copy_from_slice(&entry_hash(name, value).to_le_bytes());
        }
        entry[ENTRY_BYTES..ENTRY_BYTES + name.len()].copy_from_slice(name);
        front += length;
    }
    Some(table)
}

/// By prefix, length and name, as the kernel looks for them.
fn sorted(attributes: &[Attribute]) -> Vec<(u8, &[u8], &[u8])> {
    let mut all: Vec<_> = attributes
        .iter()
        .filter_map(|(name, value)| {
            let (index, rest) = prefixed(name)?;
            Some((index, rest, &value[..]))
        })
        .collect();
    all.sort_by_key(|(index, name, _)| (*index, name.len(), *name));
    all
}

fn prefixed(name: &[u8]) -> Option<(u8, &[u8])> {
    let user = name.strip_prefix(b"user.").map(|rest| (1, rest));
    user.or_else(|| name.strip_prefix(b"security.").map(|rest| (6, rest)))
}

fn entry_hash(name: &[u8], value: &[u8]) -> u32 {
    let hash = name.iter().fold(0_u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
    value.chunks(4).fold(hash, |hash, chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        hash.rotate_left(16) ^ u32::from_le_bytes(word)
    })
}
