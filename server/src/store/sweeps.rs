//! The sweeps that somebody asked for: who, when, and what came of it.
//!
//! Written before the agent is asked and again when it has answered, so that a sweep that nobody
//! knows the end of is there too. The newest of each host are kept.

use banger_proto::ids::HostId;
use jiff::Timestamp;
use serde_json::json;
use sqlx::{Row as _, SqlitePool};

use super::batch::Batch;
use super::error::StoreError;
use crate::model::inventory::SweepRecord;

/// How many of each host are kept: the newest.
pub const MAX_SWEEPS_PER_HOST: u32 = 100;

/// Writes sweeps, new or answered, and drops the oldest of their hosts.
pub(super) fn put(batch: &mut Batch, sweeps: &[&SweepRecord]) {
    if sweeps.is_empty() {
        return;
    }
    let rows: Vec<_> = sweeps
        .iter()
        .map(|sweep| {
            json!([
                sweep.id,
                sweep.host,
                sweep.at.as_microsecond(),
                sweep.actor,
                sweep.removed,
                sweep.kept,
                sweep.failed,
                sweep.message,
            ])
        })
        .collect();
    batch.add_rows(
        "INSERT INTO host_sweeps (id, host, at, actor, removed, kept, failed, message)
         SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6,
             value->>7
         FROM json_each(?) WHERE true
         ON CONFLICT (id) DO UPDATE SET removed = excluded.removed, kept = excluded.kept,
             failed = excluded.failed, message = excluded.message",
        serde_json::Value::from(rows).to_string(),
    );
    let hosts: Vec<HostId> = sweeps.iter().map(|sweep| sweep.host).collect();
    batch.add_rows(
        "DELETE FROM host_sweeps WHERE id IN (
             SELECT id FROM (
                 SELECT id, row_number() OVER (PARTITION BY host ORDER BY at DESC, id DESC) AS nth
                 FROM host_sweeps WHERE host IN (SELECT value FROM json_each(?)))
             WHERE nth > ?)",
        json!(hosts).to_string(),
    );
    batch.number(i64::from(MAX_SWEEPS_PER_HOST));
}

/// The newest sweeps of a host, newest first.
pub(super) async fn read(
    readers: &SqlitePool,
    host: HostId,
    limit: u32,
) -> Result<Vec<SweepRecord>, StoreError> {
    let failed = || StoreError::during("read sweeps");
    let rows = sqlx::query(
        "SELECT id, at, actor, removed, kept, failed, message FROM host_sweeps
         WHERE host = ? ORDER BY at DESC, id DESC LIMIT ?",
    )
    .bind(host.to_string())
    .bind(limit)
    .fetch_all(readers)
    .await
    .map_err(failed())?;
    rows.iter()
        .map(|row| {
            let id: String = row.try_get("id").map_err(failed())?;
            let bad =
                |column| StoreError::Corrupt { table: "host_sweeps", column, row: id.clone() };
            let count = |column: &'static str| -> Result<u32, StoreError> {
                let count: i64 = row.try_get(column).map_err(failed())?;
                u32::try_from(count).map_err(|_| bad(column))
            };
            Ok(SweepRecord {
                host,
                at: Timestamp::from_microsecond(row.try_get("at").map_err(failed())?)
                    .map_err(|_| bad("at"))?,
                actor: row.try_get("actor").map_err(failed())?,
                removed: count("removed")?,
                kept: count("kept")?,
                failed: count("failed")?,
                message: row.try_get("message").map_err(failed())?,
                id: id.parse().map_err(|_| bad("id"))?,
            })
        })
        .collect()
}
