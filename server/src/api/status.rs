//! Every error of the API: code, sentence, `google.rpc.ErrorInfo`, and field violations.
//!
//! The only builder of `tonic::Status` in the server, so that no error goes out without a reason.
//! Reasons are explained in docs/ERRORS.md.

use std::collections::HashMap;

use banger_proto::ids::Revision;
use banger_proto::v1::ErrorReason;
use banger_proto::words::counted;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::model::access::Refused;
use crate::model::caller::Caller;
use crate::model::ledger::Refusal;
use crate::model::placement::Unsuitable;
use crate::model::project::ProjectName;
use crate::model::request::RequestTarget;
use crate::model::spec::{SpecProblem, SpecRefusal};
use crate::watch::TooOldWhy;

mod guests;
mod kept;

pub use self::guests::{GuestOf, guest_failed, guest_lost};
pub use self::kept::{import_failed, keep_failed, mutation_failed, read_failed};

/// The domain of every reason.
pub const DOMAIN: &str = "banger";

/// Details travel in a header; clients take about 16 KiB of those, base64 included.
const MAX_VIOLATION_BYTES: usize = 6000;

/// Most bytes of a sentence, and of one part of a violation. What a caller has sent goes into them.
const MAX_WORDS: usize = 1000;

/// An error with its reason.
pub fn error(code: Code, reason: ErrorReason, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(word(reason), DOMAIN, HashMap::new());
    Status::with_error_details(code, clipped(message.into()), details)
}

/// A text that fits a header, whatever a caller has put into it: a client gives up a connection
/// whose headers are too large, and with it all of its calls.
fn clipped(mut text: String) -> String {
    if text.len() > MAX_WORDS {
        text.truncate(text.floor_char_boundary(MAX_WORDS));
        text.push('…');
    }
    text
}

/// An error that the edge makes or mends: see [`banger_wire::service::edge`].
pub fn of_the_edge(code: Code, reason: ErrorReason, message: String) -> Status {
    error(code, reason, message)
}

/// A reason as it goes out: without the prefix of the enum.
pub fn word(reason: ErrorReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("ERROR_REASON_").unwrap_or(name)
}

/// One or more fields are wrong: all of them are listed, up to what fits a header.
pub fn invalid_fields(problems: Vec<SpecProblem>) -> Status {
    let mut details =
        ErrorDetails::with_error_info(word(ErrorReason::InvalidFields), DOMAIN, HashMap::new());
    let mut size = 0;
    let all = problems.len();
    let mut listed = 0;
    let mut summary = String::new();
    for problem in problems {
        let problem = SpecProblem {
            field: clipped(problem.field),
            description: clipped(problem.description),
        };
        size += problem.field.len() + problem.description.len() + 8;
        if size > MAX_VIOLATION_BYTES && listed > 0 {
            break;
        }
        if listed < 3 {
            let separator = if listed == 0 { "" } else { "; " };
            summary.push_str(&format!("{separator}{} {}", problem.field, problem.description));
        }
        details.add_bad_request_violation(problem.field, problem.description);
        listed += 1;
    }
    if listed < all {
        let more = counted((all - listed) as u64, "more problem");
        details.add_bad_request_violation("", format!("and {more}"));
    }
    if all > 3 {
        summary.push_str(&format!("; and {} more", all - 3));
    }
    Status::with_error_details(Code::InvalidArgument, clipped(summary), details)
}

/// One field is wrong.
pub fn invalid_field(field: &str, description: impl Into<String>) -> Status {
    invalid_fields(vec![SpecProblem::new(field, description)])
}

/// A call or a field that is not there yet.
pub fn not_implemented(what: &str) -> Status {
    error(
        Code::Unimplemented,
        ErrorReason::NotImplemented,
        format!("{what} is not implemented yet"),
    )
}

/// A defect.
pub fn internal(message: impl Into<String>) -> Status {
    error(Code::Internal, ErrorReason::Internal, message)
}

/// No VM is named so.
pub fn vm_not_found(vm: &crate::model::ledger::VmRef) -> Status {
    refused(&Refusal::VmNotFound(vm.clone()))
}

/// No project is named so, for who asks.
pub fn project_not_found(project: &ProjectName) -> Status {
    refused(&Refusal::ProjectNotFound { name: project.to_string() })
}

