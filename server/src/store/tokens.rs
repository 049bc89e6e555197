//! The table of callers' tokens. A secret is never stored, only its sha256.

use jiff::Timestamp;
use serde_json::json;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::batch::Batch;
use super::columns::columns_of;
use super::error::StoreError;
use super::table::Table;
use crate::model::caller::Rights;
use crate::model::ledger::Ledger;
use crate::model::project::ProjectName;
use crate::model::token::TokenRecord;

impl Table for TokenRecord {
    fn put(batch: &mut Batch, rows: &[&Self]) {
        let rows: Vec<_> = rows
            .iter()
            .map(|token| {
                json!([
                    token.id,
                    hex::encode(token.sha256),
                    token.name,
                    token.rights.role(),
                    token.created_by,
                    token.created_at.as_microsecond(),
                    token.expires_at.as_microsecond(),
                    token.last_used_at.map(Timestamp::as_microsecond),
                    token.created_by_token,
                    token.goes_with,
                    token.rights.project().map_or("", ProjectName::as_str),
                ])
            })
            .collect();
        batch.add_rows(
            "INSERT INTO tokens (id, sha256, name, role, created_by, created_at, expires_at,
                 last_used_at, created_by_token, goes_with, project)
             SELECT value->>0, unhex(value->>1), value->>2, value->>3, value->>4, value->>5,
                 value->>6, value->>7, value->>8, value->>9, value->>10
             FROM json_each(?) WHERE true
             ON CONFLICT (id) DO UPDATE SET last_used_at = excluded.last_used_at,
                 goes_with = excluded.goes_with",
            serde_json::Value::from(rows).to_string(),
        );
    }

    fn remove(batch: &mut Batch, gone: &[(&Self, Timestamp)]) {
        let keys: Vec<_> = gone.iter().map(|(token, _)| &token.id).collect();
        batch.add_rows(
            "DELETE FROM tokens WHERE id IN (SELECT value FROM json_each(?))",
            json!(keys).to_string(),
        );
    }

    async fn load(connection: &mut SqliteConnection, _: &Ledger) -> Result<Vec<Self>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, sha256, name, role, created_by, created_at, expires_at, last_used_at,
                 created_by_token, goes_with, project
             FROM tokens",
        )
        .fetch_all(connection)
        .await
        .map_err(StoreError::during("read tokens"))?;
        rows.iter().map(read_row).collect()
    }
}

fn read_row(row: &SqliteRow) -> Result<TokenRecord, StoreError> {
    let id: String = get(row, "id")?;
    let bad = |column| StoreError::Corrupt { table: "tokens", column, row: id.clone() };
    let time = |column, at: i64| Timestamp::from_microsecond(at).map_err(|_| bad(column));
    Ok(TokenRecord {
        sha256: get::<Vec<u8>>(row, "sha256")?.try_into().map_err(|_| bad("sha256"))?,
        name: get(row, "name")?,
        rights: rights_of(&get::<String>(row, "project")?, &get::<String>(row, "role")?)
            .ok_or_else(|| bad("role"))?,
        created_by: get(row, "created_by")?,
        created_by_token: get(row, "created_by_token")?,
        goes_with: get(row, "goes_with")?,
        created_at: time("created_at", get(row, "created_at")?)?,
        expires_at: time("expires_at", get(row, "expires_at")?)?,
        last_used_at: get::<Option<i64>>(row, "last_used_at")?
            .map(|at| time("last_used_at", at))
            .transpose()?,
        id,
    })
}

/// What somebody is: the project is empty where it is the whole fleet.
fn rights_of(project: &str, role: &str) -> Option<Rights> {
    if project.is_empty() {
        return role.parse().map(Rights::Fleet).ok();
    }
    let project = ProjectName::parse(project).ok()?;
    role.parse().map(|role| Rights::Project(project, role)).ok()
}

columns_of!("tokens");
