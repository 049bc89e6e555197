//! The history of VMs: written with what it tells of, read a page at a time, bounded per VM.

use banger_proto::ids::{Generation, VmId};
use jiff::Timestamp;
use sqlx::{Row as _, SqliteConnection, SqlitePool};

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

/// Writes lines in order, numbered from `first`.
pub(super) async fn append(
    connection: &mut SqliteConnection,
    events: &[HistoryEvent],
    first: u64,
) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
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
    sqlx::query(
        "INSERT INTO vm_events (vm, number, at, generation, kind, reason, message, actor)
         SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6,
             value->>7
         FROM json_each(?)",
    )
    .bind(serde_json::to_string(&rows).expect("rows have only texts and numbers"))
    .execute(connection)
    .await
    .map_err(StoreError::during("write history"))?;
    Ok(())
}

/// Drops the oldest lines of these VMs, down to what is kept.
pub(super) async fn trim(
    connection: &mut SqliteConnection,
    vms: &[VmId],
) -> Result<(), StoreError> {
    for vm in vms {
        sqlx::query(
            "DELETE FROM vm_events WHERE vm = ?1 AND number <= (
                 SELECT number FROM vm_events WHERE vm = ?1
                 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
        )
        .bind(vm.to_string())
        .bind(MAX_EVENTS_PER_VM)
        .execute(&mut *connection)
        .await
        .map_err(StoreError::during("drop the oldest lines of history"))?;
    }
    Ok(())
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
