//! The root file system made as large as its disk.
//!
//! A root disk is as large as the spec says, and the image on it as large as it was made. The
//! kernel grows a mounted ext4 by one call (EXT4_IOC_RESIZE_FS, Documentation/admin-guide/ext4.rst
//! of Linux), so no program of the guest is needed. Driven by the agent at each of its starts, on a
//! thread of its own: it is done at the first, and costs nothing at the others. What can go wrong:
//! the root is no ext4, read-only, or of a kind that can't grow; the guest runs on as it is, and
//! the console says why.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{FileType, major, minor};

/// Of ext2, ext3 and ext4 (statfs(2)).
const EXT4_MAGIC: i128 = 0xef53;

nix::ioctl_write_ptr! {
    /// To a number of blocks.
    resize_fs, b'f', 16, u64
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Grown {
    /// From so many bytes to so many.
    To {
        /// What it was, in bytes of its blocks.
        from: u64,
        /// What its disk has.
        to: u64,
    },
    /// It fills its disk already, or is nothing that grows.
    AsItWas,
}

/// Grows the file system of `root` to the size of its disk, looked up below `sys` (such as `/sys`).
///
/// # Errors
/// The kernel refuses, or its answer makes no sense.
pub fn grow(root: &Path, sys: &Path) -> io::Result<Grown> {
    let facts = rustix::fs::statfs(root)?;
    let device = std::fs::metadata(root)?.dev();
    // Without a block device below it, it is no disk's.
    if i128::from(facts.f_type) != EXT4_MAGIC || major(device) == 0 {
        return Ok(Grown::AsItWas);
    }
    let disk = sectors(sys, device)?.saturating_mul(512);
    let block = u64::try_from(facts.f_bsize).unwrap_or(0);
    let blocks = disk.checked_div(block).ok_or(io::ErrorKind::InvalidData)?;
    let before = facts.f_blocks;
    // What the file system keeps for itself is not in its count; the kernel does nothing, and says
    // that all is well, where nothing is to be done.
    let directory = File::open(root)?;
    resize(&directory, blocks)?;
    let after = rustix::fs::statfs(root)?.f_blocks;
    match after > before {
        true => Ok(Grown::To { from: before.saturating_mul(block), to: disk }),
        false => Ok(Grown::AsItWas),
    }
}

/// Length of a block device in units of 512 bytes, whatever its own are (sysfs, "size").
fn sectors(sys: &Path, device: u64) -> io::Result<u64> {
    let name = format!("{}:{}", major(device), minor(device));
    let text = std::fs::read_to_string(sys.join("dev/block").join(name).join("size"))?;
    text.trim().parse().map_err(io::Error::other)
}

fn resize(directory: &File, blocks: u64) -> io::Result<()> {
    if !FileType::from_raw_mode(directory.metadata()?.mode()).is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    #[expect(unsafe_code, reason = "nix's macro makes an unsafe function of every ioctl")]
    // SAFETY: the descriptor is open and the kernel reads eight bytes, which `blocks` has.
    let done = unsafe { resize_fs(directory.as_raw_fd(), &raw const blocks) };
    done.map(drop).map_err(io::Error::from)
}

/// Grows the root of the guest, and says on the console what came of it.
pub fn grow_root() {
    match grow(Path::new("/"), Path::new("/sys")) {
        Ok(Grown::To { from, to }) => {
            let mib = |bytes: u64| bytes >> 20;
            eprintln!("banger-guest: the root grew from {} to {} MiB", mib(from), mib(to));
        }
        Ok(Grown::AsItWas) => {}
        Err(error) => eprintln!("banger-guest: the root can't be grown to its disk: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_ext4_of_a_disk_is_left_as_it_is() {
        assert_eq!(grow(Path::new("/proc"), Path::new("/sys")).expect("read"), Grown::AsItWas);
        assert!(grow(Path::new("/not/there"), Path::new("/sys")).is_err());
    }

    #[test]
    fn a_disk_is_as_long_as_the_kernel_says() {
        let sys = tempfile::tempdir().expect("a directory");
        let at = sys.path().join("dev/block/254:1");
        std::fs::create_dir_all(&at).expect("made");
        std::fs::write(at.join("size"), "2048\n").expect("written");
        let device = rustix::fs::makedev(254, 1);
        assert_eq!(sectors(sys.path(), device).expect("it is there"), 2048);
        assert!(sectors(sys.path(), rustix::fs::makedev(254, 2)).is_err());
    }
}
