//! How large the store behind a root disk is to be, and what follows from how full it is. Pure.
//!
//! A root disk is a device-mapper snapshot: what the guest writes goes into a store, a file of the
//! host behind a loop device. Two things can go wrong with it, and they are not the same:
//!
//! - **The store runs full.** The kernel refuses every further write of the guest, whatever room
//!   the host has, until the snapshot is made anew. Nothing written is lost
//!   ([`SnapshotFill::Overflow`]). Against this the store is made larger while there is time
//!   ([`judge`]).
//! - **The store cannot be written**, because it has holes and the host's disk is full. The kernel
//!   then marks the snapshot invalid, on disk and for ever ([`SnapshotFill::Invalid`]): the guest's
//!   disk is lost. Against this all of the store is reserved on the host's disk before the guest
//!   can write to it, unless the operator asked for sparse ones.
//!
//! A disk is as long as its spec says. Where that is more than the image, the store's file goes on
//! behind what the snapshot can ever use, and what it goes on with is the rest of the disk, written
//! in place ([`tail`]): one file, one loop device, and nothing of it copied.
//!
//! ```text
//! disk    [ snapshot over the image          ][ tail       ]
//! file    [ header, metadata, chunks: cover  ][ tail       ]
//! ```
//!
//! Sizes follow the kernel's layout (`drivers/md/dm-snap-persistent.c`): one chunk of header, then
//! areas of one chunk of metadata and the [`AREA`] chunks that it tells of.

use std::time::Duration;

use crate::host::{SnapshotFacts, SnapshotFill, Tail};

/// Bytes of a chunk, the unit in which the snapshot copies.
const CHUNK: u64 = 4096;

/// Chunks of data in an area: an entry of its chunk of metadata is 16 bytes.
const AREA: u64 = CHUNK / 16;

/// Bytes of a sector, the unit in which the kernel tells levels.
const SECTOR: u64 = 512;

/// The least by which a store grows.
const STEP: u64 = 64 << 20;

/// What even the growth of a store leaves of the reserve, for the agent's own records.
const LAST_ROOM: u64 = 64 << 20;

/// What a start needs beside the disks: the jailer's copy of the VMM, records and sockets. The
/// launcher asks again, and exactly.
const START_ROOM: u64 = 8 << 20;

/// How a disk's file takes room on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// All of it when it is made.
    Reserved,
    /// As the guest writes.
    Sparse,
}

/// What the operator decided for the disks of all VMs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskPolicy {
    /// Disks are made sparse: they take room as guests write. With a full disk of the host a guest
    /// then loses its root disk.
    pub sparse: bool,
    /// The level, in hundredths of a store, from which on it is made larger, or an alarm raised.
    pub alarm_percent: u8,
    /// No store grows beyond this many bytes; `None`: each as far as it can be of use.
    pub grow_to: Option<u64>,
    /// What is left free on the host's disk when a disk is made, in bytes.
    pub reserve: u64,
}

impl DiskPolicy {
    /// How disks are made.
    #[must_use]
    pub const fn allocation(&self) -> Allocation {
        if self.sparse { Allocation::Sparse } else { Allocation::Reserved }
    }
}

impl Default for DiskPolicy {
    fn default() -> Self {
        Self { sparse: false, alarm_percent: 80, grow_to: None, reserve: 1 << 30 }
    }
}

/// A store as it was seen last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CowLevel {
    /// How full it is.
    pub fill: SnapshotFill,
    /// Length of the root image, which is that of the root disk, in bytes.
    pub base: u64,
}

impl CowLevel {
    /// Of a snapshot as the kernel tells it, whose store may go on with a tail.
    #[must_use]
    pub fn of(facts: &SnapshotFacts) -> Self {
        let base = facts.size_sectors * SECTOR;
        let fill = match facts.fill {
            SnapshotFill::Used { used, total } => {
                SnapshotFill::Used { used, total: total.min(cover(base) / SECTOR) }
            }
            other @ (SnapshotFill::Overflow | SnapshotFill::Invalid | SnapshotFill::Unclear) => {
                other
            }
        };
        Self { fill, base }
    }
}

/// What follows from a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CowVerdict {
    /// Nothing.
    Enough,
    /// Make it this many bytes long.
    Grow(u64),
    /// It is past the alarm threshold and may not grow further.
    NearlyFull {
        /// Bytes in use.
        used: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Every write of the guest fails; nothing is lost.
    Full,
    /// The root disk is lost.
    Lost,
}

/// The host's disk has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{needed} bytes are needed and {kept} bytes are to stay free; {free} bytes are free on the \
     host's disk"
)]
pub struct NoRoom {
    /// Bytes asked for.
    pub needed: u64,
    /// Bytes that are not given away.
    pub kept: u64,
    /// Bytes there are.
    pub free: u64,
}

/// What a store needs so that no guest can ever fill it: room for every chunk of the image, each
/// written once, with the metadata of all.
#[must_use]
pub const fn cover(base: u64) -> u64 {
    let chunks = base.div_ceil(CHUNK);
    // One area more than there is data for: a full area makes the kernel write the next one's
    // metadata.
    let areas = chunks.div_ceil(AREA) + 1;
    sound((1 + chunks + areas) * CHUNK)
}

