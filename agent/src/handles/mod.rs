//! Hints to the kernel objects of one VM.
//!
//! The kernel is the truth; these only save looking for it. Every name among them is a function
//! of the VM's id anyway; what a hint adds are the numbers the kernel gave out (a loop device, a
//! pid) and when. They live with the VM's task, and beside it in `handles.json`, written *before*
//! an object is made: the file may name a thing that does not exist, never the reverse.
//!
//! [`mod@file`] reads and writes `handles.json`; missing or corrupt it is a warning. What follows
//! from the hints at the start of the agent is decided in `vm`.

pub mod file;

use banger_proto::ids::VmId;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::host::{BackingFile, DmName, FileId, LoopDevice, Pid, TapName};

/// One process, in one boot of one machine. A pid alone means nothing: it is recycled.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Its id.
    pub pid: Pid,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
    /// The boot the ticks are counted from.
    pub boot_id: String,
}

/// The VMM process of a VM, and what must be known of it should it be found dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessHandle {
    /// Which process.
    pub identity: ProcessIdentity,
    /// We began to end it: its end is no crash. Written before the first signal.
    pub ending: bool,
    /// When an agent started it; `None` when it was found.
    pub started_at: Option<jiff::Timestamp>,
    /// The user that it was started as, and is for as long as it lives, whatever ids the agent
    /// gives to others by now. `None` when it was found, until the kernel has said it.
    #[serde(default)]
    pub user: Option<u32>,
}

/// The loop device of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopHandle {
    /// What it stands on.
    pub file: BackingFile,
    /// The device and the identity of the file behind it, once attached.
    pub attached: Option<(LoopDevice, FileId)>,
}

/// The kernel objects of one VM, as far as known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VmHandles {
    /// The VMM process.
    pub process: Option<ProcessHandle>,
    /// The tap.
    pub tap: Option<TapName>,
    /// The loop device of the root image; shared with other VMs.
    pub base_loop: Option<LoopHandle>,
    /// The loop device of the copy-on-write store.
    pub cow_loop: Option<LoopHandle>,
    /// The root disk.
    pub snapshot: Option<DmName>,
    /// How often the process was started again after it ended by itself.
    pub restart_count: u32,
}

/// The handles of one VM: one owner, many readers. Cheap to read from any thread.
#[derive(Debug)]
pub struct HandleCache {
    vm: VmId,
    now: Mutex<Entry>,
}

#[derive(Debug)]
struct Entry {
    handles: VmHandles,
    /// Counts changes, so that a writer of the file knows whether it has the last one.
    change: u64,
    written: u64,
}

impl HandleCache {
    /// A cache seeded with what is known; what came from the file needs no writing back.
    #[must_use]
    pub fn new(vm: VmId, handles: VmHandles) -> Self {
        Self { vm, now: Mutex::new(Entry { handles, change: 0, written: 0 }) }
    }

    /// Whose they are.
    #[must_use]
    pub const fn vm(&self) -> VmId {
        self.vm
    }

    /// What is known now.
    #[must_use]
    pub fn get(&self) -> VmHandles {
        self.now.lock().handles.clone()
    }

    /// Changes them, and notes that the file is behind if that changed anything.
    pub fn update(&self, change: impl FnOnce(&mut VmHandles)) {
        let mut entry = self.now.lock();
        let mut handles = entry.handles.clone();
        change(&mut handles);
        if handles != entry.handles {
            entry.handles = handles;
            entry.change += 1;
        }
    }

    /// What the file does not have yet, with the number to give back to [`HandleCache::written`].
    #[must_use]
    pub fn unwritten(&self) -> Option<(VmHandles, u64)> {
        let entry = self.now.lock();
        (entry.change > entry.written).then(|| (entry.handles.clone(), entry.change))
    }

    /// The file has everything up to a change.
    pub fn written(&self, change: u64) {
        let mut entry = self.now.lock();
        entry.written = entry.written.max(change);
    }
}
