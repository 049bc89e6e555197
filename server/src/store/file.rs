//! The file of the database: who may have it open, how it is opened, and closed whole.

use std::fs;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, SqliteConnection};

use super::error::{OpenError, StoreError};

/// Takes the log into the database and closes it. False when somebody else reads the database: then
/// its log is needed still.
pub(super) async fn close_whole(mut connection: SqliteConnection) -> Result<bool, StoreError> {
    let failed = || StoreError::during("take the log into the database");
    let (busy, _, _): (i64, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)")
        .fetch_one(&mut connection)
        .await
        .map_err(failed())?;
    sqlx::Connection::close(connection).await.map_err(failed())?;
    Ok(busy == 0)
}

/// The lock that keeps a second server off the database; it goes with the file handle.
pub(super) fn lock(path: &Path) -> Result<fs::File, OpenError> {
    let failed = |source| OpenError::Lock { path: path.to_owned(), source };
    // SQLite makes its own files like this one: for the owner only.
    private_file(path).map_err(failed)?;
    let file = private_file(&path.with_extension("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

pub(super) fn private_file(path: &Path) -> std::io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    fs::OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        // After a burst the log shrinks again, to 64 MiB.
        .pragma("journal_size_limit", "67108864")
        .disable_statement_logging()
}

pub(super) async fn connect(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    options(path).connect().await
}
