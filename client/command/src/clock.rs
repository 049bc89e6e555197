//! The one place of the command that reads the clock and makes ids.

use jiff::Timestamp;
use uuid::Uuid;

#[expect(clippy::disallowed_methods, reason = "this is the command's one clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// The same in seconds since 1970.
pub(crate) fn seconds() -> u64 {
    u64::try_from(now().as_second()).unwrap_or(0)
}

/// A new id, for a request that may have to be repeated.
#[expect(clippy::disallowed_methods, reason = "this is the command's edge, where ids are made")]
pub(crate) fn new_id() -> Uuid {
    Uuid::now_v7()
}
