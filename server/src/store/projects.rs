//! The table of projects that were made.

use jiff::Timestamp;
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::batch::Batch;
use super::error::StoreError;
use super::meta::to_sql;
use super::table::Table;
use crate::model::ledger::Ledger;
use crate::model::project::{ProjectName, ProjectRecord, Quota};

impl Table for ProjectRecord {
    fn put(batch: &mut Batch, rows: &[&Self]) {
        let rows: Vec<_> = rows
            .iter()
            .map(|project| {
                let made = project.created_at.as_microsecond();
                let quota = project.quota.numbers().map(to_sql);
                json!([project.name.as_str(), made, project.created_by, quota])
            })
            .collect();
        batch.add_rows(
            "INSERT INTO projects (name, created_at, created_by, quota_vms, quota_vcpus,
                 quota_memory_mib, quota_disk_mib, quota_image_mib, quota_watches, quota_streams,
                 quota_calls_per_second)
             SELECT value->>0, value->>1, value->>2, value->>'$[3][0]', value->>'$[3][1]',
                 value->>'$[3][2]', value->>'$[3][3]', value->>'$[3][4]', value->>'$[3][5]',
                 value->>'$[3][6]', value->>'$[3][7]'
             FROM json_each(?) WHERE true
             ON CONFLICT (name) DO UPDATE SET quota_vms = excluded.quota_vms,
                 quota_vcpus = excluded.quota_vcpus,
                 quota_memory_mib = excluded.quota_memory_mib,
                 quota_disk_mib = excluded.quota_disk_mib,
                 quota_image_mib = excluded.quota_image_mib,
                 quota_watches = excluded.quota_watches,
                 quota_streams = excluded.quota_streams,
                 quota_calls_per_second = excluded.quota_calls_per_second",
            serde_json::Value::from(rows).to_string(),
        );
    }

    /// The VMs that were deleted in it are nobody's from then on, nor is what was asked for in it.
    fn remove(batch: &mut Batch, gone: &[(&Self, Timestamp)]) {
        let keys: Vec<_> = gone.iter().map(|(project, _)| project.name.as_str()).collect();
        let keys = json!(keys).to_string();
        batch.add_rows(
            "UPDATE deleted_vms SET project = ''
             WHERE project IN (SELECT value FROM json_each(?))",
            keys.clone(),
        );
        batch.add_rows(
            "UPDATE requests SET project = '', party = ''
             WHERE project <> '' AND project IN (SELECT value FROM json_each(?))",
            keys.clone(),
        );
        batch.add_rows("DELETE FROM projects WHERE name IN (SELECT value FROM json_each(?))", keys);
    }

    async fn load(connection: &mut SqliteConnection, _: &Ledger) -> Result<Vec<Self>, StoreError> {
        let rows = sqlx::query(
            "SELECT name, created_at, created_by, quota_vms, quota_vcpus, quota_memory_mib,
                 quota_disk_mib, quota_image_mib, quota_watches, quota_streams,
                 quota_calls_per_second
             FROM projects",
        )
        .fetch_all(connection)
        .await
        .map_err(StoreError::during("read projects"))?;
        rows.iter().map(read_row).collect()
    }
}

fn read_row(row: &SqliteRow) -> Result<ProjectRecord, StoreError> {
    let name: String = get(row, "name")?;
    let bad = |column| StoreError::Corrupt { table: "projects", column, row: name.clone() };
    let number = |column: &'static str| -> Result<u64, StoreError> {
        u64::try_from(get::<i64>(row, column)?).map_err(|_| bad(column))
    };
    Ok(ProjectRecord {
        quota: Quota {
            vms: number("quota_vms")?,
            vcpus: number("quota_vcpus")?,
            memory_mib: number("quota_memory_mib")?,
            disk_mib: number("quota_disk_mib")?,
            image_mib: number("quota_image_mib")?,
            watches: number("quota_watches")?,
            streams: number("quota_streams")?,
            calls_per_second: number("quota_calls_per_second")?,
        },
        created_at: Timestamp::from_microsecond(get(row, "created_at")?)
            .map_err(|_| bad("created_at"))?,
        created_by: get(row, "created_by")?,
        name: ProjectName::parse(&name).map_err(|_| bad("name"))?,
    })
}

fn get<'r, T>(row: &'r SqliteRow, column: &'static str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(StoreError::during("read a column of projects"))
}
