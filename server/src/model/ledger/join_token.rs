//! A join token as the ledger and the store hold it.

use banger_proto::ids::HostId;
use jiff::Timestamp;

use crate::model::capacity::AcceptedCapacity;
use crate::model::labels::Labels;

/// A join token as it is stored: never its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Public part, finds the row.
    pub id: String,
    /// sha256 of the secret part.
    pub secret_sha256: [u8; 32],
    /// The only name a host may join with; `None`: any.
    pub host_name: Option<String>,
    /// Labels that the host gets.
    pub labels: Labels,
    /// What is accepted of what the host says that it has.
    pub capacity: AcceptedCapacity,
    /// The id of the token that it was made with, where that was made by a call. It is good no
    /// longer than that one, until a host has used it.
    pub created_by_token: Option<String>,
    /// Not good from then on.
    pub expires_at: Timestamp,
    /// The host it was used for, and the sha256 of the key that host presented.
    pub used_for: Option<(HostId, [u8; 32])>,
}
