//! The schema of a database: which one it has, and how it is brought up to date.

use std::path::Path;

use sqlx::SqliteConnection;
use sqlx::migrate::{MigrateError, Migrator};

use super::error::{OpenError, StoreError};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// The newest schema that this server knows.
pub(super) fn known() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// The schema of a database.
pub(super) async fn found(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let newest: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
        .fetch_one(connection)
        .await
        .map_err(StoreError::during("read the schema"))?;
    Ok(newest.unwrap_or(0))
}

/// Brings the schema up to date. One that a newer server made is refused, and left as it is.
pub(super) async fn migrate(path: &Path, writer: &mut SqliteConnection) -> Result<(), OpenError> {
    let known = known();
    MIGRATIONS.run_direct(None, writer, false).await.map_err(|source| {
        let path = path.to_owned();
        match source {
            MigrateError::VersionMissing(found) if found > known => {
                OpenError::NewerSchema { path, found, known }
            }
            source => OpenError::Migrate { path, source },
        }
    })
}
