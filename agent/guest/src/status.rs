//! What the guest says when it can't do what it was asked: a code and a sentence.
//!
//! The agent of the host passes on code and sentence with the reason `GUEST_REFUSED`.

use tonic::{Code, Status};

/// The request makes no sense.
#[must_use]
pub fn invalid(what: impl Into<String>) -> Status {
    Status::new(Code::InvalidArgument, what)
}

/// Something that was named is not there.
#[must_use]
pub fn not_found(what: impl Into<String>) -> Status {
    Status::new(Code::NotFound, what)
}

/// It can't be done in the state that the guest is in.
#[must_use]
pub fn failed(what: impl Into<String>) -> Status {
    Status::new(Code::FailedPrecondition, what)
}

/// Too much at once.
#[must_use]
pub fn exhausted(what: impl Into<String>) -> Status {
    Status::new(Code::ResourceExhausted, what)
}

/// An operation of the kernel that failed, such as "open /x".
#[must_use]
pub fn io(what: &str, error: &std::io::Error) -> Status {
    let code = match error.kind() {
        std::io::ErrorKind::NotFound => Code::NotFound,
        std::io::ErrorKind::PermissionDenied => Code::PermissionDenied,
        std::io::ErrorKind::StorageFull => Code::ResourceExhausted,
        _ => Code::FailedPrecondition,
    };
    Status::new(code, format!("could not {what}: {error}"))
}
