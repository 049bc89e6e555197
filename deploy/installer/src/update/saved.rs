//! What an update replaces, kept until it is known to be good, and after that until the next one.
//!
//! `saving/` holds the programs (so that it is a release to update from), the other files by their
//! paths, the server's database, and a list. After a good update it becomes `previous/`. One that
//! is found at the start is of an update that did not come to its end: what it holds is older and
//! known to be good, and is not overwritten.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::SYSTEM_DIR;
use crate::disk::Disk;
use crate::laydown::{self, Laydown};
use crate::payload::Part;
use crate::plan::Action;

/// While an update is under way.
pub(super) const PLACE: &str = "/var/lib/banger-system/saving";

/// The files of a database: itself, its log, and the log's index.
const DATABASE: [&str; 3] = ["banger.db", "banger.db-wal", "banger.db-shm"];

/// The list.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Saved {
    /// Files that lie under `files`, by their paths.
    replaced: Vec<PathBuf>,
    /// Files that were not there.
    made: Vec<PathBuf>,
}

fn list() -> PathBuf {
    Path::new(PLACE).join("list.json")
}

/// Where the copy of a file lies.
fn copy_of(path: &Path) -> PathBuf {
    Path::new(PLACE).join("files").join(path.strip_prefix("/").unwrap_or(path))
}

fn database_copy(name: &str) -> PathBuf {
    Path::new(PLACE).join("database").join(name)
}

impl Saved {
    /// Saves what a plan changes, and all programs.
    pub(super) fn take(disk: &Disk, plan: &Laydown, parts: &[Part]) -> anyhow::Result<Self> {
        let mut saved: Self = match disk.read(&list())? {
            Some(text) => serde_json::from_slice(&text)
                .with_context(|| format!("{} cannot be understood", list().display()))?,
            None => Self::default(),
        };
        let save = |path: &Path, saved: &mut Self| -> anyhow::Result<()> {
            if saved.knows(path) {
                return Ok(());
            }
            if disk.copy(path, &copy_of(path))? {
                saved.replaced.push(path.to_owned());
            } else {
                saved.made.push(path.to_owned());
            }
            Ok(())
        };
        for line in plan.lines.iter().filter(|line| line.changes()) {
            match &line.action {
                Action::KeepBeside(path) => save(path, &mut saved)?,
                Action::ReplaceKeeping(old) => {
                    save(old, &mut saved)?;
                    save(&line.target.path, &mut saved)?;
                }
                Action::Lay | Action::Replace | Action::Drop => {
                    save(&line.target.path, &mut saved)?;
                }
                Action::Same | Action::Keep | Action::Refuse => {}
            }
        }
        for name in laydown::programs(parts) {
            let copy = Path::new(PLACE).join(name);
            if !disk.is_there(&copy)? {
                let path = laydown::program_path(name);
                // What was saved a moment ago need not be written twice.
                let saved = copy_of(&path);
                let source = if disk.is_there(&saved)? { saved } else { path };
                disk.link(&source, &copy)?;
            }
        }
        disk.write(&list(), &serde_json::to_vec_pretty(&saved)?, 0o600)?;
        Ok(saved)
    }

    fn knows(&self, path: &Path) -> bool {
        self.replaced.iter().chain(&self.made).any(|known| known == path)
    }

    pub(super) fn place(&self) -> &'static Path {
        Path::new(PLACE)
    }

    /// Copies the database of a server that is stopped.
    pub(super) fn copy_database(&self, disk: &Disk, state_dir: &Path) -> anyhow::Result<()> {
        if disk.read(&database_copy(DATABASE[0]))?.is_some() {
            return Ok(());
        }
        for name in DATABASE {
            disk.copy(&state_dir.join(name), &database_copy(name))?;
        }
        Ok(())
    }

    /// Puts every file back, and removes what was not there.
    pub(super) fn restore(&self, disk: &Disk) -> anyhow::Result<()> {
        for path in &self.replaced {
            disk.copy(&copy_of(path), path)?;
        }
        for path in &self.made {
            disk.remove(path)?;
        }
        Ok(())
    }

    pub(super) fn restore_database(&self, disk: &Disk, state_dir: &Path) -> anyhow::Result<()> {
        anyhow::ensure!(
            disk.read(&database_copy(DATABASE[0]))?.is_some(),
            "no copy of the database was made"
        );
        for name in DATABASE {
            if !disk.copy(&database_copy(name), &state_dir.join(name))? {
                disk.remove(&state_dir.join(name))?;
            }
        }
        Ok(())
    }

    /// Keeps it as what was before; where that is.
    pub(super) fn keep(self, disk: &Disk) -> anyhow::Result<PathBuf> {
        let previous = Path::new(SYSTEM_DIR).join("previous");
        disk.rename_tree(Path::new(PLACE), &previous)?;
        Ok(previous)
    }

    /// What was saved is back in its place.
    pub(super) fn forget(self, disk: &Disk) -> anyhow::Result<()> {
        disk.remove_tree(Path::new(PLACE)).map(drop)
    }
}
