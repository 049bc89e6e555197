//! The audit of the server in memory: what a test has put there.

use banger_proto::v1::audit_service_server::AuditService;
use banger_proto::v1::*;
use tonic::{Request, Response, Status};

use super::Fake;

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
}
