//! What refuses stale assignments that no record refuses: the highest epoch of a server's store,
//! and the versions of VMs that are gone.
//!
//! A VM's record goes with its directory, and with the record the version that refuses older
//! assignments. A create that a network held up, a server that was stopped in its tracks, or a
//! database restored from a backup would then bring the VM back. So the version is kept: written
//! here before the directory is removed, and before the server is told that nothing of a VM is
//! here. And a server whose store was replaced by a restored one may still run, and make VMs nobody
//! else knows of: from the first word of a newer epoch on, nothing of an older one is taken for any
//! VM.
//!
//! Driven by `record` and by the edge. One file in the state directory, a line for each VM,
//! appended and synced; many that come together share one sync. Read whole and written anew at the
//! start. Bounded: the newest [`MOST`], none older than [`LONGEST`]. Room for the next lines is
//! reserved, and where there is none to write the file anew it goes on as it is. What can go wrong:
//! the disk is full and the reserve is used up (the removal fails, is reported and tried again), or
//! a line is garbled (it is left out, with a warning: the others stand).

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use banger_proto::ids::{Epoch, Generation, Version, VmId};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// The file in the state directory.
pub const FILE: &str = "fence.jsonl";

/// The format written. A reader takes this one and older.
pub const FORMAT: u32 = 1;

/// How many are kept: about 2 MB of memory.
pub const MOST: usize = 16_384;

/// How long one is kept. A backup older than this is restored with a new epoch or not at all.
pub const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 30);

/// The file is written anew when it has this many times the lines it needs.
const SLACK: usize = 4;

/// How many bytes of the disk are kept for lines to come, some hundreds of them: VMs can also be
/// removed when the disk is full, which is what makes room.
const AHEAD: u64 = 64 * 1024;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be read or written.
    #[error("could not read and rewrite {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It was written by a newer agent.
    #[error("{} has format {found}; this agent knows {FORMAT}: install the agent that wrote it, or a newer one", path.display())]
    NewerFormat {
        /// Which file.
        path: PathBuf,
        /// The format found.
        found: u32,
    },
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    /// Of which fleet the epoch is.
    fleet: String,
    epoch: Epoch,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// One VM that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Stone {
    vm: VmId,
    version: Version,
    at: Timestamp,
}

/// What refuses stale assignments that no record refuses. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct StaleGuard(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    book: Mutex<Book>,
    /// Stones that a companion with the pen may write along.
    queue: Mutex<Vec<Stone>>,
    /// `None`: in memory only.
    pen: Option<Mutex<Pen>>,
}

#[derive(Debug, Clone, Default)]
struct Book {
    fleet: String,
    epoch: Epoch,
    stones: HashMap<VmId, (Version, Timestamp)>,
    order: VecDeque<Stone>,
}

#[derive(Debug)]
struct Pen {
    path: PathBuf,
    file: File,
    lines: usize,
    length: u64,
    /// Up to here the file has room on the disk.
    reserved: u64,
    /// An append failed: there may be half a line at the end.
    torn: bool,
}

impl Book {
    fn put(&mut self, stone: Stone) {
        let newer = self.stones.get(&stone.vm).is_none_or(|(held, _)| *held < stone.version);
        if newer {
            self.stones.insert(stone.vm, (stone.version, stone.at));
            self.order.push_back(stone);
        }
        while let Some(oldest) = self.order.front() {
            let dated = stone.at.duration_since(oldest.at) > LONGEST;
            if !dated && self.stones.len() <= MOST {
                return;
            }
            // One that was raised since stands further back in the order.
            if self.stones.get(&oldest.vm).is_some_and(|(held, _)| *held == oldest.version) {
                self.stones.remove(&oldest.vm);
            }
            self.order.pop_front();
        }
    }

    fn newest(&self, vm: VmId) -> Option<Version> {
        self.stones.get(&vm).map(|(version, _)| *version)
    }

    fn lines(&self) -> Vec<Stone> {
        let stands = |stone: &&Stone| self.newest(stone.vm) == Some(stone.version);
        self.order.iter().filter(stands).copied().collect()
    }
}

