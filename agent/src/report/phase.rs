//! What a VM is seen to be, and what went wrong with it.
//!
//! Reasons are a closed list, documented in docs/STATES.md; a reason says what to do, the step
//! says where, the message says what was told.

use crate::clock::Moment;

/// What a VM is seen to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Disks, tap and jail are being made.
    Preparing,
    /// The process is being started and told its machine.
    Starting,
    /// The guest runs.
    Running,
    /// The guest's vCPUs are stopped.
    Paused,
    /// The process is being ended, or what it used torn down.
    Stopping,
    /// No process; the disks are kept.
    Stopped,
    /// The process ended by itself.
    Crashed,
    /// A step failed.
    Failed,
    /// Everything is being torn down.
    Deleting,
    /// It cannot be told whether the VM's process lives; nothing is done.
    Unclear,
    /// Nothing is left.
    Gone,
}

/// Why a VM is failed, crashed or unclear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The kernel is not in the image directory.
    KernelImageMissing,
    /// The initial RAM disk is not in the image directory.
    InitrdImageMissing,
    /// The root image is not in the image directory.
    RootImageMissing,
    /// An image is not what the spec says.
    ImageDigestMismatch,
    /// An image is no kernel, or no file system.
    ImageNotUsable,
    /// A disk is full or read-only.
    DiskFull,
    /// The root disk's store is past the alarm threshold and cannot be made larger.
    RootDiskNearlyFull,
    /// The root disk's store is full: the guest's writes fail.
    RootDiskFull,
    /// The root disk's store could not be written once: what the guest wrote is lost.
    RootDiskLost,
    /// A program is not installed.
    ToolMissing,
    /// A program or the kernel refused.
    ToolFailed,
    /// `/dev/kvm` is missing or does not work.
    KvmUnavailable,
    /// The agent lacks the rights.
    NotRoot,
    /// There is no default route.
    NoUplink,
    /// An interface that is not ours has the name of the tap or the bridge.
    TapNameTaken,
    /// The host uses addresses of the guest subnet elsewhere.
    SubnetInUse,
    /// Another guest of the host has its address, or the user of its VMM.
    AddressInUse,
    /// The guest runs, and its network is not as it is to be and could not be mended.
    NetworkDegraded,
    /// The guest runs, and the tap that its VMM has open is gone.
    TapLost,
    /// The guest runs, and its host does not hold it to a limit that it is to have.
    LimitsNotHeld,
    /// A device is in use and could not be removed.
    DeviceBusy,
    /// The jailer or the VMM did not start.
    VmmStartFailed,
    /// The VMM refused its configuration.
    VmmConfigureFailed,
    /// The VMM ended before the guest ran.
    VmmExited,
    /// The VMM's API does not answer.
    VmmUnresponsive,
    /// It cannot be told whether a process is the VM's.
    ProcessUnclear,
    /// `vm.json` cannot be read.
    RecordUnreadable,
    /// A defect.
    Internal,
}

impl Reason {
    /// Every reason, for documentation and tests.
    pub const ALL: [Self; 28] = [
        Self::KernelImageMissing,
        Self::InitrdImageMissing,
        Self::RootImageMissing,
        Self::ImageDigestMismatch,
        Self::ImageNotUsable,
        Self::DiskFull,
        Self::RootDiskNearlyFull,
        Self::RootDiskFull,
        Self::RootDiskLost,
        Self::ToolMissing,
        Self::ToolFailed,
        Self::KvmUnavailable,
        Self::NotRoot,
        Self::NoUplink,
        Self::TapNameTaken,
        Self::SubnetInUse,
        Self::AddressInUse,
        Self::NetworkDegraded,
        Self::TapLost,
        Self::LimitsNotHeld,
        Self::DeviceBusy,
        Self::VmmStartFailed,
        Self::VmmConfigureFailed,
        Self::VmmExited,
        Self::VmmUnresponsive,
        Self::ProcessUnclear,
        Self::RecordUnreadable,
        Self::Internal,
    ];

