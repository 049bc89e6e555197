//! Errors of what could not be stored or kept: changes, uploads, images.
//!
//! What a database, a disk or a conversion says of its own names files of the server's machine and
//! rows of others. It goes into the log; callers read what follows for them, those of a project
//! nothing of the machine.

use banger_images::{ErrorClass, ImportError};
use banger_proto::v1::ErrorReason;
use banger_wire::causes::with_causes;
use tonic::{Code, Status};

use super::{error, internal, invalid_field, refused, shutting_down};
use crate::images::ImportFailure;
use crate::images::library::KeepError;
use crate::images::sources::SourceError;
use crate::model::caller::Caller;
use crate::store::{MutateError, StoreError};

/// A mutation that came to nothing.
pub fn mutation_failed(failure: MutateError) -> Status {
    match failure {
        MutateError::Refused(refusal) => refused(&refusal),
        MutateError::Unavailable { reason } => {
            tracing::error!(error = reason, "a call came to nothing: the store can't be written");
            let message = "the store can't be written now and nothing was changed; the server's log \
                           says why";
            error(Code::Unavailable, ErrorReason::StoreUnavailable, message)
        }
        MutateError::Defect { reason } => {
            tracing::error!(error = reason, "the store refused a change that had been allowed");
            internal("the store refused a change that had been allowed; the server's log says why")
        }
        MutateError::Closed => shutting_down(),
    }
}

/// The store can't be read.
pub fn read_failed(failure: &StoreError) -> Status {
    match failure {
        StoreError::Database { .. } => {
            tracing::error!(error = with_causes(failure), "the store can't be read");
            let message = "the store can't be read now; the server's log says why";
            error(Code::Unavailable, ErrorReason::StoreUnavailable, message)
        }
        StoreError::Corrupt { .. } => {
            tracing::error!(error = %failure, "a row of the store makes no sense");
            internal("a row of the store makes no sense; the server's log says which")
        }
    }
}

/// What whoever may not know how much room there is reads of a server that has none.
const NO_ROOM: &str = "the server has no room for more images";

/// What they read of a fault of the server's own machine, whose words name its files.
const NOT_KEPT: &str =
    "the server could not do that, and why is for callers of the whole fleet: ask an operator";

/// An upload or an image that could not be kept.
pub fn keep_failed(failure: KeepError, caller: &Caller) -> Status {
    let (code, reason) = match &failure {
        KeepError::Quota(refusal) => return refused(refusal),
        KeepError::Full(_) => (Code::ResourceExhausted, ErrorReason::ImageStoreFull),
        KeepError::TooLarge { .. } | KeepError::TooSlow(_) | KeepError::GaveWay => {
            (Code::ResourceExhausted, ErrorReason::LimitReached)
        }
        KeepError::Io { what, source } => {
            let message = match caller.sees_hosts() {
                true => format!("the server could not {what}: {source}"),
                false => NOT_KEPT.to_owned(),
            };
            tracing::error!(error = %source, "the server could not {what}");
            return internal(message);
        }
    };
    let message = match failure {
        KeepError::Full(_) if !caller.sees_hosts() => NO_ROOM.to_owned(),
        failure => failure.to_string(),
    };
    error(code, reason, message)
}

/// An import that came to nothing.
pub fn import_failed(failure: ImportFailure, caller: &Caller) -> Status {
    let message = failure.to_string();
    let (code, reason) = match failure {
        ImportFailure::NoBlob(_) => (Code::NotFound, ErrorReason::BlobNotFound),
        ImportFailure::Path { why, .. } => match why {
            SourceError::NotThere => (Code::NotFound, ErrorReason::ImageSourceNotFound),
            SourceError::Outside | SourceError::Unreadable(_) => {
                return invalid_field("source", why.to_string());
            }
        },
        ImportFailure::Conversion { error, .. } => conversion(&error),
        ImportFailure::Keep(failure) => return keep_failed(failure, caller),
        ImportFailure::Quota(refusal) => return refused(&refusal),
        ImportFailure::Store(failure) => return mutation_failed(failure),
        ImportFailure::Closed => return shutting_down(),
    };
    match reason {
        ErrorReason::ImageStoreFull if !caller.sees_hosts() => error(code, reason, NO_ROOM),
        ErrorReason::Internal => {
            tracing::error!(error = message, "an import came to nothing by the server's own fault");
            let told = if caller.sees_hosts() { message } else { NOT_KEPT.to_owned() };
            error(code, reason, told)
        }
        reason => error(code, reason, message),
    }
}

fn conversion(failure: &ImportError) -> (Code, ErrorReason) {
    if let ImportError::Write { source, .. } = failure
        && matches!(
            source.kind(),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
        )
    {
        return (Code::ResourceExhausted, ErrorReason::ImageStoreFull);
    }
    if let ImportError::NoRoom { .. } = failure {
        return (Code::ResourceExhausted, ErrorReason::ImageStoreFull);
    }
    match failure.class() {
        ErrorClass::NotFound => (Code::NotFound, ErrorReason::ImageSourceNotFound),
        ErrorClass::Refused => (Code::InvalidArgument, ErrorReason::ImageNotAccepted),
        ErrorClass::TooLarge => (Code::ResourceExhausted, ErrorReason::LimitReached),
        ErrorClass::Denied => (Code::PermissionDenied, ErrorReason::ImageSourceDenied),
        ErrorClass::Unavailable => (Code::Unavailable, ErrorReason::ImageSourceUnavailable),
        ErrorClass::Host => (Code::Internal, ErrorReason::Internal),
        ErrorClass::Cancelled => (Code::Unavailable, ErrorReason::ShuttingDown),
    }
}
