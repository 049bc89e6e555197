//! The seam to device-mapper snapshots: a root disk is a shared image plus what was written.
//!
//! Driven by the VM tasks. What can go wrong: the name is taken, the device is busy on removal, the
//! store is full (then the guest's writes fail), or it cannot be written (then the snapshot is
//! invalid for ever and the guest's disk is lost).

use async_trait::async_trait;

use super::{Change, DeviceNumber, DmName, HostResult, LoopDevice};

/// A device-mapper snapshot to be: reads fall through to `base`, writes go to `cow`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSpec {
    /// Its name in `/dev/mapper`.
    pub name: DmName,
    /// The shared read-only origin.
    pub base: LoopDevice,
    /// The origin's size in bytes, which is the snapshot's without its tail; a multiple of 512.
    pub base_bytes: u64,
    /// Where what is written goes. A store with a valid header is continued, an empty one (all
    /// zeroes) is begun.
    pub cow: LoopDevice,
    /// What the disk is longer than the origin; `None`: nothing.
    pub tail: Option<Tail>,
}

/// The end of a disk that is longer than its origin: a part of the store's device that the snapshot
/// never comes to use, read and written in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// How long it is in bytes; a multiple of 512.
    pub bytes: u64,
    /// Where it begins on the store's device, in bytes; a multiple of 512.
    pub offset: u64,
}

/// How full a snapshot's store is, in sectors of 512 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotFill {
    /// It works.
    Used {
        /// Occupied, with metadata.
        used: u64,
        /// There are.
        total: u64,
    },
    /// The store is full: every write fails until the snapshot is removed and made again over a
    /// larger store. What was written is kept.
    Overflow,
    /// The store could not be written: everything fails from now on, and there is no way back.
    Invalid,
    /// The kernel could not say: `Merge failed` or `Unknown`.
    Unclear,
}

/// A device-mapper snapshot that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// Its name.
    pub name: DmName,
    /// Its block device.
    pub device: DeviceNumber,
    /// How many have it open.
    pub open_count: u32,
    /// The device it reads from.
    pub base: DeviceNumber,
    /// The device it writes to.
    pub cow: DeviceNumber,
    /// Its size without its tail, in sectors of 512 bytes.
    pub size_sectors: u64,
    /// How full its store is.
    pub fill: SnapshotFill,
}

/// Device-mapper snapshots.
#[async_trait]
pub trait Snapshots: Send + Sync {
    /// Our snapshots: those whose name begins with `prefix`.
    async fn list(&self, prefix: &str) -> HostResult<Vec<SnapshotFacts>>;

    /// One snapshot, `None` when there is none.
    async fn observe(&self, name: &DmName) -> HostResult<Option<SnapshotFacts>>;

    /// Makes a snapshot, or finds it made of exactly these devices. One that is there keeps the
    /// tail that it has, or has not: it may be in use.
    ///
    /// # Errors
    /// [`NameTaken`](super::HostErrorKind::NameTaken) when a device of that name has another table.
    async fn ensure(&self, spec: &SnapshotSpec) -> HostResult<(SnapshotFacts, Change)>;

    /// Removes a snapshot. Busy is retried with back-off for a few seconds.
    ///
    /// # Errors
    /// [`Busy`](super::HostErrorKind::Busy) when it still was after that.
    async fn remove(&self, name: &DmName) -> HostResult<Change>;
}
