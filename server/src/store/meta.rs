//! Epoch, revisions and numbers of commits and events in the database: read, reserved, raised after
//! a restore.

use std::ops::Range;

use banger_proto::ids::Epoch;
use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::batch::Batch;
use super::error::StoreError;

pub(super) const EPOCH: &str = "epoch";
pub(super) const REVISION_CEILING: &str = "revision_ceiling";
pub(super) const COMMIT_NUMBER: &str = "commit_number";
pub(super) const EVENT_NUMBER: &str = "event_number";
pub(super) const HISTORY_GONE_UNTIL: &str = "history_gone_until";

/// How far revisions jump when a backup was restored: more than anybody has given out since.
const REVISIONS_PER_EPOCH: u64 = 1 << 40;

/// More revisions than are given out in a second: a million VMs that change at once.
const REVISIONS_PER_SECOND: u64 = 1 << 20;

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
async fn raise(
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

/// Begins a new epoch, above this one and `known`, and not below the time in seconds: a backup does
/// not know how often it was restored, and time does. Revisions go on in the same way, above those
/// of this database, `known_revisions`, and as many as can have been given out by now.
pub(super) async fn raise_epoch(
    connection: &mut SqliteConnection,
    known: u64,
    known_revisions: u64,
    now: Timestamp,
) -> Result<Epoch, StoreError> {
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    // First the revisions: an epoch that was not raised can be raised again.
    let floor = known_revisions.max(seconds.saturating_mul(REVISIONS_PER_SECOND));
    lift(connection, REVISION_CEILING, floor).await?;
    raise(connection, REVISION_CEILING, REVISIONS_PER_EPOCH).await?;
    lift(connection, EPOCH, known.max(seconds.saturating_sub(1))).await?;
    raise(connection, EPOCH, 1).await.map(Epoch)
}

/// Brings one counter up to a floor.
async fn lift(
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
