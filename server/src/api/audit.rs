//! The audit service: who did what, a page at a time, newest first, or as it is written.

mod watch;

use std::sync::Arc;

use banger_proto::v1;
use banger_proto::v1::audit_service_server::AuditService;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::auth::method_named;
use super::page::{Cursor, PageQuery, page_size};
use super::{Api, ResponseStream, convert, status};
use crate::model::audit::{AuditEffect, AuditObject, AuditStep};
use crate::model::spec::SpecProblem;
use crate::store::{AuditFollow, AuditLook, StoredAudit};

/// Longest text to look for, in bytes: as of the longest name.
const MAX_TEXT: usize = 512;

/// Answers calls about who did what.
#[derive(Debug, Clone)]
pub struct Audits {
    api: Api,
    /// For streams.
    places: Arc<Semaphore>,
}

impl Audits {
    /// Over the server's parts.
    pub fn new(api: Api) -> Self {
        Self { api, places: Arc::new(Semaphore::new(watch::STREAMS)) }
    }
}

/// The full name of the method that is asked for, with what is wrong with the texts of a request.
fn method_of(principal: &str, method: &str, object: &str) -> (String, Vec<SpecProblem>) {
    let mut problems = Vec::new();
    for (field, text) in [("principal", principal), ("method", method), ("object", object)] {
        if text.len() > MAX_TEXT {
            problems.push(SpecProblem::new(field, format!("is more than {MAX_TEXT} bytes")));
        }
    }
    // In full it may be one of another version.
    let method = match method {
        text if text.is_empty() || text.contains('/') => text.to_owned(),
        text => method_named(text).map(str::to_owned).unwrap_or_else(|| {
            problems.push(SpecProblem::new("method", "is no method, such as DeleteVm"));
            String::new()
        }),
    };
    (method, problems)
}

/// What a request looks for, without its page.
fn look(message: &v1::ListAuditRequest) -> Result<AuditLook, Status> {
    let (method, mut problems) = method_of(&message.principal, &message.method, &message.object);
    let mut time = |field: &str, given: Option<prost_types::Timestamp>| {
        let read = given.map(|time| {
            let nanos = u32::try_from(time.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
            jiff::Timestamp::new(time.seconds, i32::try_from(nanos?).ok()?).ok()
        });
        if read == Some(None) {
            problems.push(SpecProblem::new(field, "is no time"));
        }
        read.flatten()
    };
    let from = time("start_time", message.start_time);
    let until = time("end_time", message.end_time);
    if !problems.is_empty() {
        return Err(status::invalid_fields(problems));
    }
    Ok(AuditLook {
        principal: message.principal.clone(),
        method,
        object: message.object.clone(),
        from,
        until,
        after: message.after_id,
        before: None,
        limit: page_size(message.page_size)?,
    })
}

fn shown(stored: StoredAudit) -> v1::AuditRecord {
    let StoredAudit { number, record } = stored;
    let step = match record.step {
        AuditStep::Done => v1::AuditStep::Done,
        AuditStep::Began => v1::AuditStep::Began,
        AuditStep::Ended => v1::AuditStep::Ended,
        AuditStep::Refused => v1::AuditStep::Refused,
        AuditStep::LeftOut(_) => v1::AuditStep::LeftOut,
    };
    let object_of = |object: AuditObject| v1::AuditObject {
        kind: object.kind.to_string(),
        id: object.id,
        name: object.name,
    };
    let (effect, cause) = match record.because_of {
        Some((AuditEffect::WentAlong, cause)) => (v1::AuditEffect::WentAlong, Some(cause)),
        Some((AuditEffect::Kept, cause)) => (v1::AuditEffect::Kept, Some(cause)),
        None => (v1::AuditEffect::Unspecified, None),
    };
    v1::AuditRecord {
        id: number,
        time: Some(convert::timestamp(record.at)),
        step: step.into(),
        principal: record.principal.to_string(),
        token_id: record.token_id,
        peer: record.peer,
        method: record.method,
        object: record.object.map(object_of),
        effect: effect.into(),
        cause: cause.map(object_of),
        code: record.outcome.code,
        reason: record.outcome.reason,
        trace_id: record.trace_id,
        request_id: record.request_id,
        call_id: record.call_id,
        left_out: record.step.left_out(),
    }
}

#[tonic::async_trait]
impl AuditService for Audits {
    async fn list_audit(
        &self,
        request: Request<v1::ListAuditRequest>,
    ) -> Result<Response<v1::ListAuditResponse>, Status> {
        // The message may come long after the headers.
        self.api.caller(&request)?;
        let mut message = request.into_inner();
        let token = std::mem::take(&mut message.page_token);
        let query = PageQuery::of("ListAudit", &message);
        let mut look = look(&message)?;
        let cursor = self.api.pages.read(&query, &token)?;
        look.before = cursor.map(|cursor| u64::try_from(cursor.after).unwrap_or(u64::MAX));
        let page = self.api.store.audit(&look).await;
        let page = page.map_err(|error| status::read_failed(&error))?;
        let next_page_token = page.next.map(|next| {
            let cursor = Cursor { revision: Default::default(), after: u128::from(next), total: 0 };
            self.api.pages.token(&query, cursor)
        });
        Ok(Response::new(v1::ListAuditResponse {
            records: page.records.into_iter().map(shown).collect(),
            next_page_token: next_page_token.unwrap_or_default(),
        }))
    }

    type WatchAuditStream = ResponseStream<v1::WatchAuditResponse>;

    async fn watch_audit(
        &self,
        request: Request<v1::WatchAuditRequest>,
    ) -> Result<Response<Self::WatchAuditStream>, Status> {
        // The message may come long after the headers.
        self.api.caller(&request)?;
        let message = request.into_inner();
        let (method, problems) = method_of(&message.principal, &message.method, &message.object);
        if !problems.is_empty() {
            return Err(status::invalid_fields(problems));
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place =
            place.map_err(|_| status::limit_reached(watch::STREAMS, "streams of the audit"))?;
        let after = match message.after_id {
            Some(after) => after,
            None => {
                let newest = self.api.store.newest_audit().await;
                newest.map_err(|error| status::read_failed(&error))?
            }
        };
        let follow = AuditFollow {
            principal: message.principal,
            method,
            object: message.object,
            after,
            limit: watch::BATCH,
        };
        Ok(Response::new(watch::responses(self.api.clone(), follow, place)))
    }
}
