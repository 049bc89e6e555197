//! The table of images: names, and the digests of the contents they stand for.

use jiff::Timestamp;
use serde_json::json;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::batch::Batch;
use super::columns::columns_of;
use super::error::StoreError;
use super::table::Table;
use crate::model::image::{Boot, ImageRecord, StoredKind};
use crate::model::ledger::Ledger;
use crate::model::project::ProjectName;

impl Table for ImageRecord {
    fn put(batch: &mut Batch, rows: &[&Self]) {
        let rows: Vec<_> = rows
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
                    image.boot.as_ref().map(boot_json),
                    image.project.as_str(),
                    u8::from(image.public),
                ])
            })
            .collect();
        batch.add_rows(
            "INSERT INTO images (name, sha256, size_bytes, kind, origin, guest_agent, notes,
                 created_at, created_by, boot, project, public)
             SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6,
                 value->>7, value->>8, value->>9, value->>10, value->>11
             FROM json_each(?) WHERE true
             ON CONFLICT (project, name) DO UPDATE SET sha256 = excluded.sha256,
                 size_bytes = excluded.size_bytes, kind = excluded.kind, origin = excluded.origin,
                 guest_agent = excluded.guest_agent, notes = excluded.notes,
                 created_at = excluded.created_at, created_by = excluded.created_by,
                 boot = excluded.boot, public = excluded.public",
            serde_json::Value::from(rows).to_string(),
        );
    }

    fn remove(batch: &mut Batch, gone: &[(&Self, Timestamp)]) {
        let keys = gone.iter().map(|(image, _)| json!([image.project.as_str(), image.name]));
        let keys: Vec<_> = keys.collect();
        batch.add_rows(
            "DELETE FROM images WHERE (project, name) IN
                 (SELECT value->>0, value->>1 FROM json_each(?))",
            json!(keys).to_string(),
        );
    }

    async fn load(connection: &mut SqliteConnection, _: &Ledger) -> Result<Vec<Self>, StoreError> {
        let rows = sqlx::query(
            "SELECT name, sha256, size_bytes, kind, origin, guest_agent, notes, created_at, created_by,
                 boot, project, public
             FROM images ORDER BY project, name",
        )
        .fetch_all(connection)
        .await
        .map_err(StoreError::during("read images"))?;
        rows.iter().map(read_row).collect()
    }
}

fn read_row(row: &SqliteRow) -> Result<ImageRecord, StoreError> {
    let name: String = get(row, "name")?;
    let bad = |column| StoreError::Corrupt { table: "images", column, row: name.clone() };
    Ok(ImageRecord {
        project: ProjectName::parse(&get::<String>(row, "project")?).map_err(|_| bad("project"))?,
        public: get::<i64>(row, "public")? != 0,
        sha256: get(row, "sha256")?,
        size_bytes: u64::try_from(get::<i64>(row, "size_bytes")?).map_err(|_| bad("size_bytes"))?,
        kind: StoredKind::of(&get::<String>(row, "kind")?).ok_or_else(|| bad("kind"))?,
        origin: get(row, "origin")?,
        guest_agent: get::<i64>(row, "guest_agent")? != 0,
        notes: serde_json::from_str(&get::<String>(row, "notes")?).map_err(|_| bad("notes"))?,
        created_at: Timestamp::from_microsecond(get(row, "created_at")?)
            .map_err(|_| bad("created_at"))?,
        created_by: get(row, "created_by")?,
        boot: get::<Option<String>>(row, "boot")?
            .map(|boot| boot_of(&boot).ok_or_else(|| bad("boot")))
            .transpose()?,
        name,
    })
}

columns_of!("images");

/// What an image is booted with, as it is stored.
fn boot_json(boot: &Boot) -> String {
    let Boot { kernel, initrd, boot_args } = boot;
    json!({"kernel": kernel, "initrd": initrd, "boot_args": boot_args}).to_string()
}

fn boot_of(text: &str) -> Option<Boot> {
    let stored: serde_json::Value = serde_json::from_str(text).ok()?;
    let text = |key: &str| stored.get(key)?.as_str().map(str::to_owned);
    let (kernel, boot_args) = (text("kernel")?, text("boot_args")?);
    Some(Boot { kernel, initrd: text("initrd"), boot_args })
}