/// No host is named so.
pub fn host_not_found(host: &crate::model::ledger::HostRef) -> Status {
    refused(&Refusal::HostNotFound(host.clone()))
}

/// The server is going down.
pub fn shutting_down() -> Status {
    error(Code::Unavailable, ErrorReason::ShuttingDown, "the server is shutting down")
}

/// A revision can't be resumed after. The metadata says why, and the oldest that can.
pub fn revision_too_old(after: Revision, why: TooOldWhy, oldest: Revision) -> Status {
    let message = match why {
        TooOldWhy::Forgotten => "more has gone since than the server remembers",
        TooOldWhy::Restored => "the server's database was restored since from a backup",
        TooOldWhy::Unproven => {
            "it can't be told which changes of an earlier run of the server it stands for"
        }
        TooOldWhy::NotGivenOut => "this server has not given it out",
    };
    let message = format!("streams can't go on after revision {after}: {message}; list again");
    let metadata = HashMap::from([
        ("why".to_owned(), why.as_str().to_owned()),
        ("oldest_revision".to_owned(), oldest.to_string()),
    ]);
    let reason = word(ErrorReason::RevisionTooOld);
    let details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(Code::OutOfRange, message, details)
}

/// A stream did not read the state that it began with.
pub fn start_unread() -> Status {
    let why = "the state at the start was not read for a while and is no longer kept; list again";
    error(Code::OutOfRange, ErrorReason::RevisionTooOld, why)
}

/// Records after this one were let go before a stream came to them.
pub fn audit_gone(after: u64) -> Status {
    error(
        Code::OutOfRange,
        ErrorReason::RevisionTooOld,
        format!(
            "records of the audit after {after} were let go by their age before they were told; \
             begin with the oldest that there is (after_id = 0)"
        ),
    )
}

/// A page token that can't be used.
pub fn page_token_invalid(why: &str) -> Status {
    error(
        Code::InvalidArgument,
        ErrorReason::PageTokenInvalid,
        format!("page_token {why}; list again from the first page"),
    )
}

/// What a page token's list was read from is not kept any more.
pub fn page_token_expired() -> Status {
    error(
        Code::Aborted,
        ErrorReason::PageTokenExpired,
        "the list that page_token belongs to is not kept any more: a minute has passed since its last \
         page, or you have begun too many others; list again from the first page",
    )
}

/// The request is no call as a gRPC library makes them.
pub fn malformed(why: &str) -> Status {
    error(
        Code::InvalidArgument,
        ErrorReason::RequestMalformed,
        format!("the request is malformed: {why}"),
    )
}

/// No bearer token, or a wrong one.
pub fn token_invalid(why: &str) -> Status {
    error(Code::Unauthenticated, ErrorReason::TokenInvalid, why)
}

/// The caller's role does not do. The metadata names the least one that would, under `role`.
pub fn not_permitted(refused: &Refused) -> Status {
    let metadata = match refused {
        Refused::Role { needed, .. } => HashMap::from([("role".to_owned(), needed.to_string())]),
        Refused::Stranger | Refused::NotThere => HashMap::new(),
    };
    let reason = word(ErrorReason::NotPermitted);
    let details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(Code::PermissionDenied, clipped(refused.to_string()), details)
}

/// A line of the token file has the name that a token was to have.
pub fn token_name_in_file(name: &str) -> Status {
    let message = format!("the name {name:?} is taken by a line of the server's token file");
    error(Code::AlreadyExists, ErrorReason::TokenNameTaken, message)
}

/// A join token that can't be used.
pub fn join_token_invalid(why: &str) -> Status {
    error(Code::Unauthenticated, ErrorReason::JoinTokenInvalid, format!("the join token is {why}"))
}

/// A stated limit is reached.
pub fn limit_reached(limit: usize, what: &str) -> Status {
    let message = format!("the limit of {limit} {what} is reached");
    error(Code::ResourceExhausted, ErrorReason::LimitReached, message)
}

/// The callers of a project call more often than they may. What is begun goes on.
pub fn called_too_often(per_second: u32, wait: std::time::Duration) -> Status {
    let message = format!(
        "the limit of {per_second} calls a second of a project is reached; call again in {:.3} s",
        wait.as_secs_f64()
    );
    error(Code::ResourceExhausted, ErrorReason::LimitReached, message)
}

