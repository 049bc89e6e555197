//! `WatchVms`: streams of changes, sent as bytes that all streams share.
//!
//! The generated service would encode every event once for every stream. So this file stands in
//! front of it: [`VmServiceWithWatch`] serves the path of `WatchVms` itself, with a codec whose
//! responses are already bytes, and hands every other call on. A response is the concatenation of
//! its fields, and an event is a field, so that a response is put together from events that were
//! encoded once for each audience, when the first stream of it came by.
//!
//! A response has at most about [`FRAME_BYTES`], whatever a change weighs: what is more goes into
//! the next. Each but the last of a batch says the revision of its own last event, so that a client
//! that is cut off between two resumes where it was.
//!
//! Ends of a stream: `OUT_OF_RANGE` when its cursor is too old, `UNAVAILABLE` when the server shuts
//! down. A client that does not read holds a cursor and nothing else.

mod hosts;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use banger_proto::bounds;
use banger_proto::ids::Revision;
use banger_proto::v1;
use banger_proto::v1::vm_service_server::{SERVICE_NAME, VmService, VmServiceServer};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::stream;
use http::{Request, Response};
use tonic::body::Body;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic::{Status, codec::CompressionEncoding};
use tonic_prost::ProstDecoder;
use tower::Service;

pub use self::hosts::watch_hosts;
use super::{Api, ResponseStream, convert, status};
use crate::model::audience::Audience;
use crate::model::filter::VmFilter;
use crate::watch::{
    ChangeBatch, ChangeKind, Changes, Encoded, Event, Segment, Subject, WatchEnd, Watcher,
};

const PATH: &str = "/banger.v1.VmService/WatchVms";

/// Field number of `events` in `WatchVmsResponse`.
const EVENTS: u32 = 1;
/// Field number of `revision`.
const REVISION: u32 = 2;
/// Field number of `initial_state_complete`.
const COMPLETE: u32 = 3;

/// What a response weighs at most, unless one event alone weighs more. A quarter of the largest
/// message, which is what clients take by default.
const FRAME_BYTES: usize = bounds::MAX_MESSAGE_BYTES / 4;

/// A response as bytes: some fields, one after the other.
#[derive(Debug, Default)]
pub struct Frame {
    parts: Vec<Bytes>,
}

/// Puts the events of a batch into as many responses as they need.
#[derive(Debug, Default)]
struct Packer {
    full: VecDeque<Frame>,
    frame: Frame,
    bytes: usize,
    /// The revision of the last event in `frame`; not told within the state at the start.
    last: Option<Revision>,
    /// Whether a response may say where the stream is before its batch is complete.
    ordered: bool,
}

impl Packer {
    /// Adds events, the last of which has this revision.
    fn push(&mut self, part: Bytes, last: Revision) {
        if part.is_empty() {
            return;
        }
        if self.bytes > 0 && self.bytes + part.len() > FRAME_BYTES {
            self.close(self.last.filter(|_| self.ordered), false);
        }
        self.bytes += part.len();
        self.last = Some(last);
        self.frame.parts.push(part);
    }

    fn close(&mut self, revision: Option<Revision>, complete: bool) {
        let mut frame = std::mem::take(&mut self.frame);
        self.bytes = 0;
        frame.parts.push(tail(revision, complete));
        self.full.push_back(frame);
    }
}

// === bytes ===

fn kind_number(kind: ChangeKind) -> v1::VmEventType {
    match kind {
        ChangeKind::Added => v1::VmEventType::Added,
        ChangeKind::Modified => v1::VmEventType::Modified,
        ChangeKind::Removed => v1::VmEventType::Removed,
    }
}

