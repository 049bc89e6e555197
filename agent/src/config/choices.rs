//! Choices that an operator may leave to what the machine can: "auto". No I/O.

use serde::{Deserialize, Serialize};

use crate::host::{RootDiskKind, VmmKind};

/// What new guests run under.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmmChoice {
    /// Firecracker where KVM really runs a guest, else QEMU where it is installed.
    #[default]
    Auto,
    /// Always Firecracker.
    Firecracker,
    /// Always QEMU, with KVM where that works.
    Qemu,
}

impl VmmChoice {
    /// `None` leaves it to what the machine can.
    #[must_use]
    pub const fn kind(self) -> Option<VmmKind> {
        match self {
            Self::Auto => None,
            Self::Firecracker => Some(VmmKind::Firecracker),
            Self::Qemu => Some(VmmKind::Qemu),
        }
    }
}

/// How new guests get a root disk that they can write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootDiskChoice {
    /// Snapshots where there is device-mapper, else copies.
    #[default]
    Auto,
    /// Device-mapper snapshots over the shared image.
    Snapshot,
    /// Files of their own, which share blocks with the image where the file system can.
    Copy,
}

impl RootDiskChoice {
    /// `None` leaves it to what the machine can.
    #[must_use]
    pub const fn kind(self) -> Option<RootDiskKind> {
        match self {
            Self::Auto => None,
            Self::Snapshot => Some(RootDiskKind::Snapshot),
            Self::Copy => Some(RootDiskKind::Copy),
        }
    }
}
