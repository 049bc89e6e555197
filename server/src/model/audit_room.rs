//! How many records of who did what there may be, and who gets none when there is little room left;
//! so for requests that are remembered.
//!
//! What is kept is never let go before its time to make room: whoever floods the audit would push
//! out what they did before. So what needs a record is refused, as it is where the disk is full,
//! and first to those who are no admins: an admin can take back the token of whoever does it.
//!
//! Of what is for all, a project has at most a quarter of what is left for others besides: one that
//! writes without end has a fifth of it, and however many do, one that has few is let write. (So do
//! switches share a buffer: Choudhury and Hahne, "Dynamic queue length thresholds", 1998.)

use super::caller::{Caller, Grants, Rights, Role};

/// For each record of a project's callers so many are left for others.
const SHARE_OF_LEFT: u64 = 4;

/// How many records there are, and how many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditRoom {
    pub records: u64,
    pub max: u64,
}

/// Who asks for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedBy {
    Admin,
    Others,
}

impl AskedBy {
    /// Whether this caller may take what is left for admins.
    pub fn of(caller: &Caller) -> Self {
        match &caller.grants {
            Grants::To(Rights::Fleet(Role::Admin)) => Self::Admin,
            Grants::To(_) | Grants::Open => Self::Others,
        }
    }
}

impl AuditRoom {
    /// Whether so many more may be written for somebody.
    pub fn has_for(self, more: u64, by: AskedBy) -> bool {
        self.records.saturating_add(more) <= self.limit(by)
    }

    /// How many there may be when somebody asks.
    pub fn limit(self, by: AskedBy) -> u64 {
        match by {
            AskedBy::Admin => self.max,
            // A twentieth is for admins alone.
            AskedBy::Others => self.max - self.max / 20,
        }
    }

    /// Whether the callers of a project who have so many may have so many more.
    pub fn has_share_for(self, share: u64, more: u64) -> bool {
        let left = self.limit(AskedBy::Others).saturating_sub(self.records);
        share.saturating_add(more).saturating_mul(SHARE_OF_LEFT) <= left
    }

    /// Whether whoever runs the server should hear of it: a fifth is left, or less.
    pub fn is_short(self) -> bool {
        self.records >= self.max - self.max / 5
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_refused_before_admins_and_warned_of_before_both() {
        let room = |records| AuditRoom { records, max: 1000 };
        assert!(!room(799).is_short() && room(800).is_short());
        for (records, admin, others) in
            [(0, true, true), (949, true, true), (950, true, false), (1000, false, false)]
        {
            assert_eq!(room(records).has_for(1, AskedBy::Admin), admin, "{records}");
            assert_eq!(room(records).has_for(1, AskedBy::Others), others, "{records}");
        }
        assert!(!room(0).has_for(u64::MAX, AskedBy::Admin));
    }

    #[test]
    fn however_many_projects_write_what_they_may_one_that_has_few_still_may() {
        for greedy in [1_usize, 3, 20] {
            // One after the other, as much as each may.
            let mut shares = vec![0_u64; greedy];
            let room = |shares: &[u64]| AuditRoom { records: shares.iter().sum(), max: 10_000 };
            while let Some(next) = shares.iter().position(|s| room(&shares).has_share_for(*s, 1)) {
                shares[next] += 1;
            }
            let full = room(&shares);
            assert_eq!(shares[0], 1900, "a fifth of what is for all");
            assert!(full.has_share_for(0, 20) && full.has_for(100, AskedBy::Others), "{shares:?}");
        }
        let some = AuditRoom { records: 9_000, max: 10_000 };
        assert!(some.has_share_for(0, 125) && !some.has_share_for(0, 126));
        assert!(!some.has_share_for(u64::MAX, 1));
    }
}
