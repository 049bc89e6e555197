//! `WatchVms`, `WatchHosts` and `Watch`: streams of changes, sent as bytes that all streams share.
//!
//! The generated services would encode every event once for every stream. So [`WithWatch`] stands
//! in front of them: it serves the path of the stream itself, with a codec whose responses are
//! already bytes, and hands every other call on. The three streams are one machinery: what a stream
//! is to be told of is its [`Wants`], and a revision is one of the server, whichever call has told
//! it.
//!
//! Ends of a stream: `OUT_OF_RANGE` when its cursor is too old, `UNAVAILABLE` when the server shuts
//! down. A client that does not read holds a cursor and nothing else.

mod codec;
mod encode;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::bounds;
use banger_proto::ids::Revision;
use banger_proto::v1;
use banger_proto::v1::host_service_server::{HostService, HostServiceServer};
use banger_proto::v1::vm_service_server::{VmService, VmServiceServer};
use banger_proto::v1::watch_service_server::{WatchService, WatchServiceServer};
use futures_util::stream;
use tokio::time::{Instant, sleep_until};
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status};

use self::codec::Begins;
pub use self::codec::WithWatch;
use self::encode::{Frame, FrameShape, Style, frames_of};
use super::{Api, ResponseStream, convert, status};
use crate::model::access::{Action, Of, Resource, authorize};
use crate::model::audience::Audience;
use crate::model::caller::Caller;
use crate::model::spec::SpecProblem;
use crate::watch::{Wants, WatchEnd, Watcher};

/// At most so often is a stream of hosts told anything.
const HOSTS_PACE: Duration = Duration::from_millis(100);

fn ended(end: WatchEnd) -> Status {
    match end {
        WatchEnd::TooOld { after, why, oldest } => status::revision_too_old(after, why, oldest),
        WatchEnd::Unread => status::start_unread(),
        WatchEnd::ShuttingDown => status::shutting_down(),
    }
}

/// One stream, on its way to a client.
struct Outgoing {
    style: Style,
    watcher: Watcher,
    to: Audience,
    shape: FrameShape,
    ready: VecDeque<Frame>,
    /// Nothing is taken before.
    not_before: Option<Instant>,
}

impl Outgoing {
    /// What there is to send next: never nothing.
    async fn next(&mut self) -> Result<Frame, WatchEnd> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Ok(frame);
            }
            if let Some(not_before) = self.not_before {
                sleep_until(not_before).await;
            }
            let batch = self.watcher.next().await?;
            self.ready = frames_of(&self.style, &batch, self.watcher.wants(), self.to, self.shape);
            if self.shape == FrameShape::Hosts && batch.revision.is_some() {
                self.not_before = Some(Instant::now() + HOSTS_PACE);
            }
            // Nothing that this stream shows. Others may want to run before the next look.
            tokio::task::consume_budget().await;
        }
    }
}

/// Begins a stream for a caller.
fn begin(
    api: &Api,
    caller: &Caller,
    after: Option<u64>,
    wants: Wants,
    shape: FrameShape,
) -> Result<ResponseStream<Frame>, Status> {
    let watcher = api.view.watch(after.map(Revision), wants, &caller.party()).map_err(ended)?;
    let outgoing = Outgoing {
        style: Style { domain: Arc::clone(&api.domain), overcommit: api.overcommit },
        watcher,
        to: Audience::of(caller),
        shape,
        ready: VecDeque::new(),
        not_before: None,
    };
    Ok(Box::pin(stream::unfold(Some(outgoing), |outgoing| async move {
        let mut outgoing = outgoing?;
        match outgoing.next().await {
            Ok(frame) => Some((Ok(frame), Some(outgoing))),
            Err(end) => Some((Err(ended(end)), None)),
        }
    })))
}

impl Begins for v1::WatchVmsRequest {
    const PATH: &'static str = "/banger.v1.VmService/WatchVms";

    fn begin(api: &Api, request: Request<Self>) -> Result<ResponseStream<Frame>, Status> {
        let caller = api.caller(&request)?;
        let request = request.into_inner();
        let filter = convert::filter(request.filter, api, &caller)?;
        begin(api, &caller, request.after_revision, filter.into(), FrameShape::Events)
    }
}

impl Begins for v1::WatchHostsRequest {
    const PATH: &'static str = "/banger.v1.HostService/WatchHosts";

