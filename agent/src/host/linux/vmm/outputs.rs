//! Collects what comes out of the jails' FIFOs, and of QEMU's console sockets, into bounded files.
//!
//! A task for each FIFO and socket of a VM, waiting for it. A file that reached its bound becomes
//! the older part (`console.log.1`) and a new one is begun, so that at most twice the bound is
//! kept. A guest that prints without end is read at a bounded rate; the rest it loses itself (see
//! the launcher).
//!
//! What a guest prints is also said to whoever follows its console, after it was written: the ring
//! and its readers are in `host/console.rs`, [`consoles`] has what is kept and what is typed.
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
use tokio::io::AsyncReadExt as _;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::firecracker::launcher::open_fifo;
use super::sockets::connect_in;
use crate::host::linux::blocking;
use crate::host::linux::files::beneath::{self, Roots, missing_is_none};
use crate::host::linux::jails::JailTree;
use crate::host::linux::processes::ready::readable;
use crate::host::{
    Change, Console, HostError, HostResult, JailId, Outputs, PathPart, VmmKind, in_jail,
};

mod consoles;

use consoles::{ConsoleLog, Consoles};

/// How much one file holds, in bytes.
const FILE_LIMIT: u64 = 1024 * 1024;

/// How much is read at once: a quarter of a pipe's buffer.
const CHUNK: usize = 16 * 1024;

/// The pause after each chunk: 1.6 MB a second at most.
const PAUSE: Duration = Duration::from_millis(10);

/// Chunks taken after the stop: more than a pipe holds, and an end when the writer never does.
const LAST_CHUNKS: u32 = 64;

/// How long a console's socket is read after the stop, if the VMM does not end.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How much of the log explains an exit.
const TAIL: u64 = 4096;

/// FIFOs in a jail, and the files in the scratch directory.
const fn streams(vmm: VmmKind) -> &'static [(&'static str, &'static str)] {
    const FIRECRACKER: [(&str, &str); 3] = [
        (in_jail::CONSOLE, CONSOLE),
        (in_jail::LOG, log(VmmKind::Firecracker)),
        (in_jail::METRICS, "metrics.log"),
    ];
    const QEMU: [(&str, &str); 1] = [(in_jail::LOG, log(VmmKind::Qemu))];
    match vmm {
        VmmKind::Firecracker => &FIRECRACKER,
        VmmKind::Qemu => &QEMU,
    }
}

/// What a guest prints.
const CONSOLE: &str = "console.log";

/// What a VMM prints.
const fn log(vmm: VmmKind) -> &'static str {
    match vmm {
        VmmKind::Firecracker => "firecracker.log",
        VmmKind::Qemu => "qemu.log",
    }
}

/// The collectors of this machine.
pub(crate) struct FifoOutputs {
    tree: Arc<JailTree>,
    roots: Arc<Roots>,
    running: Mutex<HashMap<JailId, Collector>>,
    consoles: Consoles,
}

struct Collector {
    stop: CancellationToken,
    dir: PathPart,
    tasks: Vec<JoinHandle<()>>,
    /// The connection to the console, where it is a socket. One at a time.
    console: Option<Connection>,
    log: Arc<ConsoleLog>,
}

struct Connection {
    reading: JoinHandle<()>,
    /// Held as long as the reading end: QEMU takes half a connection for none.
    writer: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
}

impl FifoOutputs {
    pub(crate) fn new(tree: Arc<JailTree>, roots: Arc<Roots>) -> Self {
        Self { tree, roots, running: Mutex::default(), consoles: Consoles::default() }
    }

    /// Connects to the console of a VMM that has it as a socket, if what it prints is collected
    /// and it is not connected yet.
    pub(crate) async fn connect_console(&self, id: &JailId) -> HostResult<()> {
        let connected = |collector: &Collector| {
            collector.console.as_ref().is_some_and(|console| !console.reading.is_finished())
        };
        if self.running.lock().get(id).is_none_or(connected) {
            return Ok(());
        }
        let stream =
            connect_in(&self.tree, id, in_jail::CONSOLE_SOCKET, "read the console of").await?;
        let mut running = self.running.lock();
        // Another call may have been faster; the second connection is dropped then.
        if let Some(collector) = running.get_mut(id).filter(|collector| !connected(collector)) {
            let (dir, log) = (collector.dir.clone(), Some(collector.log.clone()));
            let sink = Sink { roots: self.roots.clone(), dir, file: CONSOLE, log };
            let (reader, writer) = stream.into_split();
            let reading = tokio::spawn(collect_socket(reader, sink, collector.stop.clone()));
            let writer = Arc::new(tokio::sync::Mutex::new(writer));
            collector.console = Some(Connection { reading, writer });
        }
        Ok(())
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
        let (vmm, fifos) = blocking(move || {
            let mut fifos = Vec::new();
            let Some(vmm) = tree.vmm_of(&jail)? else { return Ok((None, fifos)) };
            for (path, file) in streams(vmm) {
                if let Some(fd) = open_fifo(&tree, &jail, path)? {
                    fifos.push((fd, *file));
                }
            }
            Ok((Some(vmm), fifos))
        })
        .await?;
        let stop = CancellationToken::new();
        let mut tasks = Vec::new();
        let log = self.consoles.of(id);
        for (fd, file) in fifos {
            let fifo = readable(fd).map_err(|error| HostError::io("collect", file, error))?;
            let log = (file == CONSOLE).then(|| log.clone());
            let sink = Sink { roots: self.roots.clone(), dir: dir.clone(), file, log };
            tasks.push(tokio::spawn(collect(fifo, sink, stop.clone())));
        }
        let collector = Collector { stop, dir: dir.clone(), tasks, console: None, log };
        {
            let mut running = self.running.lock();
            if running.contains_key(id) {
                // Another call was faster; ours stops as it is dropped.
                return Ok(Change::AlreadySo);
            }
            running.insert(id.clone(), collector);
        }
        if vmm == Some(VmmKind::Qemu)
            && let Err(error) = self.connect_console(id).await
        {
            // Before its start there is none yet; it is connected when the VMM is up.
            tracing::debug!(jail = %id, error = error.chain(), "no console to read yet");
        }
        Ok(Change::Made)
    }

