//! Tar streams into the guest and out of it.
//!
//! Driven by the service. The work is done on a thread of its own, a few pieces of 64 KiB ahead of
//! the stream at most. Inwards nothing is written outside of the directory that was named, whatever
//! the archive says, and device nodes are refused; outwards symlinks are packed as such and never
//! followed. A stream that is broken off is no archive that ended, and leaves no half of a file.
//! What can go wrong: a path is not there, an archive is none, the disk is full.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use banger_proto::guest_v1::{CopyInRequest, CopyInResponse, CopyOutResponse};
use banger_wire::announced::{Announced, READ_FIRST, read_small};
use banger_wire::guest_link::MAX_CHUNK;
use tar::{Archive, Builder, EntryType, Header};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

use crate::status;

mod files;

use files::Landing;

/// The most entries of one archive.
const MOST_ENTRIES: u64 = 1_000_000;

/// Pieces of a stream that wait for the thread.
const WAITING: usize = 2;

/// What comes of a stream. Where there is no more without an end it was broken off.
enum Piece {
    Data(Vec<u8>),
    End,
}

/// The most that is read of one entry before its content: long names and the map of its holes,
/// which are kept in memory.
const HEADERS: u64 = 4 * 1024 * 1024;

/// Reads what comes in pieces, for a while no more than so many bytes.
struct Pieces {
    pieces: mpsc::Receiver<Piece>,
    piece: Vec<u8>,
    at: usize,
    left: Rc<Cell<u64>>,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.pieces.blocking_recv() {
                Some(Piece::Data(piece)) => (self.piece, self.at) = (piece, 0),
                Some(Piece::End) => return Ok(0),
                // What was unpacked stays, as with any copy that is interrupted.
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        let left = self.left.get();
        if left == 0 && !into.is_empty() {
            return Err(io::Error::other("an entry has a name without an end"));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let length = into.len().min(self.piece.len() - self.at).min(most);
        self.left.set(left - length as u64);
        into[..length].copy_from_slice(&self.piece[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

/// An absolute path without `..`.
fn absolute(what: &str, path: &str) -> Result<PathBuf, Status> {
    let wanted = Path::new(path);
    let up = wanted.components().any(|part| part == std::path::Component::ParentDir);
    if !wanted.is_absolute() || up || path.contains('\0') {
        return Err(status::invalid(format!("{what} is not an absolute path without '..'")));
    }
    Ok(wanted.components().collect())
}

/// Unpacks a stream in a directory that is there.
///
/// # Errors
/// NOT_FOUND, INVALID_ARGUMENT, RESOURCE_EXHAUSTED or FAILED_PRECONDITION. What was unpacked
/// before stays, each file whole.
pub async fn copy_in(
    first: CopyInRequest,
    mut rest: impl Stream<Item = Result<CopyInRequest, Status>> + Unpin,
) -> Result<CopyInResponse, Status> {
    let directory = absolute("directory", &first.directory)?;
    match fs::metadata(&directory) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(status::failed(format!("{} is no directory", first.directory))),
        Err(error) => return Err(status::io(&format!("find {}", first.directory), &error)),
    }
    let own = first.own_name;
    if own.contains(['/', '\0']) || matches!(&*own, "." | "..") {
        return Err(status::invalid(format!("{own:?} is no name of a file")));
    }
    let (sender, pieces) = mpsc::channel(WAITING);
    let first = first.data;
    let mut unpacking =
        tokio::task::spawn_blocking(move || unpack(&directory, &own, first, pieces));
    let feed = async move {
        loop {
            let piece = match rest.next().await {
                Some(Ok(message)) => Piece::Data(message.data),
                None => Piece::End,
                Some(Err(_)) => return,
            };
            let end = matches!(piece, Piece::End);
            if sender.send(piece).await.is_err() || end {
                return;
            }
        }
    };
    let mut feed = std::pin::pin!(feed);
    let mut fed = false;
    loop {
        // Each arm is cancel-safe: both go on where they were.
        tokio::select! {
            () = &mut feed, if !fed => fed = true,
            done = &mut unpacking => {
                return done.map_err(|_| status::failed("unpacking broke off"))?;
            }
        }
    }
}

fn unpack(
    directory: &Path,
    own: &str,
    first: Vec<u8>,
    pieces: mpsc::Receiver<Piece>,
) -> Result<CopyInResponse, Status> {
    let failed = |error: io::Error| {
        // tar wraps what the kernel said; the sentence has it, the kind is of the innermost.
        status::io(&format!("unpack in {}", directory.display()), &error)
    };
    let left = Rc::new(Cell::new(HEADERS));
    let mut archive = Archive::new(Pieces { pieces, piece: first, at: 0, left: Rc::clone(&left) });
    archive.set_overwrite(true);
    archive.set_preserve_mtime(true);
    let mut done = CopyInResponse::default();
    let mut landing = own.is_empty().then(|| Landing::below(directory));
    let mut entries = archive.entries().map_err(failed)?;
    loop {
        left.set(HEADERS);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(failed)?;
        left.set(u64::MAX);
        let kind = entry.header().entry_type();
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        match kind {
            EntryType::Regular
            | EntryType::Continuous
            | EntryType::GNUSparse
            | EntryType::Directory
            | EntryType::Symlink
            | EntryType::Link => {}
            EntryType::XGlobalHeader => continue,
            _ => {
                return Err(status::invalid(format!(
                    "{name:?} is neither file, directory nor link"
                )));
            }
        }
        let landing = match &mut landing {
            Some(landing) => landing,
            // Known by the first entry: its first name is the one that is wanted.
            unknown @ None => {
                let path = entry.path().map_err(failed)?.into_owned();
                let name = path.components().find_map(|part| match part {
                    Component::Normal(name) => Some(name),
                    _ => None,
                });
                let name = name.ok_or_else(|| status::invalid(format!("{name:?} is no name")))?;
                unknown.insert(Landing::as_cp(directory, name, own).map_err(failed)?)
            }
        };
        if !files::put(&mut entry, landing).map_err(failed)? {
            return Err(status::invalid(format!("{name:?} leads out of the directory")));
        }
        done.entries += 1;
        done.bytes += entry.size();
        if done.entries > MOST_ENTRIES {
            return Err(status::exhausted(format!("more than {MOST_ENTRIES} entries")));
        }
    }
    Ok(done)
}

/// Writes in pieces.
struct Stuffer {
    chunks: mpsc::Sender<Result<CopyOutResponse, Status>>,
    piece: Vec<u8>,
}

impl Write for Stuffer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let room = MAX_CHUNK - self.piece.len();
        let length = data.len().min(room);
        self.piece.extend_from_slice(&data[..length]);
        if self.piece.len() == MAX_CHUNK {
            self.flush()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let data = std::mem::replace(&mut self.piece, Vec::with_capacity(MAX_CHUNK));
        let sent = self.chunks.blocking_send(Ok(CopyOutResponse { data }));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Packs a file with as many bytes as it has, whatever its directory says.
fn pack_file(
    builder: &mut Builder<Stuffer>,
    header: &mut Header,
    name: &Path,
    file: File,
    said: u64,
) -> io::Result<()> {
    if said > READ_FIRST {
        return builder.append_data(header, name, Announced::new(file, said));
    }
    let content = read_small(file)?.ok_or_else(|| {
        let text = format!("{} is said to have {said} bytes and does not end", name.display());
        io::Error::other(text)
    })?;
    header.set_size(content.len() as u64);
    builder.append_data(header, name, &content[..])
}

/// Begins to pack a file or directory into a stream. `held` is held until it is done.
///
/// # Errors
/// The path is not there or is none. What goes wrong later is the last item of the stream.
pub fn copy_out(
    path: &str,
    chunks: mpsc::Sender<Result<CopyOutResponse, Status>>,
    held: impl Send + 'static,
) -> Result<(), Status> {
    let path = absolute("path", path)?;
    fs::symlink_metadata(&path)
        .map_err(|error| status::io(&format!("find {}", path.display()), &error))?;
    tokio::task::spawn_blocking(move || {
        let stuffer = Stuffer { chunks: chunks.clone(), piece: Vec::with_capacity(MAX_CHUNK) };
        if let Err(error) = pack(&path, stuffer)
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            let what = format!("pack {}", path.display());
            let _ = chunks.blocking_send(Err(status::io(&what, &error)));
        }
        drop(held);
    });
    Ok(())
}

fn pack(path: &Path, stuffer: Stuffer) -> io::Result<()> {
    let mut builder = Builder::new(stuffer);
    let name = path.file_name().map_or_else(|| PathBuf::from("."), PathBuf::from);
    let mut left = vec![(path.to_owned(), name)];
    while let Some((path, name)) = left.pop() {
        let facts = match fs::symlink_metadata(&path) {
            Ok(facts) => facts,
            // Removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let kind = facts.file_type();
        let mut header = Header::new_gnu();
        header.set_metadata(&facts);
        if kind.is_dir() {
            builder.append_data(&mut header, &name, io::empty())?;
            let mut inside = fs::read_dir(&path)?.collect::<io::Result<Vec<_>>>()?;
            inside.sort_by_key(fs::DirEntry::file_name);
            left.extend(
                inside.iter().rev().map(|entry| (entry.path(), name.join(entry.file_name()))),
            );
        } else if kind.is_symlink() {
            builder.append_link(&mut header, &name, fs::read_link(&path)?)?;
        } else if kind.is_file() {
            pack_file(&mut builder, &mut header, &name, File::open(&path)?, facts.len())?;
        } else if kind.is_fifo()
            || kind.is_socket()
            || kind.is_block_device()
            || kind.is_char_device()
        {
            // What is no content is left out.
        }
    }
    builder.into_inner()?.flush()
}

#[cfg(test)]
mod tests;
