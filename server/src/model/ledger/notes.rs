//! Mutations that write down what was decided or done elsewhere, and decide nothing themselves:
//! what hosts report, sweeps, and uses of the API that change no object.

use super::Decided;
use super::change::Change;
use super::outcome::Outcome;
use crate::model::audit::AuditRecord;
use crate::model::history::HistoryEvent;
use crate::model::inventory::SweepRecord;

/// Write down what hosts report, or what was done in a guest. Lines of VMs that are gone meanwhile
/// are written too.
#[derive(Debug, Clone)]
pub struct Record {
    /// The lines, in order.
    pub events: Vec<HistoryEvent>,
}

impl Record {
    pub(super) fn decide(&self) -> Decided {
        let changes = self.events.iter().cloned().map(Change::Event).collect();
        Decided { changes, outcome: Outcome::Recorded }
    }
}

/// Write down what came of a sweep.
#[derive(Debug, Clone)]
pub struct RecordSweep(pub SweepRecord);

impl RecordSweep {
    pub(super) fn decide(&self) -> Decided {
        Decided { changes: vec![Change::Sweep(self.0.clone())], outcome: Outcome::Recorded }
    }
}

/// Write down a sweep that is to begin: once, where its request names itself.
#[derive(Debug, Clone)]
pub struct BeginSweep(pub SweepRecord);

impl BeginSweep {
    pub(super) fn decide(&self) -> Decided {
        let outcome = Outcome::Sweep { host: self.0.host, begins: true };
        Decided { changes: vec![Change::Sweep(self.0.clone())], outcome }
    }
}

/// Write down what has begun, has ended or was refused, with what the history says of it.
#[derive(Debug, Clone)]
pub struct Audit {
    pub records: Vec<AuditRecord>,
    pub events: Vec<HistoryEvent>,
}

impl Audit {
    pub(super) fn decide(&self) -> Decided {
        let records = self.records.iter().cloned().map(|record| Change::Audit(record.into()));
        let events = self.events.iter().cloned().map(Change::Event);
        Decided { changes: records.chain(events).collect(), outcome: Outcome::Recorded }
    }
}
