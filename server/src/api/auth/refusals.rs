//! Calls that were refused for who made them, on their way to the audit: few of each caller and few
//! in all, so that nobody fills the disk or the store's queue.
//!
//! Those without an identity are counted by address, or by the /64 of IPv6 that one machine has;
//! those with one by principal, all of a project's together, since its admin makes them. Each of
//! the two kinds has bounds and room of its own here, and a number of rows of its own in the store,
//! so that neither pushes out the other. What is past a bound is counted, and the counts are
//! records when their minute is over: one of all strangers, one of each principal. Nothing waits
//! for the store: a task takes what has gathered, every second.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tonic::Status;
use tonic_types::StatusExt as _;

use banger_proto::v1::ErrorReason;
use banger_wire::service::calls;
use banger_wire::service::edge::places::network;

use crate::api::status;
use crate::model::audit::{AuditOutcome, AuditRecord, AuditStep};
use crate::model::caller::{ANONYMOUS, Caller, SERVER};

/// Why a call is refused for who makes it.
const OF_THE_CALLER: [ErrorReason; 3] =
    [ErrorReason::TokenInvalid, ErrorReason::JoinTokenInvalid, ErrorReason::NotPermitted];

/// For so long calls are counted.
const WINDOW: SignedDuration = SignedDuration::from_mins(1);

/// Records in that time of one address without an identity, or one principal, or one project.
const OF_ONE: u32 = 10;

/// Of all strangers.
const OF_STRANGERS: Bounds = Bounds { of_all: 60, waiting: 512 };

/// Of all with an identity: an admin of the fleet has made each, or its project, so that there may
/// be more of them.
const OF_KNOWN: Bounds = Bounds { of_all: 600, waiting: 4096 };

/// Bounds of one kind of callers.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Records in a minute.
    of_all: u32,
    /// Records that wait for the store at most.
    waiting: usize,
}

/// What was refused and is not stored yet. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Refusals(Arc<Mutex<Gathered>>);

impl Default for Refusals {
    fn default() -> Self {
        let (strangers, known) = (Callers::new(OF_STRANGERS), Callers::new(OF_KNOWN));
        Self(Arc::new(Mutex::new(Gathered { since: None, strangers, known })))
    }
}

#[derive(Debug)]
struct Gathered {
    /// When the present minute began; `None`: nothing was refused in it.
    since: Option<Timestamp>,
    strangers: Callers,
    known: Callers,
}

/// Callers of one kind.
#[derive(Debug)]
struct Callers {
    bounds: Bounds,
    /// By address or principal. As many as there are records in a minute at most.
    of_one: BTreeMap<String, Count>,
    of_all: u32,
    /// Calls without a record of those who have no place in `of_one`.
    others: u64,
    waiting: Vec<AuditRecord>,
}

/// What one caller has in the present minute.
#[derive(Debug, Default)]
struct Count {
    records: u32,
    /// Calls without a record.
    left_out: u64,
}

impl Callers {
    fn new(bounds: Bounds) -> Self {
        let (of_one, waiting) = (BTreeMap::new(), Vec::new());
        Self { bounds, of_one, of_all: 0, others: 0, waiting }
    }

    /// Takes one more record of this caller, or counts it.
    fn note(&mut self, one: String, record: AuditRecord) {
        let room = self.of_all < self.bounds.of_all && self.waiting.len() < self.bounds.waiting;
        match self.of_one.get_mut(&one) {
            Some(count) if room && count.records < OF_ONE => count.records += 1,
            Some(count) => return count.left_out += 1,
            None if room => drop(self.of_one.insert(one, Count { records: 1, left_out: 0 })),
            None => return self.others += 1,
        }
        self.of_all += 1;
        self.waiting.push(record);
    }

    /// So many calls of this caller have no record.
    fn lose(&mut self, one: &str, calls: u64) {
        match self.of_one.get_mut(one) {
            Some(count) => count.left_out += calls,
            None => self.others += calls,
        }
    }

    /// Begins another minute, with what was left out in this one.
    fn turn(&mut self) -> (BTreeMap<String, Count>, u64) {
        self.of_all = 0;
        (std::mem::take(&mut self.of_one), std::mem::take(&mut self.others))
    }

    /// Tells that so many calls of somebody have no record; later, where nothing more may wait.
    fn tell(&mut self, whose: &str, calls: u64, now: Timestamp) {
        if calls == 0 {
            return;
        }
        if self.waiting.len() < self.bounds.waiting {
            self.waiting.push(AuditRecord::left_out(whose, calls, now));
        } else {
            self.others += calls;
        }
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
        self.since = None;
        let (of_one, others) = self.strangers.turn();
        let strangers = others + of_one.values().map(|count| count.left_out).sum::<u64>();
        self.strangers.tell(ANONYMOUS, strangers, now);
        let (of_one, others) = self.known.turn();
        for (name, count) in of_one {
            self.known.tell(&name, count.left_out, now);
        }
        self.known.tell(SERVER, others, now);
    }

    fn take(&mut self) -> Vec<AuditRecord> {
        let mut all = std::mem::take(&mut self.known.waiting);
        all.append(&mut self.strangers.waiting);
        all
    }
}

impl Refusals {
    /// Notes what a caller was answered, if they were refused for who they are. `known`: they have
    /// shown an identity.
    pub(super) fn note(&self, caller: &Caller, known: bool, at: Timestamp, status: &Status) {
        let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
        // A registry or a guest may deny something, too, and asks nobody who they are.
        if !OF_THE_CALLER.into_iter().any(|of_the_caller| status::word(of_the_caller) == reason) {
            return;
        }
        let outcome = AuditOutcome { code: calls::name(status.code()).to_owned(), reason };
        // A path that is no method of the API was not refused by this layer.
        let Some(record) = AuditRecord::of(caller, AuditStep::Refused, outcome) else { return };
        let record = AuditRecord { at, ..record };
        let mut gathered = self.0.lock();
        gathered.turn(at);
        gathered.since.get_or_insert(at);
        if known {
            gathered.known.note(caller.party(), record);
        } else {
            let peer = caller.call.as_ref().and_then(|call| call.peer);
            let network = peer.map(|peer| network(peer.ip()).to_string());
            gathered.strangers.note(network.unwrap_or_default(), record);
        }
    }

    /// What is to be stored by now.
    pub fn take(&self, now: Timestamp) -> Vec<AuditRecord> {
        let mut gathered = self.0.lock();
        gathered.turn(now);
        gathered.take()
    }

    /// The same at the end, with what was left out until now.
    pub fn take_all(&self, now: Timestamp) -> Vec<AuditRecord> {
        let mut gathered = self.0.lock();
        let mut all = gathered.take();
        gathered.close(now);
        all.append(&mut gathered.take());
        all
    }

    /// These could not be stored: they count as left out.
    pub fn lose(&self, records: &[AuditRecord], now: Timestamp) {
        let mut gathered = self.0.lock();
        gathered.since.get_or_insert(now);
        for record in records {
            let calls = record.step.left_out().max(1);
            if record.is_a_strangers() {
                gathered.strangers.others += calls;
            } else {
                gathered.known.lose(&record.principal, calls);
            }
        }
    }
}

#[cfg(test)]
mod tests;
