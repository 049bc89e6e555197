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

/// What a kernel may not be built for, or need a module for that its initial RAM disk lacks: each
/// by its word (of the superblock's `feature_incompat` and `feature_ro_compat`), bit and name
/// (Documentation/filesystems/ext4/super.rst of Linux).
const OPTIONAL: [(Word, u32, &str); 8] = [
    (Word::ReadOnly, 0x100, "quota"),
    (Word::ReadOnly, 0x2000, "project"),
    (Word::ReadOnly, 0x8000, "verity"),
    (Word::ReadOnly, 0x1000, "read-only"),
    (Word::ReadOnly, 0x4000, "shared_blocks"),
    (Word::Incompatible, 0x100, "mmp"),
    (Word::Incompatible, 0x1_0000, "encrypt"),
    (Word::Incompatible, 0x2_0000, "casefold"),
];

/// What every Linux of today reads, by the same words. Without a bit here or above no kernel can be
/// expected to mount it.
const USUAL_INCOMPATIBLE: u32 = 0x2 | 0x10 | 0x40 | 0x80 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000;
const USUAL_READ_ONLY: u32 = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x200 | 0x400 | 0x1_0000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Incompatible,
    ReadOnly,
}

/// The optional features that a file system has; `Err` with those that nobody knows.
fn features(incompatible: u32, read_only: u32) -> Result<Vec<&'static str>, String> {
    let bits = |which: Word| {
        let of_it = OPTIONAL.iter().filter(move |(word, ..)| *word == which);
        of_it.fold(0, |all, (_, bit, _)| all | bit)
    };
    let strange = (
        incompatible & !(USUAL_INCOMPATIBLE | bits(Word::Incompatible)),
        read_only & !(USUAL_READ_ONLY | bits(Word::ReadOnly)),
    );
    if strange != (0, 0) {
        return Err(format!(
            "it has features that Linux may not know (incompat {:#x}, ro_compat {:#x}); make it \
             anew with mke2fs -t ext4, or import it as an archive",
            strange.0, strange.1
        ));
    }
    let has = |(word, bit, _): &&(Word, u32, &str)| match word {
        Word::Incompatible => incompatible & bit != 0,
        Word::ReadOnly => read_only & bit != 0,
    };
    Ok(OPTIONAL.iter().filter(has).map(|(_, _, name)| *name).collect())
}

/// Reads the superblock. Inside are the features that a guest's kernel may lack, or what is wrong,
/// in words.
pub(crate) fn check_superblock(
    file: &File,
    length: u64,
) -> io::Result<Result<Vec<&'static str>, String>> {
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
    Ok(features(incompatible, word(100)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_that_a_guests_kernel_may_lack_are_told_and_unknown_ones_refused() {
        assert_eq!(features(0x2c2, 0x46b), Ok(Vec::new()), "what mke2fs makes");
        assert_eq!(features(0x2c2, 0x46b | 0x100 | 0x2000), Ok(vec!["quota", "project"]));
        assert_eq!(features(0x2c2 | 0x2_0000, 0), Ok(vec!["casefold"]));
        for (incompatible, read_only) in [(1, 0), (0x1000, 0), (1 << 31, 0), (0, 1 << 20)] {
            let why = features(incompatible, read_only).expect_err("nobody knows it");
            assert!(why.contains("may not know"), "{why}");
        }
    }
}
