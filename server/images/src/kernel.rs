//! Kernels: an ELF file as it is, or the one inside a bzImage.
//!
//! Firecracker starts nothing but an uncompressed ELF file, and QEMU's direct boot takes one too.

mod elf;

use std::io::{self, Read, Write};
use std::path::Path;

pub(crate) use elf::{check_agent, check_kernel, check_static, depends, is_elf, module_name};

use crate::blob::Blob;
use crate::budget::{Budget, read_error};
use crate::output::Output;
use crate::unpack::{Packing, SNIFF_BYTES, unpacked};
use crate::{ImportError, Kind, Made, Note, Options, Progress, Step};

/// Where a bzImage says what it is (Documentation/arch/x86/boot.rst of Linux).
const SETUP_SECTORS: usize = 0x1f1;
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// As much as holds all of these.
pub(crate) const HEAD_BYTES: usize = 0x250;

/// The payload has been named since 2.08, Linux 2.6.26.
const OLDEST: u16 = 0x208;

pub(crate) fn is_bzimage(head: &[u8]) -> bool {
    head.get(MAGIC..MAGIC + 4) == Some(b"HdrS")
}

/// Makes the ELF file of a kernel that is one or has one inside.
pub(crate) fn make_kernel(
    blob: &Blob,
    notes: Vec<Note>,
    options: &Options,
    out: &Path,
    report: &dyn Fn(Progress),
) -> Result<Made, ImportError> {
    let mut limits = options.limits;
    limits.unpacked_bytes = limits.boot_bytes;
    let budget = Budget::new(limits, &options.cancel, report, Step::Write, None)
        .writing_to(options.room.as_ref());
    let head = blob.head(HEAD_BYTES)?;
    let mut output = Output::create(out)?;
    if is_bzimage(&head) {
        unpack_bzimage(blob, &head, &budget, &mut output)?;
    } else if is_elf(&head) {
        let mut reader = crate::budget::Metered::plain(blob.reader(), &budget);
        copy(&mut reader, &blob.from, &mut output)?;
    } else {
        let what = "it is neither an ELF kernel (vmlinux) nor a bzImage (vmlinuz)".to_owned();
        return Err(ImportError::NotUsable { from: blob.from.clone(), what });
    }
    check_kernel(output.file(), &blob.from)?;
    let size = output.file().metadata().map_err(|error| output.failed(error))?.len();
    let budget = Budget::unbounded(&options.cancel, report, Step::Digest, size);
    output.finish(Kind::Kernel, notes, &budget)
}

fn unpack_bzimage(
    blob: &Blob,
    head: &[u8],
    budget: &Budget<'_>,
    output: &mut Output,
) -> Result<(), ImportError> {
    let damaged =
        |what: &str| ImportError::Damaged { from: blob.from.clone(), what: what.to_owned() };
    let word = |at: usize| {
        let bytes = head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_le_bytes).ok_or_else(|| damaged("it ends too early"))
    };
    if (word(VERSION)? as u16) < OLDEST {
        return Err(ImportError::NotUsable {
            from: blob.from.clone(),
            what: "it is a bzImage of before Linux 2.6.26".to_owned(),
        });
    }
    // Zero stands for four, as in the oldest ones.
    let setup_sectors = match head[SETUP_SECTORS] {
        0 => 4,
        sectors => u64::from(sectors),
    };
    let start = (setup_sectors + 1) * 512 + u64::from(word(PAYLOAD_OFFSET)?);
    let length = u64::from(word(PAYLOAD_LENGTH)?);
    if length < SNIFF_BYTES as u64 || start + length > blob.length {
        return Err(damaged("it ends before its payload does"));
    }
    let mut payload = Blob { offset: blob.offset + start, length, ..blob.clone() };
    let packing = Packing::of(&payload.head(SNIFF_BYTES)?);
    // All but gzip, which says it itself, are followed by the size unpacked.
    let mut expected = None;
    if !matches!(packing, Packing::Gzip | Packing::Plain) {
        payload.length -= 4;
        let tail = Blob { offset: payload.offset + payload.length, length: 4, ..blob.clone() };
        let bytes = tail.read_whole(4)?.try_into().unwrap_or_default();
        expected = Some(u64::from(u32::from_le_bytes(bytes)));
    }
    let mut stream = unpacked(payload.reader(), &payload.from, budget)?;
    let copied = copy(&mut stream, &payload.from, output)?;
    if expected.is_some_and(|expected| expected != copied) {
        return Err(damaged("its payload does not have the size it says"));
    }
    Ok(())
}

/// Copies a stream, and tells a failed reading from a failed writing.
pub(crate) fn copy(
    stream: &mut impl Read,
    from: &str,
    output: &mut Output,
) -> Result<u64, ImportError> {
    let mut chunk = vec![0; 256 << 10];
    let mut copied = 0;
    loop {
        let read = match stream.read(&mut chunk) {
            Ok(0) => return Ok(copied),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(read_error(from, error)),
        };
        output.write_all(&chunk[..read]).map_err(|error| output.failed(error))?;
        copied += read as u64;
    }
}

/// Takes an initial RAM disk as it is, if it looks like one.
pub(crate) fn make_initrd(
    blob: &Blob,
    options: &Options,
    out: &Path,
    report: &dyn Fn(Progress),
) -> Result<Made, ImportError> {
    let mut limits = options.limits;
    limits.unpacked_bytes = limits.boot_bytes;
    let looking = Budget::new(limits, &options.cancel, report, Step::Check, None);
    if !is_cpio(blob, &looking) {
        let what = "it is no initial RAM disk: no cpio archive, packed or not".to_owned();
        return Err(ImportError::NotUsable { from: blob.from.clone(), what });
    }
    let budget = Budget::new(limits, &options.cancel, report, Step::Write, None)
        .writing_to(options.room.as_ref());
    let mut output = Output::create(out)?;
    let mut reader = crate::budget::Metered::plain(blob.reader(), &budget);
    let size = copy(&mut reader, &blob.from, &mut output)?;
    let budget = Budget::unbounded(&options.cancel, report, Step::Digest, size);
    output.finish(Kind::Initrd, Vec::new(), &budget)
}

/// Whether it is a cpio archive of the kind Linux reads, packed or not.
pub(crate) fn is_cpio(blob: &Blob, budget: &Budget<'_>) -> bool {
    let mut head = [0; 6];
    // What cannot be unpacked is no cpio archive.
    let Ok(mut stream) = unpacked(blob.reader(), &blob.from, budget) else { return false };
    stream.read_exact(&mut head).is_ok() && matches!(&head, b"070701" | b"070702")
}

/// A file for reading, no longer than a source may be.
pub(crate) fn open(path: &Path, options: &Options) -> Result<Blob, ImportError> {
    Blob::open(path, options.limits.source_bytes)
}

#[cfg(test)]
mod tests;
