//! What `banger system` laid down here: `installed.json`, so that the next command knows its own
//! files from somebody else's.
//!
//! Written before the first file of a first install, so that one that ends half way can be repeated
//! and undone; later when everything is in place. Lost, nothing breaks: files that are as the
//! release has them are ours again, others count as changed by somebody and are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::SYSTEM_DIR;
use super::disk::Disk;
use super::payload::Part;

/// The version of this record.
const FORMAT: u32 = 1;

/// The whole of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) format: u32,
    /// The release, such as "0.1.0".
    pub(super) release: String,
    pub(super) parts: Vec<Part>,
    /// Path and SHA-256 of every file that was laid down, as it was.
    pub(super) files: BTreeMap<PathBuf, String>,
    /// New defaults put beside changed configuration, and changed files put out of the way.
    #[serde(default)]
    pub(super) beside: Vec<PathBuf>,
    /// Directories that were made for all of this: those that are empty go with it.
    #[serde(default)]
    pub(super) directories: BTreeSet<PathBuf>,
}

impl Record {
    pub(super) fn path() -> PathBuf {
        Path::new(SYSTEM_DIR).join("installed.json")
    }

    /// Of a release that is to be laid down.
    pub(super) fn new(release: &str, parts: &[Part]) -> Self {
        Self {
            format: FORMAT,
            release: release.to_owned(),
            parts: parts.to_vec(),
            ..Self::default()
        }
    }

    /// What was laid down; `None` when nothing ever was.
    pub(super) fn load(disk: &Disk) -> anyhow::Result<Option<Self>> {
        let path = Self::path();
        let Some(text) = disk.read(&path)? else { return Ok(None) };
        let record: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{} cannot be understood", path.display()))?;
        if record.format > FORMAT {
            anyhow::bail!(
                "{} was written by a newer `banger` (format {})",
                path.display(),
                record.format
            );
        }
        Ok(Some(record))
    }

    pub(super) fn save(&self, disk: &Disk) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec_pretty(self).context("the record cannot be written")?;
        text.push(b'\n');
        disk.write(&Self::path(), &text, 0o600)
    }
}
