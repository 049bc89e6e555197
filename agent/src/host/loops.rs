//! The seam to loop devices over the agent's files.
//!
//! Driven by the VM tasks: one read-only device for each image in use, shared, and one for each
//! copy-on-write store. What can go wrong: the kernel has no more of them, a device is in use, or
//! a number was re-used for somebody else's file between two looks. Against the last, a device is
//! believed only together with the identity of the file behind it.

use std::path::PathBuf;

use async_trait::async_trait;

use super::{BackingFile, Change, FileId, HostResult, LoopDevice};

/// An attached loop device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopFacts {
    /// The device.
    pub device: LoopDevice,
    /// The path the kernel remembers, for showing; ends in ` (deleted)` when it was unlinked.
    pub backing_path: PathBuf,
    /// The file behind it.
    pub backing: FileId,
    /// Whether writes are refused.
    pub read_only: bool,
    /// The device's size in bytes: that of the file when it was last looked at.
    pub size_bytes: u64,
    /// The names of the block devices that stand on it, such as `dm-3`.
    pub holders: Vec<String>,
}

/// The directories that files for loop devices come from, as the kernel shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopDirs {
    /// The image directory.
    pub images: PathBuf,
    /// Where the scratch directories are.
    pub scratch: PathBuf,
}

/// Loop devices over the agent's files.
#[async_trait]
pub trait LoopDevices: Send + Sync {
    /// The attached devices whose backing file lies in the image or the scratch directory.
    async fn list(&self) -> HostResult<Vec<LoopFacts>>;

    /// The device over a file, matched by the file's identity; `None` when there is none or no
    /// such file. The lowest when there are several.
    async fn observe(&self, file: &BackingFile) -> HostResult<Option<LoopFacts>>;

    /// Attaches a file, or finds the device that has it already with the same `read_only`.
    ///
    /// # Errors
    /// [`NotFound`](super::HostErrorKind::NotFound) without the file.
    async fn ensure_attached(
        &self,
        file: &BackingFile,
        read_only: bool,
    ) -> HostResult<(LoopFacts, Change)>;

    /// Detaches a device, if `backing` is still what is behind it; a device that has been
    /// detached, or re-used for another file, is left alone and is [`Change::AlreadySo`].
    ///
    /// # Errors
    /// [`Busy`](super::HostErrorKind::Busy) when something stands on it or has it open. The kernel
    /// would detach an open device when it is closed; this never asks for that.
    async fn remove(&self, device: LoopDevice, backing: FileId) -> HostResult<Change>;

    /// Where the files lie, for comparing with what [`LoopDevices::list`] shows.
    fn dirs(&self) -> LoopDirs;

    /// Makes the device take the size its file has now.
    async fn refresh_size(&self, device: LoopDevice, backing: FileId) -> HostResult<Change>;
}
