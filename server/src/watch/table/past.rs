//! The time before this life of the server: who may go on from it, and what they are told.
//!
//! The store hands over what came and went with each commit of earlier lives, and between which
//! revisions ([`Past`]). What went is put into the index, so that a stream that goes on from then
//! is told of it as of what goes now; what is there is loaded under new revisions, so that it is
//! told in any case, as it is now: unknown, until its agent has spoken.

use std::collections::HashMap;
use std::sync::Arc;

use banger_proto::ids::Revision;

use super::ViewTable;
use crate::model::past::{Past, Thing};
use crate::watch::ring::Ring;
use crate::watch::watched::{PastThing, Watched};

/// Why what came after a revision is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooOldWhy {
    /// More has gone since than is remembered.
    Forgotten,
    /// The database was restored from a backup: what came after was undone.
    Restored,
    /// A server ended before it had written which changes came by this revision, or it lies within
    /// the changes of one commit of an earlier server.
    Unproven,
    /// This server has not given it out.
    NotGivenOut,
}

impl TooOldWhy {
    /// The word in the metadata of the error.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forgotten => "FORGOTTEN",
            Self::Restored => "RESTORED",
            Self::Unproven => "UNPROVEN",
            Self::NotGivenOut => "NOT_GIVEN_OUT",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Before {
    /// The first revision of the present epoch.
    epoch_floor: Revision,
    /// Whoever is strictly between two of these may or may not know what happened there. In order.
    spans: Vec<(Revision, Revision)>,
    /// While what is stored is loaded.
    loading: Option<Loading>,
}

#[derive(Debug, Default)]
struct Loading {
    floor: Revision,
    /// When things that are younger than `floor` came.
    made: HashMap<Thing, Revision>,
}

impl ViewTable {
    /// Takes over what is known of the time before. Comes first.
    pub(in crate::watch) fn remember(&mut self, past: &Past) {
        let mut loading = Loading { floor: past.floor, ..Loading::default() };
        self.before.epoch_floor = past.epoch_floor;
        self.oldest = past.floor.max(past.epoch_floor);
        for commit in &past.commits {
            let (before, after) = (commit.before, commit.after);
            self.before.spans.push((before, after));
            for thing in &commit.made {
                loading.made.insert(*thing, after);
            }
            if commit.gone.len() as u64 > after.0.saturating_sub(before.0) {
                // There are not as many revisions: a journal that another hand wrote.
                self.oldest = self.oldest.max(after);
                continue;
            }
            for (revision, gone) in (before.0 + 1..).map(Revision).zip(&commit.gone) {
                let added = loading.made.get(&gone.thing).copied().unwrap_or(past.floor);
                let past = PastThing { gone: gone.clone(), revision, added };
                self.bury(Watched::Past(Arc::new(past)));
            }
        }
        self.before.loading = Some(loading);
    }

    /// Ends the loading of what was stored: it is no news to those who begin now.
    pub(in crate::watch) fn loaded(&mut self) {
        if self.before.loading.take().is_none() {
            self.oldest = self.revision;
        }
        self.ring = Ring::new(self.revision, self.limits.ring_events, self.limits.ring_bytes);
    }

    /// When a thing that is put for the first time came, which gets this revision now.
    pub(super) fn came(&self, thing: Thing, now: Revision) -> Revision {
        match &self.before.loading {
            Some(loading) => loading.made.get(&thing).copied().unwrap_or(loading.floor),
            None => now,
        }
    }

    /// Whether a stream may resume after this revision; else why not, and the oldest after which
    /// one may.
    pub(in crate::watch) fn resumable(
        &self,
        cursor: Revision,
    ) -> Result<(), (TooOldWhy, Revision)> {
        if cursor > self.revision {
            return Err((TooOldWhy::NotGivenOut, self.oldest));
        }
        if cursor < self.before.epoch_floor {
            return Err((TooOldWhy::Restored, self.oldest));
        }
        if cursor < self.oldest {
            return Err((TooOldWhy::Forgotten, self.oldest));
        }
        let spans = &self.before.spans;
        let next = spans.partition_point(|(_, after)| *after <= cursor);
        match spans.get(next) {
            Some((before, after)) if *before < cursor => Err((TooOldWhy::Unproven, *after)),
            Some(_) | None => Ok(()),
        }
    }
}
