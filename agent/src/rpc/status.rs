//! The only builder of `tonic::Status` in the agent; simulated guests have their own.
//!
//! What a host says of itself (a tool's complaint, a path, the words of a VMM's log) goes into
//! messages only as text of a bounded length: it comes back as a header, and one that is too large
//! would break the call off instead of explaining it.

use std::collections::HashMap;

use banger_proto::ids::{Version, VmId};
use banger_proto::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::NotInstalled;
use super::convert::WireError;
use crate::guests::{NoGuest, printable};
use crate::host::{HostError, HostErrorKind};

const DOMAIN: &str = "banger";

/// The longest message, in bytes.
const LONGEST: usize = 2048;

/// The longest value of an error's details, in bytes.
const LONGEST_VALUE: usize = 256;

/// Text of at most so many bytes, without control characters.
fn clipped(text: &str, longest: usize) -> String {
    let mut clean = String::new();
    for c in text.chars() {
        let c = if c.is_control() { ' ' } else { c };
        if clean.len() + c.len_utf8() > longest {
            let end = clean.floor_char_boundary(longest.saturating_sub("…".len()));
            clean.truncate(end);
            clean.push('…');
            break;
        }
        clean.push(c);
    }
    clean
}

fn status(
    code: Code,
    reason: ErrorReason,
    metadata: impl IntoIterator<Item = (&'static str, String)>,
    message: String,
) -> Status {
    let reason = reason.as_str_name().trim_start_matches("ERROR_REASON_");
    let metadata: HashMap<String, String> =
        metadata.into_iter().map(|(key, v)| (key.to_owned(), clipped(&v, LONGEST_VALUE))).collect();
    Status::with_error_details(
        code,
        clipped(&message, LONGEST),
        ErrorDetails::with_error_info(reason, DOMAIN, metadata),
    )
}

/// An error that the edge makes or mends: see [`banger_wire::service::edge`].
pub(crate) fn of_the_edge(code: Code, reason: ErrorReason, message: String) -> Status {
    status(code, reason, [], message)
}

/// A message that makes no sense: the server and this agent do not speak the same language, or
/// the peer is not what it says.
pub(super) fn invalid(error: &WireError) -> Status {
    let field = clipped(&error.field, LONGEST_VALUE);
    let problem = clipped(&error.problem, LONGEST_VALUE);
    let mut details = ErrorDetails::with_bad_request_violation(field, problem);
    let reason = ErrorReason::InvalidFields.as_str_name().trim_start_matches("ERROR_REASON_");
    details.set_error_info(reason, DOMAIN, HashMap::new());
    let message = clipped(&error.to_string(), LONGEST);
    Status::with_error_details(Code::InvalidArgument, message, details)
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

/// The assignment gives a guest that runs another address, so nothing was accepted.
pub(super) fn other_address(why: &str) -> Status {
    status(Code::FailedPrecondition, ErrorReason::HostRefused, [], why.to_owned())
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

/// A certificate that is not in use; the one of before is.
pub(super) fn not_installed(why: &NotInstalled) -> Status {
    match why {
        NotInstalled::NotKept(why) => {
            status(Code::Unavailable, ErrorReason::StoreUnavailable, [], why.clone())
        }
        NotInstalled::Unusable(why) => {
            status(Code::InvalidArgument, ErrorReason::CertificateUnusable, [], why.clone())
        }
    }
}

/// There is no certificate that could be renewed.
pub(super) fn no_certificates() -> Status {
    let message = "this agent has no certificate of its own".to_owned();
    status(Code::FailedPrecondition, ErrorReason::HostRefused, [], message)
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
        | HostErrorKind::SubnetTaken
        | HostErrorKind::AddressTaken
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
        | HostErrorKind::SubnetTaken
        | HostErrorKind::AddressTaken
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

#[cfg(test)]
mod tests {
    //! What becomes of the words of a host.

    use super::*;

    #[test]
    fn whatever_a_host_says_is_a_message_of_bounded_length_without_control_characters() {
        let vm = "0191e0a0-0000-7000-8000-000000000001".parse().unwrap();
        let said = format!("ip: \u{1b}]52;c;x\u{7}\nno\u{9b}1m{}", "ä".repeat(100_000));
        let error = HostError::new(HostErrorKind::Other, "apply", "the rules").detail(said.clone());
        for status in [
            not_recorded(vm, &said),
            disk_full(vm, &said),
            host_unreadable(&error),
            image_not_kept(&error),
            image_not_removed(&error),
            no_console(vm, &error),
            of_the_edge(Code::Internal, ErrorReason::Internal, said.clone()),
            invalid(&WireError { field: said.clone(), problem: said.clone() }),
        ] {
            let message = status.message();
            assert!(message.len() <= LONGEST && message.ends_with('…'), "{}", message.len());
            assert!(!message.chars().any(char::is_control), "{message:?}");
            // Message and details are two headers, the second in base64.
            assert!(status.details().len() < 2 * LONGEST, "{}", status.details().len());
        }
        assert_eq!(clipped("short", LONGEST), "short");
    }
}
