//! What is on the machine now: as which users processes run, and which interfaces there are. The
//! claim of an agent that does not run counts for as long as something of it is there.
//!
//! Read once a claim, in turn with all others. What can go wrong: it can't be read; then the agent
//! does not know whose guests run, and nobody gets an id.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::naming::{InstanceTag, Naming};

/// More than stands above the line `Uid:`; what comes below it, such as groups, has no bound.
const ENOUGH: u64 = 4096;

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

/// The user ids that the processes of a `/proc` run as: real, effective, saved and that for files.
/// The owner of a process's directory is the effective one alone. A process that ends meanwhile is
/// none; any other that can't be read may be somebody's guest, and is an error.
pub(super) fn running_uids(proc: &Path) -> io::Result<BTreeSet<u32>> {
    let mut uids = BTreeSet::new();
    for entry in fs::read_dir(proc)? {
        let name = entry?.file_name();
        if !name.as_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        match status(&proc.join(&name).join("status")) {
            Ok(status) => uids.extend(uids_in(&status).ok_or_else(|| {
                let pid = name.to_string_lossy();
                io::Error::new(io::ErrorKind::InvalidData, format!("process {pid} has no user"))
            })?),
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(uids)
}

fn status(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(ENOUGH).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(nix::libc::ENOENT | nix::libc::ESRCH))
}

/// The line `Uid:` of proc_pid_status(5). The name above it is the process's own to choose, any
/// bytes but a line's end; so nothing but this line is taken for text.
fn uids_in(status: &[u8]) -> Option<[u32; 4]> {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    let words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let uids: Option<Vec<u32>> = words.map(|word| word.parse().ok()).collect();
    uids?.try_into().ok()
}
