//! What happened to a VM: lines of its history.
//!
//! Requests write theirs in the transaction that changes the intent; what hosts report is recorded
//! through the same writer. History is never read to decide anything.

use banger_proto::ids::{Generation, VmId};
use jiff::Timestamp;

use super::status::VmState;

/// One line of a VM's history, before it has its place in the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEvent {
    /// Whose.
    pub vm: VmId,
    /// The generation of intent it belongs to.
    pub generation: Generation,
    /// What happened.
    pub kind: EventKind,
    /// Reason code; empty where none is needed.
    pub reason: String,
    /// A sentence; empty where the kind says all.
    pub message: String,
    /// Who asked, or `host <name>`.
    pub actor: String,
    pub at: Timestamp,
}

/// What happened: a closed list, explained in docs/STATES.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// The VM was created.
    Created,
    /// A host was found.
    Placed,
    /// No host was found; the reason says why.
    Unplaced,
    /// The spec was changed.
    Updated,
    /// Somebody wants it running.
    StartRequested,
    /// Somebody wants it stopped.
    StopRequested,
    /// Somebody wants it paused.
    PauseRequested,
    /// Somebody wants it running again after a pause.
    ResumeRequested,
    /// Somebody wants it stopped and started once.
    RebootRequested,
    /// Somebody wants it gone.
    DeleteRequested,
    /// Nothing of it is left.
    Deleted,
    /// It was seen to enter a state.
    Entered(VmState),
    /// Somebody ran a program in it; the message has its name.
    Exec,
    /// Its root disk's store was made larger.
    RootDiskGrown,
    /// Something is wrong with its root disk's store; the reason says what.
    RootDiskAlarm,
    /// Nothing is, any more.
    RootDiskAlarmOver,
    /// Its host says so much of it that the lines of this hour that follow are left out.
    LinesLeftOut,
    /// The guest runs and its network is not as it is to be; the reason says how.
    NetworkDegraded,
    /// It is, again.
    NetworkDegradedOver,
}

impl EventKind {
    /// The word stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Placed => "PLACED",
            Self::Unplaced => "UNPLACED",
            Self::Updated => "UPDATED",
            Self::StartRequested => "START_REQUESTED",
            Self::StopRequested => "STOP_REQUESTED",
            Self::PauseRequested => "PAUSE_REQUESTED",
            Self::ResumeRequested => "RESUME_REQUESTED",
            Self::RebootRequested => "REBOOT_REQUESTED",
            Self::DeleteRequested => "DELETE_REQUESTED",
            Self::Deleted => "DELETED",
            Self::Entered(state) => state.as_str(),
            Self::Exec => "EXEC",
            Self::RootDiskGrown => "ROOT_DISK_GROWN",
            Self::RootDiskAlarm => "ROOT_DISK_ALARM",
            Self::RootDiskAlarmOver => "ROOT_DISK_ALARM_OVER",
            Self::LinesLeftOut => "LINES_LEFT_OUT",
            Self::NetworkDegraded => "NETWORK_DEGRADED",
            Self::NetworkDegradedOver => "NETWORK_DEGRADED_OVER",
        }
    }
}
