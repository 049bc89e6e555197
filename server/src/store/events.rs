//! The history of VMs: written with what it tells of, read a page at a time, bounded per VM.
//!
//! A failure that is the same as the line before it is no line of its own: that line is counted up
//! and says when it came last. A VM that fails at every try would otherwise push everything else
//! out.

use std::collections::HashMap;

use banger_proto::ids::{Generation, VmId};
use jiff::Timestamp;
use sqlx::{Row as _, SqlitePool};

use super::batch::Batch;
use super::error::StoreError;
use super::meta::to_sql;
use crate::model::history::{EventKind, HistoryEvent};
use crate::model::status::VmState;

/// How many lines of a VM's history are kept: the newest.
pub const MAX_EVENTS_PER_VM: u32 = 1000;

/// A line of history as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place in the order of all lines.
    pub number: u64,
    /// When; of several, when the first was.
    pub at: Timestamp,
    /// How often it came in a row, and when last.
    pub times: u64,
    /// See `times`.
    pub last_at: Timestamp,
    /// The generation of intent it belongs to.
    pub generation: Generation,
    /// What happened, from the closed list of [`crate::model::history::EventKind`] of the server
    /// that wrote it.
    pub kind: String,
    /// Reason code; may be empty.
    pub reason: String,
    /// A sentence; may be empty.
    pub message: String,
    pub actor: String,
}

/// A line to be written: an event, and how often it comes in a row.
struct Line<'a> {
    event: &'a HistoryEvent,
    times: u64,
    last_at: Timestamp,
    /// The first of its VM here: it may continue the newest line that is stored.
    first: bool,
}

/// The events as lines, in order.
fn lines<'a>(events: &[&'a HistoryEvent]) -> Vec<Line<'a>> {
    let mut lines: Vec<Line<'a>> = Vec::new();
    // The newest of each VM, by its place in `lines`.
    let mut newest: HashMap<VmId, usize> = HashMap::new();
    for &event in events {
        let before = newest.get(&event.vm).and_then(|index| lines.get_mut(*index));
        match before.filter(|line| is_failure(event) && same(line.event, event)) {
            Some(line) if event.at > line.last_at => {
                line.times += 1;
                line.last_at = event.at;
            }
            // Told twice.
            Some(_) => {}
            None => {
                let first = newest.insert(event.vm, lines.len()).is_none();
                lines.push(Line { event, times: 1, last_at: event.at, first });
            }
        }
    }
    lines
}

fn is_failure(event: &HistoryEvent) -> bool {
    matches!(event.kind, EventKind::Entered(VmState::Failed | VmState::Crashed))
}

fn same(one: &HistoryEvent, other: &HistoryEvent) -> bool {
    let of = |event: &HistoryEvent| (event.kind, event.generation);
    of(one) == of(other)
        && one.reason == other.reason
        && one.message == other.message
        && one.actor == other.actor
}

