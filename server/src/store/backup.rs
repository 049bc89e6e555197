//! A copy of the database that stands for one moment, made beside a server that runs or does not.
//!
//! `VACUUM INTO` reads one snapshot of the database, its log included, and writes a whole database
//! that needs neither a log nor an index beside it. The copy also says when and by whom it was
//! made, and which CA the server had: [`super::restore()`] compares that one with what it finds.
//!
//! The copy comes into being under another name and takes its own when it is on the disk, so that
//! a backup of this name is a whole one. Writers are not held up; the log grows while it is made.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sqlx::{Connection as _, SqliteConnection};

use super::error::StoreError;
use super::{OpenError, connect};

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupNote {
    /// When it was made.
    pub made_at: Timestamp,
    /// The `banger-server` that made it.
    pub version: String,
    /// sha256 of the server's CA certificate, in hexadecimal digits; empty when it had none.
    pub ca_sha256: String,
}

/// A backup was not made; nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database can't be opened or read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is a file of this name.
    #[error("{} is there already and is not written over", path.display())]
    Exists { path: PathBuf },
    /// The copy can't be written.
    #[error("could not {what} {}", path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// SQLite can't make the copy.
    #[error(transparent)]
    Copy(StoreError),
}

/// Copies the database at `database` to `to`, which must not be there. Answers its size in bytes.
///
/// # Errors
/// Nothing is left at `to` then.
pub async fn backup(database: &Path, to: &Path, note: &BackupNote) -> Result<u64, BackupError> {
    if !database.exists() {
        return Err(OpenError::Missing { path: database.to_owned() }.into());
    }
    let file = |what, path: &Path| {
        let path = path.to_owned();
        move |source| BackupError::File { what, path, source }
    };
    if to.symlink_metadata().is_ok() {
        return Err(BackupError::Exists { path: to.to_owned() });
    }
    let partial = partial_of(to).ok_or_else(|| BackupError::Exists { path: to.to_owned() })?;
    let directory = partial.parent().unwrap_or(Path::new("."));
    // Left by one that was cut off.
    if partial.symlink_metadata().is_ok() {
        fs::remove_file(&partial).map_err(file("remove", &partial))?;
    }
    // For the owner only, as the database is; SQLite takes an empty file for none.
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial);
    drop(made.map_err(file("make", &partial))?);
    let written = write(database, &partial, note).await;
    let kept = written.and_then(|()| {
        let whole = fs::File::open(&partial).map_err(file("read", &partial))?;
        whole.sync_all().map_err(file("write", &partial))?;
        let size = whole.metadata().map_err(file("read", &partial))?.len();
        // A link does not replace what came there meanwhile, as a rename would.
        fs::hard_link(&partial, to).map_err(file("make", to))?;
        let directory = fs::File::open(directory).map_err(file("read", directory))?;
        directory.sync_all().map_err(file("write", to))?;
        Ok(size)
    });
    let removed = fs::remove_file(&partial);
    let size = kept?;
    removed.map_err(file("remove", &partial))?;
    Ok(size)
}

/// The file that a backup comes into being as; `None` where `to` has no name.
pub fn partial_of(to: &Path) -> Option<PathBuf> {
    let name = to.file_name()?;
    let directory = match to.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    };
    Some(directory.join(format!(".{}.partial", name.to_string_lossy())))
}

async fn write(database: &Path, to: &Path, note: &BackupNote) -> Result<(), BackupError> {
    let opened = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Open { path, source }
    };
    let mut live = connect(database).await.map_err(opened(database))?;
    let copied = sqlx::query("VACUUM INTO ?").bind(to.to_string_lossy()).execute(&mut live).await;
    copied.map_err(StoreError::during("copy the database")).map_err(BackupError::Copy)?;
    live.close()
        .await
        .map_err(StoreError::during("close the database"))
        .map_err(BackupError::Copy)?;
    let mut copy = connect(to).await.map_err(opened(to))?;
    let noted = write_note(&mut copy, note).await;
    noted.map_err(StoreError::during("write into the copy")).map_err(BackupError::Copy)?;
    super::close_whole(copy).await.map(drop).map_err(BackupError::Copy)
}

async fn write_note(copy: &mut SqliteConnection, note: &BackupNote) -> Result<(), sqlx::Error> {
    sqlx::query("DROP TABLE IF EXISTS backup_note").execute(&mut *copy).await?;
    sqlx::query(
        "CREATE TABLE backup_note (made_at INTEGER NOT NULL, version TEXT NOT NULL,
             ca_sha256 TEXT NOT NULL) STRICT",
    )
    .execute(&mut *copy)
    .await?;
    sqlx::query("INSERT INTO backup_note VALUES (?, ?, ?)")
        .bind(note.made_at.as_microsecond())
        .bind(&note.version)
        .bind(&note.ca_sha256)
        .execute(copy)
        .await
        .map(drop)
}

/// Takes out what a backup says of itself; `None` when it was copied by other means.
pub(super) async fn take_note(
    copy: &mut SqliteConnection,
) -> Result<Option<BackupNote>, StoreError> {
    let failed = || StoreError::during("read what the backup says of itself");
    let there: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_master WHERE name = 'backup_note'")
            .fetch_one(&mut *copy)
            .await
            .map_err(failed())?;
    if there == 0 {
        return Ok(None);
    }
    let row: Option<(i64, String, String)> =
        sqlx::query_as("SELECT made_at, version, ca_sha256 FROM backup_note")
            .fetch_optional(&mut *copy)
            .await
            .map_err(failed())?;
    sqlx::query("DROP TABLE backup_note").execute(copy).await.map_err(failed())?;
    let corrupt =
        || StoreError::Corrupt { table: "backup_note", column: "made_at", row: String::new() };
    row.map(|(made_at, version, ca_sha256)| {
        let made_at = Timestamp::from_microsecond(made_at).map_err(|_| corrupt())?;
        Ok(BackupNote { made_at, version, ca_sha256 })
    })
    .transpose()
}
