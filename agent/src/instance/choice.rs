//! Which user ids an agent gets beside those of everybody else. Pure: what is taken was looked at
//! by the caller.

use std::ops::Range;

use super::ids::{self, Owned};
use super::{Claim, ClaimError, FIRST_UID, FoundClaim, LAST_FIRST_UID, overlap, range};

/// The user ids of a share: those that were wished for if nobody else has one of them, or else the
/// same as in an earlier life, or the first that are free. Pure.
pub(super) fn choose(
    ours: Claim,
    wished: Option<u32>,
    found: &[FoundClaim],
    owned: &[Owned],
) -> Result<Claim, ClaimError> {
    let (own, others): (Vec<_>, Vec<_>) =
        found.iter().partition(|found| found.claim.tag == ours.tag);
    // Ours of before, in which guests run: the very same range, or none of it.
    let earlier: Vec<_> = own.iter().flat_map(|found| found.in_use.iter().cloned()).collect();
    let mut taken: Vec<Range<u64>> = owned.iter().map(|owned| owned.ids.clone()).collect();
    taken.extend(others.iter().filter(|o| o.counts()).flat_map(|o| o.claim.ranges()));
    let uids = ours.uids;
    let fits = |first: u32| {
        let wanted = range(first, uids);
        !taken.iter().any(|taken| overlap(taken, &wanted))
            && earlier.iter().all(|range| *range == wanted || !overlap(range, &wanted))
    };
    let from = |start: u32| {
        let all: Vec<_> = taken.iter().chain(&earlier).cloned().collect();
        first_free(u64::from(start), u64::from(uids), &all)
    };
    // What the configuration of earlier versions came with is nobody's choice, and an update of
    // banger is no reason to stop: where it belongs to somebody by now, it counts as left out.
    let came_with = |first: u32| {
        let wanted = range(first, uids);
        first == FIRST_UID
            && owned.iter().any(|owned| overlap(&owned.ids, &wanted))
            && !others.iter().any(|o| o.counts() && o.claim.ranges().any(|r| overlap(&r, &wanted)))
    };
    let first_uid = match wished.filter(|first| !came_with(*first)) {
        Some(first) if fits(first) => first,
        Some(first) => {
            return Err(clash(&range(first, uids), &earlier, &others, owned, from(FIRST_UID)));
        }
        None => {
            let before = own.iter().map(|found| found.claim.first_uid);
            let known = before.chain([FIRST_UID]).find(|first| fits(*first));
            known.or_else(|| from(FIRST_UID)).ok_or(ClaimError::NoUids { uids })?
        }
    };
    let chosen = range(first_uid, uids);
    let earlier = earlier.into_iter().filter(|range| *range != chosen).filter_map(|range| {
        let count = u32::try_from(range.end - range.start).ok()?;
        Some((u32::try_from(range.start).ok()?, count))
    });
    let earlier = earlier.collect();
    Ok(Claim { first_uid, earlier, ..ours })
}

/// Why a range of an operator's choice cannot be had.
fn clash(
    wanted: &Range<u64>,
    earlier: &[Range<u64>],
    others: &[&FoundClaim],
    owned: &[Owned],
    free: Option<u32>,
) -> ClaimError {
    for other in others.iter().filter(|other| other.counts()) {
        if let Some(range) = other.claim.ranges().find(|range| overlap(range, wanted)) {
            let (tag, state_dir) = (other.claim.tag.clone(), other.claim.state_dir.clone());
            return ClaimError::UidsTaken {
                first: range.start,
                last: range.end - 1,
                tag,
                state_dir,
            };
        }
    }
    if let Some(range) = earlier.iter().find(|r| *r != wanted && overlap(r, wanted)) {
        return ClaimError::UidsOfOwnGuests { first: range.start, last: range.end - 1 };
    }
    let owner = owned.iter().find(|owned| overlap(&owned.ids, wanted));
    ClaimError::UidsOwned {
        first: wanted.start,
        last: wanted.end - 1,
        owner: owner.map_or_else(|| "somebody".to_owned(), |owned| owned.owner.clone()),
        source_file: owner.map_or("", |owned| owned.file),
        advice: ids::advice(free),
    }
}

/// The first of `count` ids in a row, from `start` on, of which none is taken. Pure.
pub fn first_free(start: u64, count: u64, taken: &[Range<u64>]) -> Option<u32> {
    let mut first = start;
    while first <= u64::from(LAST_FIRST_UID) {
        let wanted = first..first + count;
        match taken.iter().filter(|taken| overlap(taken, &wanted)).map(|taken| taken.end).max() {
            Some(end) => first = end,
            None => return u32::try_from(first).ok(),
        }
    }
    None
}
