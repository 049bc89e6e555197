//! A file, a directory or standard input, as the parts of an upload.
//!
//! Read on a thread of its own, at most a few parts ahead of the server. A directory is packed as a
//! tar archive on the way, by the library that the server imports it with: owners, modes, links and
//! attributes stay as they are, nothing is followed, what is left out is told. What can go wrong:
//! something can't be read, or is neither file nor directory; the upload is then given up, because
//! one that only ended would be a shorter file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use banger_client::images::CHUNK_BYTES;
use banger_wire::causes::with_causes;
use futures_util::Stream;
use tokio::sync::{mpsc, oneshot};

use banger_terminal::failure::Failure;
use banger_terminal::progress::Count;

/// Parts read ahead of the server.
const AHEAD: usize = 4;

/// What is being read.
pub(crate) struct Pack {
    /// The parts; they do not end when something can't be read.
    parts: mpsc::Receiver<Vec<u8>>,
    /// Why something can't be read. The sender is dropped at the end.
    pub(crate) failed: oneshot::Receiver<Broken>,
    /// How far it is.
    pub(crate) count: Count,
    /// What it is called, for people.
    pub(crate) name: String,
    /// What was left out, once all was read.
    pub(crate) notes: Notes,
}

/// What was left out, sentences for people.
pub(crate) type Notes = Arc<Mutex<Vec<String>>>;

/// Why something can't be read. Keeps the stream of parts from ending.
pub(crate) struct Broken {
    pub(crate) error: anyhow::Error,
    _parts: mpsc::Sender<Vec<u8>>,
}

impl Pack {
    /// Begins to read; `-` is standard input.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        if path == Path::new("-") {
            return Ok(Self::start("standard input".to_owned(), None, Box::new(copy(io::stdin()))));
        }
        let facts = std::fs::metadata(path).with_context(|| format!("cannot read {shown}"))?;
        if facts.is_dir() {
            let dir = path.to_owned();
            return Ok(Self::start(format!("{name}/"), None, Box::new(move |to| pack(&dir, to))));
        }
        if !facts.is_file() {
            let text = format!("{shown} is neither a file nor a directory");
            return Err(Failure::Invalid(text));
        }
        let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
        Ok(Self::start(name, Some(facts.len()), Box::new(copy(file))))
    }

    fn start(name: String, of: Option<u64>, read: Box<Reader>) -> Self {
        let (send, parts) = mpsc::channel(AHEAD);
        let (fail, failed) = oneshot::channel();
        let count = Count::new(of);
        let counted = count.clone();
        let notes = Notes::default();
        let taken = Arc::clone(&notes);
        // Ends when it is done, or with the first part that nobody takes.
        tokio::task::spawn_blocking(move || {
            let mut to =
                Parts { send, part: Vec::with_capacity(CHUNK_BYTES), counted, notes: taken };
            if let Err(error) = read(&mut to).and_then(|()| to.flush()) {
                let broken = Broken { error: error.into(), _parts: to.send };
                // Nobody listens any more: the upload is over already.
                let _ = fail.send(broken);
            }
        });
        Self { parts, failed, count, name, notes }
    }

    /// The parts, in order.
    pub(crate) fn into_parts(
        self,
    ) -> (impl Stream<Item = Vec<u8>> + Send + 'static, oneshot::Receiver<Broken>) {
        let stream = futures_util::stream::unfold(self.parts, |mut parts| async move {
            parts.recv().await.map(|part| (part, parts))
        });
        (stream, self.failed)
    }
}

type Reader = dyn FnOnce(&mut Parts) -> io::Result<()> + Send;

fn copy(mut from: impl Read + Send) -> impl FnOnce(&mut Parts) -> io::Result<()> + Send {
    move |to| io::copy(&mut from, to).map(drop)
}

/// By the rules by which a server reads a directory: what it would refuse is named here already.
fn pack(dir: &Path, to: &mut Parts) -> io::Result<()> {
    match banger_images::pack_directory(dir, to) {
        Ok(notes) => {
            let mut told = to.notes.lock().unwrap_or_else(PoisonError::into_inner);
            told.extend(notes.iter().map(ToString::to_string));
            Ok(())
        }
        Err(banger_images::ImportError::Write { source, .. }) => Err(source),
        Err(error) => Err(io::Error::other(with_causes(&error))),
    }
}

/// Cuts what is written into parts.
struct Parts {
    send: mpsc::Sender<Vec<u8>>,
    part: Vec<u8>,
    counted: Count,
    notes: Notes,
}

impl Write for Parts {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = data.len().min(CHUNK_BYTES - self.part.len());
        self.part.extend_from_slice(&data[..taken]);
        if self.part.len() == CHUNK_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.part.is_empty() {
            return Ok(());
        }
        let part = std::mem::replace(&mut self.part, Vec::with_capacity(CHUNK_BYTES));
        self.counted.add(part.len() as u64);
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the upload is over");
        self.send.blocking_send(part).map_err(gone)
    }
}

#[cfg(test)]
mod tests;
