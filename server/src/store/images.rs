//! The table of images: names, and the digests of the contents they stand for.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::batch::Batch;
use super::error::StoreError;
use crate::model::image::{ImageRecord, StoredKind};

/// Writes images, new or standing for other content.
pub(super) fn put(batch: &mut Batch, images: &[Arc<ImageRecord>]) {
    if images.is_empty() {
        return;
    }
    let rows: Vec<_> = images
        .iter()
        .map(|image| {
            json!([
                image.name,
                image.sha256,
                image.size_bytes,
                image.kind.as_str(),
                image.origin,
                u8::from(image.guest_agent),
                json!(image.notes).to_string(),
                image.created_at.as_microsecond(),
                image.created_by,
            ])
        })
        .collect();
    batch.add_rows(
        "INSERT INTO images (name, sha256, size_bytes, kind, origin, guest_agent, notes,
             created_at, created_by)
         SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6,
             value->>7, value->>8
         FROM json_each(?) WHERE true
         ON CONFLICT (name) DO UPDATE SET sha256 = excluded.sha256,
             size_bytes = excluded.size_bytes, kind = excluded.kind, origin = excluded.origin,
             guest_agent = excluded.guest_agent, notes = excluded.notes,
             created_at = excluded.created_at, created_by = excluded.created_by",
        serde_json::Value::from(rows).to_string(),
    );
}

/// Removes images by name.
pub(super) fn remove(batch: &mut Batch, names: &[String]) {
    if names.is_empty() {
        return;
    }
    batch.add_rows(
        "DELETE FROM images WHERE name IN (SELECT value FROM json_each(?))",
        json!(names).to_string(),
    );
}

/// Every image.
pub(super) async fn read_all(
    connection: &mut SqliteConnection,
) -> Result<Vec<ImageRecord>, StoreError> {
    let rows = sqlx::query(
        "SELECT name, sha256, size_bytes, kind, origin, guest_agent, notes, created_at, created_by
         FROM images ORDER BY name",
    )
    .fetch_all(connection)
    .await
    .map_err(StoreError::during("read images"))?;
    rows.iter().map(read_row).collect()
}

fn read_row(row: &SqliteRow) -> Result<ImageRecord, StoreError> {
    let name: String = get(row, "name")?;
    let bad = |column| StoreError::Corrupt { table: "images", column, row: name.clone() };
    Ok(ImageRecord {
        sha256: get(row, "sha256")?,
        size_bytes: u64::try_from(get::<i64>(row, "size_bytes")?).map_err(|_| bad("size_bytes"))?,
        kind: StoredKind::of(&get::<String>(row, "kind")?).ok_or_else(|| bad("kind"))?,
        origin: get(row, "origin")?,
        guest_agent: get::<i64>(row, "guest_agent")? != 0,
        notes: serde_json::from_str(&get::<String>(row, "notes")?).map_err(|_| bad("notes"))?,
        created_at: Timestamp::from_microsecond(get(row, "created_at")?)
            .map_err(|_| bad("created_at"))?,
        created_by: get(row, "created_by")?,
        name,
    })
}

fn get<'r, T>(row: &'r SqliteRow, column: &'static str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(StoreError::during("read a column of images"))
}
