//! The table of hosts.

use std::path::Path;

use jiff::Timestamp;
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{ConnectOptions as _, SqliteConnection};

use super::batch::Batch;
use super::capacity;
use super::columns::columns_of;
use super::error::{OpenError, StoreError};
use super::options;
use super::table::Table;
use crate::model::capacity::AcceptedCapacity;
use crate::model::host::{
    HostOvercommit, HostRecord, KeyDigest, MILLIS, OfferedCertificate, Renewal, Revocation,
};
use crate::model::ledger::{Ledger, LedgerConfig};

impl Table for HostRecord {
    fn put(batch: &mut Batch, rows: &[&Self]) {
        let rows: Vec<_> = rows
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
                    host.key_sha256.map(hex::encode),
                    host.overcommit.vcpus_milli,
                    host.overcommit.memory_milli,
                    host.renewal.next.map(|next| hex::encode(next.key_sha256)),
                    host.renewal.next.map(|next| next.expires_at.as_microsecond()),
                    host.renewal.renewed_from.map(hex::encode),
                    host.renewal.next.map(|next| next.made_at.as_microsecond()),
                    host.certificate_made_at.map(Timestamp::as_microsecond),
                    host.joined_by,
                    host.revoked.as_ref().map(|revoked| revoked.at.as_microsecond()),
                    host.revoked.as_ref().map(|revoked| &revoked.by),
                    host.revoked.as_ref().map(|revoked| &revoked.reason),
                    host.ca_sha256.map(hex::encode),
                    host.renewal.next.map(|next| hex::encode(next.ca_sha256)),
                    capacity::written(host.accepted),
                    capacity::written(host.first_capacity),
                ])
            })
            .collect();
        batch.add_rows(
            "INSERT INTO hosts (id, name, agent_address, labels, cordoned, subnet,
                 certificate_expires_at, generation, created_at, updated_at, key_sha256,
                 vcpu_overcommit_milli, memory_overcommit_milli, next_key_sha256,
                 next_certificate_expires_at, renewed_from_sha256, next_certificate_made_at,
                 certificate_made_at, joined_by, revoked_at, revoked_by, revoked_reason,
                 ca_sha256, next_ca_sha256, accepted_capacity, first_capacity)
             SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6,
                 value->>7, value->>8, value->>9, unhex(value->>10), value->>11, value->>12,
                 unhex(value->>13), value->>14, unhex(value->>15), value->>16, value->>17,
                 value->>18, value->>19, value->>20, value->>21, unhex(value->>22),
                 unhex(value->>23), value->>24, value->>25
             FROM json_each(?) WHERE true
             ON CONFLICT (id) DO UPDATE SET agent_address = excluded.agent_address,
                 labels = excluded.labels, cordoned = excluded.cordoned,
                 certificate_expires_at = excluded.certificate_expires_at,
                 generation = excluded.generation, updated_at = excluded.updated_at,
                 key_sha256 = excluded.key_sha256,
                 vcpu_overcommit_milli = excluded.vcpu_overcommit_milli,
                 memory_overcommit_milli = excluded.memory_overcommit_milli,
                 next_key_sha256 = excluded.next_key_sha256,
                 next_certificate_expires_at = excluded.next_certificate_expires_at,
                 renewed_from_sha256 = excluded.renewed_from_sha256,
                 next_certificate_made_at = excluded.next_certificate_made_at,
                 certificate_made_at = excluded.certificate_made_at,
                 joined_by = excluded.joined_by, revoked_at = excluded.revoked_at,
                 revoked_by = excluded.revoked_by, revoked_reason = excluded.revoked_reason,
                 ca_sha256 = excluded.ca_sha256, next_ca_sha256 = excluded.next_ca_sha256,
                 accepted_capacity = excluded.accepted_capacity,
                 first_capacity = excluded.first_capacity",
            serde_json::Value::from(rows).to_string(),
        );
    }

    fn remove(batch: &mut Batch, gone: &[(&Self, Timestamp)]) {
        let keys: Vec<_> = gone.iter().map(|(host, _)| host.id).collect();
        batch.add_rows(
            "DELETE FROM hosts WHERE id IN (SELECT value FROM json_each(?))",
            json!(keys).to_string(),
        );
    }

    async fn load(connection: &mut SqliteConnection, _: &Ledger) -> Result<Vec<Self>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, name, agent_address, labels, cordoned, subnet, certificate_expires_at,
                 generation, created_at, updated_at, key_sha256, vcpu_overcommit_milli,
                 memory_overcommit_milli, next_key_sha256, next_certificate_expires_at,
                 renewed_from_sha256, next_certificate_made_at, certificate_made_at, joined_by,
                 revoked_at, revoked_by, revoked_reason, ca_sha256, next_ca_sha256,
                 accepted_capacity, first_capacity
             FROM hosts ORDER BY id",
        )
        .fetch_all(connection)
        .await
        .map_err(StoreError::during("read hosts"))?;
        rows.iter().map(read_row).collect()
    }
}

