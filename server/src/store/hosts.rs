//! The table of hosts.

use std::sync::Arc;

use banger_proto::ids::HostId;
use jiff::Timestamp;
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::batch::Batch;
use super::error::StoreError;
use crate::model::host::HostRecord;

/// Writes hosts, new or changed.
pub(super) fn put(batch: &mut Batch, hosts: &[Arc<HostRecord>]) {
    if hosts.is_empty() {
        return;
    }
    let rows: Vec<_> = hosts
        .iter()
        .map(|host| {
            json!([
                host.id,
                host.name,
                host.agent_address,
                json!(host.labels).to_string(),
                u8::from(host.cordoned),
                host.subnet.to_string(),
                host.certificate_expires_at.as_microsecond(),
                host.generation,
                host.created_at.as_microsecond(),
                host.updated_at.as_microsecond(),
            ])
        })
        .collect();
    batch.add_rows(
        "INSERT INTO hosts (id, name, agent_address, labels, cordoned, subnet,
             certificate_expires_at, generation, created_at, updated_at)
         SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6,
             value->>7, value->>8, value->>9
         FROM json_each(?) WHERE true
         ON CONFLICT (id) DO UPDATE SET agent_address = excluded.agent_address,
             labels = excluded.labels, cordoned = excluded.cordoned,
             certificate_expires_at = excluded.certificate_expires_at,
             generation = excluded.generation, updated_at = excluded.updated_at",
        serde_json::Value::from(rows).to_string(),
    );
}

/// Removes hosts; the database refuses it for one that holds VMs.
pub(super) fn remove(batch: &mut Batch, hosts: &[HostId]) {
    if hosts.is_empty() {
        return;
    }
    batch.add_rows(
        "DELETE FROM hosts WHERE id IN (SELECT value FROM json_each(?))",
        json!(hosts).to_string(),
    );
}

/// Every host.
pub(super) async fn read_all(
    connection: &mut SqliteConnection,
) -> Result<Vec<HostRecord>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, name, agent_address, labels, cordoned, subnet, certificate_expires_at,
             generation, created_at, updated_at
         FROM hosts ORDER BY id",
    )
    .fetch_all(connection)
    .await
    .map_err(StoreError::during("read hosts"))?;
    rows.iter().map(read_row).collect()
}

fn read_row(row: &SqliteRow) -> Result<HostRecord, StoreError> {
    let id: String = get(row, "id")?;
    let bad = |column| StoreError::Corrupt { table: "hosts", column, row: id.clone() };
    let time = |column: &'static str| -> Result<Timestamp, StoreError> {
        Timestamp::from_microsecond(get(row, column)?).map_err(|_| bad(column))
    };
    Ok(HostRecord {
        id: id.parse().map_err(|_| bad("id"))?,
        name: get(row, "name")?,
        agent_address: get(row, "agent_address")?,
        labels: serde_json::from_str(&get::<String>(row, "labels")?).map_err(|_| bad("labels"))?,
        cordoned: get::<i64>(row, "cordoned")? != 0,
        subnet: get::<String>(row, "subnet")?.parse().map_err(|_| bad("subnet"))?,
        certificate_expires_at: time("certificate_expires_at")?,
        generation: u64::try_from(get::<i64>(row, "generation")?).map_err(|_| bad("generation"))?,
        created_at: time("created_at")?,
        updated_at: time("updated_at")?,
    })
}

fn get<'r, T>(row: &'r SqliteRow, column: &'static str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(StoreError::during("read a column of hosts"))
}
