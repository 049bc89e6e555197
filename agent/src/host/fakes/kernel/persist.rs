//! The fake machine in a file, so that it outlives a simulated agent.
//!
//! Driven by `run --simulate`. A thread of its own writes the whole state, soon after a change and
//! at most every 200 ms (less often when writing takes long), as one snapshot by way of a temporary
//! file and a rename: the parts always fit together. What can go wrong: the agent is killed before
//! the last moments are written, the file is garbled (refused), or the disk is full (warned about,
//! tried again at the next change).
//!
//! A machine opened with [`FakeKernel::open_durable`] is saved before a change is seen, as a real
//! one is where it is: then nothing of it is lost when the agent is killed, at whatever moment.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::state::{FORMAT, State};
use crate::clock::Clock;
use crate::host::fakes::kernel::{FakeKernel, FakeMachine, unix_seconds};

/// Between two writes at least this.
const AT_MOST_EVERY: Duration = Duration::from_millis(200);

/// Between two writes at least this many times as long as one takes.
const SHARE: u32 = 10;

/// Tells the writing thread of changes.
pub(crate) struct Saver {
    shared: Arc<SaverShared>,
    path: PathBuf,
    // One write at a time, so that an older snapshot never replaces a newer one.
    writing: Mutex<()>,
    /// Each change is saved before it is seen.
    durable: bool,
    changes: AtomicU64,
    saved: AtomicU64,
}

#[derive(Default)]
struct SaverShared {
    pending: Mutex<Pending>,
    wake: Condvar,
}

#[derive(Default)]
struct Pending {
    dirty: bool,
    stopped: bool,
}

impl Saver {
    /// Something of this machine changed.
    pub(crate) fn changed(&self, machine: &FakeMachine) {
        let change = self.changes.fetch_add(1, Ordering::AcqRel) + 1;
        self.mark();
        if self.durable
            && let Err(error) = save_change(machine, self, change)
        {
            tracing::error!(%error, "a change of the simulated machine was not saved");
        }
    }

    fn mark(&self) {
        let mut pending = self.shared.pending.lock();
        if !pending.dirty {
            pending.dirty = true;
            self.shared.wake.notify_one();
        }
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        self.shared.pending.lock().stopped = true;
        self.shared.wake.notify_one();
    }
}

impl FakeKernel {
    /// The machine of this file, or a new one when there is none; its changes are saved there
    /// from now on. Opening begins a new life of the agent.
    ///
    /// # Errors
    /// The file cannot be read or is no saved machine; no random number is to be had.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_with(path, false)
    }

    /// As [`Self::open`]; every change is in the file before the verb that made it answers. Slow,
    /// and worth it where the process is killed to see what comes after.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub fn open_durable(path: &Path) -> io::Result<Self> {
        Self::open_with(path, true)
    }

    fn open_with(path: &Path, durable: bool) -> io::Result<Self> {
        let clock = Clock::system();
        let mut state = match std::fs::read(path) {
            Ok(content) => decode(&content)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut machine = [0; 8];
                // Other simulated machines must not have the same boot id.
                getrandom::fill(&mut machine).map_err(io::Error::other)?;
                State::new(u64::from_le_bytes(machine) >> 1, unix_seconds(&clock))
            }
            Err(error) => return Err(error),
        };
        state.new_agent();
        let kernel = Self::of(state, clock, false);
        let saver = Saver {
            shared: Arc::default(),
            path: path.to_owned(),
            writing: Mutex::new(()),
            durable,
            changes: AtomicU64::new(0),
            saved: AtomicU64::new(0),
        };
        let shared = saver.shared.clone();
        // A new kernel has no saver yet.
        let _ = kernel.inner.saver.set(saver);
        kernel.save()?;
        let weak = Arc::downgrade(&kernel.inner);
        std::thread::Builder::new()
            .name("simulated-kernel".to_owned())
            .spawn(move || keep_saved(&weak, &shared))?;
        Ok(kernel)
    }

    /// Writes the state now; nothing for a machine without a file. Blocks while it does: call it
    /// at the end of the agent.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self) -> io::Result<()> {
        save(&self.inner)
    }
}

/// What the thread had no time for.
impl Drop for FakeMachine {
    fn drop(&mut self) {
        let dirty = self.saver.get().is_some_and(|saver| saver.shared.pending.lock().dirty);
        if dirty && let Err(error) = save(self) {
            tracing::warn!(%error, "the simulated machine could not be saved");
        }
    }
}

fn decode(content: &[u8]) -> io::Result<State> {
    let mut state: State = serde_json::from_slice(content)?;
    if state.format != FORMAT {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the simulated machine has format {}, not {FORMAT}", state.format),
        ));
    }
    state.reindex();
    Ok(state)
}

fn save(inner: &FakeMachine) -> io::Result<()> {
    let Some(saver) = inner.saver.get() else { return Ok(()) };
    let _writing = saver.writing.lock();
    write(inner, saver)
}

/// Saves one change, unless somebody else's save has it already.
fn save_change(inner: &FakeMachine, saver: &Saver, change: u64) -> io::Result<()> {
    let _writing = saver.writing.lock();
    if saver.saved.load(Ordering::Acquire) >= change {
        return Ok(());
    }
    write(inner, saver)
}

fn write(inner: &FakeMachine, saver: &Saver) -> io::Result<()> {
    // Before the copy: what changes after it is dirty again.
    let changes = saver.changes.load(Ordering::Acquire);
    saver.shared.pending.lock().dirty = false;
    let written = (|| {
        let state = inner.core.lock().state.clone();
        let content = serde_json::to_vec(&state)?;
        let mut temporary = saver.path.clone().into_os_string();
        temporary.push(".new");
        std::fs::write(&temporary, content)?;
        std::fs::rename(&temporary, &saver.path)
    })();
    match written {
        Ok(()) => saver.saved.store(changes, Ordering::Release),
        Err(_) => saver.shared.pending.lock().dirty = true,
    }
    written
}

/// Until the kernel is gone. Holds it only while it writes.
fn keep_saved(kernel: &Weak<FakeMachine>, shared: &SaverShared) {
    let mut pause = AT_MOST_EVERY;
    loop {
        let mut pending = shared.pending.lock();
        while !pending.dirty && !pending.stopped {
            shared.wake.wait(&mut pending);
        }
        if !pending.stopped {
            let until = std::time::Instant::now() + pause;
            while !pending.stopped && !shared.wake.wait_until(&mut pending, until).timed_out() {}
        }
        let stopped = pending.stopped;
        drop(pending);
        let Some(inner) = kernel.upgrade().filter(|_| !stopped) else { return };
        let began = std::time::Instant::now();
        if let Err(error) = save(&inner) {
            tracing::warn!(%error, "the simulated machine could not be saved");
        }
        pause = AT_MOST_EVERY.max(began.elapsed() * SHARE);
    }
}
