//! The one place of the command that reads the clock and makes ids.

use jiff::Timestamp;
use uuid::Uuid;

#[expect(clippy::disallowed_methods, reason = "this is the command's one clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// A new id, for a request that may have to be repeated.
#[expect(clippy::disallowed_methods, reason = "this is the command's edge, where ids are made")]
pub(crate) fn new_id() -> Uuid {
    Uuid::now_v7()
}
