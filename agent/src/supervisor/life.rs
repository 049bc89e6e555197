//! Which life of the agent this is: a counter on disk, raised at every start, beside the boot id
//! of the host it ran in last.
//!
//! The counter is part of every inventory: with the process's start time it proves that a restart
//! of the agent did not restart a VM. The boot id says whether the host was rebooted since, for
//! the log; what a VM may do after a reboot is in its own record. A file that is garbled, or
//! missing beside others, begins the counter anew from the clock, so that it still grows. On a full
//! disk the file is written in its place: an agent that could not start there could not free it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file in the state directory.
pub const FILE: &str = "agent.json";

/// The present life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Counts the starts of the agent on this host.
    pub epoch: u64,
    /// The host was rebooted since the last life, or nobody knows.
    pub rebooted: bool,
}

/// The counter could not be written.
#[derive(Debug, thiserror::Error)]
#[error("could not write {}", path.display())]
pub struct LifeError {
    /// Which file.
    pub path: PathBuf,
    #[source]
    source: std::io::Error,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    epoch: u64,
    boot_id: String,
}

impl Life {
    /// Begins a life: reads the counter, raises it, and has it on disk. `now` is only used when
    /// there is no counter: seconds since 1970 are larger than any count of starts.
    ///
    /// # Errors
    /// The file could not be written. An agent that could not count would report an epoch it has
    /// reported before.
    pub fn begin(state_dir: &Path, boot_id: &str, now: jiff::Timestamp) -> Result<Self, LifeError> {
        let path = state_dir.join(FILE);
        let stored = std::fs::read(&path)
            .ok()
            .and_then(|content| serde_json::from_slice::<Stored>(&content).ok());
        let life = match &stored {
            Some(stored) => Self { epoch: stored.epoch + 1, rebooted: stored.boot_id != boot_id },
            None if has_entries(state_dir) => {
                tracing::warn!(path = %path.display(), "the agent's own record is lost");
                Self { epoch: u64::try_from(now.as_second()).unwrap_or(1), rebooted: true }
            }
            None => Self { epoch: 1, rebooted: true },
        };
        let stored = Stored { format: 1, epoch: life.epoch, boot_id: boot_id.to_owned() };
        replace(&path, &stored).map_err(|source| LifeError { path, source })?;
        Ok(life)
    }
}

/// Whether an earlier life of the agent left anything.
fn has_entries(state_dir: &Path) -> bool {
    let full = |dir: PathBuf| std::fs::read_dir(dir).is_ok_and(|mut list| list.next().is_some());
    state_dir.join(FILE).exists() || full(state_dir.join("vms"))
}

fn replace(path: &Path, stored: &Stored) -> std::io::Result<()> {
    let temporary = path.with_extension("json.new");
    let content = serde_json::to_vec(stored)?;
    let write = || {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&content)?;
        file.sync_all()
    };
    match write() {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
            // It may not be there.
            let _ = std::fs::remove_file(&temporary);
            return overwrite(path, content);
        }
        Err(error) => return Err(error),
    }
    std::fs::rename(&temporary, path)?;
    match path.parent() {
        Some(dir) => std::fs::File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// Writes over the content of a file, in the block it has: less sure than a rename, because a power
/// failure may leave half of it. Then the counter begins anew.
fn overwrite(path: &Path, mut content: Vec<u8>) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    // JSON may be followed by space; a shorter file would be one more step that can fail.
    content.resize(content.len().max(length), b' ');
    file.write_all(&content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
