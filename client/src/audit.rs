//! The calls about who did what, and a watch that resumes by itself. They are an admin's.

use std::pin::Pin;
use std::time::Duration;

use banger_proto::v1::audit_service_client::AuditServiceClient;
use banger_proto::v1::{AuditRecord, ListAuditRequest, ListAuditResponse, WatchAuditRequest};
use futures_util::Stream;

use crate::backoff::{Backoff, spread};
use crate::connect::{Link, MAX_ANSWER_BYTES, Transport};
use crate::error::{Call, ClientError};

/// What a watch of the audit tells.
#[derive(Debug)]
pub enum AuditUpdate {
    /// Something was done.
    Record(Box<AuditRecord>),
    /// All records up to this id that are asked for have been told.
    UpTo(u64),
    /// The connection broke; nothing will be missed.
    Reconnecting {
        /// Why.
        error: ClientError,
        /// When the next attempt is made.
        pause: Duration,
    },
}

/// Records as they are written. Ends only with an error that no retry can help, such as that what
/// comes next was let go (`REVISION_TOO_OLD`).
pub type AuditStream = Pin<Box<dyn Stream<Item = Result<AuditUpdate, ClientError>> + Send>>;

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

    /// Follows the audit: records oldest first, as they are written, each once, resuming by itself.
    #[must_use]
    pub fn watch(&self, mut request: WatchAuditRequest) -> AuditStream {
        let audit = self.clone();
        Box::pin(async_stream::stream! {
            let mut backoff = Backoff::default();
            loop {
                let status = match audit.rpc.clone().watch_audit(request.clone()).await {
                    Err(status) => status,
                    Ok(response) => {
                        let mut stream = response.into_inner();
                        loop {
                            let response = match stream.message().await {
                                Ok(Some(response)) => response,
                                Ok(None) => break tonic::Status::unavailable("the stream ended"),
                                Err(status) => break status,
                            };
                            backoff.reset();
                            request.after_id = Some(response.up_to_id);
                            for record in response.records {
                                yield Ok(AuditUpdate::Record(Box::new(record)));
                            }
                            yield Ok(AuditUpdate::UpTo(response.up_to_id));
                        }
                    }
                };
                let error = audit.link.error(Call::read("WatchAudit"), None, status);
                if !error.is_passing() {
                    yield Err(error);
                    return;
                }
                let pause = backoff.pause(spread());
                yield Ok(AuditUpdate::Reconnecting { error, pause });
                tokio::time::sleep(pause).await;
            }
        })
    }
}