/// A party has as many calls open that last as it may: so many are used, of so many.
pub fn too_many_open(caller: &Caller, what: &str, used: u64, allowed: u64) -> Status {
    let (whose, reason) = match caller.only() {
        Some(project) => (format!("project {project}"), ErrorReason::QuotaExceeded),
        None => (caller.actor.to_string(), ErrorReason::LimitReached),
    };
    let message = format!("{used} of {allowed} {what} of {whose} are open; end others first");
    error(Code::ResourceExhausted, reason, message)
}

/// A VM without a host has no guest to reach.
pub fn vm_not_placed(vm: &str) -> Status {
    let message = format!("VM {vm} has no host yet, so there is no guest to reach");
    error(Code::FailedPrecondition, ErrorReason::VmNotPlaced, message)
}

/// The VM was deleted while its guest was spoken to.
pub fn vm_gone() -> Status {
    error(Code::NotFound, ErrorReason::VmNotFound, "the VM was deleted meanwhile")
}

/// The guest does not run, whatever it has in it.
pub fn vm_not_running(vm: &str, state: &str, message: &str) -> Status {
    let what = match state {
        "PAUSED" => ": a paused guest answers nothing until you resume it".to_owned(),
        "STOPPED" => ": start it first".to_owned(),
        _ if message.is_empty() => String::new(),
        _ => format!(": {message}"),
    };
    let reason = word(ErrorReason::VmNotRunning);
    let details = ErrorDetails::with_error_info(
        reason,
        DOMAIN,
        HashMap::from([("state".to_owned(), state.to_owned())]),
    );
    let message = format!("VM {vm} is {state}{what}");
    Status::with_error_details(Code::FailedPrecondition, message, details)
}

/// The call's own deadline has passed.
pub fn deadline_exceeded(what: &str) -> Status {
    error(Code::DeadlineExceeded, ErrorReason::DeadlineExceeded, what)
}

pub fn spec_refused(refusal: SpecRefusal) -> Status {
    match refusal {
        SpecRefusal::Invalid(problems) => invalid_fields(problems),
        SpecRefusal::NotImplemented(fields) => not_implemented(&fields.join(", ")),
    }
}

/// A host's agent was not reached, or nothing came of the call that only reads.
pub fn host_unreachable(message: impl Into<String>) -> Status {
    error(Code::Unavailable, ErrorReason::HostUnreachable, message)
}

/// A host's agent was asked to change something and did not answer.
pub fn outcome_unknown(message: impl Into<String>) -> Status {
    error(Code::Unknown, ErrorReason::OutcomeUnknown, message)
}

/// A host's agent won't, or can't.
pub fn host_refused(message: impl Into<String>) -> Status {
    error(Code::FailedPrecondition, ErrorReason::HostRefused, message)
}

