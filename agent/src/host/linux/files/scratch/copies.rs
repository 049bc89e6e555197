//! Root disks as copies of their image.
//!
//! Blocks are shared where the file system can (`FICLONE`: btrfs, XFS), which takes no time and no
//! room; else what the image holds is copied and its holes stay holes (`SEEK_DATA`, lseek(2)).
//!
//! Written to a file without a name (`O_TMPFILE`), which gets its name when it is whole: a crash at
//! any moment leaves nothing behind, and two writers never share a file. What can go wrong: the
//! disk is full, or the file system has no files without names.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::relative;
use crate::host::linux::files::beneath::{self, Roots};
use crate::host::{BackingFile, Change, HostError, HostErrorKind, HostResult, ImageName, PathPart};

/// Makes the copy, or finds it made.
pub(super) fn ensure(
    roots: &Roots,
    dir: &PathPart,
    file: &PathPart,
    image: &ImageName,
) -> HostResult<Change> {
    let verb = "copy the image to";
    let shown = relative(dir, file);
    let failed = |error: Errno| HostError::io(verb, shown.display(), error);
    let folder = roots.scratch.dir(dir.as_str()).map_err(failed)?;
    if rustix::fs::statat(&folder, file.as_str(), AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Ok(Change::AlreadySo);
    }
    let from = BackingFile::Image(image.clone());
    let source = roots
        .open(&from, OFlags::RDONLY | OFlags::NONBLOCK)
        .map_err(|error| HostError::io("open", &from, error))?;
    if !beneath::is_a(&source, FileType::RegularFile).map_err(failed)? {
        return Err(
            HostError::new(HostErrorKind::Invalid, verb, &from).detail("it is no regular file")
        );
    }
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let target =
        rustix::fs::openat(&folder, ".", flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
    let target = File::from(target);
    let shared = fill(&File::from(source), &target).map_err(failed)?;
    rustix::fs::fsync(&target).map_err(failed)?;
    let unnamed = format!("/proc/self/fd/{}", target.as_raw_fd());
    match rustix::fs::linkat(CWD, unnamed, &folder, file.as_str(), AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(Change::AlreadySo),
        Err(error) => return Err(failed(error)),
    }
    rustix::fs::fsync(&folder).map_err(failed)?;
    tracing::info!(%image, to = %shown.display(), shared, "made a root disk of its own");
    Ok(Change::Made)
}

/// Whether the blocks are shared.
fn fill(source: &File, target: &File) -> rustix::io::Result<bool> {
    if rustix::fs::ioctl_ficlone(target, source).is_ok() {
        return Ok(true);
    }
    let size = beneath::file_facts(source.as_fd())?.size_bytes;
    rustix::fs::ftruncate(target, size)?;
    let mut at = 0;
    while at < size {
        let begin = match rustix::fs::seek(source, SeekFrom::Data(at)) {
            Ok(begin) => begin,
            // Nothing but a hole from here on.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error),
        };
        let end = rustix::fs::seek(source, SeekFrom::Hole(begin))?;
        copy(source, target, begin, end)?;
        at = end;
    }
    Ok(false)
}

/// Copies a range to the same place, in the kernel where that can.
fn copy(source: &File, target: &File, begin: u64, end: u64) -> rustix::io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    let (mut from, mut to) = (begin, begin);
    while from < end {
        let most = usize::try_from(end - from).unwrap_or(usize::MAX).min(1 << 30);
        let copied =
            rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), most);
        match copied {
            Ok(0) => break,
            Ok(_) => {}
            Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                let mut chunk = vec![0; most.min(1 << 20)];
                let io = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
                source.read_exact_at(&mut chunk, from).map_err(io)?;
                target.write_all_at(&chunk, to).map_err(io)?;
                let length = u64::try_from(chunk.len()).unwrap_or(0);
                (from, to) = (from + length, to + length);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