/// Writes one event as a field of a response.
fn put_event(out: &mut BytesMut, kind: ChangeKind, revision: Revision, vm: v1::Vm) {
    let event =
        v1::VmEvent { r#type: kind_number(kind).into(), revision: revision.0, vm: Some(vm) };
    prost::encoding::message::encode(EVENTS, &event, out);
}

/// The same event for a stream that sees it as of another kind.
///
/// The bytes begin with the field's key (one byte) and length, then the event's own fields in
/// order, of which the type is the first: its key and its value, one byte each, as every type is a
/// number below 128 and none is zero.
fn as_kind(event: &Bytes, kind: ChangeKind) -> Bytes {
    let length = event.iter().skip(1).take_while(|byte| **byte & 0x80 != 0).count() + 1;
    let mut copy = BytesMut::from(event.as_ref());
    if let Some(value) = copy.get_mut(1 + length + 1) {
        *value = kind_number(kind) as u8;
    }
    copy.freeze()
}

fn tail(revision: Option<Revision>, complete: bool) -> Bytes {
    let mut out = BytesMut::new();
    if let Some(revision) = revision {
        prost::encoding::uint64::encode(REVISION, &revision.0, &mut out);
    }
    if complete {
        prost::encoding::bool::encode(COMPLETE, &true, &mut out);
    }
    out.freeze()
}

fn encode_segment(api: &Api, events: &[Event], to: Audience) -> Encoded {
    let mut bytes = BytesMut::new();
    let ends = events
        .iter()
        .map(|event| {
            // What makes no difference to them has no bytes.
            if event.seen_by.has(to) {
                let vm = convert::vm(&event.record, &api.domain, to);
                put_event(&mut bytes, event.kind(), event.revision(), vm);
            }
            bytes.len()
        })
        .collect();
    Encoded { bytes: bytes.freeze(), ends }
}

fn push_segment(
    packer: &mut Packer,
    api: &Api,
    segment: &Segment,
    after: Revision,
    filter: Option<&VmFilter>,
    to: Audience,
) {
    let encoded = segment.encoded(to, |events| encode_segment(api, events, to));
    if filter.is_none() && segment.first() > after && encoded.bytes.len() <= FRAME_BYTES {
        return packer.push(encoded.bytes.clone(), segment.last());
    }
    for (index, event) in segment.events().iter().enumerate() {
        if event.revision() <= after || !event.seen_by.has(to) {
            continue;
        }
        let kind = match filter {
            None => Some(event.kind()),
            Some(filter) => event.kind_for(filter),
        };
        match kind {
            None => {}
            Some(kind) if kind == event.kind() => {
                packer.push(encoded.event(index), event.revision());
            }
            Some(kind) => packer.push(as_kind(&encoded.event(index), kind), event.revision()),
        }
    }
}

/// The responses for a batch; none when there is nothing in it to tell.
fn frames_of(
    api: &Api,
    batch: &ChangeBatch,
    filter: Option<&VmFilter>,
    to: Audience,
) -> VecDeque<Frame> {
    let ordered = batch.revision.is_some() && !batch.completes_initial_state;
    let mut packer = Packer { ordered, ..Packer::default() };
    match &batch.changes {
        Changes::Own(own) => {
            for (kind, subject) in own {
                let mut bytes = BytesMut::new();
                let vm = match subject {
                    Subject::Vm(record) => convert::vm(record, &api.domain, to),
                    Subject::Past(past) => convert::gone_vm(past),
                };
                put_event(&mut bytes, *kind, subject.revision(), vm);
                packer.push(bytes.freeze(), subject.revision());
            }
        }
        Changes::Shared { segments, after } => {
            for segment in segments {
                push_segment(&mut packer, api, segment, *after, filter, to);
            }
        }
    }
    if packer.bytes > 0 || batch.bookmark {
        packer.close(batch.revision, batch.completes_initial_state);
    }
    packer.full
}

// === the stream ===

fn ended(end: WatchEnd) -> Status {
    match end {
        WatchEnd::TooOld { after, why, oldest } => status::revision_too_old(after, why, oldest),
        WatchEnd::Unread => status::start_unread(),
        WatchEnd::ShuttingDown => status::shutting_down(),
    }
}

/// What there is to send next: never nothing.
async fn next_frames(
    api: &Api,
    watcher: &mut Watcher,
    to: Audience,
) -> Result<VecDeque<Frame>, WatchEnd> {
    loop {
        let batch = watcher.next().await?;
        let frames = frames_of(api, &batch, watcher.filter(), to);
        if !frames.is_empty() {
            return Ok(frames);
        }
        // Nothing that this filter shows. Others may want to run before the next look.
        tokio::task::consume_budget().await;
    }
}

fn frames(api: Api, watcher: Watcher, to: Audience) -> ResponseStream<Frame> {
    let ready = VecDeque::new();
    Box::pin(stream::unfold(Some((api, watcher, ready)), move |state| async move {
        let (api, mut watcher, mut ready) = state?;
        if ready.is_empty() {
            match next_frames(&api, &mut watcher, to).await {
                Ok(frames) => ready = frames,
                Err(end) => return Some((Err(ended(end)), None)),
            }
        }
        let frame = ready.pop_front().unwrap_or_default();
        Some((Ok(frame), Some((api, watcher, ready))))
    }))
}

#[derive(Debug, Clone)]
struct WatchVms(Api);

impl WatchVms {
    fn begin(
        &self,
        request: tonic::Request<v1::WatchVmsRequest>,
    ) -> Result<ResponseStream<Frame>, Status> {
        let caller = self.0.caller(&request)?;
        let to = Audience::of(&caller);
        let request = request.into_inner();
        let filter = convert::filter(request.filter, &self.0, &caller)?;
        let after = request.after_revision.map(Revision);
        let watcher = self.0.view.watch(after, filter, &caller.party()).map_err(ended)?;
        Ok(frames(self.0.clone(), watcher, to))
    }
}

impl ServerStreamingService<v1::WatchVmsRequest> for WatchVms {
    type Response = Frame;
    type ResponseStream = ResponseStream<Frame>;
    type Future = std::future::Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<v1::WatchVmsRequest>) -> Self::Future {
        std::future::ready(self.begin(request).map(tonic::Response::new))
    }
}

