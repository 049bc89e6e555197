//! `vm.json`: the last accepted assignment of one VM, and how far the host has come with it.
//!
//! Driven by the RPCs, which merge and must not answer before the file is on disk, and by the VM's
//! task, which notes progress and at last removes the directory. All of them write under one lock,
//! so that a delete and a late assignment cannot pass each other; what comes later still is held
//! against the [stale guard](super::stale). What can go wrong: the disk is full (the assignment is
//! refused, nothing changes), the directory is gone (it is made again, because what is held is what
//! the server was told), or the file cannot be read at the start of the agent (then the VM is kept,
//! reported, and left alone until the server speaks).

use std::sync::Arc;

use banger_proto::ids::{Version, VmId};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::stale::StaleGuard;
use crate::assignment::{Assignment, Merge, Power, Progress, Record, merge};
use crate::host::{Change, Files, HostError, HostErrorKind, HostResult};
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
    stale: StaleGuard,
    writing: tokio::sync::Mutex<Keeping>,
    now: Mutex<Option<Arc<Record>>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Keeping {
    Held,
    Gone,
}

impl RecordCell {
    /// A cell with what was loaded, if anything.
    #[must_use]
    pub fn new(names: VmNames, record: Option<Record>) -> Self {
        Self {
            names,
            stale: StaleGuard::default(),
            writing: tokio::sync::Mutex::new(Keeping::Held),
            now: Mutex::new(record.map(Arc::new)),
        }
    }

    /// The same behind a guard: an assignment older than the VM's end, or of an older epoch, is
    /// refused.
    #[must_use]
    pub fn guarded_by(mut self, stale: StaleGuard) -> Self {
        self.stale = stale;
        self
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
        if *life == Keeping::Gone {
            return Ok(Accepted::Gone);
        }
        let held = self.get();
        let version = offered.version;
        let stale = match (&held, offered.power) {
            (None, Power::Running | Power::Paused | Power::Stopped) => {
                self.stale.refuses(offered.vm, version)
            }
            (Some(_), _) | (None, Power::Absent) => self.stale.refuses_epoch(version),
        };
        if let Some(seen) = stale {
            return Ok(Accepted::Stale(seen));
        }
        self.raise(version).await?;
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
                // A directory without a record would be taken for a VM whose record is lost. One
                // that was there may hold disks, and stays.
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

    /// Makes sure, where nothing of a VM is held, that nothing older than this version will be.
    ///
    /// # Errors
    /// It could not be written; nothing changed.
    pub async fn stay_absent(
        &self,
        vm: VmId,
        version: Version,
        now: Timestamp,
    ) -> HostResult<StayAbsent> {
        let _life = self.writing.lock().await;
        if self.get().is_some() {
            return Ok(StayAbsent::Held);
        }
        if let Some(seen) = self.stale.refuses_epoch(version) {
            return Ok(StayAbsent::Stale(seen));
        }
        self.raise(version).await?;
        self.bury(vm, version, now).await.map(|()| StayAbsent::Absent)
    }

    /// An older epoch is refused from now on, for every VM.
    async fn raise(&self, version: Version) -> HostResult<()> {
        let raised = self.stale.raise(version.epoch).await;
        raised.map_err(|error| HostError::io("keep the epoch of the server", version.epoch, error))
    }

    async fn bury(&self, vm: VmId, version: Version, now: Timestamp) -> HostResult<()> {
        let buried = self.stale.bury(vm, version, now).await;
        buried.map_err(|error| HostError::io("keep the version of the deleted VM", vm, error))
    }

    /// Removes the VM's directory, if the assignment is still the one that asked for it. After
    /// that the cell accepts nothing, and a later one nothing that is older.
    ///
    /// # Errors
    /// The directory could not be removed, or the version not kept: then it was not tried.
    pub async fn remove(
        &self,
        files: &dyn Files,
        version: Version,
        now: Timestamp,
    ) -> HostResult<DirRemoval> {
        let mut life = self.writing.lock().await;
        if let Some(record) = self.get() {
            if record.assignment.version != version {
                return Ok(DirRemoval::NewerAssignment);
            }
            self.bury(record.assignment.vm, version, now).await?;
        }
        files.remove_dir(&self.names.dir).await?;
        *life = Keeping::Gone;
        Ok(DirRemoval::Gone)
    }

    async fn write(&self, files: &dyn Files, record: Record) -> HostResult<()> {
        let (dir, file) = (&self.names.dir, naming::part(naming::file::RECORD));
        let content = encode(&record);
        match files.replace(dir, &file, &content).await {
            // What is held outlives its directory: somebody removed it, or an agent that is gone
            // did, whose last call the kernel finished late.
            Err(error) if error.kind == HostErrorKind::NotFound => {
                files.ensure_dir(dir).await?;
                files.replace(dir, &file, &content).await?;
            }
            replaced => drop(replaced?),
        }
        *self.now.lock() = Some(Arc::new(record));
        Ok(())
    }
}

/// What [`RecordCell::stay_absent`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StayAbsent {
    /// Nothing is held, and nothing older will be.
    Absent,
    /// Something is held by now.
    Held,
    /// A server with a newer store has spoken; nothing changed.
    Stale(Version),
}

/// What [`RecordCell::remove`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirRemoval {
    /// Nothing of the VM's directory is left.
    Gone,
    /// A newer assignment came first; it was left alone.
    NewerAssignment,
}

#[cfg(test)]
mod tests;
