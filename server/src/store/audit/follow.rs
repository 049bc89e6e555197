//! The audit as it grows: what comes after a number, oldest first, a bounded stretch at a time.

use sqlx::SqlitePool;

use super::{LOOKED_AT, StoredAudit, read_row};
use crate::store::error::StoreError;
use crate::store::meta::to_sql;

/// What somebody follows, and how far they are.
#[derive(Debug, Clone, Default)]
pub struct AuditFollow {
    /// Empty: of everybody. So are the next two.
    pub principal: String,
    /// Full.
    pub method: String,
    /// Id or name of an object, or of what its record is because of.
    pub object: String,
    /// Only greater numbers; 0: from the oldest on.
    pub after: u64,
    /// How many at most.
    pub limit: usize,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditNext {
    Stretch(AuditStretch),
    /// Nobody knows: it was let go.
    Gone,
}

/// Some of what comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditStretch {
    /// Oldest first.
    pub records: Vec<StoredAudit>,
    /// All up to this number were looked at.
    pub up_to: u64,
    /// Whether there is more to look at by now.
    pub more: bool,
}

/// One stretch.
pub(in crate::store) async fn next(
    readers: &SqlitePool,
    follow: &AuditFollow,
) -> Result<AuditNext, StoreError> {
    let failed = || StoreError::during("follow the audit");
    let after = to_sql(follow.after);
    let (highest, count): (Option<i64>, i64) = sqlx::query_as(
        "SELECT max(number), count(*) FROM (
             SELECT number FROM audit WHERE number > ?1 ORDER BY number LIMIT ?2)",
    )
    .bind(after)
    .bind(LOOKED_AT)
    .fetch_one(readers)
    .await
    .map_err(failed())?;
    let rows = sqlx::query(
        "SELECT number, at, step, principal, token_id, peer, method, object_kind, object_id,
             object_name, code, reason, trace_id, request_id, call_id, left_out, effect,
             cause_kind, cause_id, cause_name, project
         FROM audit
         WHERE number > ?1 AND number <= ?2
             AND (?3 = '' OR principal = ?3) AND (?4 = '' OR method = ?4)
             AND (?5 = '' OR object_id = ?5 OR object_name = ?5 OR cause_id = ?5
                 OR cause_name = ?5)
         ORDER BY number LIMIT ?6",
    )
    .bind(after)
    .bind(highest.unwrap_or(after))
    .bind(&follow.principal)
    .bind(&follow.method)
    .bind(&follow.object)
    .bind(i64::try_from(follow.limit).unwrap_or(i64::MAX))
    .fetch_all(readers)
    .await
    .map_err(failed())?;
    let records: Vec<StoredAudit> = rows.iter().map(read_row).collect::<Result<_, _>>()?;
    // After the records, so that none has gone between the two.
    let oldest: Option<i64> = sqlx::query_scalar("SELECT min(number) FROM audit")
        .fetch_one(readers)
        .await
        .map_err(failed())?;
    if after > 0 && oldest.is_some_and(|oldest| oldest > after.saturating_add(1)) {
        return Ok(AuditNext::Gone);
    }
    let highest = highest.and_then(|number| u64::try_from(number).ok()).unwrap_or(follow.after);
    let is_full = records.len() >= follow.limit;
    let up_to = records.last().filter(|_| is_full).map_or(highest, |last| last.number);
    let more = is_full || count >= LOOKED_AT;
    Ok(AuditNext::Stretch(AuditStretch { records, up_to, more }))
}
