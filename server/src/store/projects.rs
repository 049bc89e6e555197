//! The table of projects that were made.

use jiff::Timestamp;
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::batch::Batch;
use super::error::StoreError;
use super::table::Table;
use crate::model::ledger::Ledger;
use crate::model::project::{ProjectName, ProjectRecord};

impl Table for ProjectRecord {
    fn put(batch: &mut Batch, rows: &[&Self]) {
        let rows: Vec<_> = rows
            .iter()
            .map(|project| {
                let made = project.created_at.as_microsecond();
                json!([project.name.as_str(), made, project.created_by])
            })
            .collect();
        batch.add_rows(
            "INSERT INTO projects (name, created_at, created_by)
             SELECT value->>0, value->>1, value->>2 FROM json_each(?) WHERE true
             ON CONFLICT (name) DO NOTHING",
            serde_json::Value::from(rows).to_string(),
        );
    }

    /// The VMs that were deleted in it are nobody's from then on.
    fn remove(batch: &mut Batch, gone: &[(&Self, Timestamp)]) {
        let keys: Vec<_> = gone.iter().map(|(project, _)| project.name.as_str()).collect();
        let keys = json!(keys).to_string();
        batch.add_rows(
            "UPDATE deleted_vms SET project = ''
             WHERE project IN (SELECT value FROM json_each(?))",
            keys.clone(),
        );
        batch.add_rows("DELETE FROM projects WHERE name IN (SELECT value FROM json_each(?))", keys);
    }

    async fn load(connection: &mut SqliteConnection, _: &Ledger) -> Result<Vec<Self>, StoreError> {
        let rows = sqlx::query("SELECT name, created_at, created_by FROM projects")
            .fetch_all(connection)
            .await
            .map_err(StoreError::during("read projects"))?;
        rows.iter().map(read_row).collect()
    }
}

fn read_row(row: &SqliteRow) -> Result<ProjectRecord, StoreError> {
    let name: String = get(row, "name")?;
    let bad = |column| StoreError::Corrupt { table: "projects", column, row: name.clone() };
    Ok(ProjectRecord {
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
