//! The table of requests that were done, in the order in which they were.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::json;
use sqlx::{Row as _, SqliteConnection, SqlitePool};

use super::batch::Batch;
use super::error::StoreError;
use crate::model::project::ProjectName;
use crate::model::request::{DoneRequest, RequestId, RequestKey};

/// Writes requests that were done with this group.
pub(super) fn put(batch: &mut Batch, requests: &[&DoneRequest]) {
    if requests.is_empty() {
        return;
    }
    let rows: Vec<_> = requests
        .iter()
        .map(|done| {
            json!([
                done.key.id.to_string(),
                hex::encode(done.key.fingerprint),
                done.target.to_string(),
                done.at.as_microsecond(),
                done.project.as_ref().map_or("", |project| project.as_str()),
                done.party,
            ])
        })
        .collect();
    batch.add_rows(
        "INSERT INTO requests (id, fingerprint, target, at, project, party)
         SELECT value->>0, unhex(value->>1), value->>2, value->>3, value->>4, value->>5
         FROM json_each(?)",
        serde_json::Value::from(rows).to_string(),
    );
}

/// How many are remembered of each party.
pub(super) async fn shares(
    connection: &mut SqliteConnection,
) -> Result<HashMap<String, u64>, StoreError> {
    let rows: Vec<(String, i64)> = sqlx::query_as("SELECT party, requests FROM request_shares")
        .fetch_all(connection)
        .await
        .map_err(StoreError::during("read how many requests are remembered"))?;
    let counted = rows.into_iter().map(|(party, count)| {
        let count = u64::try_from(count).map_err(|_| StoreError::Corrupt {
            table: "request_shares",
            column: "requests",
            row: party.clone(),
        });
        count.map(|count| (party, count))
    });
    counted.collect()
}

/// Which of these were done.
pub(super) async fn find(
    readers: &SqlitePool,
    ids: &[RequestId],
) -> Result<Vec<DoneRequest>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let failed = || StoreError::during("look for requests that were done");
    let wanted: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let rows = sqlx::query(
        "SELECT id, fingerprint, target, at, project, party FROM requests
         WHERE id IN (SELECT value FROM json_each(?))",
    )
    .bind(json!(wanted).to_string())
    .fetch_all(readers)
    .await
    .map_err(failed())?;
    rows.iter()
        .map(|row| {
            let id: String = row.try_get("id").map_err(failed())?;
            let bad = |column| StoreError::Corrupt { table: "requests", column, row: id.clone() };
            let fingerprint: Vec<u8> = row.try_get("fingerprint").map_err(failed())?;
            let target: String = row.try_get("target").map_err(failed())?;
            let project: String = row.try_get("project").map_err(failed())?;
            Ok(DoneRequest {
                key: RequestKey {
                    id: RequestId(id.parse().map_err(|_| bad("id"))?),
                    fingerprint: fingerprint.try_into().map_err(|_| bad("fingerprint"))?,
                },
                target: target.parse().map_err(|()| bad("target"))?,
                project: match &*project {
                    "" => None,
                    name => Some(ProjectName::parse(name).map_err(|_| bad("project"))?),
                },
                party: row.try_get("party").map_err(failed())?,
                at: Timestamp::from_microsecond(row.try_get("at").map_err(failed())?)
                    .map_err(|_| bad("at"))?,
            })
        })
        .collect()
}
