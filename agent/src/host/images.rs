//! The seam to the image directory: files that an operator put there, read only.
//!
//! Driven by the VM tasks before they attach an image, and by the report of the host. What can go
//! wrong: an image is missing, is replaced while it is in use, or is not what its name says.

use async_trait::async_trait;

use super::{FileId, HostResult, ImageName};

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

/// The image directory: files that an operator put there. Read only.
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
}
