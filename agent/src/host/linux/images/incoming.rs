//! Files on their way into the image directory.
//!
//! One is written as `.incoming-<name>-<number>` beneath it, which no image can be called, and
//! becomes the image by `rename(2)` once it is on the disk. Blocks of zeros are left out, so that a
//! sparse image stays one. Dropped before that, the file is removed; what a killed agent leaves,
//! the next life removes.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;

use super::{Stamp, stamp};
use crate::host::linux::blocking;
use crate::host::linux::files::beneath::Roots;
use crate::host::{Change, HostError, HostErrorKind, HostResult, ImageName, PartialImage, Room};

const PREFIX: &str = ".incoming-";

/// What is left out where it is zeros, in bytes: no file system has larger blocks.
const BLOCK: usize = 64 * 1024;

/// So that two calls for one image do not write into one file.
static NUMBER: AtomicU64 = AtomicU64::new(0);

pub(super) fn room(roots: &Roots) -> HostResult<Room> {
    let facts = rustix::fs::fstatvfs(&roots.images)
        .map_err(|error| HostError::io("look at", roots.images.path().display(), error))?;
    Ok(Room {
        free_bytes: facts.f_bavail.saturating_mul(facts.f_frsize),
        total_bytes: facts.f_blocks.saturating_mul(facts.f_frsize),
    })
}

pub(super) fn begin(
    roots: Arc<Roots>,
    digests: Arc<Mutex<HashMap<Stamp, String>>>,
    name: ImageName,
) -> HostResult<Box<dyn PartialImage>> {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = format!("{PREFIX}{name}-{number}");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
    let fd = roots.images.open_at(&path, flags, 0o600);
    let fd = fd.map_err(|error| HostError::io("make image", &name, error))?;
    let unnamed = Some(Unnamed { roots, path });
    Ok(Box::new(Incoming { file: Arc::new(File::from(fd)), unnamed, digests, name, at: 0 }))
}

pub(super) fn remove(roots: &Roots, name: &ImageName) -> HostResult<Change> {
    match rustix::fs::unlinkat(&roots.images, name.as_str(), AtFlags::empty()) {
        Ok(()) => Ok(Change::Made),
        Err(Errno::NOENT) => Ok(Change::AlreadySo),
        Err(error) => Err(HostError::io("remove image", name, error)),
    }
}

pub(super) fn remove_partials(roots: &Roots) -> HostResult<usize> {
    let failed = |error: Errno| HostError::io("tidy", roots.images.path().display(), error);
    let names = roots.images.names().map_err(failed)?;
    let mut removed = 0;
    for name in names.iter().filter(|name| name.starts_with(PREFIX)) {
        rustix::fs::unlinkat(&roots.images, name.as_str(), AtFlags::empty()).map_err(failed)?;
        removed += 1;
    }
    Ok(removed)
}

/// A file that is removed with this.
struct Unnamed {
    roots: Arc<Roots>,
    path: String,
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        let removed =
            rustix::fs::unlinkat(&self.roots.images, self.path.as_str(), AtFlags::empty());
        if let Err(error) = removed
            && error != Errno::NOENT
        {
            tracing::warn!(file = self.path, %error, "a part of an image was left behind");
        }
    }
}

struct Incoming {
    file: Arc<File>,
    unnamed: Option<Unnamed>,
    digests: Arc<Mutex<HashMap<Stamp, String>>>,
    name: ImageName,
    at: u64,
}

#[async_trait]
impl PartialImage for Incoming {
    async fn append(&mut self, data: Bytes) -> HostResult<()> {
        let (file, name, at) = (Arc::clone(&self.file), self.name.clone(), self.at);
        self.at += data.len() as u64;
        blocking(move || {
            let mut offset = at;
            for block in data.chunks(BLOCK) {
                if block.iter().any(|byte| *byte != 0) {
                    let written = file.write_all_at(block, offset);
                    written.map_err(|error| HostError::io("write image", &name, error))?;
                }
                offset += block.len() as u64;
            }
            Ok(())
        })
        .await
    }

    async fn keep(mut self: Box<Self>, sha256: String) -> HostResult<()> {
        let (file, name, size) = (Arc::clone(&self.file), self.name.clone(), self.at);
        let digests = Arc::clone(&self.digests);
        let Some(unnamed) = self.unnamed.take() else {
            return Err(HostError::new(HostErrorKind::Invalid, "keep image", &name));
        };
        blocking(move || {
            let failed = |error: std::io::Error| HostError::io("keep image", &name, error);
            // What ended in zeros is longer than what was written.
            file.set_len(size).map_err(failed)?;
            file.sync_all().map_err(failed)?;
            let dir = &unnamed.roots.images;
            rustix::fs::renameat(dir, unnamed.path.as_str(), dir, name.as_str())
                .map_err(|error| failed(error.into()))?;
            rustix::fs::fsync(dir.as_fd()).map_err(|error| failed(error.into()))?;
            if let Ok(stamp) = stamp(&*file) {
                digests.lock().insert(stamp, sha256);
            }
            Ok(())
        })
        .await
    }
}
