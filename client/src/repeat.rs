//! Changes that name themselves, so that they can be repeated and are done once.
//!
//! A connection that breaks during a change leaves open whether it took effect. Each change of a
//! VM, a host, an image's name, a project or a token has a `request_id` by which the
//! server knows a repetition; where the caller gives none, one is made here. Those without one
//! (drain, join tokens, imports, uploads and streams to a guest) are sent once. The same
//! request is then sent again, for a while, when its connection broke. What can go wrong is that it
//! breaks each time: then the outcome is not known, and the error says so. A deadline that passed
//! is not tried again: the caller's patience is over.

use banger_proto::v1::{
    BindVmRequest, CordonHostRequest, CreateProjectRequest, CreateTokenRequest, CreateVmRequest,
    DeleteHostRequest, DeleteImageRequest, DeleteProjectRequest, DeleteVmRequest, PauseVmRequest,
    RebootVmRequest, ResumeVmRequest, RevokeHostRequest, RevokeTokenRequest, StartVmRequest,
    StopVmRequest, SweepHostRequest, UncordonHostRequest, UpdateHostRequest, UpdateProjectRequest,
    UpdateVmRequest,
};
use tonic::{Request, Response, Status};

use crate::backoff::{Backoff, spread};
use crate::connect::Link;
use crate::error::{Call, ClientError};

/// How often a change is sent in all when its connection breaks.
const ATTEMPTS: u32 = 4;

/// A change that can name itself.
pub(crate) trait Named: Clone {
    /// Where its name is; `None` when it needs none.
    fn request_id(&mut self) -> Option<&mut String>;
}

macro_rules! named {
    ($($request:ident)*) => {
        $(impl Named for $request {
            fn request_id(&mut self) -> Option<&mut String> {
                Some(&mut self.request_id)
            }
        })*
    };
}

named! {
    UpdateVmRequest DeleteVmRequest StartVmRequest StopVmRequest RebootVmRequest PauseVmRequest
    ResumeVmRequest BindVmRequest UpdateHostRequest DeleteHostRequest CordonHostRequest
    RevokeHostRequest
    UncordonHostRequest DeleteImageRequest CreateTokenRequest RevokeTokenRequest CreateProjectRequest
    UpdateProjectRequest DeleteProjectRequest
}

impl Named for SweepHostRequest {
    fn request_id(&mut self) -> Option<&mut String> {
        // A dry run changes nothing.
        (!self.dry_run).then_some(&mut self.request_id)
    }
}

impl Named for CreateVmRequest {
    fn request_id(&mut self) -> Option<&mut String> {
        // By the id of its VM it is known as well.
        self.id.is_empty().then_some(&mut self.request_id)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the library's edge, where ids are made")]
fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

impl Link {
    /// Makes one change, and makes it again while its connection breaks.
    pub(crate) async fn change<Req, Resp, F, Fut>(
        &self,
        name: &'static str,
        mut message: Req,
        send: F,
    ) -> Result<Resp, ClientError>
    where
        Req: Named,
        F: Fn(Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Resp>, Status>>,
    {
        if let Some(id) = message.request_id().filter(|id| id.is_empty()) {
            *id = new_id();
        }
        let mut backoff = Backoff::default();
        let mut attempt = 1;
        loop {
            match self.unary(Call::change(name), message.clone(), &send).await {
                Err(ClientError::Interrupted { .. }) if attempt < ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(backoff.pause(spread())).await;
                }
                answer => return answer,
            }
        }
    }
}