impl StaleGuard {
    /// The one of this file, or an open one when it is not there. Writes the file anew, without
    /// what is past keeping at `now`. `fleet` is whose servers the epochs are of: a host that has
    /// joined another fleet begins with its epochs anew. Blocks: call it at the start of the agent.
    ///
    /// # Errors
    /// See [`OpenError`]. Without the file's word a deleted VM could come back.
    pub fn open(path: &Path, fleet: &str, now: Timestamp) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Io { path: path.to_owned(), source };
        let content = match std::fs::read(path) {
            Ok(content) => Some(content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        let mut book = match &content {
            Some(content) => read(path, content, now)?,
            None => Book::default(),
        };
        // What is there says the same, if it is of this fleet.
        let old = content.filter(|_| book.fleet == fleet);
        if book.fleet != fleet {
            book.fleet = fleet.to_owned();
            book.epoch = Epoch::default();
        }
        let pen = match (Pen::new(path, &book, &[]), old) {
            (Err(error), Some(old)) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::warn!(path = %path.display(), "no room to write the file anew: it is used as it is");
                Pen::resume(path, &old)
            }
            (pen, _) => pen,
        };
        let pen = pen.map_err(failed)?;
        Ok(Self(Arc::new(Inner {
            book: Mutex::new(book),
            queue: Mutex::default(),
            pen: Some(Mutex::new(pen)),
        })))
    }

    /// What refuses an assignment of this version for a VM of which no record is held: the version
    /// it is held against.
    #[must_use]
    pub fn refuses(&self, vm: VmId, version: Version) -> Option<Version> {
        self.newest(vm).filter(|went| version <= *went).or_else(|| self.refuses_epoch(version))
    }

    /// What refuses an assignment because a server with a newer store has spoken.
    #[must_use]
    pub fn refuses_epoch(&self, version: Version) -> Option<Version> {
        let epoch = self.0.book.lock().epoch;
        (version.epoch < epoch).then_some(Version { epoch, generation: Generation(0) })
    }

    /// Keeps that a server with a store of this epoch has spoken; on disk when this returns.
    ///
    /// # Errors
    /// It could not be written; nothing is kept.
    pub async fn raise(&self, epoch: Epoch) -> io::Result<()> {
        if self.0.book.lock().epoch >= epoch {
            return Ok(());
        }
        if self.0.pen.is_none() {
            return self.write_epoch(epoch);
        }
        let this = self.clone();
        let written = tokio::task::spawn_blocking(move || this.write_epoch(epoch)).await;
        written.map_err(io::Error::other)?
    }

    fn write_epoch(&self, epoch: Epoch) -> io::Result<()> {
        let mut pen = self.0.pen.as_ref().map(Mutex::lock);
        let mut raised = self.0.book.lock().clone();
        if raised.epoch >= epoch {
            return Ok(());
        }
        raised.epoch = epoch;
        if let Some(pen) = &mut pen {
            let path = pen.path.clone();
            **pen = Pen::new(&path, &raised, &[])?;
        }
        self.0.book.lock().epoch = epoch;
        Ok(())
    }

    /// The version at which a VM went, if that is known.
    #[must_use]
    pub fn newest(&self, vm: VmId) -> Option<Version> {
        self.0.book.lock().newest(vm)
    }

    /// Keeps that nothing of a VM is here as of this version; on disk when this returns.
    ///
    /// # Errors
    /// It could not be written; nothing is kept.
    pub async fn bury(&self, vm: VmId, version: Version, at: Timestamp) -> io::Result<()> {
        let stone = Stone { vm, version, at };
        if self.newest(vm) >= Some(version) {
            return Ok(());
        }
        if self.0.pen.is_none() {
            self.0.book.lock().put(stone);
            return Ok(());
        }
        self.0.queue.lock().push(stone);
        let this = self.clone();
        // On a thread that goes on when the caller does not wait for it.
        tokio::task::spawn_blocking(move || this.write(stone)).await.map_err(io::Error::other)?
    }

    /// Writes a stone and all that wait with it.
    fn write(&self, own: Stone) -> io::Result<()> {
        let Some(pen) = &self.0.pen else { return Ok(()) };
        let mut pen = pen.lock();
        if self.newest(own.vm) >= Some(own.version) {
            // Written along by a companion.
            return Ok(());
        }
        let mut stones = std::mem::take(&mut *self.0.queue.lock());
        if !stones.contains(&own) {
            stones.push(own);
        }
        let anew = if pen.torn || pen.lines > SLACK * MOST {
            let book = self.0.book.lock().clone();
            Some(Pen::new(&pen.path, &book, &stones))
        } else {
            None
        };
        match anew {
            Some(Err(error)) if error.kind() == io::ErrorKind::StorageFull => {
                pen.append(&stones)?;
            }
            Some(new) => *pen = new?,
            None => pen.append(&stones)?,
        }
        let mut book = self.0.book.lock();
        for stone in stones {
            book.put(stone);
        }
        Ok(())
    }
}

