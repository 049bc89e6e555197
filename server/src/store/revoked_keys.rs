//! The table of keys that are good for no host any more.

use jiff::Timestamp;
use serde_json::json;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::batch::Batch;
use super::columns::columns_of;
use super::error::StoreError;
use super::table::Table;
use crate::model::host::RevokedKey;
use crate::model::ledger::Ledger;

impl Table for RevokedKey {
    fn put(batch: &mut Batch, rows: &[&Self]) {
        let rows: Vec<_> = rows
            .iter()
            .map(|key| {
                json!([
                    hex::encode(key.key_sha256),
                    key.host,
                    key.host_name,
                    key.revoked_at.as_microsecond(),
                ])
            })
            .collect();
        batch.add_rows(
            "INSERT INTO revoked_keys (key_sha256, host_id, host_name, revoked_at)
             SELECT unhex(value->>0), value->>1, value->>2, value->>3
             FROM json_each(?) WHERE true
             ON CONFLICT (key_sha256) DO NOTHING",
            serde_json::Value::from(rows).to_string(),
        );
    }

    fn remove(batch: &mut Batch, gone: &[(&Self, Timestamp)]) {
        let keys: Vec<_> = gone.iter().map(|(key, _)| hex::encode(key.key_sha256)).collect();
        batch.add_rows(
            "DELETE FROM revoked_keys
             WHERE key_sha256 IN (SELECT unhex(value) FROM json_each(?))",
            json!(keys).to_string(),
        );
    }

    async fn load(connection: &mut SqliteConnection, _: &Ledger) -> Result<Vec<Self>, StoreError> {
        let rows =
            sqlx::query("SELECT key_sha256, host_id, host_name, revoked_at FROM revoked_keys")
                .fetch_all(connection)
                .await
                .map_err(StoreError::during("read revoked keys"))?;
        rows.iter().map(read_row).collect()
    }
}

fn read_row(row: &SqliteRow) -> Result<RevokedKey, StoreError> {
    let key: Vec<u8> = get(row, "key_sha256")?;
    let bad =
        |column| StoreError::Corrupt { table: "revoked_keys", column, row: hex::encode(&key) };
    Ok(RevokedKey {
        key_sha256: key.as_slice().try_into().map_err(|_| bad("key_sha256"))?,
        host: get::<String>(row, "host_id")?.parse().map_err(|_| bad("host_id"))?,
        host_name: get(row, "host_name")?,
        revoked_at: Timestamp::from_microsecond(get(row, "revoked_at")?)
            .map_err(|_| bad("revoked_at"))?,
    })
}

columns_of!("revoked_keys");
