//! How many records of who did what there may be, and who gets none when there is little room left.
//!
//! What is kept is never let go before its time to make room: whoever floods the audit would push
//! out what they did before. So what needs a record is refused, as it is where the disk is full,
//! and first to those who are no admins: an admin can take back the token of whoever does it.

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
}
