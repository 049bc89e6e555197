//! The audit of the server in memory: what a test has put there.

use banger_proto::v1::audit_service_server::AuditService;
use banger_proto::v1::*;
use tonic::{Code, Request, Response, Status};

use super::{Fake, Stream, refusal};

#[tonic::async_trait]
impl AuditService for Fake {
    /// A page has at most two records, so that clients meet several; its token is the id it goes on
    /// before.
    async fn list_audit(
        &self,
        request: Request<ListAuditRequest>,
    ) -> Result<Response<ListAuditResponse>, Status> {
        let request = self.enter("ListAudit", request)?;
        let state = self.state();
        let before = request.page_token.parse().unwrap_or(u64::MAX);
        let wanted = |record: &&AuditRecord| {
            record.id < before
                && record.id > request.after_id
                && (request.principal.is_empty() || record.principal == request.principal)
                && record.method.ends_with(&request.method)
        };
        let mut found = state.audit.iter().rev().filter(wanted).cloned();
        let size = (request.page_size as usize).clamp(1, 2);
        let records: Vec<AuditRecord> = found.by_ref().take(size).collect();
        let last = records.last().filter(|_| found.next().is_some());
        let next_page_token = last.map(|last| last.id.to_string()).unwrap_or_default();
        Ok(Response::new(ListAuditResponse { records, next_page_token }))
    }

    type WatchAuditStream = Stream<WatchAuditResponse>;

    /// A response for each record that there is, then a refusal, so that a watch has an end. The
    /// first breaks after one record where a test says so.
    async fn watch_audit(
        &self,
        request: Request<WatchAuditRequest>,
    ) -> Result<Response<Self::WatchAuditStream>, Status> {
        let request = self.enter("WatchAudit", request)?;
        let mut state = self.state();
        state.watched_after.push(request.after_id);
        let breaks = std::mem::take(&mut state.break_next_audit);
        let after = request.after_id.unwrap_or(0);
        let wanted = |record: &&AuditRecord| {
            record.id > after
                && (request.principal.is_empty() || record.principal == request.principal)
        };
        let most = if breaks { 1 } else { usize::MAX };
        let records: Vec<_> = state.audit.iter().filter(wanted).take(most).cloned().collect();
        let end = if breaks {
            refusal(Code::Unavailable, "SHUTTING_DOWN", "the server is shutting down")
        } else {
            refusal(Code::PermissionDenied, "NOT_PERMITTED", "no more")
        };
        Ok(Response::new(Box::pin(async_stream::stream! {
            for record in records {
                let up_to_id = record.id;
                yield Ok(WatchAuditResponse { records: vec![record], up_to_id });
            }
            yield Err(end);
        })))
    }
}
