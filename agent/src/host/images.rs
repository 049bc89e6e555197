//! The seam to the image directory: files that an operator put there, and those that the server
//! brings.
//!
//! Driven by the VM tasks before they attach an image, by the report of the host, and by the calls
//! that bring an image and take it away. What can go wrong: an image is missing, is replaced while
//! it is in use, or is not what its name says; the disk is full; a call breaks off in the middle.

use async_trait::async_trait;
use bytes::Bytes;

use super::{Change, FileId, HostResult, ImageName, Room};

/// What an image file holds, told by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageKind {
    /// An uncompressed ELF kernel.
    Kernel,
    /// An ext2, ext3 or ext4 file system.
    Root,
    /// Something else: an initial RAM disk has no magic that could be relied on.
    Other,
}

/// One file of the image directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// Its name.
    pub name: ImageName,
    /// Which file.
    pub id: FileId,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// What it holds.
    pub kind: ImageKind,
    /// Of its content, 64 lower-case hexadecimal digits; `None` while not computed.
    pub sha256: Option<String>,
}

/// A file that is not an image yet: no list shows it, and dropped it is gone.
#[async_trait]
pub trait PartialImage: Send {
    /// Adds to it. Blocks of zeros may become holes.
    async fn append(&mut self, data: Bytes) -> HostResult<()>;

    /// Brings it to the disk and makes it the image of its name, in place of one that is there.
    /// Its digest was computed by the caller from what was appended.
    async fn keep(self: Box<Self>, sha256: String) -> HostResult<()>;
}

/// The image directory.
#[async_trait]
pub trait Images: Send + Sync {
    /// All regular files with names that can name an image, in order. Answers at once: a digest
    /// that is not cached is `None`.
    async fn list(&self) -> HostResult<Vec<ImageFacts>>;

    /// One image, `None` when there is none. Its digest as in [`Images::list`].
    async fn observe(&self, name: &ImageName) -> HostResult<Option<ImageFacts>>;

    /// The digest of an image, computed if it must be (a second for each GiB or so) and kept for
    /// as long as device, inode, size and modification time stay. `None` when there is no such
    /// image.
    async fn digest(&self, name: &ImageName) -> HostResult<Option<String>>;

    /// The room of the file system that the image directory lies on.
    async fn room(&self) -> HostResult<Room>;

    /// Begins an image of this name.
    async fn begin(&self, name: &ImageName) -> HostResult<Box<dyn PartialImage>>;

    /// Removes an image. Devices and jails that have it keep it.
    async fn remove(&self, name: &ImageName) -> HostResult<Change>;

    /// Removes what an earlier life of the agent began and did not finish. Answers how many files
    /// those were.
    async fn remove_partials(&self) -> HostResult<usize>;
}
