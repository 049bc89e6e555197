//! Requests that name themselves: which do, and what each asks for as a number.
//!
//! The fingerprint is that of the message as it goes over the wire, without the request's id and
//! without what names its object. So it does not change when a type of the server does, and a VM
//! may be named by its name the first time and by its id the next.

use banger_proto::v1;
use prost::Message;
use sha2::{Digest as _, Sha256};
use tonic::Status;

use super::status;
use crate::model::request::{RequestId, RequestKey};

/// A request with a `request_id`.
pub(super) trait Repeatable: Message + Clone {
    /// The method, so that no request is taken for one of another kind.
    const METHOD: &'static str;

    /// Takes the request's id, and the object's name, out of it.
    fn take(&mut self) -> String;
}

/// Each request that names itself, with the field that names its object.
macro_rules! repeatable {
    ($($method:literal $request:ident . $object:ident;)*) => {
        $(impl Repeatable for v1::$request {
            const METHOD: &'static str = $method;

            fn take(&mut self) -> String {
                self.$object.clear();
                std::mem::take(&mut self.request_id)
            }
        })*
    };
}

repeatable! {
    "UpdateVm" UpdateVmRequest.vm;
    "DeleteVm" DeleteVmRequest.vm;
    "StartVm" StartVmRequest.vm;
    "StopVm" StopVmRequest.vm;
    "RebootVm" RebootVmRequest.vm;
    "PauseVm" PauseVmRequest.vm;
    "ResumeVm" ResumeVmRequest.vm;
    "BindVm" BindVmRequest.vm;
    "UpdateHost" UpdateHostRequest.host;
    "DeleteHost" DeleteHostRequest.host;
    "RevokeHost" RevokeHostRequest.host;
    "CordonHost" CordonHostRequest.host;
    "UncordonHost" UncordonHostRequest.host;
    "SweepHost" SweepHostRequest.host;
    "DeleteImage" DeleteImageRequest.name;
    "RevokeToken" RevokeTokenRequest.token;
    "UpdateProject" UpdateProjectRequest.name;
    "DeleteProject" DeleteProjectRequest.name;
}

impl Repeatable for v1::CreateProjectRequest {
    const METHOD: &'static str = "CreateProject";

    fn take(&mut self) -> String {
        std::mem::take(&mut self.request_id)
    }
}

impl Repeatable for v1::CreateTokenRequest {
    const METHOD: &'static str = "CreateToken";

    /// What it makes has no other name than the one that is asked for.
    fn take(&mut self) -> String {
        std::mem::take(&mut self.request_id)
    }
}

/// The key of a request; `None` when it does not name itself.
///
/// # Errors
/// Its id is no UUID.
pub(super) fn key<R: Repeatable>(message: &R) -> Result<Option<RequestKey>, Status> {
    let mut message = message.clone();
    let id = message.take();
    if id.is_empty() {
        return Ok(None);
    }
    let parsed: Result<banger_proto::ids::VmId, _> = id.parse();
    let id = parsed.map_err(|why| status::invalid_field("request_id", format!("is {why}")))?;
    let mut hash = Sha256::new();
    hash.update(R::METHOD.as_bytes());
    hash.update([0]);
    hash.update(message.encode_to_vec());
    Ok(Some(RequestKey { id: RequestId(id.uuid()), fingerprint: hash.finalize().into() }))
}
