//! `WatchVms`: streams of changes, sent as bytes that all streams share.
//!
//! The generated service would encode every event once for every stream. So this file stands in
//! front of it: [`VmServiceWithWatch`] serves the path of `WatchVms` itself, with a codec whose
//! responses are already bytes, and hands every other call on. A response is the concatenation of
//! its fields, and an event is a field, so that a response is put together from events that were
//! encoded once, when the first stream came by.
//!
//! Ends of a stream: `OUT_OF_RANGE` when its cursor is too old, `UNAVAILABLE` when the server shuts
//! down. A client that does not read holds a cursor and nothing else.

mod hosts;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use banger_proto::ids::Revision;
use banger_proto::v1;
use banger_proto::v1::vm_service_server::{SERVICE_NAME, VmService, VmServiceServer};
use banger_proto::wire::limits;
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
use crate::model::filter::VmFilter;
use crate::watch::{Batch, Changes, Encoded, Event, EventKind, Segment, WatchEnd, Watcher};

const PATH: &str = "/banger.v1.VmService/WatchVms";

/// Field number of `events` in `WatchVmsResponse`.
const EVENTS: u32 = 1;
/// Field number of `revision`.
const REVISION: u32 = 2;
/// Field number of `initial_state_complete`.
const COMPLETE: u32 = 3;

/// A response as bytes: some fields, one after the other.
#[derive(Debug, Default)]
pub struct Frame {
    parts: Vec<Bytes>,
}

impl Frame {
    fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.parts.push(part);
        }
    }
}

// === bytes ===

fn kind_number(kind: EventKind) -> v1::VmEventType {
    match kind {
        EventKind::Added => v1::VmEventType::Added,
        EventKind::Modified => v1::VmEventType::Modified,
        EventKind::Removed => v1::VmEventType::Removed,
    }
}

/// Writes one event as a field of a response.
fn put_event(out: &mut BytesMut, kind: EventKind, revision: Revision, vm: v1::Vm) {
    let event =
        v1::VmEvent { r#type: kind_number(kind).into(), revision: revision.0, vm: Some(vm) };
    prost::encoding::message::encode(EVENTS, &event, out);
}

/// The same event for a stream that sees it as of another kind.
///
/// The bytes begin with the field's key (one byte) and length, then the event's own fields in
/// order, of which the type is the first: its key and its value, one byte each, as every type is a
/// number below 128 and none is zero.
fn as_kind(event: &Bytes, kind: EventKind) -> Bytes {
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

fn encode_segment(api: &Api, events: &[Event]) -> Encoded {
    let mut bytes = BytesMut::new();
    let ends = events
        .iter()
        .map(|event| {
            let vm = convert::vm(&event.record, &api.domain);
            put_event(&mut bytes, event.kind(), event.revision(), vm);
            bytes.len()
        })
        .collect();
    Encoded { bytes: bytes.freeze(), ends }
}

fn push_segment(
    frame: &mut Frame,
    api: &Api,
    segment: &Segment,
    after: Revision,
    filter: Option<&VmFilter>,
) {
    let encoded = segment.encoded(|events| encode_segment(api, events));
    let Some(filter) = filter else {
        if segment.first() > after {
            return frame.push(encoded.bytes.clone());
        }
        for (index, event) in segment.events().iter().enumerate() {
            if event.revision() > after {
                frame.push(encoded.event(index));
            }
        }
        return;
    };
    for (index, event) in segment.events().iter().enumerate() {
        if event.revision() <= after {
            continue;
        }
        match event.kind_for(filter) {
            None => {}
            Some(kind) if kind == event.kind() => frame.push(encoded.event(index)),
            Some(kind) => frame.push(as_kind(&encoded.event(index), kind)),
        }
    }
}

/// The response for a batch; `None` when there is nothing in it to tell.
fn frame_of(api: &Api, batch: &Batch, filter: Option<&VmFilter>) -> Option<Frame> {
    let mut frame = Frame::default();
    match &batch.changes {
        Changes::Own(own) => {
            let mut bytes = BytesMut::new();
            for (kind, record) in own {
                let vm = convert::vm(record, &api.domain);
                put_event(&mut bytes, *kind, record.revision, vm);
            }
            frame.push(bytes.freeze());
        }
        Changes::Shared { segments, after } => {
            for segment in segments {
                push_segment(&mut frame, api, segment, *after, filter);
            }
        }
    }
    if frame.parts.is_empty() && !batch.bookmark {
        return None;
    }
    frame.push(tail(batch.revision, batch.completes_initial_state));
    Some(frame)
}

// === the stream ===

fn ended(end: WatchEnd) -> Status {
    match end {
        WatchEnd::TooOld { after } => status::revision_too_old(after),
        WatchEnd::ShuttingDown => status::shutting_down(),
    }
}

async fn next_frame(api: &Api, watcher: &mut Watcher) -> Result<Frame, WatchEnd> {
    loop {
        let batch = watcher.next().await?;
        if let Some(frame) = frame_of(api, &batch, watcher.filter()) {
            return Ok(frame);
        }
        // Nothing that this filter shows. Others may want to run before the next look.
        tokio::task::consume_budget().await;
    }
}

fn frames(api: Api, watcher: Watcher) -> ResponseStream<Frame> {
    Box::pin(stream::unfold(Some((api, watcher)), |state| async move {
        let (api, mut watcher) = state?;
        match next_frame(&api, &mut watcher).await {
            Ok(frame) => Some((Ok(frame), Some((api, watcher)))),
            Err(end) => Some((Err(ended(end)), None)),
        }
    }))
}

#[derive(Debug, Clone)]
struct WatchVms(Api);

impl WatchVms {
    fn begin(&self, request: v1::WatchVmsRequest) -> Result<ResponseStream<Frame>, Status> {
        let filter = convert::filter(request.filter, &self.0.view)?;
        let after = request.after_revision.map(Revision);
        let watcher = self.0.view.watch(after, filter).map_err(ended)?;
        Ok(frames(self.0.clone(), watcher))
    }
}

impl ServerStreamingService<v1::WatchVmsRequest> for WatchVms {
    type Response = Frame;
    type ResponseStream = ResponseStream<Frame>;
    type Future = std::future::Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<v1::WatchVmsRequest>) -> Self::Future {
        std::future::ready(self.begin(request.into_inner()).map(tonic::Response::new))
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
            .max_decoding_message_size(limits::MAX_REQUEST_BYTES)
            .max_encoding_message_size(limits::MAX_MESSAGE_BYTES);
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
                .max_decoding_message_size(limits::MAX_REQUEST_BYTES)
                .max_encoding_message_size(limits::MAX_MESSAGE_BYTES);
            Ok(grpc.server_streaming(watch, request).await)
        })
    }
}

#[cfg(test)]
mod tests;
