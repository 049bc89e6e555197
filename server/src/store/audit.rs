//! The table of who did what: only appended to, read a bounded part at a time, newest first.
//!
//! It has no index to look by: each would cost every change, and what an operator looks for is
//! mostly new. A look goes through so many records and says where the next goes on.

mod follow;

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection, SqliteExecutor, SqlitePool};

pub(super) use self::follow::next;
pub use self::follow::{AuditFollow, AuditNext, AuditStretch};
use super::batch::Batch;
use super::error::StoreError;
use super::meta::to_sql;
use crate::model::audit::{AuditEffect, AuditObject, AuditOutcome, AuditRecord, AuditStep};
use crate::model::project::ProjectName;

/// How many records one look goes through.
const LOOKED_AT: i64 = 10_000;

/// By how much records may be out of the order of their times: the longest that a call takes from
/// its beginning until its change is stored, and more.
const DISORDER: SignedDuration = SignedDuration::from_hours(1);

/// How many records go in one step at most: more than can come between two, however many write.
pub(super) const STEP: i64 = 16_384;

/// How many records of refused calls of strangers are kept, and how many of callers with an
/// identity: the newest of each.
pub(super) const MAX_REFUSED: i64 = 100_000;

/// More records than are written in a second in the long run: a restore goes by it where it does
/// not know what was given out since the backup.
pub(super) const NUMBERS_PER_SECOND: u64 = 1 << 16;

/// How far numbers jump when a backup was restored, in addition.
const NUMBERS_PER_EPOCH: i64 = 1 << 32;

/// Removes what is too old (`?1`), at most so many (`?2`): the oldest are looked at, and no others.
pub(super) const REMOVE_OLD: &str = "DELETE FROM audit WHERE number IN (
         SELECT number FROM (SELECT number, at FROM audit ORDER BY number LIMIT ?2)
         WHERE at <= ?1)";

/// Removes the oldest records of refused calls of strangers but for so many (`?1`), at most so many
/// (`?2`). The conditions are those of an index.
pub(super) const REMOVE_STRANGERS: &str = "DELETE FROM audit WHERE number IN (
         SELECT number FROM audit
         WHERE step IN ('REFUSED', 'LEFT_OUT') AND principal IN ('anonymous', 'local')
         ORDER BY number
         LIMIT max(0, min(?2, (
             SELECT count(*) FROM audit
             WHERE step IN ('REFUSED', 'LEFT_OUT') AND principal IN ('anonymous', 'local')) - ?1)))";

/// The same of callers with an identity.
pub(super) const REMOVE_REFUSED: &str = "DELETE FROM audit WHERE number IN (
         SELECT number FROM audit
         WHERE step IN ('REFUSED', 'LEFT_OUT') AND principal NOT IN ('anonymous', 'local')
         ORDER BY number
         LIMIT max(0, min(?2, (
             SELECT count(*) FROM audit
             WHERE step IN ('REFUSED', 'LEFT_OUT') AND principal NOT IN ('anonymous', 'local'))
             - ?1)))";

/// What is looked for. What is empty or `None` leaves out nothing.
#[derive(Debug, Clone, Default)]
pub struct AuditLook {
    pub principal: String,
    /// Full.
    pub method: String,
    /// Id or name of an object, or of what its record is because of.
    pub object: String,
    pub from: Option<Timestamp>,
    /// Not at this time or later.
    pub until: Option<Timestamp>,
    /// Only greater numbers.
    pub after: u64,
    /// Only smaller numbers; `None`: from the newest on.
    pub before: Option<u64>,
    /// How many at most.
    pub limit: usize,
}

/// A record as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAudit {
    /// Its place in the order of all records.
    pub number: u64,
    pub record: AuditRecord,
}

/// What a look has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPage {
    /// Newest first.
    pub records: Vec<StoredAudit>,
    /// Where the next look begins, as `before`; `None`: there is nothing more.
    pub next: Option<u64>,
}

