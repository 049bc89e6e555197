//! What may be asked of a VM, each with what it begins from and what it comes to: the rows of the
//! sweeps.

use crate::assignment::{Assignment, Power};
use crate::report::phase::Phase;
use crate::vm::fixtures::assignment_of;

/// One change of what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Create,
    Stop,
    Kill,
    Start,
    Reboot,
    ResetRootDisk,
    Pause,
    Resume,
    Update,
    Delete,
    DeleteStopped,
}

impl Operation {
    pub(super) const ALL: [Self; 11] = [
        Self::Create,
        Self::Stop,
        Self::Kill,
        Self::Start,
        Self::Reboot,
        Self::ResetRootDisk,
        Self::Pause,
        Self::Resume,
        Self::Update,
        Self::Delete,
        Self::DeleteStopped,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Stop => "stop",
            Self::Kill => "stop without grace",
            Self::Start => "start",
            Self::Reboot => "reboot",
            Self::ResetRootDisk => "reset of the root disk",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::DeleteStopped => "delete of a stopped VM",
        }
    }

    /// What is wanted before it.
    pub(super) fn begins_with(self) -> Option<Assignment> {
        let power = match self {
            Self::Create => return None,
            Self::Stop
            | Self::Kill
            | Self::Reboot
            | Self::ResetRootDisk
            | Self::Pause
            | Self::Update
            | Self::Delete => Power::Running,
            Self::Resume => Power::Paused,
            Self::Start | Self::DeleteStopped => Power::Stopped,
        };
        Some(wanted(1, power))
    }

    /// What it asks for.
    pub(super) fn assignment(self) -> Assignment {
        let power = match self {
            Self::Create
            | Self::Start
            | Self::Reboot
            | Self::ResetRootDisk
            | Self::Resume
            | Self::Update => Power::Running,
            Self::Stop | Self::Kill => Power::Stopped,
            Self::Pause => Power::Paused,
            Self::Delete | Self::DeleteStopped => Power::Absent,
        };
        let mut assignment = wanted(2, power);
        match self {
            Self::Kill => assignment.stop_grace = std::time::Duration::ZERO,
            Self::Start | Self::Reboot => assignment.boot_number = 2,
            Self::ResetRootDisk => assignment.root_disk_number = 2,
            Self::Update => {
                if let Some(shape) = &mut assignment.shape {
                    shape.metadata_json = Some("{\"changed\":true}".to_owned());
                    shape.network.nat = false;
                }
            }
            Self::Delete | Self::DeleteStopped => assignment.shape = None,
            Self::Create | Self::Stop | Self::Pause | Self::Resume => {}
        }
        assignment
    }

    /// What a VM wanted so is seen to be at rest; `None` when it is gone.
    pub(super) fn rests(power: Power) -> Option<Phase> {
        match power {
            Power::Running => Some(Phase::Running),
            Power::Paused => Some(Phase::Paused),
            Power::Stopped => Some(Phase::Stopped),
            Power::Absent => None,
        }
    }

    /// Whether the process is to stay the one it is, whatever fails and whoever dies.
    pub(super) fn keeps_process(self) -> bool {
        match self {
            Self::Pause | Self::Resume | Self::Update => true,
            Self::Create
            | Self::Stop
            | Self::Kill
            | Self::Start
            | Self::Reboot
            | Self::ResetRootDisk
            | Self::Delete
            | Self::DeleteStopped => false,
        }
    }
}

/// VM 1 with everything a VM may have.
pub(super) fn wanted(generation: u64, power: Power) -> Assignment {
    let mut assignment = assignment_of(1, 1, generation, power);
    if let Some(shape) = &mut assignment.shape {
        shape.work_disk_mib = 32;
        shape.metadata_json = Some("{}".to_owned());
    }
    assignment
}
