//! Changes as bytes of responses, put together from events that all streams share.
//!
//! The events of `WatchVmsResponse` and of `WatchResponse` have the same bytes: a type, a revision
//! and the thing. Those of hosts go into a `WatchHostsResponse` too, which has only the thing: it
//! is the end of the event. A response is the concatenation of its fields, and an event is a field.
//!
//! A response has at most about [`FRAME_BYTES`], whatever a change weighs: what is more goes into
//! the next. Each but the last of a batch says the revision of its own last event, so that a client
//! that is cut off between two resumes where it was.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use banger_proto::bounds;
use banger_proto::ids::Revision;
use banger_proto::v1;
use bytes::{Bytes, BytesMut};

use crate::api::convert;
use crate::model::audience::Audience;
use crate::model::past::Thing;
use crate::model::placement::Overcommit;
use crate::watch::{ChangeBatch, ChangeKind, Changes, Encoded, Event, Segment, Wants, Watched};

/// Field number of `events` in `WatchVmsResponse` and `WatchResponse`.
const EVENTS: u32 = 1;

/// Field number of `removed_host_ids` in `WatchHostsResponse`.
const REMOVED_HOST_IDS: u32 = 2;

/// Key of `hosts` in `WatchHostsResponse`: field 1 with a length.
const HOSTS_KEY: Bytes = Bytes::from_static(&[0x0a]);

/// What a response weighs at most, unless one event alone weighs more. A quarter of the largest
/// message, which is what clients take by default.
pub(super) const FRAME_BYTES: usize = bounds::MAX_MESSAGE_BYTES / 4;

/// A response as bytes: some fields, one after the other.
#[derive(Debug, Default)]
pub struct Frame {
    pub(super) parts: Vec<Bytes>,
}

/// What messages are made with, besides what they are of.
#[derive(Debug, Clone)]
pub(super) struct Style {
    /// Below which VMs have their names.
    pub(super) domain: Arc<str>,
    pub(super) overcommit: Overcommit,
}

/// Which message the responses are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum FrameShape {
    /// `WatchVmsResponse` or `WatchResponse`.
    #[default]
    Events,
    /// `WatchHostsResponse`.
    Hosts,
}

/// Puts the events of a batch into as many responses as they need.
#[derive(Debug, Default)]
pub(super) struct Packer {
    pub(super) full: VecDeque<Frame>,
    frame: Frame,
    bytes: usize,
    /// The revision of the last event in `frame`; not told within the state at the start.
    last: Option<Revision>,
    /// Whether a response may say where the stream is before its batch is complete.
    ordered: bool,
    shape: FrameShape,
}

impl Packer {
    pub(super) fn new(ordered: bool, shape: FrameShape) -> Self {
        Self { ordered, shape, ..Self::default() }
    }

    /// Adds events, the last of which has this revision.
    pub(super) fn push(&mut self, part: Bytes, last: Revision) {
        self.push_parts([part], last);
    }

    fn push_parts<const N: usize>(&mut self, parts: [Bytes; N], last: Revision) {
        let bytes: usize = parts.iter().map(Bytes::len).sum();
        if bytes == 0 {
            return;
        }
        if self.bytes > 0 && self.bytes + bytes > FRAME_BYTES {
            self.close(self.last.filter(|_| self.ordered), false);
        }
        self.bytes += bytes;
        self.last = Some(last);
        self.frame.parts.extend(parts);
    }

    /// Adds one event of a host, as its bytes are in other responses.
    fn push_host(&mut self, kind: ChangeKind, thing: Thing, event: &Bytes, last: Revision) {
        match (kind, thing) {
            (ChangeKind::Removed, Thing::Host(id)) => {
                let mut out = BytesMut::new();
                prost::encoding::string::encode(REMOVED_HOST_IDS, &id.to_string(), &mut out);
                self.push(out.freeze(), last);
            }
            (ChangeKind::Added | ChangeKind::Modified, Thing::Host(_)) => {
                self.push_parts([HOSTS_KEY, thing_of(event)], last);
            }
            (_, Thing::Vm(_)) => {}
        }
    }

