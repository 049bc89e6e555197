//! How a stream that skips to newest states sees each: what it was shown before decides.
//!
//! A stream that falls out of the ring reads each VM's newest state from the index, in parts, while
//! the table goes on changing. When a part is read, a VM that it would have shown may have moved
//! on, beyond the part; so where the stream's cursor is does not say what it was shown. What does:
//! a VM that was there where the skipping began ([`CatchUp::base`]) was known to the stream, and a
//! later one was shown if it was handed out since. Once the cursor passes what the table was when
//! the index was read last, everything there was has been handed out, and events speak for
//! themselves again.
//!
//! With a filter, what it showed where the skipping began is not known: of a VM from before then
//! the stream may be told `Removed` though it was not shown it, or `Modified` of one it was not;
//! never the reverse, that a VM it was shown and that no longer matches stays with it. Only of
//! other projects than the filter's it is told nothing: a VM never changes its project.

use std::collections::HashSet;

use banger_proto::ids::Revision;

use super::ring::ChangeKind;
use super::wants::Wants;
use super::watched::Watched;
use crate::model::past::Thing;

/// Most VMs that came while one stream was behind: with more it is told to list again, so that a
/// stream that is read slowly costs little more than a cursor.
const MAX_NEW: usize = 65_536;

/// A stream that is behind.
#[derive(Debug)]
pub(super) struct CatchUp {
    /// Where the skipping began.
    base: Revision,
    /// What the table was when the index was read last.
    until: Revision,
    /// VMs that came after `base` and were shown.
    shown: HashSet<Thing>,
}

impl CatchUp {
    pub(super) fn begin(base: Revision) -> Self {
        Self { base, until: base, shown: HashSet::new() }
    }

    /// Of a stream that goes on after a revision at which an earlier one may not have caught up
    /// yet, while the table was at most at `until`: what that one had skipped, this one was not
    /// shown, whatever the steps say.
    pub(super) fn resume(base: Revision, until: Revision) -> Option<Self> {
        (base < until).then(|| Self { until, ..Self::begin(base) })
    }

    /// The index was read when the table was at this revision.
    pub(super) fn read_at(&mut self, table: Revision) {
        self.until = table;
    }

    /// Whether everything that was skipped over has been handed out at this cursor.
    pub(super) fn is_over(&self, cursor: Revision) -> bool {
        cursor >= self.until
    }

    /// Whether more came than is kept in mind.
    pub(super) fn is_too_long(&self) -> bool {
        self.shown.len() > MAX_NEW
    }

    /// How the stream sees a state of a VM: its newest, from the index, or a step, from the ring.
    /// What the step says of the state before it does not count: the stream may have skipped that.
    pub(super) fn sees(
        &mut self,
        subject: &Watched,
        gone: bool,
        wants: &Wants,
    ) -> Option<ChangeKind> {
        if !wants.may_show(subject) {
            return None;
        }
        let (thing, is_new) = (subject.thing(), subject.added() > self.base);
        let was = !is_new || self.shown.contains(&thing);
        let is = !gone && wants.shows(subject);
        if is_new {
            match is {
                true => self.shown.insert(thing),
                false => self.shown.remove(&thing),
            };
        }
        match (was, is) {
            (true, true) => Some(ChangeKind::Modified),
            (false, true) => Some(ChangeKind::Added),
            (true, false) => Some(ChangeKind::Removed),
            (false, false) => None,
        }
    }
}
