//! One stream of changes: a cursor over the table.
//!
//! ```text
//! Initial ── the state at one revision, by id, in parts ──▶ Live ── changes after the cursor ──▶ …
//! ```
//!
//! A watcher holds no changes, only the revision up to which it has handed out everything. As
//! long as it keeps up it reads from the ring, every step; fallen behind, it reads each VM's newest
//! state from the index, in order, until it is back in the ring ([`CatchUp`]). While nobody asks it
//! for more it costs nothing and holds up nobody.

use std::sync::{Arc, Weak};

use banger_proto::ids::Revision;
use tokio::sync::watch;

use super::catch_up::CatchUp;
use super::ring::{ChangeKind, Segment};
use super::snapshot::Snapshot;
use super::table::{After, Newest, TooOldWhy};
use super::view::{Signal, View};
use super::wants::{Interest, Wants};
use super::watched::Watched;
use crate::model::past::Thing;

/// About how many bytes of changes are handed out at once.
const BATCH_BYTES: usize = 256 * 1024;

/// Why a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    /// What came after the cursor is no longer known in full.
    #[error("changes after revision {after} are not known ({}): list again", why.as_str())]
    TooOld {
        /// The cursor.
        after: Revision,
        why: TooOldWhy,
        /// The oldest revision after which a stream may resume.
        oldest: Revision,
    },
    /// The state at the start was left unread for too long.
    #[error("the state at the start was not read: begin anew")]
    Unread,
    /// The server is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// Some changes, in order.
#[derive(Debug)]
pub struct ChangeBatch {
    /// The changes. May be none that the filter shows.
    pub changes: Changes,
    /// Everything up to here has been handed out; `None` within the state at the start.
    pub revision: Option<Revision>,
    /// This batch completes the state at the start.
    pub completes_initial_state: bool,
    /// To be sent even without a change, so that an idle client knows where it is.
    pub bookmark: bool,
}

/// The changes of a batch.
#[derive(Debug)]
pub enum Changes {
    /// Of this stream alone.
    Own(Vec<(ChangeKind, Watched)>),
    /// Shared with other streams. Changes up to `after` were handed out before, and the filter
    /// has not been applied.
    Shared {
        /// In order.
        segments: Vec<Arc<Segment>>,
        /// Changes up to here are to be left out.
        after: Revision,
    },
}

impl View {
    /// A stream of changes after a revision, or of the state now and then changes, for a party: see
    /// [`Caller::party`](crate::model::caller::Caller::party).
    ///
    /// # Errors
    /// It can't be told what came after the revision.
    pub fn watch(
        self: &Arc<Self>,
        after: Option<Revision>,
        wants: impl Into<Wants>,
        party: &str,
    ) -> Result<Watcher, WatchEnd> {
        let wants = wants.into();
        let signal = self.signal();
        match after {
            Some(after) => {
                let resumable = self.resumable(after);
                resumable.map_err(|(why, oldest)| WatchEnd::TooOld { after, why, oldest })?;
                Ok(Watcher::resume(Arc::clone(self), signal, after, wants))
            }
            None => {
                let snapshot = self.shared_snapshot(party);
                Ok(Watcher::begin(Arc::clone(self), signal, &snapshot, wants))
            }
        }
    }
}

/// A stream of changes. Made by [`View::watch`].
#[derive(Debug)]
pub struct Watcher {
    view: Arc<View>,
    signal: watch::Receiver<Signal>,
    wants: Wants,
    /// Everything up to here has been handed out, once the initial state is.
    cursor: Revision,
    initial: Option<Initial>,
    behind: Option<CatchUp>,
    tick: u64,
}

/// How far the state at the start has been handed out.
#[derive(Debug)]
struct Initial {
    snapshot: Weak<Snapshot>,
    /// The last that was handed out: hosts first, then VMs, each by id.
    after: Option<Thing>,
}

impl Watcher {
    pub(super) fn begin(
        view: Arc<View>,
        signal: watch::Receiver<Signal>,
        snapshot: &Arc<Snapshot>,
        wants: Wants,
    ) -> Self {
        let initial = Initial { snapshot: Arc::downgrade(snapshot), after: None };
        Self::new(view, signal, snapshot.revision, Some(initial), wants)
    }

    pub(super) fn resume(
        view: Arc<View>,
        signal: watch::Receiver<Signal>,
        after: Revision,
        wants: Wants,
    ) -> Self {
        // Without a filter that things come and go by, each step says what is to be told.
        let until = view.revision();
        let behind = wants.may_change().then(|| CatchUp::resume(after, until)).flatten();
        Self { behind, ..Self::new(view, signal, after, None, wants) }
    }

    fn new(
        view: Arc<View>,
        signal: watch::Receiver<Signal>,
        cursor: Revision,
        initial: Option<Initial>,
        wants: Wants,
    ) -> Self {
        let tick = signal.borrow().tick;
        Self { view, signal, wants, cursor, initial, behind: None, tick }
    }

    /// What it is told of.
    pub fn wants(&self) -> &Wants {
        &self.wants
    }