/// Every host in a database, which a server may have open; nothing is written.
///
/// # Errors
/// It can't be opened or read, or is of another release.
pub async fn hosts_in(database: &Path) -> Result<Vec<HostRecord>, OpenError> {
    if !database.exists() {
        return Err(OpenError::Missing { path: database.to_owned() });
    }
    let reading = options(database).read_only(true).connect().await;
    let mut reading =
        reading.map_err(|source| OpenError::Open { path: database.to_owned(), source })?;
    let none = Ledger::new(LedgerConfig::default());
    let hosts = HostRecord::load(&mut reading, &none).await.map_err(OpenError::Read)?;
    Ok(hosts)
}

fn read_row(row: &SqliteRow) -> Result<HostRecord, StoreError> {
    let id: String = get(row, "id")?;
    let bad = |column| StoreError::Corrupt { table: "hosts", column, row: id.clone() };
    let time = |column: &'static str| -> Result<Timestamp, StoreError> {
        Timestamp::from_microsecond(get(row, column)?).map_err(|_| bad(column))
    };
    let maybe_time = |column: &'static str| -> Result<Option<Timestamp>, StoreError> {
        let read = get::<Option<i64>>(row, column)?;
        read.map(|at| Timestamp::from_microsecond(at).map_err(|_| bad(column))).transpose()
    };
    let millis = |column: &'static str| -> Result<Option<u32>, StoreError> {
        let read = get::<Option<i64>>(row, column)?.map(u32::try_from).transpose();
        read.ok()
            .filter(|millis| millis.is_none_or(|millis| MILLIS.contains(&millis)))
            .ok_or_else(|| bad(column))
    };
    let digest = |column: &'static str| -> Result<Option<KeyDigest>, StoreError> {
        let read = get::<Option<Vec<u8>>>(row, column)?;
        read.map(|digest| digest.try_into().map_err(|_| bad(column))).transpose()
    };
    let next = match digest("next_key_sha256")? {
        Some(key_sha256) => Some(OfferedCertificate {
            key_sha256,
            made_at: time("next_certificate_made_at")?,
            expires_at: time("next_certificate_expires_at")?,
            ca_sha256: digest("next_ca_sha256")?.ok_or_else(|| bad("next_ca_sha256"))?,
        }),
        None => None,
    };
    let capacity = |column: &'static str| -> Result<AcceptedCapacity, StoreError> {
        let text: Option<String> = get(row, column)?;
        capacity::read(text.as_deref()).ok_or_else(|| bad(column))
    };
    Ok(HostRecord {
        id: id.parse().map_err(|_| bad("id"))?,
        name: get(row, "name")?,
        agent_address: get(row, "agent_address")?,
        labels: serde_json::from_str(&get::<String>(row, "labels")?).map_err(|_| bad("labels"))?,
        cordoned: get::<i64>(row, "cordoned")? != 0,
        subnet: get::<String>(row, "subnet")?.parse().map_err(|_| bad("subnet"))?,
        certificate_expires_at: time("certificate_expires_at")?,
        certificate_made_at: maybe_time("certificate_made_at")?,
        joined_by: get(row, "joined_by")?,
        overcommit: HostOvercommit {
            vcpus_milli: millis("vcpu_overcommit_milli")?,
            memory_milli: millis("memory_overcommit_milli")?,
        },
        accepted: capacity("accepted_capacity")?,
        first_capacity: capacity("first_capacity")?,
        generation: u64::try_from(get::<i64>(row, "generation")?).map_err(|_| bad("generation"))?,
        created_at: time("created_at")?,
        updated_at: time("updated_at")?,
        ca_sha256: digest("ca_sha256")?,
        key_sha256: digest("key_sha256")?,
        revoked: match get::<Option<i64>>(row, "revoked_at")? {
            Some(_) => Some(Revocation {
                at: time("revoked_at")?,
                by: get(row, "revoked_by")?,
                reason: get(row, "revoked_reason")?,
            }),
            None => None,
        },
        renewal: Renewal { next, renewed_from: digest("renewed_from_sha256")? },
    })
}

columns_of!("hosts");