/// Appends records in order.
pub(super) fn append(batch: &mut Batch, records: &[&AuditRecord]) {
    if records.is_empty() {
        return;
    }
    let rows: Vec<_> = records
        .iter()
        .map(|record| {
            let object = record.object.as_ref();
            let because_of = record.because_of.as_ref();
            json!([
                record.at.as_microsecond(),
                record.step.as_str(),
                &*record.principal,
                record.token_id,
                record.peer,
                record.method,
                object.map_or("", |object| object.kind.as_str()),
                object.map_or("", |object| &object.id),
                object.map_or("", |object| &object.name),
                record.outcome.code,
                record.outcome.reason,
                record.trace_id,
                record.request_id,
                record.call_id,
                record.step.left_out(),
                because_of.map_or("", |(effect, _)| effect.as_str()),
                because_of.map_or("", |(_, cause)| cause.kind.as_str()),
                because_of.map_or("", |(_, cause)| &cause.id),
                because_of.map_or("", |(_, cause)| &cause.name),
                record.project.as_ref().map_or("", |project| project.as_str()),
            ])
        })
        .collect();
    batch.add_rows(
        "INSERT INTO audit (at, step, principal, token_id, peer, method, object_kind, object_id,
             object_name, code, reason, trace_id, request_id, call_id, left_out, effect,
             cause_kind, cause_id, cause_name, project)
         SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6,
             value->>7, value->>8, value->>9, value->>10, value->>11, value->>12, value->>13,
             value->>14, value->>15, value->>16, value->>17, value->>18,
             value->>19
         FROM json_each(?) ORDER BY key",
        serde_json::Value::from(rows).to_string(),
    );
    // To count them takes a read of all of them.
    batch.add("UPDATE meta SET value = value + ? WHERE key = 'audit_records'");
    batch.number(i64::try_from(records.len()).unwrap_or(i64::MAX));
}

/// How many records the callers of each project have. Counted as they are written and go.
pub(super) async fn shares(
    connection: &mut SqliteConnection,
) -> Result<HashMap<ProjectName, u64>, StoreError> {
    let rows: Vec<(String, i64)> = sqlx::query_as("SELECT project, records FROM audit_shares")
        .fetch_all(connection)
        .await
        .map_err(StoreError::during("read the shares of the audit"))?;
    let share = |(project, records): (String, i64)| {
        let bad =
            |column| StoreError::Corrupt { table: "audit_shares", column, row: project.clone() };
        let name = ProjectName::parse(&project).map_err(|_| bad("project"))?;
        Ok((name, u64::try_from(records).map_err(|_| bad("records"))?))
    };
    rows.into_iter().map(share).collect()
}

/// The greatest number that was given out; 0 where there was no audit yet.
pub(super) async fn newest_number(connection: impl SqliteExecutor<'_>) -> Result<u64, StoreError> {
    let newest: Option<i64> =
        sqlx::query_scalar("SELECT max(seq) FROM sqlite_sequence WHERE name = 'audit'")
            .fetch_one(connection)
            .await
            .map_err(StoreError::during("read the newest number of the audit"))?;
    Ok(newest.and_then(|number| u64::try_from(number).ok()).unwrap_or(0))
}

/// Has numbers go on far above this one: none is given out twice.
pub(super) async fn lift_numbers(
    connection: &mut SqliteConnection,
    floor: u64,
) -> Result<(), StoreError> {
    let failed = || StoreError::during("raise the numbers of the audit");
    // The row is there once there was a record.
    sqlx::query(
        "INSERT INTO sqlite_sequence (name, seq) SELECT 'audit', 0
         WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'audit')",
    )
    .execute(&mut *connection)
    .await
    .map_err(failed())?;
    sqlx::query("UPDATE sqlite_sequence SET seq = max(seq, ?) + ? WHERE name = 'audit'")
        .bind(to_sql(floor))
        .bind(NUMBERS_PER_EPOCH)
        .execute(connection)
        .await
        .map_err(failed())
        .map(drop)
}

/// Appends records by themselves, with nothing else.
pub(super) async fn note(
    connection: &mut SqliteConnection,
    records: &[AuditRecord],
) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    append(&mut batch, &records.iter().collect::<Vec<_>>());
    batch.commit(connection).await
}

