//! What is on the machine now: as whom processes run, and which interfaces there are. By that a claim
//! counts whose agent does not run.
//!
//! Read once a claim, in turn with all others. What can go wrong: it can't be read; then it isn't known
//! whose guests run, and nobody gets an id.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use procfs::ProcError;

use crate::naming::{InstanceTag, Naming};

/// What is on the machine now.
#[derive(Debug, Clone, Default)]
pub struct MachineNow {
    /// The user ids that processes run as.
    pub(super) uids: BTreeSet<u32>,
    /// The names of all interfaces.
    pub(super) interfaces: Vec<String>,
}

impl MachineNow {
    /// Looks at this machine.
    ///
    /// # Errors
    /// A part of it can't be read.
    pub fn read() -> io::Result<Self> {
        let interfaces = nix::net::if_::if_nameindex()?;
        let interfaces = interfaces.iter().map(|one| one.name().to_string_lossy().into_owned());
        Ok(Self { uids: running_uids(Path::new("/proc"))?, interfaces: interfaces.collect() })
    }

    /// An interface of an instance: its bridge, or a tap.
    pub(super) fn interface_of(&self, tag: InstanceTag) -> Option<&str> {
        let naming = Naming::new(tag);
        let (bridge, taps) = (naming.bridge(), naming.tap_prefix());
        let is_its = |name: &&String| **name == bridge.as_str() || name.starts_with(&taps);
        self.interfaces.iter().find(is_its).map(String::as_str)
    }
}

/// The user ids that the processes of a `/proc` run as: real, effective, saved and that for files. The
/// owner of a process's directory is the effective one alone. A process that ends meanwhile is none; any
/// other that can't be read may be somebody's guest, and is an error.
pub(super) fn running_uids(proc: &Path) -> io::Result<BTreeSet<u32>> {
    let mut uids = BTreeSet::new();
    for process in procfs::process::all_processes_with_root(proc).map_err(io::Error::other)? {
        match process.and_then(|process| process.status()) {
            Ok(status) => uids.extend([status.ruid, status.euid, status.suid, status.fuid]),
            Err(ProcError::NotFound(_)) => {}
            Err(error) => return Err(io::Error::other(error)),
        }
    }
    Ok(uids)
}
