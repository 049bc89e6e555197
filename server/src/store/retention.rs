//! What is let go of the past, and when: in small steps beside the load.
//!
//! A VM that is deleted leaves its history and its id. The history goes first; the id stays refused
//! for as long as somebody may still repeat its create. Requests that were done, sweeps that were
//! asked for, and records of who did what go by their age. One step is one short transaction of the
//! writer, between two groups of mutations, so that what it costs a caller has a bound however much
//! there is to do. Of records one step takes more than can be written until the next.
//!
//! The file does not become smaller: SQLite uses the room again.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::audit;
use super::error::StoreError;
use super::meta::{self, to_sql};
use crate::model::retention::Retention;

/// Most VMs whose history goes in one step: some seven lines each, a thousand at most.
const VMS: i64 = 100;

/// Most ids of VMs, and most requests, that go in one step.
const ROWS: i64 = 1000;

/// What one step has let go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tidied {
    /// How many rows.
    pub rows: u64,
    /// Whether there is more to do.
    pub more: bool,
    /// How many records of who did what there are now.
    pub audit_left: u64,
    /// How long the store was busy with it.
    pub took: Duration,
}

pub(super) async fn step(
    connection: &mut SqliteConnection,
    keep: Retention,
    now: Timestamp,
) -> Result<Tidied, StoreError> {
    let failed = || StoreError::during("let go what is too old");
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await.map_err(failed())?;
    let mut tidied = Tidied::default();
    history(connection, before(now, keep.deleted_history), &mut tidied).await?;
    let gone = meta::read(connection, meta::HISTORY_GONE_UNTIL).await?;
    // Never an id whose history is still there: nothing would find that any more.
    let ids = before(now, keep.deleted_ids).min(to_sql(gone));
    let statements = [
        (
            "DELETE FROM deleted_vms WHERE id IN (
                 SELECT id FROM deleted_vms WHERE deleted_at <= ? ORDER BY deleted_at LIMIT ?)",
            ids,
        ),
        (
            // In the order in which they were done: the oldest are looked at, and no others.
            "DELETE FROM requests WHERE number IN (
                 SELECT number FROM (SELECT number, at FROM requests ORDER BY number LIMIT ?2)
                 WHERE at <= ?1)",
            before(now, keep.requests),
        ),
        (
            "DELETE FROM host_sweeps WHERE id IN (
                 SELECT id FROM host_sweeps WHERE at <= ? ORDER BY at LIMIT ?)",
            before(now, keep.sweeps),
        ),
    ];
    for (statement, until) in statements {
        remove(connection, statement, until, ROWS, &mut tidied).await?;
    }
    let others = tidied.rows;
    for (statement, until) in [
        (audit::REMOVE_OLD, before(now, keep.audit)),
        (audit::REMOVE_STRANGERS, audit::MAX_REFUSED),
        (audit::REMOVE_REFUSED, audit::MAX_REFUSED),
    ] {
        remove(connection, statement, until, audit::STEP, &mut tidied).await?;
    }
    let left = meta::read(connection, meta::AUDIT_RECORDS).await?;
    tidied.audit_left = left.saturating_sub(tidied.rows - others);
    if tidied.audit_left != left {
        meta::set(connection, meta::AUDIT_RECORDS, tidied.audit_left).await?;
    }
    sqlx::query("COMMIT").execute(connection).await.map_err(failed())?;
    Ok(tidied)
}

/// Removes what one statement finds, at most so many rows.
async fn remove(
    connection: &mut SqliteConnection,
    statement: &'static str,
    until: i64,
    most: i64,
    tidied: &mut Tidied,
) -> Result<(), StoreError> {
    let removed = sqlx::query(statement).bind(until).bind(most).execute(connection).await;
    let removed = removed.map_err(StoreError::during("let go what is too old"))?.rows_affected();
    tidied.rows += removed;
    tidied.more |= removed >= most.unsigned_abs();
    Ok(())
}

/// Lets the history of the VMs go that were deleted first, and remembers up to which.
async fn history(
    connection: &mut SqliteConnection,
    until: i64,
    tidied: &mut Tidied,
) -> Result<(), StoreError> {
    let failed = || StoreError::during("let go the history of deleted VMs");
    let gone = to_sql(meta::read(connection, meta::HISTORY_GONE_UNTIL).await?);
    let (vms, last): (i64, Option<i64>) = sqlx::query_as(
        "SELECT count(*), max(deleted_at) FROM (
             SELECT deleted_at FROM deleted_vms WHERE deleted_at > ? AND deleted_at <= ?
             ORDER BY deleted_at LIMIT ?)",
    )
    .bind(gone)
    .bind(until)
    .bind(VMS)
    .fetch_one(&mut *connection)
    .await
    .map_err(failed())?;
    let Some(last) = last else { return Ok(()) };
    let removed = sqlx::query(
        "DELETE FROM vm_events WHERE vm IN (
             SELECT id FROM deleted_vms WHERE deleted_at > ? AND deleted_at <= ?)",
    )
    .bind(gone)
    .bind(last)
    .execute(&mut *connection)
    .await
    .map_err(failed())?;
    tidied.rows += removed.rows_affected();
    tidied.more |= vms >= VMS;
    meta::set(connection, meta::HISTORY_GONE_UNTIL, u64::try_from(last).unwrap_or(0)).await
}

/// The time before which something is too old, in microseconds.
fn before(now: Timestamp, age: Duration) -> i64 {
    let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
    now.as_microsecond().saturating_sub(age)
}
