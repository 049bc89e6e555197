//! The newest changes, shared by all streams that keep up.
//!
//! Changes are kept in segments: all that one commit or one report changed, at most
//! [`SEGMENT_EVENTS`] of them and about [`SEGMENT_BYTES`]. What of it is of VMs is encoded once for
//! each audience, and what is of hosts once, by the first stream that sends it, as the
//! concatenation of its events; a stream that shows everything copies the whole, one with a filter
//! copies the events it shows. The view owns the ring and its mutex; a stream takes segments out by
//! `Arc` and encodes without the mutex.
//!
//! The ring is bounded by events and by bytes. What falls off it is still in the table.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use banger_proto::ids::Revision;
use bytes::Bytes;

use super::wants::Wants;
use super::watched::Watched;
use crate::model::audience::{Audience, Audiences};

/// Most events of one segment.
pub(super) const SEGMENT_EVENTS: usize = 64;

/// About how many bytes of events one segment has at most, unless one event alone has more.
const SEGMENT_BYTES: usize = 256 * 1024;

/// How a change looks to one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// The thing is new to the stream.
    Added,
    /// It changed.
    Modified,
    /// It is gone, or no longer matches the filter.
    Removed,
}

/// One change.
#[derive(Debug, Clone)]
pub struct Event {
    /// The thing after the change; of one that is gone, its last state.
    pub after: Watched,
    /// The thing before the change; `None` when it is new.
    pub before: Option<Watched>,
    /// Nothing of it is left.
    pub gone: bool,
    /// Who is shown a difference. To others it is no event.
    pub seen_by: Audiences,
}

impl Event {
    /// The revision of the change.
    pub fn revision(&self) -> Revision {
        self.after.revision()
    }

    /// How a stream that shows everything sees it.
    pub fn kind(&self) -> ChangeKind {
        match (&self.before, self.gone) {
            (_, true) => ChangeKind::Removed,
            (None, false) => ChangeKind::Added,
            (Some(_), false) => ChangeKind::Modified,
        }
    }

    /// How a stream that is told of these sees it; `None`: not at all.
    pub fn kind_for(&self, wants: &Wants) -> Option<ChangeKind> {
        let before = self.before.as_ref().is_some_and(|subject| wants.shows(subject));
        let after = !self.gone && wants.shows(&self.after);
        match (before, after) {
            (false, false) => None,
            (false, true) => Some(ChangeKind::Added),
            (true, true) => Some(ChangeKind::Modified),
            (true, false) => Some(ChangeKind::Removed),
        }
    }
}

/// A segment as bytes.
#[derive(Debug)]
pub struct Encoded {
    /// All events, one after the other.
    pub bytes: Bytes,
    /// Where each event ends in `bytes`.
    pub ends: Box<[usize]>,
}

impl Encoded {
    /// The bytes of one event. Empty when there is no such event.
    pub fn event(&self, index: usize) -> Bytes {
        let start = match index.checked_sub(1) {
            None => 0,
            Some(before) => self.ends.get(before).copied().unwrap_or(self.bytes.len()),
        };
        let end = self.ends.get(index).copied().unwrap_or(start);
        self.bytes.slice(start..end)
    }
}

/// Some changes, one after the other.
#[derive(Debug)]
pub struct Segment {
    events: Box<[Event]>,
    /// Whether all of it is of VMs.
    vms_alone: bool,
    /// What is of VMs, for each audience by its index.
    vms: [OnceLock<Encoded>; Audience::ALL.len()],
    /// What is of hosts, for all who see any.
    hosts: OnceLock<Encoded>,
}

impl Segment {
    /// The changes, lowest revision first.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The highest revision in it.
    pub fn last(&self) -> Revision {
        self.events.last().map_or(Revision(0), Event::revision)
    }

    /// The lowest revision in it.
    pub fn first(&self) -> Revision {
        self.events.first().map_or(Revision(0), Event::revision)
    }

    /// Whether all of it is of VMs.
    pub fn is_of_vms_alone(&self) -> bool {
        self.vms_alone
    }

    /// What of it is of VMs as bytes for an audience; `encode` runs once for each in the life of
    /// the segment.
    pub fn vms(&self, to: Audience, encode: impl FnOnce(&[Event]) -> Encoded) -> &Encoded {
        self.vms[to.index()].get_or_init(|| encode(&self.events))
    }

    /// What of it is of hosts as bytes; `encode` runs once in the life of the segment.
    pub fn hosts(&self, encode: impl FnOnce(&[Event]) -> Encoded) -> &Encoded {
        self.hosts.get_or_init(|| encode(&self.events))
    }
}

/// Bounded, newest last.
#[derive(Debug)]
pub(super) struct Ring {
    segments: VecDeque<(usize, Arc<Segment>)>,
    events: usize,
    weight: usize,
    max_events: usize,
    max_weight: usize,
    /// Every change after this revision is in the ring.
    floor: Revision,
}

impl Ring {
    pub(super) fn new(floor: Revision, max_events: usize, max_weight: usize) -> Self {
        Self { segments: VecDeque::new(), events: 0, weight: 0, max_events, max_weight, floor }
    }

    /// Adds changes, in order of their revisions, and drops the oldest while over the bounds.
    pub(super) fn push(&mut self, events: Vec<Event>) {
        let mut part = Vec::new();
        let mut weight = 0;
        for event in events {
            let more = event.after.weight();
            if part.len() == SEGMENT_EVENTS || (weight + more > SEGMENT_BYTES && weight > 0) {
                self.push_segment(std::mem::take(&mut part), std::mem::take(&mut weight));
            }
            weight += more;
            part.push(event);
        }
        if !part.is_empty() {
            self.push_segment(part, weight);
        }
        while self.events > self.max_events || self.weight > self.max_weight {
            let Some((weight, dropped)) = self.segments.pop_front() else { break };
            self.events -= dropped.events.len();
            self.weight -= weight;
            self.floor = dropped.last();
        }
    }

    fn push_segment(&mut self, events: Vec<Event>, weight: usize) {
        self.events += events.len();
        self.weight += weight;
        let segment = Segment {
            vms_alone: events.iter().all(|event| event.after.is_vm()),
            events: events.into(),
            vms: Default::default(),
            hosts: OnceLock::new(),
        };
        self.segments.push_back((weight, Arc::new(segment)));
    }

    /// The segments with changes after `cursor`, oldest first, as many as have together about
    /// `budget` bytes and at least one; `None` when some of them have fallen off.
    pub(super) fn after(&self, cursor: Revision, budget: usize) -> Option<Vec<Arc<Segment>>> {
        if cursor < self.floor {
            return None;
        }
        let start = self.segments.partition_point(|(_, segment)| segment.last() <= cursor);
        let mut taken = 0;
        let segments = self
            .segments
            .range(start..)
            .take_while(|(weight, _)| {
                let fits = taken == 0 || taken + weight <= budget;
                taken += weight;
                fits
            })
            .map(|(_, segment)| Arc::clone(segment))
            .collect();
        Some(segments)
    }
}