    fn begin(api: &Api, request: Request<Self>) -> Result<ResponseStream<Frame>, Status> {
        let caller = api.caller(&request)?;
        let request = request.into_inner();
        let filter = convert::host_filter(request.filter)?;
        begin(api, &caller, request.after_revision, filter.into(), FrameShape::Hosts)
    }
}

impl Begins for v1::WatchRequest {
    const PATH: &'static str = "/banger.v1.WatchService/Watch";

    fn begin(api: &Api, request: Request<Self>) -> Result<ResponseStream<Frame>, Status> {
        let caller = api.caller(&request)?;
        let request = request.into_inner();
        let (vms, hosts) = kinds(&request, &caller)?;
        let mut wants = Wants::default();
        if vms {
            wants.vms = convert::filter(request.vms, api, &caller)?.into();
        }
        if hosts {
            wants.hosts = convert::host_filter(request.hosts)?.into();
        }
        begin(api, &caller, request.after_revision, wants, FrameShape::Events)
    }
}

/// Whether VMs and whether hosts are to be told of: what is asked for, else all that the caller
/// sees.
fn kinds(request: &v1::WatchRequest, caller: &Caller) -> Result<(bool, bool), Status> {
    let mut problems = Vec::new();
    let (mut vms, mut hosts) = (false, false);
    for (index, kind) in request.kinds.iter().enumerate() {
        match v1::WatchKind::try_from(*kind) {
            Ok(v1::WatchKind::Vm) => vms = true,
            Ok(v1::WatchKind::Host) => hosts = true,
            Ok(v1::WatchKind::Unspecified) | Err(_) => problems.push(SpecProblem::new(
                format!("kinds[{index}]"),
                "is no kind that can be watched",
            )),
        }
    }
    if request.kinds.is_empty() {
        // Hosts are asked for by their filter, too.
        (vms, hosts) = (true, caller.sees_hosts() || request.hosts.is_some());
    }
    for (field, told, filtered) in
        [("vms", vms, request.vms.is_some()), ("hosts", hosts, request.hosts.is_some())]
    {
        if filtered && !told {
            problems.push(SpecProblem::new(field, "is a filter of a kind that is not asked for"));
        }
    }
    if !problems.is_empty() {
        return Err(status::invalid_fields(problems));
    }
    if hosts {
        let may = authorize(caller, Action::Read, Resource::Host, Of::Any);
        may.map_err(|refused| status::not_permitted(&refused))?;
    }
    Ok((vms, hosts))
}

/// Answers what is not answered before it comes here.
#[derive(Debug, Clone, Copy)]
struct Watches;

#[tonic::async_trait]
impl WatchService for Watches {
    type WatchStream = ResponseStream<v1::WatchResponse>;

    async fn watch(
        &self,
        _request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        // Answered before it comes here, by `WithWatch`.
        Err(status::internal("Watch was not wired to its stream"))
    }
}

/// The service for VMs, with `WatchVms` from here.
pub fn vm_service<T: VmService>(
    service: Arc<T>,
    api: Api,
) -> WithWatch<VmServiceServer<T>, v1::WatchVmsRequest> {
    let rest = VmServiceServer::from_arc(service)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(bounds::MAX_REQUEST_BYTES)
        .max_encoding_message_size(bounds::MAX_MESSAGE_BYTES);
    WithWatch::new(rest, api)
}

/// The service for hosts, with `WatchHosts` from here.
pub fn host_service<T: HostService>(
    service: T,
    api: Api,
) -> WithWatch<HostServiceServer<T>, v1::WatchHostsRequest> {
    let rest = HostServiceServer::new(service)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(bounds::MAX_REQUEST_BYTES)
        .max_encoding_message_size(bounds::MAX_MESSAGE_BYTES);
    WithWatch::new(rest, api)
}

/// The service for all of it.
pub fn watch_service(
    api: Api,
) -> WithWatch<WatchServiceServer<impl WatchService + use<>>, v1::WatchRequest> {
    let rest = WatchServiceServer::new(Watches)
        .max_decoding_message_size(bounds::MAX_REQUEST_BYTES)
        .max_encoding_message_size(bounds::MAX_MESSAGE_BYTES);
    WithWatch::new(rest, api)
}

#[cfg(test)]
mod tests;
