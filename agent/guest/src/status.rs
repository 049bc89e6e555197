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
    use std::io::ErrorKind;
    let code = match error.kind() {
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::PermissionDenied => Code::PermissionDenied,
        // Whatever was tried, this is what somebody has to do something about.
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            let what = format!("the guest's disk is full: could not {what}: {error}");
            return Status::new(Code::ResourceExhausted, what);
        }
        ErrorKind::ReadOnlyFilesystem => {
            let what = format!("the guest's disk is read-only: could not {what}: {error}");
            return Status::new(Code::FailedPrecondition, what);
        }
        _ => Code::FailedPrecondition,
    };
    Status::new(code, format!("could not {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_of_the_guest_is_called_so_also_through_what_tar_makes_of_it() {
        let full = std::io::Error::from_raw_os_error(28);
        let wrapped = std::io::Error::new(full.kind(), "failed to unpack `a`");
        for error in [full, wrapped] {
            let said = io("unpack in /srv", &error);
            assert_eq!(said.code(), Code::ResourceExhausted);
            assert!(said.message().starts_with("the guest's disk is full: could not unpack"));
        }
    }
}