/// Writes lines in order, numbered from `first`. A failure or an adoption that the history tells of
/// already is left out: a server that was restarted hears of it anew and cannot know that it was
/// written.
pub(super) fn append(batch: &mut Batch, events: &[&HistoryEvent], first: u64) {
    if events.is_empty() {
        return;
    }
    let lines = lines(events);
    let rows: Vec<_> = (first..)
        .zip(&lines)
        .map(|(number, Line { event, times, last_at, first })| {
            (
                event.vm,
                number,
                event.at.as_microsecond(),
                event.generation,
                event.kind.as_str(),
                &event.reason,
                &event.message,
                &event.actor,
                times,
                // Compared with the newest line that is stored: that line goes on, or is this one.
                (*times > 1).then(|| last_at.as_microsecond()),
                *first && is_failure(event),
            )
        })
        .collect();
    let goes_on = rows.iter().any(|row| row.10);
    let rows = serde_json::to_string(&rows).expect("rows have only texts and numbers");
    if goes_on {
        batch.add_rows(
            "UPDATE vm_events SET times = vm_events.times + line.times, last_at = line.last_at
             FROM (SELECT value->>0 AS vm, value->>2 AS at, value->>3 AS generation,
                       value->>4 AS kind, value->>5 AS reason, value->>6 AS message,
                       value->>7 AS actor, value->>8 AS times,
                       coalesce(value->>9, value->>2) AS last_at
                   FROM json_each(?) WHERE value->>10) AS line
             WHERE vm_events.vm = line.vm
                 AND vm_events.number =
                     (SELECT max(number) FROM vm_events AS newest WHERE newest.vm = line.vm)
                 AND vm_events.kind = line.kind AND vm_events.generation = line.generation
                 AND vm_events.reason = line.reason AND vm_events.message = line.message
                 AND vm_events.actor = line.actor
                 AND line.at > coalesce(vm_events.last_at, vm_events.at)",
            rows.clone(),
        );
    }
    batch.add_rows(
        "INSERT INTO vm_events (vm, number, at, generation, kind, reason, message, actor, times,
             last_at)
         SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6,
             value->>7, value->>8, value->>9
         FROM json_each(?)
         WHERE ((value->>4 NOT IN ('CRASHED', 'FAILED') AND value->>5 <> 'ADOPTED') OR NOT EXISTS (
             SELECT 1 FROM vm_events AS told
             WHERE told.vm = value->>0 AND told.kind = value->>4 AND told.at = value->>2
                 AND (told.reason = 'ADOPTED') = (value->>5 = 'ADOPTED')))
             AND NOT (value->>10 AND EXISTS (
             SELECT 1 FROM vm_events AS newest
             WHERE newest.vm = value->>0
                 AND newest.number =
                     (SELECT max(number) FROM vm_events AS other WHERE other.vm = value->>0)
                 AND newest.kind = value->>4 AND newest.generation = value->>3
                 AND newest.reason = value->>5 AND newest.message = value->>6
                 AND newest.actor = value->>7
                 AND coalesce(newest.last_at, newest.at) >= coalesce(value->>9, value->>2)))",
        rows,
    );
}

/// Drops the oldest lines of these VMs, down to what is kept.
pub(super) fn trim(batch: &mut Batch, vms: &[VmId]) {
    if vms.is_empty() {
        return;
    }
    batch.add_rows(
        "DELETE FROM vm_events WHERE (vm, number) IN (
             SELECT vm, number FROM (
                 SELECT vm, number, row_number() OVER (PARTITION BY vm ORDER BY number DESC) AS nth
                 FROM vm_events WHERE vm IN (SELECT value FROM json_each(?)))
             WHERE nth > ?)",
        serde_json::json!(vms).to_string(),
    );
    batch.number(i64::from(MAX_EVENTS_PER_VM));
}

/// Lines of one VM after a number, oldest first.
pub(super) async fn read(
    readers: &SqlitePool,
    vm: VmId,
    after: u64,
    limit: u32,
) -> Result<Vec<StoredEvent>, StoreError> {
    let failed = || StoreError::during("read history");
    let rows = sqlx::query(
        "SELECT number, at, generation, kind, reason, message, actor, times,
             coalesce(last_at, at) AS last_at
         FROM vm_events WHERE vm = ? AND number > ? ORDER BY number LIMIT ?",
    )
    .bind(vm.to_string())
    .bind(to_sql(after))
    .bind(limit)
    .fetch_all(readers)
    .await
    .map_err(failed())?;
    rows.iter()
        .map(|row| {
            let number: i64 = row.try_get("number").map_err(failed())?;
            let bad = |column| StoreError::Corrupt {
                table: "vm_events",
                column,
                row: format!("{vm} {number}"),
            };
            let generation: i64 = row.try_get("generation").map_err(failed())?;
            let times: i64 = row.try_get("times").map_err(failed())?;
            Ok(StoredEvent {
                number: u64::try_from(number).map_err(|_| bad("number"))?,
                at: Timestamp::from_microsecond(row.try_get("at").map_err(failed())?)
                    .map_err(|_| bad("at"))?,
                times: u64::try_from(times).map_err(|_| bad("times"))?,
                last_at: Timestamp::from_microsecond(row.try_get("last_at").map_err(failed())?)
                    .map_err(|_| bad("last_at"))?,
                generation: Generation(u64::try_from(generation).map_err(|_| bad("generation"))?),
                kind: row.try_get("kind").map_err(failed())?,
                reason: row.try_get("reason").map_err(failed())?,
                message: row.try_get("message").map_err(failed())?,
                actor: row.try_get("actor").map_err(failed())?,
            })
        })
        .collect()
}