    pub(super) fn close(&mut self, revision: Option<Revision>, complete: bool) {
        let mut frame = std::mem::take(&mut self.frame);
        self.bytes = 0;
        frame.parts.push(tail(self.shape, revision, complete));
        self.full.push_back(frame);
    }
}

pub(super) fn kind_number(kind: ChangeKind) -> v1::ChangeType {
    match kind {
        ChangeKind::Added => v1::ChangeType::Added,
        ChangeKind::Modified => v1::ChangeType::Modified,
        ChangeKind::Removed => v1::ChangeType::Removed,
    }
}

/// Writes one event as a field of a response.
fn put_event(out: &mut BytesMut, kind: ChangeKind, subject: &Watched, style: &Style, to: Audience) {
    let (mut vm, mut host) = (None, None);
    match subject {
        Watched::Vm(record) => vm = Some(convert::vm(record, &style.domain, to)),
        Watched::Host(shown) => host = Some(convert::host(shown, style.overcommit)),
        Watched::Past(past) => match past.gone.thing {
            Thing::Vm(id) => vm = Some(convert::gone_vm(id, past)),
            Thing::Host(id) => host = Some(convert::gone_host(id, past)),
        },
    }
    let (r#type, revision) = (kind_number(kind).into(), subject.revision().0);
    put_message(out, &v1::WatchEvent { r#type, revision, vm, host });
}

pub(super) fn put_message(out: &mut BytesMut, event: &v1::WatchEvent) {
    prost::encoding::message::encode(EVENTS, event, out);
}

/// How long a number is that begins here.
fn varint_len(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1
}

/// Where the event's own fields begin: behind its key (one byte) and its length.
fn fields_at(event: &[u8]) -> usize {
    1 + varint_len(event.get(1..).unwrap_or_default())
}

/// The same event for a stream that sees it as of another kind.
///
/// Its type is the first of its fields: its key and its value, one byte each, as every type is a
/// number below 128 and none is zero.
pub(super) fn as_kind(event: &Bytes, kind: ChangeKind) -> Bytes {
    let value = fields_at(event) + 1;
    let mut copy = BytesMut::from(event.as_ref());
    if let Some(value) = copy.get_mut(value) {
        *value = kind_number(kind) as u8;
    }
    copy.freeze()
}

/// The thing of an event with its length, but without its key: it comes behind the type (two bytes)
/// and the revision (a key, and a number that is never zero).
pub(super) fn thing_of(event: &Bytes) -> Bytes {
    let revision = fields_at(event) + 3;
    let thing = revision + varint_len(event.get(revision..).unwrap_or_default()) + 1;
    event.slice(thing.min(event.len())..)
}

/// The last fields of a response. Their numbers differ.
pub(super) fn tail(shape: FrameShape, revision: Option<Revision>, complete: bool) -> Bytes {
    let (revision_field, complete_field) = match shape {
        FrameShape::Events => (2, 3),
        FrameShape::Hosts => (4, 3),
    };
    let mut out = BytesMut::new();
    if let Some(revision) = revision {
        prost::encoding::uint64::encode(revision_field, &revision.0, &mut out);
    }
    if complete {
        prost::encoding::bool::encode(complete_field, &true, &mut out);
    }
    out.freeze()
}

/// The events of one kind of things; others have no bytes, and neither has what makes no difference
/// to whoever is told.
fn encode_events(events: &[Event], of_vms: bool, style: &Style, to: Audience) -> Encoded {
    let mut bytes = BytesMut::new();
    let ends = events
        .iter()
        .map(|event| {
            if event.after.is_vm() == of_vms && event.seen_by.has(to) {
                put_event(&mut bytes, event.kind(), &event.after, style, to);
            }
            bytes.len()
        })
        .collect();
    Encoded { bytes: bytes.freeze(), ends }
}

/// What of a segment is of one kind, encoded by the first stream that asks.
fn encoded<'a>(segment: &'a Segment, of_vms: bool, style: &Style, to: Audience) -> &'a Encoded {
    match of_vms {
        true => segment.vms(to, |events| encode_events(events, true, style, to)),
        false => segment.hosts(|events| encode_events(events, false, style, to)),
    }
}

fn push_segment(
    packer: &mut Packer,
    style: &Style,
    segment: &Segment,
    after: Revision,
    wants: &Wants,
    to: Audience,
) {
    let whole = wants.vms.is_all() && (wants.hosts.is_nothing() || segment.is_of_vms_alone());
    if whole && segment.first() > after {
        let encoded = encoded(segment, true, style, to);
        if encoded.bytes.len() <= FRAME_BYTES {
            return packer.push(encoded.bytes.clone(), segment.last());
        }
    }
    for (index, event) in segment.events().iter().enumerate() {
        if event.revision() <= after || !event.seen_by.has(to) {
            continue;
        }
        let Some(kind) = event.kind_for(wants) else { continue };
        let bytes = encoded(segment, event.after.is_vm(), style, to).event(index);
        let bytes = if kind == event.kind() { bytes } else { as_kind(&bytes, kind) };
        packer.push(bytes, event.revision());
    }
}

/// The hosts of a batch, of each its last change alone.
fn push_hosts(
    packer: &mut Packer,
    style: &Style,
    segments: &[impl AsRef<Segment>],
    after: Revision,
    wants: &Wants,
    to: Audience,
) {
    let mut last = Vec::new();
    let mut told = BTreeSet::new();
    for segment in segments.iter().rev().map(AsRef::as_ref) {
        for (index, event) in segment.events().iter().enumerate().rev() {
            if event.revision() <= after || event.after.is_vm() || !event.seen_by.has(to) {
                continue;
            }
            let kind = event.kind_for(wants);
            // A host that came and went within the batch is told as gone, which hurts nobody.
            if let Some(kind) = kind
                && told.insert(event.after.thing())
            {
                last.push((kind, event, encoded(segment, false, style, to).event(index)));
            }
        }
    }
    for (kind, event, bytes) in last.into_iter().rev() {
        packer.push_host(kind, event.after.thing(), &bytes, event.revision());
    }
}

/// One event of a stream's own.
fn own_event(kind: ChangeKind, subject: &Watched, style: &Style, to: Audience) -> Bytes {
    let mut bytes = BytesMut::new();
    put_event(&mut bytes, kind, subject, style, to);
    bytes.freeze()
}

/// The hosts of a stream's own batch, of each its last change alone: within a response it is not
/// told which came first, a host or its removal.
fn push_own_hosts(packer: &mut Packer, style: &Style, own: &[(ChangeKind, Watched)], to: Audience) {
    let mut told = BTreeSet::new();
    let last = own.iter().rev().filter(|(_, subject)| told.insert(subject.thing()));
    let last: Vec<_> = last.collect();
    for (kind, subject) in last.into_iter().rev() {
        let bytes = own_event(*kind, subject, style, to);
        packer.push_host(*kind, subject.thing(), &bytes, subject.revision());
    }
}

/// The responses for a batch; none when there is nothing in it to tell.
pub(super) fn frames_of(
    style: &Style,
    batch: &ChangeBatch,
    wants: &Wants,
    to: Audience,
    shape: FrameShape,
) -> VecDeque<Frame> {
    let ordered = batch.revision.is_some() && !batch.completes_initial_state;
    let mut packer = Packer::new(ordered, shape);
    match &batch.changes {
        Changes::Own(own) => match shape {
            FrameShape::Events => {
                for (kind, subject) in own {
                    packer.push(own_event(*kind, subject, style, to), subject.revision());
                }
            }
            FrameShape::Hosts => push_own_hosts(&mut packer, style, own, to),
        },
        Changes::Shared { segments, after } => match shape {
            FrameShape::Events => {
                for segment in segments {
                    push_segment(&mut packer, style, segment, *after, wants, to);
                }
            }
            FrameShape::Hosts => push_hosts(&mut packer, style, segments, *after, wants, to),
        },
    }
    if packer.bytes > 0 || batch.bookmark {
        packer.close(batch.revision, batch.completes_initial_state);
    }
    packer.full
}
