//! Calls that were refused for who made them, on their way to the audit: few of each peer and few in
//! all, so that a stranger fills neither the disk nor the store's queue.
//!
//! Callers with an identity are counted by principal and have a bound of their own in all: strangers
//! push none of them out. What is past a bound is counted, and the count is a record when its minute
//! is over. Nothing waits for the store: a task takes what has gathered, every second.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use banger_wire::service::calls;

use crate::model::audit::{AuditOutcome, AuditRecord, AuditStep};
use crate::model::caller::Caller;

/// For so long calls are counted.
const WINDOW: SignedDuration = SignedDuration::from_mins(1);

/// Records in that time of one peer without an identity, or one principal.
const OF_ONE: u32 = 10;

/// Of all strangers, and of all with an identity.
const OF_ALL: u32 = 60;

/// Records that wait for the store at most.
const WAITING: usize = 1024;

/// What was refused and is not stored yet. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Refusals(Arc<Mutex<Gathered>>);

#[derive(Debug, Default)]
struct Gathered {
    /// When the present minute began; `None`: nothing was refused in it.
    since: Option<Timestamp>,
    strangers: Counts,
    known: Counts,
    waiting: Vec<AuditRecord>,
    left_out: u64,
}

#[derive(Debug, Default)]
struct Counts {
    /// By peer or principal. As many as there are records at most.
    of_one: BTreeMap<String, u32>,
    of_all: u32,
}

impl Counts {
    /// Whether there is room for one more of this peer.
    fn take(&mut self, one: &str) -> bool {
        if self.of_all >= OF_ALL || self.of_one.get(one).is_some_and(|count| *count >= OF_ONE) {
            return false;
        }
        self.of_all += 1;
        *self.of_one.entry(one.to_owned()).or_default() += 1;
        true
    }
}

impl Gathered {
    /// Begins another minute when this one is over, and tells what was left out in it.
    fn turn(&mut self, now: Timestamp) {
        // A clock that was set back begins another one, too.
        let over = self.since.is_some_and(|since| now.duration_since(since).abs() >= WINDOW);
        if over {
            self.close(now);
        }
    }

    fn close(&mut self, now: Timestamp) {
        if self.left_out > 0 {
            self.waiting.push(AuditRecord::left_out(std::mem::take(&mut self.left_out), now));
        }
        (self.since, self.strangers, self.known) = Default::default();
    }
}

impl Refusals {
    /// Notes what a caller was answered, if they were refused for who they are. `known`: they have
    /// shown an identity.
    pub(super) fn note(&self, caller: &Caller, known: bool, at: Timestamp, status: &Status) {
        if !matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) {
            return;
        }
        let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
        let outcome = AuditOutcome { code: calls::name(status.code()).to_owned(), reason };
        // What is no method of ours is nothing that was refused.
        let Some(record) = AuditRecord::of(caller, AuditStep::Refused, outcome) else { return };
        let record = AuditRecord { at, ..record };
        let peer = caller.call.as_ref().and_then(|call| call.peer);
        let peer = peer.map(|peer| peer.ip().to_string()).unwrap_or_default();
        let mut gathered = self.0.lock();
        gathered.turn(at);
        gathered.since.get_or_insert(at);
        let room = gathered.waiting.len() < WAITING;
        let counted = match known {
            true => gathered.known.take(&caller.actor),
            false => gathered.strangers.take(&peer),
        };
        if room && counted {
            gathered.waiting.push(record);
        } else {
            gathered.left_out += 1;
        }
    }

    /// What is to be stored by now.
    pub fn take(&self, now: Timestamp) -> Vec<AuditRecord> {
        let mut gathered = self.0.lock();
        gathered.turn(now);
        std::mem::take(&mut gathered.waiting)
    }

    /// The same at the end, with what was left out until now.
    pub fn take_all(&self, now: Timestamp) -> Vec<AuditRecord> {
        let mut gathered = self.0.lock();
        gathered.close(now);
        std::mem::take(&mut gathered.waiting)
    }

    /// These could not be stored: they count as left out.
    pub fn lose(&self, records: &[AuditRecord], now: Timestamp) {
        let count = |record: &AuditRecord| record.step.left_out().max(1);
        let mut gathered = self.0.lock();
        gathered.left_out += records.iter().map(count).sum::<u64>();
        gathered.since.get_or_insert(now);
    }
}

#[cfg(test)]
mod tests;
