//! The history of VMs: written with what it tells of, read a page at a time, bounded per VM.

use banger_proto::ids::{Generation, VmId};
use jiff::Timestamp;
use sqlx::{Row as _, SqlitePool};

use super::batch::Batch;
use super::error::StoreError;
use super::meta::to_sql;
use crate::model::history::HistoryEvent;

/// How many lines of a VM's history are kept: the newest.
pub const MAX_EVENTS_PER_VM: u32 = 1000;

/// A line of history as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place in the order of all lines.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// The generation of intent it belongs to.
    pub generation: Generation,
    /// What happened, from the closed list of [`crate::model::history::EventKind`] of the server
    /// that wrote it.
    pub kind: String,
    /// Reason code; may be empty.
    pub reason: String,
    /// A sentence; may be empty.
    pub message: String,
    /// Who.
    pub actor: String,
}

/// Writes lines in order, numbered from `first`. A failure or an adoption that the history tells of
/// already is left out: a server that was restarted hears of it anew and cannot know that it was
/// written.
pub(super) fn append(batch: &mut Batch, events: &[HistoryEvent], first: u64) {
    if events.is_empty() {
        return;
    }
    let rows: Vec<_> = (first..)
        .zip(events)
        .map(|(number, event)| {
            (
                event.vm,
                number,
                event.at.as_microsecond(),
                event.generation,
                event.kind.as_str(),
                &event.reason,
                &event.message,
                &event.actor,
            )
        })
        .collect();
    batch.add_rows(
        "INSERT INTO vm_events (vm, number, at, generation, kind, reason, message, actor)
         SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6,
             value->>7
         FROM json_each(?)
         WHERE (value->>4 NOT IN ('CRASHED', 'FAILED') AND value->>5 <> 'ADOPTED') OR NOT EXISTS (
             SELECT 1 FROM vm_events AS told
             WHERE told.vm = value->>0 AND told.kind = value->>4 AND told.at = value->>2
                 AND (told.reason = 'ADOPTED') = (value->>5 = 'ADOPTED'))",
        serde_json::to_string(&rows).expect("rows have only texts and numbers"),
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
        "SELECT number, at, generation, kind, reason, message, actor FROM vm_events
         WHERE vm = ? AND number > ? ORDER BY number LIMIT ?",
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
            Ok(StoredEvent {
                number: u64::try_from(number).map_err(|_| bad("number"))?,
                at: Timestamp::from_microsecond(row.try_get("at").map_err(failed())?)
                    .map_err(|_| bad("at"))?,
                generation: Generation(u64::try_from(generation).map_err(|_| bad("generation"))?),
                kind: row.try_get("kind").map_err(failed())?,
                reason: row.try_get("reason").map_err(failed())?,
                message: row.try_get("message").map_err(failed())?,
                actor: row.try_get("actor").map_err(failed())?,
            })
        })
        .collect()
}
