//! The call about who did what. It is an admin's.

use banger_proto::v1::audit_service_client::AuditServiceClient;
use banger_proto::v1::{ListAuditRequest, ListAuditResponse};

use crate::connect::{Link, MAX_ANSWER_BYTES, Transport};
use crate::error::{Call, ClientError};

/// Reads the audit. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Audit {
    link: Link,
    rpc: AuditServiceClient<Transport>,
}

impl Audit {
    pub(crate) fn over(link: Link) -> Self {
        let rpc = AuditServiceClient::new(link.transport.clone())
            .max_decoding_message_size(MAX_ANSWER_BYTES);
        Self { link, rpc }
    }

    /// Reads one page, newest first. One that is not the last may have fewer records than asked
    /// for, or none.
    ///
    /// # Errors
    /// A bad page token, method or time, `NOT_PERMITTED`.
    pub async fn list(&self, request: ListAuditRequest) -> Result<ListAuditResponse, ClientError> {
        let mut rpc = self.rpc.clone();
        self.link
            .unary(Call::read("ListAudit"), request, |r| async move { rpc.list_audit(r).await })
            .await
    }
}
