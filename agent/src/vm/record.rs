//! `vm.json`: the last accepted assignment of one VM, and how far the host has come with it.
//!
//! Driven by the RPCs, which merge and must not answer before the file is on disk, and by the
//! VM's task, which notes progress and at last removes the directory. All of them write under one
//! lock, so that a delete and a late wish cannot pass each other. What can go wrong: the disk is
//! full (the wish is refused, nothing changes), or the file cannot be read at the start of the
//! agent (then the VM is kept, reported, and left alone until the server speaks).

use std::sync::Arc;

use banger_proto::ids::{Version, VmId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::assignment::{Assignment, Merge, Progress, Record, merge};
use crate::host::{Change, Files, HostError, HostResult};
use crate::naming::{self, VmNames};

/// The format written. A reader takes this one and older.
pub const FORMAT: u32 = 1;

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// There is a directory without a record: the agent died between making both, or somebody
    /// removed the file.
    #[error("there is no vm.json")]
    Missing,
    /// The file could not be read.
    #[error("vm.json cannot be read")]
    Io(#[source] HostError),
    /// The file is no valid JSON of the format.
    #[error("vm.json is corrupt")]
    Corrupt(#[source] serde_json::Error),
    /// It was written by a newer agent.
    #[error("vm.json has format {found}; this agent knows {FORMAT}")]
    NewerFormat {
        /// The format found.
        found: u32,
    },
    /// It names another VM than its directory.
    #[error("vm.json belongs to VM {found}")]
    Foreign {
        /// The VM it names.
        found: VmId,
    },
}

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    #[serde(flatten)]
    record: &'a Record,
}

#[derive(Deserialize)]
struct Header {
    format: u32,
}

/// The file's content.
#[must_use]
pub fn encode(record: &Record) -> Vec<u8> {
    serde_json::to_vec(&Written { format: FORMAT, record })
        .expect("a record holds no map with keys that are no text, the one thing that can fail")
}

/// Reads the file's content.
///
/// # Errors
/// See [`Unreadable`].
pub fn decode(vm: VmId, content: &[u8]) -> Result<Record, Unreadable> {
    let header: Header = serde_json::from_slice(content).map_err(Unreadable::Corrupt)?;
    if header.format > FORMAT {
        return Err(Unreadable::NewerFormat { found: header.format });
    }
    let record: Record = serde_json::from_slice(content).map_err(Unreadable::Corrupt)?;
    if record.assignment.vm == vm {
        Ok(record)
    } else {
        Err(Unreadable::Foreign { found: record.assignment.vm })
    }
}

/// Loads the record of a VM.
///
/// # Errors
/// See [`Unreadable`].
pub async fn load(files: &dyn Files, vm: VmId, names: &VmNames) -> Result<Record, Unreadable> {
    let content = files
        .read(&names.dir, &naming::part(naming::file::RECORD))
        .await
        .map_err(Unreadable::Io)?
        .ok_or(Unreadable::Missing)?;
    decode(vm, &content)
}

/// What was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is held, on disk.
    Held(Version),
    /// A newer one is held; nothing changed.
    Stale(Version),
    /// The VM was removed meanwhile; whoever wants it must begin anew.
    Gone,
}

/// One VM's record: one writer at a time, readers at any time.
#[derive(Debug)]
pub struct RecordCell {
    names: VmNames,
    writing: tokio::sync::Mutex<Life>,
    now: Mutex<Option<Arc<Record>>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Life {
    Held,
    Gone,
}

impl RecordCell {
    /// A cell with what was loaded, if anything.
    #[must_use]
    pub fn new(names: VmNames, record: Option<Record>) -> Self {
        Self {
            names,
            writing: tokio::sync::Mutex::new(Life::Held),
            now: Mutex::new(record.map(Arc::new)),
        }
    }

    /// What is held.
    #[must_use]
    pub fn get(&self) -> Option<Arc<Record>> {
        self.now.lock().clone()
    }

    /// Merges an assignment, and has it on disk before it answers, with the present boot of the
    /// host as the one in which the server spoke of the VM.
    ///
    /// # Errors
    /// The record could not be written; nothing changed.
    pub async fn merge(
        &self,
        files: &dyn Files,
        offered: Assignment,
        boot_id: &str,
    ) -> HostResult<Accepted> {
        let life = self.writing.lock().await;
        if *life == Life::Gone {
            return Ok(Accepted::Gone);
        }
        let held = self.get();
        let version = offered.version;
        let mut record = match (merge(held.as_deref(), offered), &held) {
            (Merge::Stale { seen }, _) => return Ok(Accepted::Stale(seen)),
            (Merge::Newer(record), _) => *record,
            (Merge::Same, Some(held)) => (**held).clone(),
            // Without a record everything is newer.
            (Merge::Same, None) => return Ok(Accepted::Held(version)),
        };
        boot_id.clone_into(&mut record.progress.told_in_boot);
        let new = match held {
            Some(_) => Change::AlreadySo,
            None => files.ensure_dir(&self.names.dir).await?,
        };
        if held.as_deref() != Some(&record)
            && let Err(error) = self.write(files, record).await
        {
            if new == Change::Made {
                // A directory without a record would be taken for a VM whose record is lost. One that
                // was there may hold disks, and stays.
                let _ = files.remove_dir(&self.names.dir).await;
            }
            return Err(error);
        }
        Ok(Accepted::Held(version))
    }

    /// Notes progress. The assignment stays what it is at that moment.
    ///
    /// # Errors
    /// The record could not be written; nothing changed.
    pub async fn note(
        &self,
        files: &dyn Files,
        change: impl FnOnce(&Assignment, &mut Progress) + Send,
    ) -> HostResult<Change> {
        let _life = self.writing.lock().await;
        let Some(held) = self.get() else { return Ok(Change::AlreadySo) };
        let mut record = (*held).clone();
        change(&record.assignment, &mut record.progress);
        if record == *held {
            return Ok(Change::AlreadySo);
        }
        self.write(files, record).await?;
        Ok(Change::Made)
    }

    /// Removes the VM's directory, if the assignment is still the one that asked for it. After
    /// that the cell accepts nothing.
    ///
    /// # Errors
    /// The directory could not be removed.
    pub async fn remove(&self, files: &dyn Files, version: Version) -> HostResult<Removed> {
        let mut life = self.writing.lock().await;
        if self.get().is_some_and(|record| record.assignment.version != version) {
            return Ok(Removed::NewerWish);
        }
        files.remove_dir(&self.names.dir).await?;
        *life = Life::Gone;
        Ok(Removed::Gone)
    }

    async fn write(&self, files: &dyn Files, record: Record) -> HostResult<()> {
        let content = encode(&record);
        files.replace(&self.names.dir, &naming::part(naming::file::RECORD), &content).await?;
        *self.now.lock() = Some(Arc::new(record));
        Ok(())
    }
}

/// What [`RecordCell::remove`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// Nothing of the VM's directory is left.
    Gone,
    /// A newer assignment came first; it was left alone.
    NewerWish,
}

#[cfg(test)]
mod tests;