/// One look.
pub(super) async fn read(readers: &SqlitePool, look: &AuditLook) -> Result<AuditPage, StoreError> {
    let failed = || StoreError::during("read the audit");
    let before = look.before.map_or(i64::MAX, to_sql);
    // What is written meanwhile has greater numbers.
    let (lowest, count, oldest): (Option<i64>, i64, Option<i64>) = sqlx::query_as(
        "SELECT min(number), count(*), min(at) FROM (
             SELECT number, at FROM audit WHERE number < ?1 AND number > ?2
             ORDER BY number DESC LIMIT ?3)",
    )
    .bind(before)
    .bind(to_sql(look.after))
    .bind(LOOKED_AT)
    .fetch_one(readers)
    .await
    .map_err(failed())?;
    let Some(lowest) = lowest else { return Ok(AuditPage { records: Vec::new(), next: None }) };
    let limit = i64::try_from(look.limit).unwrap_or(i64::MAX);
    let rows = sqlx::query(
        "SELECT number, at, step, principal, token_id, peer, method, object_kind, object_id,
             object_name, code, reason, trace_id, request_id, call_id, left_out, effect,
             cause_kind, cause_id, cause_name, project
         FROM audit
         WHERE number < ?1 AND number >= ?2
             AND (?3 = '' OR principal = ?3) AND (?4 = '' OR method = ?4)
             AND (?5 = '' OR object_id = ?5 OR object_name = ?5 OR cause_id = ?5
                 OR cause_name = ?5)
             AND at >= ?6 AND at < ?7
         ORDER BY number DESC LIMIT ?8",
    )
    .bind(before)
    .bind(lowest)
    .bind(&look.principal)
    .bind(&look.method)
    .bind(&look.object)
    .bind(look.from.map_or(i64::MIN, Timestamp::as_microsecond))
    .bind(look.until.map_or(i64::MAX, Timestamp::as_microsecond))
    .bind(limit)
    .fetch_all(readers)
    .await
    .map_err(failed())?;
    let records: Vec<StoredAudit> = rows.iter().map(read_row).collect::<Result<_, _>>()?;
    let is_full = records.len() >= look.limit;
    let is_old = look.from.is_some_and(|from| {
        let long_before = from.checked_sub(DISORDER).unwrap_or(Timestamp::MIN);
        oldest.is_some_and(|oldest| oldest < long_before.as_microsecond())
    });
    let next = match records.last() {
        Some(last) if is_full => Some(last.number),
        Some(_) | None if count < LOOKED_AT || is_old => None,
        Some(_) | None => u64::try_from(lowest).ok(),
    };
    Ok(AuditPage { records, next })
}

fn read_row(row: &SqliteRow) -> Result<StoredAudit, StoreError> {
    let failed = || StoreError::during("read a column of the audit");
    let number: i64 = row.try_get("number").map_err(failed())?;
    let bad = |column| StoreError::Corrupt { table: "audit", column, row: number.to_string() };
    let text = |column: &'static str| row.try_get::<String, _>(column).map_err(failed());
    let count = |column: &'static str| -> Result<u64, StoreError> {
        let count: i64 = row.try_get(column).map_err(failed())?;
        u64::try_from(count).map_err(|_| bad(column))
    };
    let left_out = count("left_out")?;
    let object_in = |kind: &'static str, id, name| -> Result<Option<AuditObject>, StoreError> {
        let word = text(kind)?;
        if word.is_empty() {
            return Ok(None);
        }
        let kind = word.parse().map_err(|()| bad(kind))?;
        Ok(Some(AuditObject { kind, id: text(id)?, name: text(name)? }))
    };
    let object = object_in("object_kind", "object_id", "object_name")?;
    let cause = object_in("cause_kind", "cause_id", "cause_name")?;
    let at: i64 = row.try_get("at").map_err(failed())?;
    let record = AuditRecord {
        at: Timestamp::from_microsecond(at).map_err(|_| bad("at"))?,
        step: AuditStep::read(&text("step")?, left_out).ok_or_else(|| bad("step"))?,
        principal: text("principal")?.into(),
        project: match &*text("project")? {
            "" => None,
            name => Some(ProjectName::parse(name).map_err(|_| bad("project"))?),
        },
        token_id: text("token_id")?,
        peer: text("peer")?,
        method: text("method")?,
        object,
        because_of: AuditEffect::read(&text("effect")?).zip(cause),
        outcome: AuditOutcome { code: text("code")?, reason: text("reason")? },
        trace_id: text("trace_id")?,
        request_id: text("request_id")?,
        call_id: text("call_id")?,
    };
    Ok(StoredAudit { number: count("number")?, record })
}
