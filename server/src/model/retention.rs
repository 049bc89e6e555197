//! For how long what is kept of the past; the store lets it go.

use std::time::Duration;

/// For how long what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The history of a VM after it was deleted.
    pub deleted_history: Duration,
    /// The id of a VM that was deleted, and the id of the request that made it: refused until then.
    pub deleted_ids: Duration,
    /// Requests that name themselves.
    pub requests: Duration,
    /// Sweeps that were asked for.
    pub sweeps: Duration,
    /// Records of who did what.
    pub audit: Duration,
}
