//! Collects what comes out of the jails' FIFOs into bounded files.
//!
//! Three tasks for each VM, each waiting for its FIFO. A file that reached its bound becomes the
//! older part (`console.log.1`) and a new one is begun, so that at most twice the bound is kept. A
//! guest that prints without end is read at a bounded rate; the rest it loses itself (see the
//! launcher).
//!
//! What can go wrong: the disk is full (what was read is lost, the guest is not), a FIFO was
//! replaced by a hostile VMM (it is not read).

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::beneath::{Roots, missing_is_none};
use super::blocking;
use super::jails::JailTree;
use super::launcher::open_fifo;
use super::ready::readable;
use crate::host::{Change, HostError, HostResult, JailId, Outputs, PathPart, in_jail};

/// How much one file holds, in bytes.
const FILE_LIMIT: u64 = 1024 * 1024;

/// How much is read at once: a quarter of a pipe's buffer.
const CHUNK: usize = 16 * 1024;

/// The pause after each chunk: 1.6 MB a second at most.
const PAUSE: Duration = Duration::from_millis(10);

/// Chunks taken after the stop: more than a pipe holds, and an end when the writer never does.
const LAST_CHUNKS: u32 = 64;

/// How much of the log explains an exit.
const TAIL: u64 = 4096;

/// FIFO in the jail, file in the scratch directory.
const STREAMS: [(&str, &str); 3] = [
    (in_jail::CONSOLE, "console.log"),
    (in_jail::LOG, "firecracker.log"),
    (in_jail::METRICS, "metrics.log"),
];

/// The collectors of this machine.
pub(crate) struct FifoOutputs {
    tree: Arc<JailTree>,
    roots: Arc<Roots>,
    running: Mutex<HashMap<JailId, Collector>>,
}

struct Collector {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl FifoOutputs {
    pub(crate) fn new(tree: Arc<JailTree>, roots: Arc<Roots>) -> Self {
        Self { tree, roots, running: Mutex::default() }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[async_trait]
impl Outputs for FifoOutputs {
    async fn ensure(&self, id: &JailId, dir: &PathPart) -> HostResult<Change> {
        if self.running.lock().contains_key(id) {
            return Ok(Change::AlreadySo);
        }
        let (tree, jail) = (self.tree.clone(), id.clone());
        let fifos = blocking(move || {
            let mut fifos = Vec::new();
            for (path, file) in STREAMS {
                if let Some(fd) = open_fifo(&tree, &jail, path)? {
                    fifos.push((fd, file));
                }
            }
            Ok(fifos)
        })
        .await?;
        let stop = CancellationToken::new();
        let mut tasks = Vec::new();
        for (fd, file) in fifos {
            let fifo = readable(fd).map_err(|error| HostError::io("collect", file, error))?;
            let sink = Sink { roots: self.roots.clone(), dir: dir.clone(), file };
            tasks.push(tokio::spawn(collect(fifo, sink, stop.clone())));
        }
        let collector = Collector { stop, tasks };
        let mut running = self.running.lock();
        if running.contains_key(id) {
            // Another call was faster; ours stops as it is dropped.
            return Ok(Change::AlreadySo);
        }
        running.insert(id.clone(), collector);
        Ok(Change::Made)
    }

    async fn remove(&self, id: &JailId) -> HostResult<Change> {
        let Some(mut collector) = self.running.lock().remove(id) else {
            return Ok(Change::AlreadySo);
        };
        collector.stop.cancel();
        for task in std::mem::take(&mut collector.tasks) {
            // A task that panicked has nothing more to take.
            let _ = task.await;
        }
        Ok(Change::Made)
    }

    async fn log_tail(&self, dir: &PathPart) -> HostResult<String> {
        let (roots, dir) = (self.roots.clone(), dir.clone());
        blocking(move || {
            let failed = |error: std::io::Error| HostError::io("read the log in", &dir, error);
            let path = Path::new(dir.as_str()).join("firecracker.log");
            let flags = OFlags::RDONLY | OFlags::NONBLOCK;
            let found = missing_is_none(roots.scratch.open_at(&path, flags, 0));
            let Some(fd) = found.map_err(|error| failed(error.into()))? else {
                return Ok(String::new());
            };
            let mut file = std::fs::File::from(fd);
            let length = file.metadata().map_err(failed)?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).map_err(failed)?;
            let mut bytes = Vec::new();
            file.take(TAIL).read_to_end(&mut bytes).map_err(failed)?;
            Ok(printable(&bytes))
        })
        .await
    }
}

/// Text without control characters but for line ends and tabs: it goes to people's terminals.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect()
}

/// Reads one FIFO until told to stop, and then what is left in it.
async fn collect(fifo: AsyncFd<OwnedFd>, sink: Sink, stop: CancellationToken) {
    loop {
        // Cancel-safe: waiting for readiness takes nothing out of the FIFO.
        tokio::select! {
            () = stop.cancelled() => break,
            ready = fifo.readable() => match ready {
                Ok(mut ready) => match take(&fifo, &sink).await {
                    Taken::Some => {}
                    Taken::Nothing => ready.clear_ready(),
                    Taken::Broken => return,
                },
                Err(_) => return,
            },
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
    for _ in 0..LAST_CHUNKS {
        match take(&fifo, &sink).await {
            Taken::Some => {}
            Taken::Nothing | Taken::Broken => return,
        }
    }
}

enum Taken {
    Some,
    Nothing,
    Broken,
}

/// Moves one chunk from a FIFO to its file.
async fn take(fifo: &AsyncFd<OwnedFd>, sink: &Sink) -> Taken {
    // The buffer lives only while there is something to put into it.
    let mut chunk = vec![0; CHUNK];
    match rustix::io::read(fifo.get_ref(), &mut chunk) {
        Ok(0) => Taken::Broken,
        Ok(read) => {
            chunk.truncate(read);
            sink.clone().write(chunk).await;
            Taken::Some
        }
        Err(Errno::AGAIN) => Taken::Nothing,
        Err(Errno::INTR) => Taken::Some,
        Err(_) => Taken::Broken,
    }
}

/// A bounded file.
#[derive(Clone)]
struct Sink {
    roots: Arc<Roots>,
    dir: PathPart,
    file: &'static str,
}

impl Sink {
    async fn write(self, bytes: Vec<u8>) {
        let (dir, file) = (self.dir.clone(), self.file);
        let written = blocking(move || {
            self.append(&bytes).map_err(|error| HostError::io("write", self.file, error))
        })
        .await;
        if let Err(error) = written {
            tracing::debug!(%dir, file, error = %error.chain(), "output lost");
        }
    }

    fn append(&self, bytes: &[u8]) -> std::io::Result<()> {
        let folder = self.roots.scratch.dir(self.dir.as_str())?;
        let open = || {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NONBLOCK;
            super::beneath::open_beneath(folder.as_fd(), Path::new(self.file), flags, 0o600)
                .map(std::fs::File::from)
        };
        let mut file = open()?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if file.metadata()?.len().saturating_add(length) > FILE_LIMIT {
            let older = format!("{}.1", self.file);
            rustix::fs::renameat(&folder, self.file, &folder, &*older)?;
            file = open()?;
        }
        file.write_all(bytes)
    }
}

#[cfg(test)]
mod tests;
