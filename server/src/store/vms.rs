//! The tables of VMs: living ones, and the ids of those that are gone.
//!
//! Rows go in as one JSON array for the whole group, so that a group of a thousand is one
//! statement.

use std::sync::Arc;
use std::time::Duration;

use banger_proto::ids::{Generation, HostId, VmId};
use jiff::Timestamp;
use serde::ser::{Serialize, SerializeTuple as _, Serializer};
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{SqliteConnection, SqlitePool};

use super::batch::Batch;
use super::columns::columns_of;
use super::error::StoreError;
use super::table::Table;
use crate::model::intent::{Desired, Fingerprint, NetAllocation, VmIntent};
use crate::model::ledger::{HostRef, Ledger};
use crate::model::placement::NoHost;
use crate::model::project::{Named, ProjectName};
use crate::model::spec::VmSpec;

/// A row as it is written: an array, in the order of the columns of [`Table::put`].
struct Row<'a>(&'a VmIntent);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let vm = self.0;
        let mut row = serializer.serialize_tuple(20)?;
        row.serialize_element(&vm.id)?;
        row.serialize_element(&vm.name)?;
        row.serialize_element(&vm.spec.to_json())?;
        row.serialize_element(vm.desired.as_str())?;
        row.serialize_element(&vm.host)?;
        row.serialize_element(&vm.net.map(|net| net.slot))?;
        row.serialize_element(&vm.net.map(|net| net.address))?;
        row.serialize_element(&vm.pending.map(NoHost::reason))?;
        row.serialize_element(&vm.generation)?;
        row.serialize_element(&vm.boot_number)?;
        row.serialize_element(&vm.root_disk_number)?;
        // At most an hour.
        row.serialize_element(&u64::try_from(vm.stop_grace.as_millis()).unwrap_or(u64::MAX))?;
        row.serialize_element(&hex::encode(vm.fingerprint.0))?;
        row.serialize_element(&vm.request_id)?;
        row.serialize_element(&vm.created_at.as_microsecond())?;
        row.serialize_element(&vm.updated_at.as_microsecond())?;
        row.serialize_element(&vm.traceparent)?;
        row.serialize_element(&vm.actor)?;
        row.serialize_element(vm.project.as_str())?;
        row.serialize_element(&vm.root_image_mib)?;
        row.end()
    }
}

impl Table for VmIntent {
    /// What never changes after the create is not written again.
    fn put(batch: &mut Batch, rows: &[&Self]) {
        let rows: Vec<Row<'_>> = rows.iter().map(|vm| Row(vm)).collect();
        let rows = serde_json::to_string(&rows).expect("rows have only texts and numbers");
        batch.add_rows(
            "INSERT INTO vms (id, name, spec, desired, host, slot, address, pending, generation,
                 boot_number, root_disk_number, stop_grace_ms, fingerprint, request_id, created_at,
                 updated_at, traceparent, actor, project, root_image_mib)
             SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6,
                 value->>7, value->>8, value->>9, value->>10, value->>11, unhex(value->>12),
                 value->>13, value->>14, value->>15, value->>16, value->>17,
                 value->>18, value->>19
             FROM json_each(?) WHERE true
             ON CONFLICT (id) DO UPDATE SET spec = excluded.spec, desired = excluded.desired,
                 host = excluded.host, slot = excluded.slot, address = excluded.address,
                 pending = excluded.pending, generation = excluded.generation,
                 boot_number = excluded.boot_number, root_disk_number = excluded.root_disk_number,
                 root_image_mib = excluded.root_image_mib,
                 stop_grace_ms = excluded.stop_grace_ms, updated_at = excluded.updated_at,
                 traceparent = excluded.traceparent, actor = excluded.actor",
            rows,
        );
    }

    /// Keeps the ids as used up.
    fn remove(batch: &mut Batch, gone: &[(&Self, Timestamp)]) {
        let rows: Vec<_> = gone
            .iter()
            .map(|(vm, at)| {
                let at = at.as_microsecond();
                json!([vm.id, vm.request_id, vm.name, at, vm.project.as_str()])
            })
            .collect();
        let rows = serde_json::Value::from(rows).to_string();
        batch.add_rows(
            "DELETE FROM vms WHERE id IN (SELECT value->>0 FROM json_each(?))",
            rows.clone(),
        );
        batch.add_rows(
            "INSERT INTO deleted_vms (id, request_id, name, deleted_at, project)
             SELECT value->>0, value->>1, value->>2, value->>3, value->>4 FROM json_each(?)",
            rows,
        );
    }

    async fn load(
        connection: &mut SqliteConnection,
        loaded: &Ledger,
    ) -> Result<Vec<Self>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, name, spec, desired, host, slot, address, pending, generation, boot_number,
                 root_disk_number, stop_grace_ms, fingerprint, request_id, created_at, updated_at,
                 traceparent, actor, project, root_image_mib
             FROM vms",
        )
        .fetch_all(connection)
        .await
        .map_err(StoreError::during("read VMs"))?;
        rows.iter().map(|row| read_row(row, loaded)).collect()
    }
}