    /// As sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KernelImageMissing => "KERNEL_IMAGE_MISSING",
            Self::InitrdImageMissing => "INITRD_IMAGE_MISSING",
            Self::RootImageMissing => "ROOT_IMAGE_MISSING",
            Self::ImageDigestMismatch => "IMAGE_DIGEST_MISMATCH",
            Self::ImageNotUsable => "IMAGE_NOT_USABLE",
            Self::DiskFull => "DISK_FULL",
            Self::RootDiskNearlyFull => "ROOT_DISK_NEARLY_FULL",
            Self::RootDiskFull => "ROOT_DISK_FULL",
            Self::RootDiskLost => "ROOT_DISK_LOST",
            Self::ToolMissing => "TOOL_MISSING",
            Self::ToolFailed => "TOOL_FAILED",
            Self::KvmUnavailable => "KVM_UNAVAILABLE",
            Self::NotRoot => "NOT_ROOT",
            Self::NoUplink => "NO_UPLINK",
            Self::TapNameTaken => "TAP_NAME_TAKEN",
            Self::SubnetInUse => "SUBNET_IN_USE",
            Self::AddressInUse => "ADDRESS_IN_USE",
            Self::NetworkDegraded => "NETWORK_DEGRADED",
            Self::TapLost => "TAP_LOST",
            Self::LimitsNotHeld => "LIMITS_NOT_HELD",
            Self::DeviceBusy => "DEVICE_BUSY",
            Self::VmmStartFailed => "VMM_START_FAILED",
            Self::VmmConfigureFailed => "VMM_CONFIGURE_FAILED",
            Self::VmmExited => "VMM_EXITED",
            Self::VmmUnresponsive => "VMM_UNRESPONSIVE",
            Self::ProcessUnclear => "PROCESS_UNCLEAR",
            Self::RecordUnreadable => "RECORD_UNREADABLE",
            Self::Internal => "INTERNAL",
        }
    }

    /// Whether trying the same again may end otherwise without the intent being changed: all that
    /// an operator can mend at the host does. Rights are given to a process when it starts, so
    /// that one needs a new agent; a root disk that is lost needs somebody who gives it up.
    #[must_use]
    pub const fn retry_can_help(self) -> bool {
        match self {
            Self::NotRoot | Self::RecordUnreadable | Self::RootDiskLost => false,
            Self::KernelImageMissing
            | Self::InitrdImageMissing
            | Self::RootImageMissing
            | Self::ImageDigestMismatch
            | Self::ImageNotUsable
            | Self::DiskFull
            | Self::RootDiskNearlyFull
            | Self::RootDiskFull
            | Self::ToolMissing
            | Self::ToolFailed
            | Self::KvmUnavailable
            | Self::NoUplink
            | Self::TapNameTaken
            | Self::SubnetInUse
            | Self::AddressInUse
            | Self::NetworkDegraded
            | Self::TapLost
            | Self::LimitsNotHeld
            | Self::DeviceBusy
            | Self::VmmStartFailed
            | Self::VmmConfigureFailed
            | Self::VmmExited
            | Self::VmmUnresponsive
            | Self::ProcessUnclear
            | Self::Internal => true,
        }
    }
}

/// A step that failed, or a question that cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What to do about it.
    pub reason: Reason,
    /// The step, such as "attach the copy-on-write loop device".
    pub step: &'static str,
    /// What was told.
    pub message: String,
    /// What could not be undone, each as "kind name".
    pub left_behind: Vec<String>,
    /// When the agent tries again; `None`: not before it is told something new.
    pub retry_at: Option<Moment>,
}

impl Fault {
    /// A fault with nothing left behind and no retry.
    #[must_use]
    pub fn new(reason: Reason, step: &'static str, message: impl Into<String>) -> Self {
        Self { reason, step, message: message.into(), left_behind: Vec::new(), retry_at: None }
    }
}
