//! The states at the start that streams are reading: few are kept, and each party has a share.
//!
//! A state holds what has changed since, so there is a bound on how many are kept. Streams that
//! begin at one revision share one. Where one too many would be kept, whoever has most of those
//! that nobody else reads gives up the one that was read longest ago, and its stream is told to
//! begin anew: so nobody who begins streams without end takes the states of others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::snapshot::Snapshot;

/// How long a stream may leave its state at the start unread before it is told to begin anew.
/// However long it takes in all: a client of a hundred thousand VMs may be slow.
pub(super) const SNAPSHOT_LIFE: Duration = Duration::from_secs(60);

/// Most states at the start that are kept for streams to read.
pub(super) const MAX_SNAPSHOTS: usize = 64;

#[derive(Debug)]
struct StartState {
    read: Instant,
    snapshot: Arc<Snapshot>,
    /// Who has begun a stream with it.
    parties: BTreeSet<Arc<str>>,
}

/// States at the start, oldest first.
#[derive(Debug, Default)]
pub(super) struct StartStates(Vec<StartState>);

impl StartStates {
    /// The state for a stream that a party begins now, kept until nobody reads it.
    pub(super) fn take_or_share(&mut self, newest: Snapshot, party: &str) -> Arc<Snapshot> {
        if let Some(last) = self.0.last_mut()
            && last.snapshot.revision == newest.revision
        {
            last.parties.insert(party.into());
            return Arc::clone(&last.snapshot);
        }
        if self.0.len() >= MAX_SNAPSHOTS {
            let kept = self.0.iter().map(|state| (state.read, &state.parties));
            if let Some(index) = given_up(kept, party) {
                self.0.remove(index);
            }
        }
        let snapshot = Arc::new(newest);
        let parties = BTreeSet::from([party.into()]);
        let state = StartState { read: Instant::now(), snapshot: Arc::clone(&snapshot), parties };
        self.0.push(state);
        snapshot
    }

    /// A stream goes on reading it: it is kept for a while longer.
    pub(super) fn is_read(&mut self, snapshot: &Arc<Snapshot>) {
        if let Some(kept) = self.0.iter_mut().find(|kept| Arc::ptr_eq(&kept.snapshot, snapshot)) {
            kept.read = Instant::now();
        }
    }

    /// Lets go of what nobody reads.
    pub(super) fn forget_unread(&mut self) {
        self.0.retain(|state| state.read.elapsed() < SNAPSHOT_LIFE);
    }
}

/// Which state makes room for one more of `newcomer`: of those that one party alone reads, the one
/// read longest ago of whoever has most, the newcomer counted with the one to come; else, where all
/// are shared, the one read longest ago of all.
fn given_up<'a>(
    kept: impl Iterator<Item = (Instant, &'a BTreeSet<Arc<str>>)>,
    newcomer: &str,
) -> Option<usize> {
    let kept: Vec<_> = kept.enumerate().collect();
    let only = |parties: &'a BTreeSet<Arc<str>>| match parties.len() {
        1 => parties.first().map(|party| &**party),
        _ => None,
    };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, (_, parties)) in &kept {
        if let Some(party) = only(parties) {
            *counts.entry(party).or_default() += 1;
        }
    }
    if let Some(count) = counts.get_mut(newcomer) {
        *count += 1;
    }
    // Of two that have as many, whoever asks for more gives way.
    let most = counts.into_iter().max_by_key(|(party, count)| (*count, *party == newcomer));
    let most = most.map(|(party, _)| party);
    let of_most = |parties| most.is_none() || only(parties) == most;
    let candidates = kept.iter().filter(|(_, (_, parties))| of_most(parties));
    candidates.min_by_key(|(_, (read, _))| *read).map(|(index, _)| *index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parties(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    #[test]
    fn whoever_has_most_gives_up_the_state_that_was_read_longest_ago() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let given = |kept: &[(u64, &[&str])], newcomer| {
            let kept: Vec<_> =
                kept.iter().map(|(read, names)| (at(*read), parties(names))).collect();
            given_up(kept.iter().map(|(read, parties)| (*read, parties)), newcomer)
        };
        let ann: &[&str] = &["ann"];
        let eve: &[&str] = &["eve"];
        let both: &[&str] = &["ann", "eve"];
        // Ann's is older than all of Eve's, and stays, whoever asks.
        let kept = [(0, ann), (2, eve), (1, eve), (3, eve)];
        for newcomer in ["eve", "bob", "ann"] {
            assert_eq!(given(&kept, newcomer), Some(2), "{newcomer}");
        }
        assert_eq!(given(&[(0, ann), (1, eve)], "eve"), Some(1), "as many, and one more");
        assert_eq!(given(&[(0, both), (1, eve), (2, ann)], "eve"), Some(1));
        assert_eq!(given(&[(1, both), (0, both)], "eve"), Some(1), "all of them are shared");
        assert_eq!(given(&[], "eve"), None);
    }
}