    /// The next changes; waits until there are some, or until it is time to say that there are
    /// none. Cancel-safe: nothing is taken before it is returned.
    ///
    /// # Errors
    /// The stream is over.
    pub async fn next(&mut self) -> Result<ChangeBatch, WatchEnd> {
        loop {
            // Marked as seen before the table is read, so that a change after that is noticed.
            let signal = *self.signal.borrow_and_update();
            if signal.draining {
                return Err(WatchEnd::ShuttingDown);
            }
            if let Some(batch) = self.take()? {
                self.tick = signal.tick;
                return Ok(batch);
            }
            if signal.tick != self.tick {
                self.tick = signal.tick;
                return Ok(self.bookmark());
            }
            if self.signal.changed().await.is_err() {
                return Err(WatchEnd::ShuttingDown);
            }
        }
    }

    fn bookmark(&self) -> ChangeBatch {
        ChangeBatch {
            changes: Changes::Own(Vec::new()),
            revision: Some(self.cursor),
            completes_initial_state: false,
            bookmark: true,
        }
    }

    /// What can be handed out without waiting.
    pub(super) fn take(&mut self) -> Result<Option<ChangeBatch>, WatchEnd> {
        if let Some(initial) = &mut self.initial {
            let Some(snapshot) = initial.snapshot.upgrade() else {
                return Err(WatchEnd::Unread);
            };
            self.view.is_read(&snapshot);
            let (part, last) = part_of(&snapshot, initial.after, &self.wants);
            initial.after = last;
            let complete = last.is_none();
            if complete {
                self.initial = None;
            }
            return Ok(Some(ChangeBatch {
                changes: Changes::Own(part),
                revision: complete.then_some(self.cursor),
                completes_initial_state: complete,
                bookmark: complete,
            }));
        }
        let (changes, revision) = match self.view.after(self.cursor, BATCH_BYTES) {
            After::Nothing => return Ok(None),
            After::TooOld => return Err(self.too_old(self.view.oldest())),
            After::Newest(newest) => {
                let revision = newest.up_to;
                (Changes::Own(self.skip(newest)?), revision)
            }
            After::Steps(segments) => {
                let last = segments.last().map_or(self.cursor, |segment| segment.last());
                let changes = match &mut self.behind {
                    None => Changes::Shared { segments, after: self.cursor },
                    Some(behind) => {
                        let events = segments.iter().flat_map(|segment| segment.events());
                        let own = events
                            .filter(|event| event.revision() > self.cursor)
                            .filter_map(|event| {
                                let kind = behind.sees(&event.after, event.gone, &self.wants)?;
                                Some((kind, event.after.clone()))
                            })
                            .collect();
                        Changes::Own(own)
                    }
                };
                (changes, last)
            }
        };
        self.cursor = self.cursor.max(revision);
        if self.behind.as_ref().is_some_and(|behind| behind.is_over(self.cursor)) {
            self.behind = None;
        }
        Ok(Some(ChangeBatch {
            changes,
            revision: Some(self.cursor),
            completes_initial_state: false,
            bookmark: false,
        }))
    }
}

impl Watcher {
    /// Newest states as this stream sees them.
    fn skip(&mut self, newest: Newest) -> Result<Vec<(ChangeKind, Watched)>, WatchEnd> {
        let behind = self.behind.get_or_insert_with(|| CatchUp::begin(self.cursor));
        behind.read_at(newest.table);
        let mut own = Vec::new();
        for (subject, gone) in newest.subjects {
            if let Some(kind) = behind.sees(&subject, gone, &self.wants) {
                own.push((kind, subject));
            }
        }
        if behind.is_too_long() {
            return Err(self.too_old(newest.table));
        }
        Ok(own)
    }

    fn too_old(&self, oldest: Revision) -> WatchEnd {
        WatchEnd::TooOld { after: self.cursor, why: TooOldWhy::Forgotten, oldest }
    }
}

/// The next things of the state at the start that are told, and where to go on; `None` when these
/// are the last. Hosts come first, so that whoever is told of a VM knows its host.
fn part_of(
    snapshot: &Snapshot,
    after: Option<Thing>,
    wants: &Wants,
) -> (Vec<(ChangeKind, Watched)>, Option<Thing>) {
    use std::ops::Bound::{Excluded, Unbounded};
    let (hosts_from, vms_after) = match after {
        None => (Some(Unbounded), None),
        Some(Thing::Host(host)) => (Some(Excluded(host)), None),
        Some(Thing::Vm(vm)) => (None, Some(vm)),
    };
    let hosts_from = hosts_from.filter(|_| !wants.hosts.is_nothing());
    let hosts = hosts_from.map(|from| snapshot.hosts.range((from, Unbounded)));
    let hosts = hosts.into_iter().flatten().map(|(_, host)| Watched::Host(Arc::clone(host)));
    let vms = match &wants.vms {
        Interest::Nothing => None,
        Interest::All => Some(snapshot.matching(None, vms_after)),
        Interest::Some(filter) => Some(snapshot.matching(Some(filter), vms_after)),
    };
    let vms = vms.into_iter().flatten().map(|record| Watched::Vm(Arc::clone(record)));
    let mut part = Vec::new();
    let mut weight = 0;
    for subject in hosts.filter(|host| wants.shows(host)).chain(vms) {
        weight += subject.weight();
        let thing = subject.thing();
        part.push((ChangeKind::Added, subject));
        if weight >= BATCH_BYTES {
            return (part, Some(thing));
        }
    }
    (part, None)
}
