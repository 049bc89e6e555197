//! Which VMM a guest runs under, and how its root disk came to be.
//!
//! Both are chosen once for a host ([`Facts`](super::Facts)) and are then a property of what was
//! built: a jail lies in the directory of its VMM, so that an agent whose host chooses otherwise
//! now still finds, and keeps, the guests of an earlier choice. No I/O.

use serde::{Deserialize, Serialize};

use super::JailId;

/// A virtual machine monitor.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum VmmKind {
    /// Firecracker beneath its jailer: the one for production. Needs KVM.
    #[default]
    Firecracker,
    /// QEMU beneath a jailer of our own: wherever there is no KVM.
    Qemu,
}

impl VmmKind {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Firecracker, Self::Qemu];

    /// For the configuration, for people, and the directory of its jails.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firecracker => "firecracker",
            Self::Qemu => "qemu",
        }
    }

    /// Whether the guest can ask it for its metadata document: Firecracker's MMDS. Elsewhere the
    /// same comes on a small disk.
    #[must_use]
    pub const fn has_metadata_service(self) -> bool {
        match self {
            Self::Firecracker => true,
            Self::Qemu => false,
        }
    }

    /// How much memory it may use beside its guest's, in MiB. Firecracker promises 5 (its
    /// `SPECIFICATION.md`); QEMU under software emulation keeps up to 1 GiB of translated code
    /// (`accel/tcg/region.c`). The rest is room for what the kernel holds on their account.
    #[must_use]
    pub const fn overhead_mib(self) -> u64 {
        match self {
            Self::Firecracker => 128,
            Self::Qemu => 1536,
        }
    }

    /// How many threads and processes it may have beside one for each virtual processor.
    /// Firecracker has two; QEMU some, and up to 64 that wait for its disks (`util/thread-pool.c`).
    #[must_use]
    pub const fn tasks_beside_vcpus(self) -> u32 {
        match self {
            Self::Firecracker => 16,
            Self::Qemu => 128,
        }
    }

    /// What its program's file is called.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Firecracker => "firecracker",
            Self::Qemu => "qemu-system-x86_64",
        }
    }

    /// The kernel's short name of its processes, at most 15 bytes: proc_pid_comm(5).
    #[must_use]
    pub const fn comm(self) -> &'static str {
        match self {
            Self::Firecracker => "firecracker",
            // The first 15 of `qemu-system-x86_64`.
            Self::Qemu => "qemu-system-x86",
        }
    }
}

impl std::fmt::Display for VmmKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How guests get a root disk that they can write.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum RootDiskKind {
    /// A device-mapper snapshot: the shared image plus a store of what was written.
    #[default]
    Snapshot,
    /// A file of its own: it shares the image's blocks where the file system can, else it is a
    /// sparse copy.
    Copy,
}

impl RootDiskKind {
    /// For the configuration and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Copy => "copy",
        }
    }
}

impl std::fmt::Display for RootDiskKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The subcommand of our own program that is the jailer of QEMU.
pub const QEMU_JAILER: &str = "jail-qemu";

const QEMU_PREFIX: &str = "banger-";

/// What a jail's QEMU is called on its command line (`-name`), which finds its process again.
#[must_use]
pub fn qemu_name(jail: &JailId) -> String {
    format!("{QEMU_PREFIX}{jail}")
}

/// The jail of a QEMU of that name; `None` for one that is not ours.
#[must_use]
pub fn jail_of_qemu_name(name: &str) -> Option<&str> {
    name.strip_prefix(QEMU_PREFIX)
}
