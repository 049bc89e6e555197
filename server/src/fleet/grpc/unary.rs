//! Calls of one question and one answer: the one place where they are made, each within its time.
//!
//! The time in a request binds an honest agent, and the library's own timeout ends with the head of
//! the answer: one that sends its head and then nothing would be waited for without end. So there
//! is one round the whole call. The two that are not made here have bounds of their own:
//! `PutImage` by what is taken of the image, `CopyIn` by whoever copies.

use std::time::Duration;

use banger_proto::agent_v1::agent_service_client::AgentServiceClient;
use banger_wire::trace;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::GrpcLink;
use crate::fleet::link::LinkError;

impl GrpcLink {
    /// What the agent answers, in time; what it refuses is an answer, too. `traceparent` is that of
    /// the intent, for a call that no trace is about.
    pub(super) async fn unary<M, T, F>(
        &self,
        message: M,
        limit: Duration,
        traceparent: &str,
        call: impl FnOnce(AgentServiceClient<Channel>, Request<M>) -> F + Send,
    ) -> Result<Result<T, Status>, LinkError>
    where
        M: Send,
        T: Send,
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        let answer = call(self.client()?, request(message, limit, traceparent));
        match timeout(limit, answer).await {
            Ok(answer) => Ok(answer.map(Response::into_inner)),
            Err(_) => Err(self.too_late()),
        }
    }
}

/// A request with its deadline and its trace.
pub(super) fn request<M>(message: M, limit: Duration, traceparent: &str) -> Request<M> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    trace::inject(request.metadata_mut());
    if request.metadata().get(trace::TRACEPARENT).is_none() && !traceparent.is_empty() {
        trace::inject_traceparent(request.metadata_mut(), traceparent);
    }
    request
}
