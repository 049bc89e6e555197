//! The public API: one thin gRPC service per file. Parse, call, convert. What a call changes is
//! decided in the model; decided here is only how much one caller may hold of the server at a time:
//! streams, pages, messages.
//!
//! A mutation goes to the store with its [`Caller`] and answers at commit, with the VM as the watch
//! view shows it then. Lists, watches and waits come from the view; history, images and what was
//! deleted from the store; a host's objects and streams to guests from its agent. [`status`] is the
//! only builder of `tonic::Status`, [`auth`] the one layer through which every call passes.
//! Messages and the model meet in [`convert`] and in the file of their service.

pub mod audit;
pub mod auth;
pub mod convert;
pub mod guests;
pub mod hosts;
pub mod images;
pub mod inventory;
mod once;
pub mod page;
pub mod projects;
pub mod status;
pub mod tokens;
pub mod uses;
pub mod vms;
pub mod wait;
pub mod watch;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use banger_proto::ids::VmId;
use banger_wire::trace;
use jiff::Timestamp;
use tokio_stream::Stream;
use tonic::{Request, Status};
use uuid::Uuid;

use self::auth::LetIn;
use self::guests::streams::Streams;
use self::page::Pages;
use self::uses::Endings;
use crate::clock::SharedClock;
use crate::fleet::Fleet;
use crate::images::Images;
use crate::model::caller::{Caller, Ended, Grants};
use crate::model::ledger::{HostRef, VmRef};
use crate::model::names;
use crate::model::placement::Overcommit;
use crate::model::project::{Named, ProjectName};
use crate::model::spec::SpecProblem;
use crate::pki::Authorities;
use crate::reconcile::objects::HostObjects;
use crate::reconcile::{ImageDelivery, Knowledge};
use crate::store::Store;
use crate::watch::{View, VmRecord};

/// A server stream.
pub type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send + 'static>>;

/// What the services stand on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api {
    /// Takes mutations, gives history.
    pub store: Store,
    /// Gives everything else.
    pub view: Arc<View>,
    pub clock: SharedClock,
    /// Signs the certificates of agents.
    pub cas: Arc<ArcSwap<Authorities>>,
    /// How long the certificate of an agent is good.
    pub certificate_validity: Duration,
    /// DNS names of VMs are `<name>.<domain>`.
    pub domain: Arc<str>,
    /// How hosts are booked that are not set otherwise.
    pub overcommit: Overcommit,
    /// Makes and reads page tokens.
    pub pages: Arc<Pages>,
    /// Asks hosts for their objects.
    pub objects: HostObjects,
    /// Kernels and root file systems.
    pub images: Arc<Images>,
    /// Says which hosts have them.
    pub delivery: Arc<ImageDelivery>,
    /// What the plans of VMs go by, to explain them.
    pub knowledge: Knowledge,
    /// Reaches the hosts, for streams to their guests.
    pub fleet: Fleet,
    /// The streams that are open.
    pub streams: Streams,
    /// What has ended and is not yet in the audit.
    pub endings: Endings,
}

impl Api {
    /// Who asks, as the layer has found, at the time of now: their message may have come long after
    /// their headers, and what is decided goes by when it is.
    ///
    /// # Errors
    /// They may no longer call: the message came after their token had gone.
    fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let now = self.clock.now();
        LetIn::of(request).check(now)?;
        let found = request.extensions().get::<Caller>().map(|caller| caller.at(now));
        Ok(found.unwrap_or_else(|| Caller {
            // Nothing reaches a service but through the layer, save a test.
            actor: "unknown".into(),
            grants: Grants::Open,
            trace: trace::current_traceparent(request.metadata().as_ref()),
            at: now,
            token: None,
            vouched: None,
            ended: Ended::default(),
            call: None,
        }))
    }

    /// A VM as it is shown now, if it is there for this caller.
    fn seen(&self, vm: &VmRef, caller: &Caller) -> Option<Arc<VmRecord>> {
        self.view.resolve(vm).filter(|record| caller.sees(&record.intent.project))
    }

    /// The project that a request means, which is the caller's own where it names none.
    ///
    /// # Errors
    /// It is no name, or no project that is there for them.
    fn project(&self, text: &str, caller: &Caller) -> Result<ProjectName, Status> {
        if text.is_empty() {
            return Ok(caller.home());
        }
        let named = ProjectName::parse(text);
        let project = named.map_err(|why| status::invalid_field("project", why))?;
        match self.store.has_project(&project, caller) {
            true => Ok(project),
            false => Err(status::project_not_found(&project)),
        }
    }
}

/// A UUID whose order is the order in which they are made, from time and randomness.
///
/// # Errors
/// When the system gives no randomness.
fn new_uuid(now: Timestamp) -> Result<Uuid, Status> {
    let mut random = [0; 10];
    fill_random(&mut random)?;
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    Ok(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
}

fn fill_random(bytes: &mut [u8]) -> Result<(), Status> {
    getrandom::fill(bytes)
        .map_err(|error| status::internal(format!("the system gives no randomness: {error}")))
}

/// A VM as a request of this caller names it.
fn parse_vm(
    text: &str,
    field: &str,
    problems: &mut Vec<SpecProblem>,
    caller: &Caller,
) -> Option<VmRef> {
    if let Ok(id) = text.parse() {
        return Some(VmRef::Id(id));
    }
    let named = Named::parse(text, &caller.home());
    match named.and_then(|named| names::check_reference(&named.name).map(|()| named)) {
        Ok(named) => Some(VmRef::Name(named)),
        Err(why) => {
            problems.push(SpecProblem::new(field, why));
            None
        }
    }
}

/// A host as a request names it.
fn parse_host(text: &str, field: &str, problems: &mut Vec<SpecProblem>) -> Option<HostRef> {
    parse_reference(text, field, problems, HostRef::Id, HostRef::Name)
}

fn parse_reference<I: std::str::FromStr, R>(
    text: &str,
    field: &str,
    problems: &mut Vec<SpecProblem>,
    id: impl FnOnce(I) -> R,
    name: impl FnOnce(String) -> R,
) -> Option<R> {
    if let Ok(parsed) = text.parse() {
        return Some(id(parsed));
    }
    match names::check_reference(text) {
        Ok(()) => Some(name(text.to_owned())),
        Err(why) => {
            problems.push(SpecProblem::new(field, why));
            None
        }
    }
}

/// An optional id: empty means not given.
fn parse_id(text: &str, field: &str, problems: &mut Vec<SpecProblem>) -> Option<VmId> {
    if text.is_empty() {
        return None;
    }
    let parsed = text.parse();
    if let Err(why) = &parsed {
        problems.push(SpecProblem::new(field, format!("is {why}")));
    }
    parsed.ok()
}

/// An optional etag: empty means not given.
fn if_match(etag: &str) -> Option<String> {
    (!etag.is_empty()).then(|| etag.to_owned())
}

/// What was parsed, or all that is wrong.
fn all_or_problems<T>(parsed: Option<T>, problems: Vec<SpecProblem>) -> Result<T, Status> {
    match parsed {
        Some(parsed) if problems.is_empty() => Ok(parsed),
        _ => Err(status::invalid_fields(problems)),
    }
}

#[cfg(test)]
mod tests;