/// A mutation that was refused.
pub fn refused(refusal: &Refusal) -> Status {
    use ErrorReason as R;
    let (code, reason) = match refusal {
        Refusal::InvalidFields(problems) => return invalid_fields(problems.clone()),
        Refusal::JoinTokenInvalid(why) => return join_token_invalid(why),
        Refusal::NotPermitted(why) => return not_permitted(why),
        Refusal::JoinTokenForAnother { .. } => (Code::Unauthenticated, R::JoinTokenInvalid),
        Refusal::VmNotFound(_) => (Code::NotFound, R::VmNotFound),
        Refusal::HostNotFound(_) => (Code::NotFound, R::HostNotFound),
        Refusal::VmIdTaken { .. } | Refusal::VmIdUsedUp { .. } => {
            (Code::AlreadyExists, R::VmIdTaken)
        }
        Refusal::RequestIdTaken { .. } => (Code::AlreadyExists, R::RequestIdTaken),
        Refusal::DoneAndGone { what: RequestTarget::Vm(_) } => (Code::NotFound, R::VmNotFound),
        Refusal::DoneAndGone { what: RequestTarget::Host(_) } => (Code::NotFound, R::HostNotFound),
        Refusal::DoneAndGone { what: RequestTarget::Image(_) } => {
            (Code::NotFound, R::ImageNotFound)
        }
        Refusal::DoneAndGone { what: RequestTarget::Token(_) } => {
            (Code::NotFound, R::TokenNotFound)
        }
        Refusal::DoneAndGone { what: RequestTarget::Project(_) }
        | Refusal::ProjectNotFound { .. } => (Code::NotFound, R::ProjectNotFound),
        Refusal::QuotaExceeded { .. } => (Code::ResourceExhausted, R::QuotaExceeded),
        Refusal::ProjectNameTaken { .. } | Refusal::ProjectNameUsed { .. } => {
            (Code::AlreadyExists, R::ProjectNameTaken)
        }
        Refusal::ProjectNotEmpty { .. } | Refusal::ProjectStays { .. } => {
            (Code::FailedPrecondition, R::ProjectNotEmpty)
        }
        Refusal::VmNameTaken { .. } => (Code::AlreadyExists, R::VmNameTaken),
        Refusal::HostNameTaken { .. } => (Code::AlreadyExists, R::HostNameTaken),
        Refusal::EtagMismatch { .. } => (Code::Aborted, R::EtagMismatch),
        Refusal::VmDeleting { .. } => (Code::FailedPrecondition, R::VmDeleting),
        Refusal::NeedsStoppedVm { .. } => (Code::FailedPrecondition, R::NeedsStoppedVm),
        Refusal::WrongDesiredState { .. } | Refusal::NotAbsent { .. } => {
            (Code::FailedPrecondition, R::WrongDesiredState)
        }
        Refusal::HostNotEmpty { .. } => (Code::FailedPrecondition, R::HostNotEmpty),
        Refusal::HostKeyRevoked { .. } => (Code::FailedPrecondition, R::HostKeyRevoked),
        Refusal::HostUnsuitable { why, .. } => match why {
            Unsuitable::HasAnother
            | Unsuitable::NotNamed
            | Unsuitable::LacksImage
            | Unsuitable::Cordoned
            | Unsuitable::LabelMismatch
            | Unsuitable::OtherPool
            | Unsuitable::HostRule(_)
            | Unsuitable::VmRule(_)
            | Unsuitable::KeptApart
            | Unsuitable::TooSmall(_) => (Code::FailedPrecondition, R::HostUnsuitable),
            Unsuitable::NotYetSeen | Unsuitable::Unreachable => {
                (Code::Unavailable, R::HostUnsuitable)
            }
            Unsuitable::NoRoom(_) | Unsuitable::Full | Unsuitable::NoFreeAddress => {
                (Code::ResourceExhausted, R::HostFull)
            }
        },
        Refusal::ImageNotFound { .. }
        | Refusal::NothingCarried { .. }
        | Refusal::ImageNowhere { .. } => (Code::NotFound, R::ImageNotFound),
        Refusal::ImageNameTaken { .. } => (Code::AlreadyExists, R::ImageNameTaken),
        Refusal::ImageInUse { .. } | Refusal::ImageCarried { .. } => {
            (Code::FailedPrecondition, R::ImageInUse)
        }
        Refusal::TokenNotFound { .. } => (Code::NotFound, R::TokenNotFound),
        Refusal::TokenNameTaken { .. } => (Code::AlreadyExists, R::TokenNameTaken),
        Refusal::KeepsOwn { .. } => (Code::PermissionDenied, R::NotPermitted),
        Refusal::CallerGone => (Code::Unauthenticated, R::TokenInvalid),
        Refusal::LimitReached { .. }
        | Refusal::NoSubnetLeft { .. }
        | Refusal::AuditFull { .. }
        | Refusal::AuditShareFull { .. }
        | Refusal::RequestsFull { .. }
        | Refusal::RequestShareFull { .. } => (Code::ResourceExhausted, R::LimitReached),
    };
    let mut details = ErrorDetails::with_error_info(word(reason), DOMAIN, HashMap::new());
    if let Refusal::NeedsStoppedVm { fields, .. } = refusal {
        for field in fields {
            details.add_precondition_failure_violation(
                "NEEDS_STOPPED_VM",
                *field,
                "needs a stopped VM",
            );
        }
    }
    if let Refusal::HostUnsuitable { host, why, also } = refusal {
        for why in std::iter::once(why).chain(also) {
            details.add_precondition_failure_violation(why.reason(), host, why.to_string());
        }
    }
    Status::with_error_details(code, clipped(refusal.to_string()), details)
}

#[cfg(test)]
mod tests;
