//! The image directory on a real file system.
//!
//! A digest costs about a second for each GiB, so it is computed once and kept in memory under
//! device, inode, size and modification time. Whoever replaces an image by `rename(2)` changes its
//! inode; whoever writes into it changes its modification time.
//!
//! Bringing an image in and taking one away is in [`incoming`].

mod incoming;

use std::collections::HashMap;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::blocking;
use super::files::beneath::{self, Roots, missing_is_none};
use crate::host::{
    Change, FileId, HostError, HostResult, ImageFacts, ImageKind, ImageName, Images, PartialImage,
    Room,
};

/// What a digest was computed of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Stamp {
    id: FileId,
    size: u64,
    modified: (i64, i64),
}

/// The image directory.
pub(crate) struct LinuxImages {
    roots: Arc<Roots>,
    digests: Arc<Mutex<HashMap<Stamp, String>>>,
    // One digest at a time: two would halve each other's disk, and usually be of one image.
    computing: tokio::sync::Mutex<()>,
}

impl LinuxImages {
    pub(crate) fn new(roots: Arc<Roots>) -> Self {
        Self { roots, digests: Arc::default(), computing: tokio::sync::Mutex::new(()) }
    }
}

fn stamp(fd: impl AsFd) -> rustix::io::Result<Stamp> {
    let facts = beneath::file_facts(&fd)?;
    let stat = rustix::fs::fstat(fd)?;
    let modified = (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0));
    Ok(Stamp { id: facts.id, size: facts.size_bytes, modified })
}

/// Opens an image; `None` when there is none or it is no regular file.
fn open(roots: &Roots, name: &ImageName) -> rustix::io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    match missing_is_none(roots.images.open_at(name.as_str(), flags, 0))? {
        Some(fd) if beneath::is_a(&fd, FileType::RegularFile)? => Ok(Some(fd)),
        Some(_) | None => Ok(None),
    }
}

/// What the first bytes tell: an ELF file begins with `7f 45 4c 46` (elf(5)), the superblock of
/// ext2/3/4 lies at byte 1024 and has `53 ef` at 56 (the kernel's
/// `Documentation/filesystems/ext4`).
pub(crate) fn kind_of(head: &[u8]) -> ImageKind {
    if head.starts_with(b"\x7fELF") {
        ImageKind::Kernel
    } else if head.get(1080..1082) == Some(b"\x53\xef") {
        ImageKind::Root
    } else {
        ImageKind::Other
    }
}

fn facts(
    roots: &Roots,
    name: &ImageName,
    digests: &Mutex<HashMap<Stamp, String>>,
) -> HostResult<Option<ImageFacts>> {
    let failed = |error: Errno| HostError::io("look at image", name, error);
    let Some(fd) = open(roots, name).map_err(failed)? else { return Ok(None) };
    let stamp = stamp(&fd).map_err(failed)?;
    let mut head = Vec::with_capacity(2048);
    std::fs::File::from(fd)
        .take(2048)
        .read_to_end(&mut head)
        .map_err(|error| HostError::io("look at image", name, error))?;
    Ok(Some(ImageFacts {
        name: name.clone(),
        id: stamp.id,
        size_bytes: stamp.size,
        kind: kind_of(&head),
        sha256: digests.lock().get(&stamp).cloned(),
    }))
}

#[async_trait]
impl Images for LinuxImages {
    async fn list(&self) -> HostResult<Vec<ImageFacts>> {
        let (roots, digests) = (self.roots.clone(), self.digests.clone());
        blocking(move || {
            let names = roots
                .images
                .names()
                .map_err(|error| HostError::io("list", roots.images.path().display(), error))?;
            let mut images = Vec::new();
            for name in names.iter().filter_map(|name| ImageName::new(name).ok()) {
                // One unreadable file, such as a symlink, must not hide the others.
                match facts(&roots, &name, &digests) {
                    Ok(found) => images.extend(found),
                    Err(error) => {
                        tracing::warn!(image = %name, error = %error.chain(), "image left out")
                    }
                }
            }
            Ok(images)
        })
        .await
    }

    async fn observe(&self, name: &ImageName) -> HostResult<Option<ImageFacts>> {
        let (roots, digests, name) = (self.roots.clone(), self.digests.clone(), name.clone());
        blocking(move || facts(&roots, &name, &digests)).await
    }

    async fn digest(&self, name: &ImageName) -> HostResult<Option<String>> {
        if let Some(ImageFacts { sha256: Some(known), .. }) = self.observe(name).await? {
            return Ok(Some(known));
        }
        let _one = self.computing.lock().await;
        let (roots, digests, name) = (self.roots.clone(), self.digests.clone(), name.clone());
        blocking(move || {
            let failed = |error: std::io::Error| HostError::io("digest image", &name, error);
            let Some(fd) = open(&roots, &name).map_err(|error| failed(error.into()))? else {
                return Ok(None);
            };
            let before = stamp(&fd).map_err(|error| failed(error.into()))?;
            if let Some(known) = digests.lock().get(&before) {
                return Ok(Some(known.clone()));
            }
            let mut file = std::fs::File::from(fd);
            let mut hash = Sha256::new();
            let mut chunk = vec![0; 1024 * 1024];
            loop {
                match file.read(&mut chunk).map_err(failed)? {
                    0 => break,
                    read => hash.update(&chunk[..read]),
                }
            }
            let digest = hex::encode(hash.finalize());
            // A file that was written while it was read has a digest of no state it ever had.
            if stamp(&file).map_err(|error| failed(error.into()))? == before {
                digests.lock().insert(before, digest.clone());
            }
            Ok(Some(digest))
        })
        .await
    }

    async fn room(&self) -> HostResult<Room> {
        let roots = self.roots.clone();
        blocking(move || incoming::room(&roots)).await
    }

    async fn begin(&self, name: &ImageName) -> HostResult<Box<dyn PartialImage>> {
        let (roots, digests, name) = (self.roots.clone(), self.digests.clone(), name.clone());
        blocking(move || incoming::begin(roots, digests, name)).await
    }

    async fn remove(&self, name: &ImageName) -> HostResult<Change> {
        let (roots, name) = (self.roots.clone(), name.clone());
        blocking(move || incoming::remove(&roots, &name)).await
    }

    async fn remove_partials(&self) -> HostResult<usize> {
        let roots = self.roots.clone();
        blocking(move || incoming::remove_partials(&roots)).await
    }
}

#[cfg(test)]
mod tests;