// === the codec ===

#[derive(Debug, Clone, Copy, Default)]
struct FrameCodec;

#[derive(Debug, Clone, Copy, Default)]
struct FrameEncoder;

/// Buffers of a stream start small: most streams are idle, and there may be thousands.
fn buffers() -> BufferSettings {
    BufferSettings::new(512, 64 * 1024)
}

impl Codec for FrameCodec {
    type Encode = Frame;
    type Decode = v1::WatchVmsRequest;
    type Encoder = FrameEncoder;
    type Decoder = ProstDecoder<v1::WatchVmsRequest>;

    fn encoder(&mut self) -> Self::Encoder {
        FrameEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(buffers())
    }
}

impl Encoder for FrameEncoder {
    type Item = Frame;
    type Error = Status;

    fn encode(&mut self, frame: Frame, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(frame.parts.iter().map(Bytes::len).sum());
        for part in frame.parts {
            out.put(part);
        }
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}

// === the service ===

/// The service for VMs: `WatchVms` from here, everything else from the generated one.
#[derive(Debug)]
pub struct VmServiceWithWatch<T> {
    rest: VmServiceServer<T>,
    watch: WatchVms,
}

impl<T> Clone for VmServiceWithWatch<T> {
    fn clone(&self) -> Self {
        Self { rest: self.rest.clone(), watch: self.watch.clone() }
    }
}

impl<T: VmService> VmServiceWithWatch<T> {
    /// Around the calls of `service`, with the limits of the wire.
    pub fn new(service: Arc<T>, api: Api) -> Self {
        let rest = VmServiceServer::from_arc(service)
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(bounds::MAX_REQUEST_BYTES)
            .max_encoding_message_size(bounds::MAX_MESSAGE_BYTES);
        Self { rest, watch: WatchVms(api) }
    }
}

impl<T> NamedService for VmServiceWithWatch<T> {
    const NAME: &'static str = SERVICE_NAME;
}

impl<T: VmService> Service<Request<Body>> for VmServiceWithWatch<T> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.rest, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() != PATH {
            return self.rest.call(request);
        }
        let watch = self.watch.clone();
        Box::pin(async move {
            // Answers are not compressed: each stream would do it anew, for bytes that are shared.
            let mut grpc = Grpc::new(FrameCodec)
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(bounds::MAX_REQUEST_BYTES)
                .max_encoding_message_size(bounds::MAX_MESSAGE_BYTES);
            Ok(grpc.server_streaming(watch, request).await)
        })
    }
}

#[cfg(test)]
mod tests;