/// Which of these ids belonged to VMs that are gone, as id or as request id.
pub(super) async fn used_up(readers: &SqlitePool, ids: &[VmId]) -> Result<Vec<VmId>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let wanted = json!(ids).to_string();
    let found: Vec<String> = sqlx::query_scalar(
        "SELECT id FROM deleted_vms WHERE id IN (SELECT value FROM json_each(?1))
         UNION
         SELECT request_id FROM deleted_vms WHERE request_id IN (SELECT value FROM json_each(?1))",
    )
    .bind(wanted)
    .fetch_all(readers)
    .await
    .map_err(StoreError::during("look for ids of deleted VMs"))?;
    found.into_iter().map(|id| id.parse().map_err(|_| corrupt("id", &id))).collect()
}

/// Which project a VM that is gone belonged to; `None`: none was deleted that had this id, or its
/// project is gone too.
pub(super) async fn deleted_of(
    readers: &SqlitePool,
    vm: VmId,
) -> Result<Option<ProjectName>, StoreError> {
    let found: Option<String> =
        sqlx::query_scalar("SELECT project FROM deleted_vms WHERE id = ?1 OR request_id = ?1")
            .bind(vm.to_string())
            .fetch_optional(readers)
            .await
            .map_err(StoreError::during("look for a deleted VM"))?;
    Ok(found.and_then(|project| ProjectName::parse(&project).ok()))
}

/// The VM of this name that was deleted last.
pub(super) async fn last_deleted(
    readers: &SqlitePool,
    named: &Named,
) -> Result<Option<VmId>, StoreError> {
    let found: Option<String> = sqlx::query_scalar(
        "SELECT id FROM deleted_vms WHERE project = ? AND name = ?
         ORDER BY deleted_at DESC, id DESC LIMIT 1",
    )
    .bind(named.project.as_str())
    .bind(&named.name)
    .fetch_optional(readers)
    .await
    .map_err(StoreError::during("look for a deleted VM by its name"))?;
    found.map(|id| id.parse().map_err(|_| corrupt("id", &id))).transpose()
}

fn read_row(row: &SqliteRow, loaded: &Ledger) -> Result<VmIntent, StoreError> {
    let id_text: String = get(row, "id")?;
    let bad = |column| corrupt(column, &id_text);
    let count = |column: &'static str| -> Result<u64, StoreError> {
        u64::try_from(get::<i64>(row, column)?).map_err(|_| bad(column))
    };
    let time = |column: &'static str| -> Result<Timestamp, StoreError> {
        Timestamp::from_microsecond(get(row, column)?).map_err(|_| bad(column))
    };
    let id_of = |column: &'static str| get::<Option<String>>(row, column);
    let host: Option<HostId> =
        id_of("host")?.map(|id| id.parse().map_err(|_| bad("host"))).transpose()?;
    let net = match host {
        None => None,
        Some(host) => {
            let record = loaded.host(&HostRef::Id(host)).ok_or_else(|| bad("host"))?;
            let slot = u32::try_from(count("slot")?).map_err(|_| bad("slot"))?;
            let net = NetAllocation::of(record.subnet, slot).ok_or_else(|| bad("slot"))?;
            let address: String = get(row, "address")?;
            if address != net.address.to_string() {
                return Err(bad("address"));
            }
            Some(net)
        }
    };
    let pending: Option<String> = get(row, "pending")?;
    let fingerprint: Vec<u8> = get(row, "fingerprint")?;
    Ok(VmIntent {
        id: id_text.parse().map_err(|_| bad("id"))?,
        name: get(row, "name")?,
        project: ProjectName::parse(&get::<String>(row, "project")?).map_err(|_| bad("project"))?,
        spec: Arc::new(VmSpec::from_json(&get::<String>(row, "spec")?).map_err(|_| bad("spec"))?),
        desired: Desired::parse(&get::<String>(row, "desired")?).ok_or_else(|| bad("desired"))?,
        host,
        net,
        pending: pending
            .map(|why| NoHost::parse(&why).ok_or_else(|| bad("pending")))
            .transpose()?,
        generation: Generation(count("generation")?),
        boot_number: count("boot_number")?,
        root_disk_number: count("root_disk_number")?,
        root_image_mib: count("root_image_mib")?,
        stop_grace: Duration::from_millis(count("stop_grace_ms")?),
        fingerprint: Fingerprint(fingerprint.try_into().map_err(|_| bad("fingerprint"))?),
        request_id: id_of("request_id")?
            .map(|id| id.parse().map_err(|_| bad("request_id")))
            .transpose()?,
        created_at: time("created_at")?,
        updated_at: time("updated_at")?,
        traceparent: get(row, "traceparent")?,
        actor: get(row, "actor")?,
    })
}

columns_of!("VMs");

fn corrupt(column: &'static str, row: &str) -> StoreError {
    StoreError::Corrupt { table: "vms", column, row: row.to_owned() }
}