    async fn remove(&self, id: &JailId) -> HostResult<Change> {
        let Some(mut collector) = self.running.lock().remove(id) else {
            return Ok(Change::AlreadySo);
        };
        collector.stop.cancel();
        let console = collector.console.take().map(|console| console.reading);
        for task in std::mem::take(&mut collector.tasks).into_iter().chain(console) {
            // A task that panicked has nothing more to take.
            let _ = task.await;
        }
        Ok(Change::Made)
    }

    async fn log_tail(&self, dir: &PathPart) -> HostResult<String> {
        let (roots, dir) = (self.roots.clone(), dir.clone());
        blocking(move || {
            let failed = |error: std::io::Error| HostError::io("read the log in", &dir, error);
            // A VM that changed its VMM has the logs of both; the last one wrote last.
            let mut newest = None;
            for vmm in VmmKind::ALL {
                let path = Path::new(dir.as_str()).join(log(vmm));
                let flags = OFlags::RDONLY | OFlags::NONBLOCK;
                let found = missing_is_none(roots.scratch.open_at(&path, flags, 0));
                let Some(fd) = found.map_err(|error| failed(error.into()))? else { continue };
                let file = std::fs::File::from(fd);
                let facts = file.metadata().map_err(failed)?;
                let written = facts.modified().map_err(failed)?;
                if newest.as_ref().is_none_or(|(_, _, before)| *before < written) {
                    newest = Some((file, facts.len(), written));
                }
            }
            let Some((mut file, length, _)) = newest else { return Ok(String::new()) };
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).map_err(failed)?;
            let mut bytes = Vec::new();
            file.take(TAIL).read_to_end(&mut bytes).map_err(failed)?;
            Ok(printable(&bytes))
        })
        .await
    }

    async fn console(&self, id: &JailId, dir: &PathPart, past: u64) -> HostResult<Console> {
        let (roots, dir, log) = (self.roots.clone(), dir.clone(), self.consoles.of(id));
        blocking(move || log.open(&roots, &dir, past)).await
    }

    async fn type_in(&self, id: &JailId, bytes: &[u8]) -> HostResult<()> {
        let (tree, jail) = (self.tree.clone(), id.clone());
        match blocking(move || tree.vmm_of(&jail)).await? {
            None => Err(consoles::nothing_to_type_into(id, "it has no jail")),
            Some(VmmKind::Firecracker) => consoles::type_into_fifo(&self.tree, id, bytes).await,
            Some(VmmKind::Qemu) => {
                self.connect_console(id).await?;
                let writer = self.running.lock().get(id).and_then(|collector| {
                    collector.console.as_ref().map(|console| console.writer.clone())
                });
                let writer = writer.ok_or_else(|| {
                    consoles::nothing_to_type_into(id, "nobody reads its console")
                })?;
                consoles::type_into_socket(&writer, id, bytes).await
            }
        }
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

/// Reads a console's socket until told to stop or the VMM ends, no faster than a FIFO. What a guest
/// prints beyond that QEMU drops after some tries (`serial_xmit`, `hw/char/serial.c`).
async fn collect_socket(mut stream: OwnedReadHalf, sink: Sink, stop: CancellationToken) {
    let mut chunk = vec![0; CHUNK];
    let mut last = None;
    loop {
        // Cancel-safe: a read that is dropped has taken nothing.
        let read = tokio::select! {
            biased;
            // First: one that writes without end is not read without end.
            () = until(last), if last.is_some() => return,
            () = stop.cancelled(), if last.is_none() => {
                // The VMM is dead or about to be; what it wrote before is still there.
                last = Some(tokio::time::Instant::now() + LAST_WORDS);
                continue;
            }
            read = stream.read(&mut chunk) => read,
        };
        match read {
            Ok(length @ 1..) => sink.clone().write(chunk[..length].to_vec()).await,
            Ok(0) | Err(_) => return,
        }
        // Cancel-safe: a pause that is cut short has lost nothing.
        tokio::select! {
            () = stop.cancelled(), if last.is_none() => {}
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn until(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
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

/// The older part of a file at its bound.
fn older(file: &str) -> String {
    format!("{file}.1")
}

/// A bounded file.
#[derive(Clone)]
struct Sink {
    roots: Arc<Roots>,
    dir: PathPart,
    file: &'static str,
    /// Of the console: who else is told.
    log: Option<Arc<ConsoleLog>>,
}

impl Sink {
    async fn write(self, bytes: Vec<u8>) {
        let (dir, file) = (self.dir.clone(), self.file);
        let written = blocking(move || {
            let append = || self.append(&bytes);
            let appended = match &self.log {
                Some(log) => log.add(&bytes, append),
                None => append(),
            };
            appended.map_err(|error| HostError::io("write", self.file, error))
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
            beneath::open_beneath(folder.as_fd(), Path::new(self.file), flags, 0o600)
                .map(std::fs::File::from)
        };
        let mut file = open()?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if file.metadata()?.len().saturating_add(length) > FILE_LIMIT {
            let older = older(self.file);
            rustix::fs::renameat(&folder, self.file, &folder, &*older)?;
            file = open()?;
        }
        file.write_all(bytes)
    }
}

#[cfg(test)]
mod tests;
