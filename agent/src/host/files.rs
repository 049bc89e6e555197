//! The seam to scratch directories: one directory for each VM, beneath one root.
//!
//! Driven by the VM tasks (records, stores, disks) and by the start of the agent (which
//! directories are there). What can go wrong: a full disk, a read-only file system, somebody who
//! puts a symlink where a file should be.

use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Change, FileId, HostResult, ImageName, PathPart};

/// A file that a loop device can be made of, or a jail filled from. Never a raw path: each is
/// resolved beneath one of our directories, through no symlink.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackingFile {
    /// In the image directory; shared and never written.
    Image(ImageName),
    /// In a scratch directory.
    Scratch {
        /// The directory.
        dir: PathPart,
        /// The file in it.
        file: PathPart,
    },
}

impl std::fmt::Display for BackingFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Image(image) => write!(f, "image {image}"),
            Self::Scratch { dir, file } => write!(f, "{dir}/{file}"),
        }
    }
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileFacts {
    /// Which file.
    pub id: FileId,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// What it occupies on the disk, in bytes: less than its length when it is sparse.
    pub allocated_bytes: u64,
}

/// Room of the file system with the scratch directories, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What can still be written.
    pub free_bytes: u64,
    /// How large it is.
    pub total_bytes: u64,
}

/// A scratch directory and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirFacts {
    /// Its name.
    pub dir: PathPart,
    /// When it was made, in seconds since 1970; `None` where the file system keeps no such time.
    pub born: Option<u64>,
    /// What the files in it occupy, in bytes.
    pub occupied_bytes: u64,
    /// The names of those files, in order. Names that are no [`PathPart`] are left out. `None` when
    /// a symlink is in the directory's place: nobody knows what is behind it, and it is not
    /// followed.
    pub files: Option<Vec<PathPart>>,
}

/// Scratch directories beneath one root, one level deep.
#[async_trait]
pub trait Files: Send + Sync {
    /// The directories there are, in order. Names that are no [`PathPart`] are left out.
    async fn list_dirs(&self) -> HostResult<Vec<PathPart>>;

    /// As [`Files::list_dirs`], with what is in each. One that goes meanwhile is left out.
    async fn survey(&self) -> HostResult<Vec<DirFacts>>;

    /// Makes a directory, mode 0700.
    async fn ensure_dir(&self, dir: &PathPart) -> HostResult<Change>;

    /// Removes a directory and all that is in it. Follows no symlink and crosses no mount.
    async fn remove_dir(&self, dir: &PathPart) -> HostResult<Change>;

    /// The content of a scratch file, `None` when there is no such file or directory.
    ///
    /// # Errors
    /// [`Invalid`](super::HostErrorKind::Invalid) when it is larger than 1 MiB or no regular file.
    async fn read(&self, dir: &PathPart, file: &PathPart) -> HostResult<Option<Vec<u8>>>;

    /// Replaces the content of a scratch file: written to a temporary file, synced, renamed over
    /// the old one, directory synced. After a crash at any moment the file holds the old content
    /// or the new.
    async fn replace(&self, dir: &PathPart, file: &PathPart, content: &[u8]) -> HostResult<()>;

    /// As [`Files::replace`] without the syncs, for a hint that a power failure makes worthless
    /// anyway. After a crash of the agent the file holds the old content or the new; after one of
    /// the machine it may hold anything.
    async fn replace_hint(
        &self,
        dir: &PathPart,
        file: &PathPart,
        content: &[u8],
    ) -> HostResult<()> {
        self.replace(dir, file, content).await
    }

    /// Removes one file.
    async fn remove(&self, dir: &PathPart, file: &PathPart) -> HostResult<Change>;

    /// Makes a sparse file of `size_bytes`, mode 0600, or grows it to that. Never shrinks one.
    async fn ensure_sparse(
        &self,
        dir: &PathPart,
        file: &PathPart,
        size_bytes: u64,
    ) -> HostResult<Change>;

    /// Makes a file of `size_bytes`, mode 0600, or grows it to that, with these many bytes of it
    /// reserved on the file system: no write to them can meet a full disk. Never shrinks one. What
    /// could not be done whole is undone. A file system that cannot reserve (`EOPNOTSUPP`) gets a
    /// sparse file.
    ///
    /// # Errors
    /// [`NoSpace`](super::HostErrorKind::NoSpace); the file is as long as before, or not there.
    async fn ensure_reserved(
        &self,
        dir: &PathPart,
        file: &PathPart,
        size_bytes: u64,
    ) -> HostResult<Change>;

    /// Cuts a file that is longer than `size_bytes` to that. What a VMM writes it may make longer,
    /// too, up to what a file system allows, which is no size to reckon with.
    async fn shorten(&self, dir: &PathPart, file: &PathPart, size_bytes: u64)
    -> HostResult<Change>;

    /// Room of the file system with the scratch directories.
    async fn room(&self) -> HostResult<Room>;

    /// Makes a scratch file that is a copy of an image, mode 0600: it shares the image's blocks
    /// where the file system can, else it has holes where the image has. One that is there stays
    /// as it is. After a crash at any moment it is there wholly or not at all.
    async fn ensure_copy(
        &self,
        dir: &PathPart,
        file: &PathPart,
        image: &ImageName,
    ) -> HostResult<Change>;

    /// Facts of a file, `None` when there is none.
    async fn observe(&self, dir: &PathPart, file: &PathPart) -> HostResult<Option<FileFacts>>;

    /// Where a file lies, to be shown. Never opened by this path.
    fn shown_path(&self, dir: &PathPart, file: &PathPart) -> PathBuf;
}
