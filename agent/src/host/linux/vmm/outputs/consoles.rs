//! Consoles as readers and typists have them: what is kept of one, and its input.
//!
//! Driven by [`FifoOutputs`](super::FifoOutputs). A [`ConsoleLog`] outlives its collector while
//! anybody follows it, so that a guest that is started anew goes on in the same stream. What can go
//! wrong: the jail is of an older agent and has no input, or the guest does not read (the typist
//! waits, and nobody else).

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustix::io::Errno;
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::OwnedWriteHalf;

use super::{CONSOLE, FILE_LIMIT, older};
use crate::host::linux::blocking;
use crate::host::linux::files::beneath::{Roots, missing_is_none};
use crate::host::linux::jails::JailTree;
use crate::host::linux::processes::ready::writable;
use crate::host::linux::vmm::firecracker::launcher::open_fifo;
use crate::host::{Console, HostError, HostErrorKind, HostResult, Hub, JailId, PathPart, in_jail};

/// What a typist types at once at most: a write of this to a FIFO is never mixed with another's
/// (`PIPE_BUF`, pipe(7)).
const TYPED: usize = 4096;

/// The consoles that are collected or read.
#[derive(Default)]
pub(super) struct Consoles(Mutex<HashMap<JailId, Arc<ConsoleLog>>>);

impl Consoles {
    /// The console of a jail, the same for all who ask.
    pub(super) fn of(&self, id: &JailId) -> Arc<ConsoleLog> {
        let mut consoles = self.0.lock();
        if !consoles.contains_key(id) {
            // Those that nobody writes or reads any more.
            consoles.retain(|_, log| Arc::strong_count(log) > 1 || log.hub.has_readers());
        }
        consoles.entry(id.clone()).or_default().clone()
    }
}

/// One console.
#[derive(Debug, Default)]
pub(super) struct ConsoleLog {
    /// Held while something is added, so that who opens it then sees it in one of the two: the
    /// file or the hub.
    order: Mutex<()>,
    hub: Hub,
}

impl ConsoleLog {
    /// Adds what the guest printed: to the file by `append`, and to those who follow.
    pub(super) fn add(
        &self,
        bytes: &[u8],
        append: impl FnOnce() -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let _order = self.order.lock();
        let appended = append();
        // Also when there was no room for it: who follows misses nothing.
        self.hub.say(bytes);
        appended
    }

    /// Opens it for reading. The collector waits while two files are opened, not while they are
    /// read: they only grow, and a file that is renamed meanwhile is still the one that was opened.
    pub(super) fn open(&self, roots: &Roots, dir: &PathPart, past: u64) -> HostResult<Console> {
        let failed = |error: std::io::Error| HostError::io("read the console in", dir, error);
        let (files, live) = {
            let _order = self.order.lock();
            let live = self.hub.listen();
            let mut files = Vec::new();
            for name in [older(CONSOLE), CONSOLE.to_owned()] {
                let path = Path::new(dir.as_str()).join(name);
                let flags = OFlags::RDONLY | OFlags::NONBLOCK;
                let found = missing_is_none(roots.scratch.open_at(&path, flags, 0));
                if let Some(fd) = found.map_err(|error| failed(error.into()))? {
                    let file = File::from(fd);
                    let length = file.metadata().map_err(failed)?.len();
                    files.push((file, length));
                }
            }
            (files, live)
        };
        let past = ending(files, past.min(2 * FILE_LIMIT)).map_err(failed)?;
        Ok(Console { past, live })
    }
}

/// The last `wanted` bytes of files that follow each other.
fn ending(files: Vec<(File, u64)>, wanted: u64) -> std::io::Result<Vec<u8>> {
    let all: u64 = files.iter().map(|(_, length)| length).sum();
    let mut skip = all.saturating_sub(wanted);
    let mut bytes = Vec::new();
    for (mut file, length) in files {
        let passed = skip.min(length);
        skip -= passed;
        file.seek(SeekFrom::Start(passed))?;
        file.take(length - passed).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Why nothing can be typed.
pub(super) fn nothing_to_type_into(id: &JailId, why: &str) -> HostError {
    HostError::new(HostErrorKind::NotFound, "type into the console of", id).detail(why)
}

/// Types into the FIFO that is a VMM's standard input.
pub(super) async fn type_into_fifo(
    tree: &Arc<JailTree>,
    id: &JailId,
    bytes: &[u8],
) -> HostResult<()> {
    let failed = |error: Errno| HostError::io("type into the console of", id, error);
    let (tree, jail) = (tree.clone(), id.clone());
    let fifo = blocking(move || open_fifo(&tree, &jail, in_jail::CONSOLE_INPUT)).await?;
    let fifo = fifo.ok_or_else(|| {
        HostError::new(HostErrorKind::Refused, "type into the console of", id).detail(
            "the guest was started by an older agent, without an input; stop and start it once",
        )
    })?;
    let fifo = writable(fifo).map_err(|error| HostError::io("type into", id, error))?;
    for part in bytes.chunks(TYPED) {
        loop {
            // Cancel-safe: a write that was not made has typed nothing.
            let mut ready = fifo
                .writable()
                .await
                .map_err(|error| HostError::io("type into the console of", id, error))?;
            match rustix::io::write(fifo.get_ref(), part) {
                // A part is written whole or not at all.
                Ok(_) => break,
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
    Ok(())
}

/// Types into the console that a VMM has as a socket. Several typists take turns.
pub(super) async fn type_into_socket(
    writer: &tokio::sync::Mutex<OwnedWriteHalf>,
    id: &JailId,
    bytes: &[u8],
) -> HostResult<()> {
    let written = writer.lock().await.write_all(bytes).await;
    written.map_err(|error| HostError::io("type into the console of", id, error))
}

#[cfg(test)]
mod tests;
