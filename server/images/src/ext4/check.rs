//! Whether a file is an ext4 file system that a guest can start from.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::superblock::MAGIC;

/// recover: the journal holds what the file system does not have yet.
const NEEDS_RECOVERY: u32 = 0x4;
/// journal_dev: it is a journal for another file system.
const JOURNAL_DEVICE: u32 = 0x8;
/// 64bit: the count of blocks has a high half.
const SIZE_64: u32 = 0x80;

/// Reads the superblock. Inside is what is wrong, in words.
pub(crate) fn check_superblock(file: &File, length: u64) -> io::Result<Result<(), String>> {
    let mut head = [0; 2048];
    if length < head.len() as u64 {
        return Ok(Err("it is too short for a file system".to_owned()));
    }
    file.read_exact_at(&mut head, 0)?;
    let b = &head[1024..];
    let word = |at: usize| u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
    let half = |at: usize| u16::from_le_bytes([b[at], b[at + 1]]);
    if half(56) != MAGIC {
        return Ok(Err(what_it_is(&head).to_owned()));
    }
    let incompatible = word(96);
    let high = if incompatible & SIZE_64 != 0 { u64::from(word(336)) << 32 } else { 0 };
    let blocks = high | u64::from(word(4));
    let shift = word(24);
    let good = shift <= 6
        && word(32) > 0
        && word(40) > 0
        && blocks > 0
        && matches!(half(88), 0 | 128..=4096);
    if !good {
        return Ok(Err("its superblock is damaged".to_owned()));
    }
    let bytes = u128::from(blocks) * (1024 << shift);
    if bytes > u128::from(length) {
        return Ok(Err(format!("it says it has {bytes} bytes, but the file has {length}")));
    }
    if incompatible & JOURNAL_DEVICE != 0 {
        return Ok(Err("it is a journal device, not a file system".to_owned()));
    }
    if incompatible & NEEDS_RECOVERY != 0 {
        let what = "it was not unmounted cleanly; run e2fsck -f on it first";
        return Ok(Err(what.to_owned()));
    }
    if half(58) & 0x2 != 0 {
        return Ok(Err("it says that it has errors; run e2fsck -f on it first".to_owned()));
    }
    Ok(Ok(()))
}

fn what_it_is(head: &[u8]) -> &'static str {
    let text = |at: usize, magic: &[u8]| head[at..].starts_with(magic);
    if text(0, b"QFI\xfb") {
        "it is a qcow2 disk; convert its file system to a raw ext4 file first"
    } else if text(512, b"EFI PART") || text(510, b"\x55\xaa") {
        "it is a whole disk with partitions; take the root partition out of it first"
    } else if text(0, b"hsqs") {
        "it is a squashfs; unpack it and import the directory"
    } else if text(0, b"XFSB") {
        "it is an XFS file system; only ext4 is taken as it is"
    } else {
        "it is no ext4 file system"
    }
}