impl Pen {
    /// A file with what is in the book, these stones, and nothing else.
    fn new(path: &Path, book: &Book, more: &[Stone]) -> io::Result<Self> {
        let temporary = path.with_extension("jsonl.new");
        let written = Self::written(&temporary, path, book, more);
        if written.is_err() {
            // Best effort: the next one is made over it.
            let _ = std::fs::remove_file(&temporary);
        }
        written
    }

    fn written(temporary: &Path, path: &Path, book: &Book, more: &[Stone]) -> io::Result<Self> {
        let mut file = File::create(temporary)?;
        let (fleet, epoch) = (book.fleet.clone(), book.epoch);
        let mut content = serde_json::to_vec(&Header { format: FORMAT, fleet, epoch })?;
        content.push(b'\n');
        let mut stones = book.lines();
        stones.extend(more);
        content.extend(encoded(&stones)?);
        file.write_all(&content)?;
        let length = content.len() as u64;
        let reserved = reserve(&file, length);
        file.sync_all()?;
        std::fs::rename(temporary, path)?;
        if let Some(dir) = path.parent() {
            File::open(dir)?.sync_all()?;
        }
        let (path, lines) = (path.to_owned(), stones.len());
        Ok(Self { path, file, lines, length, reserved, torn: false })
    }

    /// The file as it is, with this content.
    fn resume(path: &Path, content: &[u8]) -> io::Result<Self> {
        let file = File::options().append(true).open(path)?;
        let length = content.len() as u64;
        Ok(Self {
            path: path.to_owned(),
            file,
            lines: content.iter().filter(|byte| **byte == b'\n').count(),
            length,
            // What an earlier one reserved is still there; how much is not known.
            reserved: length,
            torn: !content.ends_with(b"\n"),
        })
    }

    fn append(&mut self, stones: &[Stone]) -> io::Result<()> {
        let mut content = Vec::new();
        if self.torn {
            // Half a line is left out when it is read, and so is an empty one.
            content.push(b'\n');
        }
        content.extend(encoded(stones)?);
        self.torn = true;
        self.file.write_all(&content)?;
        self.file.sync_data()?;
        self.torn = false;
        self.lines += stones.len();
        self.length += content.len() as u64;
        if self.length + AHEAD / 2 > self.reserved {
            self.reserved = reserve(&self.file, self.length);
        }
        Ok(())
    }
}

/// Reserves room after `length` and answers up to where there is some. Where the disk or the file
/// system has none to give, the next lines take their chance.
fn reserve(file: &File, length: u64) -> u64 {
    let keep_size = rustix::fs::FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(file, keep_size, length, AHEAD) {
        Ok(()) => length + AHEAD,
        Err(_) => length,
    }
}

fn encoded(stones: &[Stone]) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    for stone in stones {
        serde_json::to_writer(&mut content, stone)?;
        content.push(b'\n');
    }
    Ok(content)
}

fn read(path: &Path, content: &[u8], now: Timestamp) -> Result<Book, OpenError> {
    let mut book = Book::default();
    let mut garbled = 0_usize;
    let mut lines = content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    if let Some(line) = lines.next() {
        match serde_json::from_slice::<Format>(line) {
            Ok(Format { format: found }) if found > FORMAT => {
                return Err(OpenError::NewerFormat { path: path.to_owned(), found });
            }
            Ok(_) | Err(_) => {}
        }
        match serde_json::from_slice::<Header>(line) {
            Ok(header) => (book.fleet, book.epoch) = (header.fleet, header.epoch),
            Err(_) => garbled += 1,
        }
    }
    for line in lines {
        match serde_json::from_slice::<Stone>(line) {
            Ok(stone) if now.duration_since(stone.at) <= LONGEST => book.put(stone),
            Ok(_) => {}
            Err(_) => garbled += 1,
        }
    }
    if garbled > 0 {
        // One at the end is what a crash leaves of a removal that was not answered.
        tracing::warn!(path = %path.display(), lines = garbled, "lines that say nothing are left out");
    }
    Ok(book)
}

#[cfg(test)]
mod tests;
