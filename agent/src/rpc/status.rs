//! The only builder of `tonic::Status` in the agent.

use std::collections::HashMap;

use banger_proto::ids::{Version, VmId};
use banger_proto::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::convert::WireError;
use crate::guests::{NoGuest, printable};
use crate::host::{HostError, HostErrorKind};

const DOMAIN: &str = "banger";

fn status(
    code: Code,
    reason: ErrorReason,
    metadata: impl IntoIterator<Item = (&'static str, String)>,
    message: String,
) -> Status {
    let reason = reason.as_str_name().trim_start_matches("ERROR_REASON_");
    let metadata: HashMap<String, String> =
        metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Status::with_error_details(
        code,
        message,
        ErrorDetails::with_error_info(reason, DOMAIN, metadata),
    )
}

/// A message that makes no sense: the server and this agent do not speak the same language, or
/// the peer is not what it says.
pub(super) fn invalid(error: &WireError) -> Status {
    let mut details = ErrorDetails::with_bad_request_violation(error.field.clone(), &error.problem);
    let reason = ErrorReason::InvalidFields.as_str_name().trim_start_matches("ERROR_REASON_");
    details.set_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(Code::InvalidArgument, error.to_string(), details)
}

/// An older version than one that was accepted.
pub(super) fn stale(vm: VmId, offered: Version, seen: Version) -> Status {
    status(
        Code::FailedPrecondition,
        ErrorReason::StaleGeneration,
        [("seen_epoch", seen.epoch.to_string()), ("seen_generation", seen.generation.to_string())],
        format!("VM {vm}: version {offered} is older than {seen}, which this host holds already"),
    )
}

/// The record could not be written, so nothing was accepted.
pub(super) fn not_recorded(vm: VmId, why: &str) -> Status {
    status(
        Code::Unavailable,
        ErrorReason::StoreUnavailable,
        [],
        format!("VM {vm}: its record cannot be written, nothing was changed: {why}"),
    )
}

/// What a result of `Reconcile` gives as its reason where a single call gives
/// [`ErrorReason::DiskFull`].
pub(super) const DISK_FULL: &str = "DISK_FULL";

/// The record could not be written because the disk is full.
pub(super) fn disk_full(vm: VmId, why: &str) -> Status {
    status(
        Code::ResourceExhausted,
        ErrorReason::DiskFull,
        [],
        format!("VM {vm}: {}", disk_full_sentence(why)),
    )
}

pub(super) fn disk_full_sentence(why: &str) -> String {
    format!("the host's disk is full, its record cannot be written, nothing was changed: {why}")
}

/// The host could not be read, so that nothing was listed or removed.
pub(super) fn host_unreadable(error: &HostError) -> Status {
    status(
        Code::FailedPrecondition,
        ErrorReason::HostRefused,
        [],
        format!("the host cannot be read, nothing was removed: {}", error.chain()),
    )
}

/// An image that was not kept; nothing of it is left.
pub(super) fn image_not_kept(error: &HostError) -> Status {
    let (code, reason) = match error.kind {
        HostErrorKind::NoSpace => (Code::ResourceExhausted, ErrorReason::DiskFull),
        HostErrorKind::Invalid => (Code::InvalidArgument, ErrorReason::ImageMismatch),
        HostErrorKind::MissingTool
        | HostErrorKind::Busy
        | HostErrorKind::NotPermitted
        | HostErrorKind::NameTaken
        | HostErrorKind::NotFound
        | HostErrorKind::NoUplink
        | HostErrorKind::KvmUnavailable
        | HostErrorKind::TimedOut
        | HostErrorKind::Refused
        | HostErrorKind::Other => (Code::Unavailable, ErrorReason::StoreUnavailable),
    };
    status(code, reason, [], error.chain())
}

/// An image that stays.
pub(super) fn image_not_removed(error: &HostError) -> Status {
    let (code, reason) = match error.kind {
        HostErrorKind::Busy => (Code::FailedPrecondition, ErrorReason::ImageInUse),
        HostErrorKind::NoSpace
        | HostErrorKind::Invalid
        | HostErrorKind::MissingTool
        | HostErrorKind::NotPermitted
        | HostErrorKind::NameTaken
        | HostErrorKind::NotFound
        | HostErrorKind::NoUplink
        | HostErrorKind::KvmUnavailable
        | HostErrorKind::TimedOut
        | HostErrorKind::Refused
        | HostErrorKind::Other => (Code::Unavailable, ErrorReason::StoreUnavailable),
    };
    status(code, reason, [], error.chain())
}

/// The server has stopped in the middle of an image.
pub(super) fn silent() -> Status {
    let message = "nothing more came of the image for too long; nothing of it is kept".to_owned();
    status(Code::Unavailable, ErrorReason::StoreUnavailable, [], message)
}

/// No such VM is held here.
pub(super) fn not_held(vm: VmId) -> Status {
    status(
        Code::NotFound,
        ErrorReason::AssignmentNotFound,
        [],
        format!("this host holds no VM {vm}"),
    )
}

/// A VM's console can't be read or typed into now.
pub(super) fn no_console(vm: VmId, error: &HostError) -> Status {
    status(
        Code::FailedPrecondition,
        ErrorReason::ConsoleUnavailable,
        [],
        format!("VM {vm}: {}", error.chain()),
    )
}

/// The agent is shutting down.
pub(super) fn shutting_down() -> Status {
    status(
        Code::Unavailable,
        ErrorReason::ShuttingDown,
        [],
        "the agent is shutting down; the VMs run on".to_owned(),
    )
}

/// Nothing of the VM is held here.
pub(super) fn no_assignment(vm: VmId) -> Status {
    status(
        Code::NotFound,
        ErrorReason::AssignmentNotFound,
        [],
        format!("VM {vm}: this host holds nothing of it"),
    )
}

/// A guest agent that can't be asked.
pub(super) fn no_guest(vm: VmId, why: NoGuest) -> Status {
    let (code, reason) = match why {
        NoGuest::NotRunning | NoGuest::NeverHeard => {
            (Code::FailedPrecondition, ErrorReason::GuestAgentUnreachable)
        }
        NoGuest::Lost => (Code::Unavailable, ErrorReason::GuestAgentUnreachable),
        NoGuest::Busy => (Code::ResourceExhausted, ErrorReason::LimitReached),
    };
    status(code, reason, [], format!("VM {vm}: {why}"))
}

/// A guest agent that was lost in the middle of a call.
pub(super) fn guest_lost(vm: VmId) -> Status {
    status(
        Code::Unavailable,
        ErrorReason::GuestAgentLost,
        [],
        format!("VM {vm}: the guest agent was lost during the call; its outcome is unknown"),
    )
}

/// What a guest agent answered. Of the words of a guest only some are passed on, and only as words.
pub(super) fn of_guest(vm: VmId, said: &Status) -> Status {
    let code = match said.code() {
        code @ (Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Unimplemented) => code,
        Code::OutOfRange => Code::InvalidArgument,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => return guest_lost(vm),
    };
    let words = printable(said.message(), 500);
    status(code, ErrorReason::GuestRefused, [], format!("VM {vm}: the guest says: {words}"))
}
