//! What the consumer of a watch has been told, and what to tell it next. Pure, and the same for
//! whatever is watched.
//!
//! ```text
//!             begin() = None                 initial_state_complete
//!   Listing{unseen} ◀──────────── Listing ─────────────────────────▶ Following(revision)
//!         ▲                                                               │
//!         └───────────────── forget_revision() ◀──────── too old ─────────┘
//! ```
//!
//! While listing, things that were told before and have not come again yet are `unseen`; those
//! still unseen when the state is complete went away while nobody was looking.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::ChangeKind;

/// Something that a watch tells of.
pub(crate) trait Watched {
    fn id(&self) -> &str;

    /// The revision of the newest change shown in it.
    fn revision(&self) -> u64;

    /// Whether it is as the other, but for the revision.
    fn is_as(&self, other: &Self) -> bool;
}

/// One event of a response.
#[derive(Debug)]
pub(crate) enum Event<T> {
    /// It is new or different.
    Put { thing: T, revision: u64 },
    /// It is gone, or no longer matches the filter.
    Removed { thing: T, revision: u64 },
    /// The same where the server says only which.
    Gone { id: String },
}

/// One response.
#[derive(Debug)]
pub(crate) struct Said<T> {
    pub(crate) events: Vec<Event<T>>,
    /// Everything up to here was said; zero where the server does not say it.
    pub(crate) revision: u64,
    /// It completes the state at the start.
    pub(crate) complete: bool,
}

/// What to tell the consumer.
#[derive(Debug)]
pub(crate) enum News<T> {
    Change { kind: ChangeKind, thing: Arc<T>, revision: u64 },
    Current { revision: u64 },
    Bookmark { revision: u64 },
}

#[derive(Debug)]
enum Phase {
    /// The state is being read.
    Listing { unseen: HashSet<String> },
    /// Everything up to this revision has been told.
    Following { revision: u64 },
}

/// What the consumer has been told.
#[derive(Debug)]
pub(crate) struct Told<T> {
    things: HashMap<String, Arc<T>>,
    phase: Phase,
}

impl<T> Default for Told<T> {
    fn default() -> Self {
        Self { things: HashMap::new(), phase: Phase::Listing { unseen: HashSet::new() } }
    }
}

impl<T: Watched> Told<T> {
    /// The consumer has a list already.
    pub(crate) fn from_list(things: Vec<T>, revision: u64) -> Self {
        let by_id = |thing: T| (thing.id().to_owned(), Arc::new(thing));
        Self {
            things: things.into_iter().map(by_id).collect(),
            phase: Phase::Following { revision },
        }
    }

    /// A new stream is about to be opened: after which revision, or from the state now.
    pub(crate) fn begin(&mut self) -> Option<u64> {
        match self.phase {
            Phase::Following { revision } if revision > 0 => Some(revision),
            Phase::Following { .. } | Phase::Listing { .. } => {
                // A list that broke off half way begins anew, and so does a stream of a server that
                // does not say where it is.
                let unseen = self.things.keys().cloned().collect();
                self.phase = Phase::Listing { unseen };
                None
            }
        }
    }

    /// The server no longer knows the revision. False when none had been named.
    pub(crate) fn forget_revision(&mut self) -> bool {
        match self.phase {
            Phase::Following { .. } => {
                self.phase = Phase::Listing { unseen: HashSet::new() };
                true
            }
            Phase::Listing { .. } => false,
        }
    }

    /// The server said something: what to tell the consumer.
    pub(crate) fn take(&mut self, said: impl Into<Said<T>>) -> Vec<News<T>> {
        let Said { events, revision, complete } = said.into();
        let mut news = Vec::with_capacity(events.len() + 1);
        let quiet = events.is_empty();
        for event in events {
            news.extend(self.event(event));
        }
        match &mut self.phase {
            Phase::Listing { unseen } if complete => {
                let gone = std::mem::take(unseen);
                self.phase = Phase::Following { revision };
                let mut gone: Vec<_> =
                    gone.iter().filter_map(|id| self.things.remove(id)).collect();
                gone.sort_by(|a, b| a.id().cmp(b.id()));
                let removed =
                    |thing| News::Change { kind: ChangeKind::Removed, thing, revision: 0 };
                news.extend(gone.into_iter().map(removed));
                news.push(News::Current { revision });
            }
            // Before the state is complete a revision says nothing that can be resumed from.
            Phase::Listing { .. } => {}
            Phase::Following { revision: last } => {
                *last = revision.max(*last);
                if quiet {
                    news.push(News::Bookmark { revision: *last });
                }
            }
        }
        news
    }

    fn event(&mut self, event: Event<T>) -> Option<News<T>> {
        let (thing, said, removed) = match event {
            Event::Put { thing, revision } => (thing, revision, false),
            Event::Removed { thing, revision } => (thing, revision, true),
            Event::Gone { id } => {
                self.saw(&id);
                let thing = self.things.remove(&id)?;
                return Some(News::Change { kind: ChangeKind::Removed, thing, revision: 0 });
            }
        };
        let thing = Arc::new(thing);
        let revision = said.max(thing.revision());
        self.saw(thing.id());
        let before = self.things.get(thing.id());
        // A resumed stream may repeat what was told; a revision is never told twice.
        if before.is_some_and(|before| before.revision() >= revision && revision > 0) {
            return None;
        }
        // A list of a server that was restarted counts anew; what is as it was has not changed.
        let listing = matches!(self.phase, Phase::Listing { .. });
        if listing && before.is_some_and(|before| before.is_as(&thing)) {
            self.things.insert(thing.id().to_owned(), thing);
            return None;
        }
        let kind = if removed {
            self.things.remove(thing.id())?;
            ChangeKind::Removed
        } else {
            // Which of the two it is depends on what this consumer knows, not on what the server
            // thinks it knows.
            let known = before.is_some();
            self.things.insert(thing.id().to_owned(), Arc::clone(&thing));
            if known { ChangeKind::Modified } else { ChangeKind::Added }
        };
        Some(News::Change { kind, thing, revision })
    }

    fn saw(&mut self, id: &str) {
        if let Phase::Listing { unseen } = &mut self.phase {
            unseen.remove(id);
        }
    }
}
