//! Directories as blocks of entries (Documentation/filesystems/ext4/directory.rst). Who plans asks
//! how many blocks one has, and who writes asks for the blocks themselves.

use super::bytes::{BLOCK, put16, put32};

fn entry_bytes(name: usize) -> usize {
    8 + name.next_multiple_of(4)
}

/// How many blocks a directory with names of these lengths has, `.` and `..` included.
pub(super) fn directory_blocks(names: impl Iterator<Item = usize>) -> u32 {
    let (mut blocks, mut used) = (1, entry_bytes(1) + entry_bytes(2));
    for length in names.map(entry_bytes) {
        if used + length > BLOCK {
            blocks += 1;
            used = 0;
        }
        used += length;
    }
    blocks
}

/// A directory's blocks; entries are name, number and type, without `.` and `..`.
pub(super) fn directory<'a>(
    number: u32,
    parent: u32,
    entries: impl Iterator<Item = (&'a [u8], u32, u8)>,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BLOCK);
    let (mut last, mut begun) = (0, 0);
    let dots: [(&[u8], u32, u8); 2] = [(b".", number, 2), (b"..", parent, 2)];
    for (name, number, kind) in dots.into_iter().chain(entries) {
        let length = entry_bytes(name.len());
        if bytes.len() - begun + length > BLOCK {
            fill_block(&mut bytes, last, begun);
            begun = bytes.len();
        }
        last = bytes.len();
        bytes.resize(last + length, 0);
        put32(&mut bytes, last, number);
        put16(&mut bytes, last + 4, length as u16);
        bytes[last + 6] = name.len() as u8;
        bytes[last + 7] = kind;
        bytes[last + 8..last + 8 + name.len()].copy_from_slice(name);
    }
    fill_block(&mut bytes, last, begun);
    bytes
}

/// The last entry of a block reaches to its end.
fn fill_block(bytes: &mut Vec<u8>, last: usize, begun: usize) {
    let end = begun + BLOCK;
    bytes.resize(end, 0);
    put16(bytes, last + 4, (end - last) as u16);
}
