//! The table of join tokens. A secret is never stored, only its sha256.

use jiff::Timestamp;
use serde_json::json;
use sqlx::{Row as _, SqliteConnection};

use super::batch::Batch;
use super::capacity;
use super::error::StoreError;
use super::table::Table;
use crate::model::ledger::{JoinToken, Ledger};

impl Table for JoinToken {
    fn put(batch: &mut Batch, rows: &[&Self]) {
        let rows: Vec<_> = rows
            .iter()
            .map(|token| {
                let (used_by, used_key) = token.used_for.unzip();
                json!([
                    token.id,
                    hex::encode(token.secret_sha256),
                    token.host_name,
                    token.expires_at.as_microsecond(),
                    used_by,
                    used_key.map(hex::encode),
                    json!(token.labels).to_string(),
                    token.created_by_token,
                    capacity::written(token.capacity),
                ])
            })
            .collect();
        batch.add_rows(
            "INSERT INTO join_tokens (id, secret_sha256, host_name, expires_at, used_by, used_key,
                 labels, created_by_token, accepted_capacity)
             SELECT value->>0, unhex(value->>1), value->>2, value->>3, value->>4, unhex(value->>5),
                 value->>6, value->>7, value->>8
             FROM json_each(?) WHERE true
             ON CONFLICT (id) DO UPDATE SET used_by = excluded.used_by, used_key = excluded.used_key",
            serde_json::Value::from(rows).to_string(),
        );
    }

    fn remove(batch: &mut Batch, gone: &[(&Self, Timestamp)]) {
        let keys: Vec<_> = gone.iter().map(|(token, _)| &token.id).collect();
        batch.add_rows(
            "DELETE FROM join_tokens WHERE id IN (SELECT value FROM json_each(?))",
            json!(keys).to_string(),
        );
    }

    async fn load(connection: &mut SqliteConnection, _: &Ledger) -> Result<Vec<Self>, StoreError> {
        let failed = || StoreError::during("read join tokens");
        let rows = sqlx::query(
            "SELECT id, secret_sha256, host_name, expires_at, used_by, used_key, labels,
                 created_by_token, accepted_capacity
             FROM join_tokens",
        )
        .fetch_all(connection)
        .await
        .map_err(failed())?;
        rows.iter()
            .map(|row| {
                let id: String = row.try_get("id").map_err(failed())?;
                let bad =
                    |column| StoreError::Corrupt { table: "join_tokens", column, row: id.clone() };
                let secret: Vec<u8> = row.try_get("secret_sha256").map_err(failed())?;
                let used_by: Option<String> = row.try_get("used_by").map_err(failed())?;
                let used_key: Option<Vec<u8>> = row.try_get("used_key").map_err(failed())?;
                let accepted: Option<String> = row.try_get("accepted_capacity").map_err(failed())?;
                let used_for = match (used_by, used_key) {
                    (Some(host), Some(key)) => Some((
                        host.parse().map_err(|_| bad("used_by"))?,
                        key.try_into().map_err(|_| bad("used_key"))?,
                    )),
                    (_, _) => None,
                };
                Ok(JoinToken {
                    secret_sha256: secret.try_into().map_err(|_| bad("secret_sha256"))?,
                    host_name: row.try_get("host_name").map_err(failed())?,
                    labels: serde_json::from_str(row.try_get("labels").map_err(failed())?)
                        .map_err(|_| bad("labels"))?,
                    capacity: capacity::read(accepted.as_deref())
                        .ok_or_else(|| bad("accepted_capacity"))?,
                    created_by_token: row.try_get("created_by_token").map_err(failed())?,
                    expires_at: Timestamp::from_microsecond(
                        row.try_get("expires_at").map_err(failed())?,
                    )
                    .map_err(|_| bad("expires_at"))?,
                    used_for,
                    id,
                })
            })
            .collect()
    }
}
