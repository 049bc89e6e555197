//! Epoch, revisions, numbers of commits and events, and other counters in the database: read,
//! reserved, raised.

use std::ops::Range;

use sqlx::SqliteConnection;

use super::batch::Batch;
use super::error::StoreError;

pub(super) const EPOCH: &str = "epoch";
pub(super) const REVISION_CEILING: &str = "revision_ceiling";
pub(super) const COMMIT_NUMBER: &str = "commit_number";
pub(super) const EVENT_NUMBER: &str = "event_number";
/// How many records of who did what there are.
pub(super) const AUDIT_RECORDS: &str = "audit_records";
/// Streams resume after this revision or a later one.
pub(super) const RESUME_FLOOR: &str = "resume_floor";
/// The first revision of the present epoch.
pub(super) const EPOCH_FLOOR: &str = "epoch_floor";
pub(super) const HISTORY_GONE_UNTIL: &str = "history_gone_until";

/// Reads one counter.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    key: &'static str,
) -> Result<u64, StoreError> {
    let value: i64 = sqlx::query_scalar("SELECT value FROM meta WHERE key = ?")
        .bind(key)
        .fetch_one(connection)
        .await
        .map_err(StoreError::during("read a counter"))?;
    u64::try_from(value).map_err(|_| StoreError::Corrupt {
        table: "meta",
        column: "value",
        row: key.to_owned(),
    })
}

/// Sets one counter.
pub(super) async fn set(
    connection: &mut SqliteConnection,
    key: &'static str,
    value: u64,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE meta SET value = ? WHERE key = ?")
        .bind(to_sql(value))
        .bind(key)
        .execute(connection)
        .await
        .map_err(StoreError::during("set a counter"))
        .map(drop)
}

/// Raises one counter and answers its new value.
pub(super) async fn raise(
    connection: &mut SqliteConnection,
    key: &'static str,
    by: u64,
) -> Result<u64, StoreError> {
    let value: i64 =
        sqlx::query_scalar("UPDATE meta SET value = value + ? WHERE key = ? RETURNING value")
            .bind(to_sql(by))
            .bind(key)
            .fetch_one(connection)
            .await
            .map_err(StoreError::during("raise a counter"))?;
    u64::try_from(value).map_err(|_| StoreError::Corrupt {
        table: "meta",
        column: "value",
        row: key.to_owned(),
    })
}

/// Sets the counters that change with every commit.
pub(super) fn set_numbers(batch: &mut Batch, commit_number: u64, event_number: u64) {
    batch.add(
        "UPDATE meta SET value = CASE key WHEN 'commit_number' THEN ? ELSE ? END
         WHERE key IN ('commit_number', 'event_number')",
    );
    batch.number(to_sql(commit_number));
    batch.number(to_sql(event_number));
}

/// Reserves the next `count` revisions, on disk when this returns.
pub(super) async fn reserve_revisions(
    connection: &mut SqliteConnection,
    count: u64,
) -> Result<Range<u64>, StoreError> {
    let ceiling = raise(connection, REVISION_CEILING, count).await?;
    Ok(ceiling - count + 1..ceiling + 1)
}

/// Brings one counter up to a floor.
pub(super) async fn lift(
    connection: &mut SqliteConnection,
    key: &'static str,
    floor: u64,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE meta SET value = max(value, ?) WHERE key = ?")
        .bind(to_sql(floor))
        .bind(key)
        .execute(connection)
        .await
        .map_err(StoreError::during("raise a counter"))
        .map(drop)
}

/// SQLite's integers have a sign; counters never come near it.
pub(super) fn to_sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