/// The next length that does not end where an area ends. When an area is full the kernel clears
/// the metadata of the next one; where that lies past the end, the snapshot is invalid instead of
/// full. A store of 256 MiB is such a one.
#[must_use]
pub const fn sound(bytes: u64) -> u64 {
    let chunks = bytes.div_ceil(CHUNK);
    let chunks =
        if chunks > 0 && (chunks - 1).is_multiple_of(AREA + 1) { chunks + 1 } else { chunks };
    chunks * CHUNK
}

/// What a root disk is longer than its image, and where in the store's file that lies: behind
/// [`cover`], which no snapshot gets past. `None` where the image is as long as was asked for.
#[must_use]
pub fn tail(asked: u64, base: u64) -> Option<Tail> {
    let base = whole_sectors(base);
    let bytes = whole_sectors(asked).checked_sub(base).filter(|bytes| *bytes > 0)?;
    Some(Tail { bytes, offset: cover(base) })
}

/// The length a store's file begins with: with the tail of a disk that is longer than its image,
/// else what was asked for, but not more than can be of use.
#[must_use]
pub fn first_size(asked: u64, base: u64) -> u64 {
    match tail(asked, base) {
        Some(tail) => tail.offset + tail.bytes,
        None => sound(asked).min(cover(whole_sectors(base))),
    }
}

/// The length of a root disk that is a copy: as long as was asked for, and never shorter than its
/// image.
#[must_use]
pub fn copy_size(asked: u64, base: u64) -> u64 {
    asked.max(base)
}

/// Without the part of a sector that no block device has.
#[must_use]
pub const fn whole_sectors(bytes: u64) -> u64 {
    bytes - bytes % SECTOR
}

/// What follows from a level.
#[must_use]
pub fn judge(level: CowLevel, policy: &DiskPolicy) -> CowVerdict {
    let (used, total) = match level.fill {
        SnapshotFill::Used { used, total } => (used * SECTOR, total * SECTOR),
        SnapshotFill::Overflow => return CowVerdict::Full,
        SnapshotFill::Invalid => return CowVerdict::Lost,
        SnapshotFill::Unclear => return CowVerdict::Enough,
    };
    let cover = cover(level.base);
    // One that every chunk fits into is never full.
    if total >= cover || used * 100 < total * u64::from(policy.alarm_percent) {
        return CowVerdict::Enough;
    }
    let most = policy.grow_to.map_or(cover, |most| sound(most).min(cover));
    let step = STEP.max(total / 4);
    match sound(total + step).min(most) {
        larger if larger > total => CowVerdict::Grow(larger),
        _ => CowVerdict::NearlyFull { used, total },
    }
}

/// Whether a VM may be started: `new` is what its disks are to take on the host's disk and do not
/// yet. A VM whose disks are there needs no more than the room for its process.
///
/// # Errors
/// [`NoRoom`].
pub fn admit_start(new: u64, free: u64, policy: &DiskPolicy) -> Result<(), NoRoom> {
    let kept = if new == 0 { 0 } else { policy.reserve };
    // A sparse disk takes nothing now, but a host below its reserve makes no further ones.
    let needed = START_ROOM + if policy.sparse { 0 } else { new };
    admit(needed, kept, free)
}

/// Whether a store may take `more` bytes. The reserve is there for this: a guest that runs comes
/// before one that might.
///
/// # Errors
/// [`NoRoom`].
pub fn admit_growth(more: u64, free: u64, policy: &DiskPolicy) -> Result<(), NoRoom> {
    admit(more, policy.reserve.min(LAST_ROOM), free)
}

fn admit(needed: u64, kept: u64, free: u64) -> Result<(), NoRoom> {
    if free >= needed.saturating_add(kept) { Ok(()) } else { Err(NoRoom { needed, kept, free }) }
}

/// The longest and the shortest time between two looks at the levels.
const LOOKS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_millis(500));

/// When to look at one store again, from its level now and what it was a while ago: half the time
/// that it takes to the threshold at the same speed.
#[must_use]
pub fn next_look(
    before: Option<CowLevel>,
    now: CowLevel,
    between: Duration,
    policy: &DiskPolicy,
) -> Duration {
    let (longest, shortest) = LOOKS;
    let SnapshotFill::Used { used, total } = now.fill else { return longest };
    if total * SECTOR >= cover(now.base) {
        return longest;
    }
    let Some(CowLevel { fill: SnapshotFill::Used { used: was, .. }, .. }) = before else {
        return longest;
    };
    let threshold = total * u64::from(policy.alarm_percent) / 100;
    let written = used.saturating_sub(was);
    if written == 0 {
        return longest;
    }
    if used >= threshold {
        // At its bound there is nothing to be in time for.
        let grows = matches!(judge(now, policy), CowVerdict::Grow(_));
        return if grows { shortest } else { longest };
    }
    let left = u32::try_from((threshold - used) * 1000 / (2 * written)).unwrap_or(u32::MAX);
    (between.saturating_mul(left) / 1000).clamp(shortest, longest)
}

#[cfg(test)]
mod tests;
