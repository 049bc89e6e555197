//! `banger vm cp`: files and directories to and from a guest, as tar streams.
//!
//! [`pack`] and [`unpack`] work on threads of their own, joined with the call by a bounded channel:
//! the slower end slows the other, and nothing is kept. A packing that fails breaks the call off,
//! so that half an archive is never taken for a whole one.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use banger_client::guests::MAX_STREAM_DATA_BYTES;
use futures_util::stream;
use tokio::sync::mpsc;

use crate::args::guest::CpArgs;
use crate::failure::Failure;
use crate::output::text::clean;
use crate::session::Session;

mod unpack;

/// Parts of an archive on their way between the call and the thread.
const QUEUE: usize = 4;

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Here(PathBuf),
    Guest { vm: String, path: String },
}

pub(in super::super) async fn copy(session: &Session, args: CpArgs) -> Result<(), Failure> {
    match (place(&args.from), place(&args.to)) {
        (Place::Here(from), Place::Guest { vm, path }) => {
            to_guest(session, &from, &vm, &path).await
        }
        (Place::Guest { vm, path }, Place::Here(to)) => from_guest(session, &vm, &path, &to).await,
        (Place::Here(_), Place::Here(_)) | (Place::Guest { .. }, Place::Guest { .. }) => {
            let text = "exactly one of the two is in a guest: write it as VM:/path";
            Err(Failure::Usage(text.to_owned()))
        }
    }
}

/// As scp has it: what has a colon before its first slash is elsewhere.
fn place(text: &str) -> Place {
    match text.split_once(':') {
        Some((vm, path)) if !vm.is_empty() && !vm.contains('/') => {
            Place::Guest { vm: vm.to_owned(), path: path.to_owned() }
        }
        Some(_) | None => Place::Here(text.into()),
    }
}

/// Directory and name of a path of a guest; no name where the path ends with a slash.
fn split(path: &str) -> Result<(String, Option<String>), Failure> {
    let wrong = |why: &str| Failure::Usage(format!("{path:?} is no path of a guest: {why}"));
    let Some((directory, name)) = path.rsplit_once('/').filter(|_| path.starts_with('/')) else {
        return Err(wrong("it must begin with /"));
    };
    if matches!(name, "." | "..") {
        return Err(wrong("it must end with a name or /"));
    }
    let directory = if directory.is_empty() { "/" } else { directory };
    Ok((directory.to_owned(), (!name.is_empty()).then(|| name.to_owned())))
}

async fn to_guest(session: &Session, from: &Path, vm: &str, path: &str) -> Result<(), Failure> {
    let (directory, name) = split(path)?;
    let own = || {
        let own = from.canonicalize().ok()?;
        own.file_name().map(OsString::from)
    };
    let name =
        match name {
            Some(name) => OsString::from(name),
            // `.` and `..` have names too.
            None => from.file_name().map(OsString::from).or_else(own).ok_or_else(|| {
                Failure::Usage(format!("{} has no name of its own", from.display()))
            })?,
        };
    let (send, parts) = mpsc::channel(QUEUE);
    // The parts end with the last who can send, and that is the end of the archive: so this is let
    // go of where the archive was seen to be whole, and else after the call.
    let mut open = Some(send.clone());
    let source = from.to_owned();
    let packing = tokio::task::spawn_blocking(move || {
        let mut writer = Parts { send, part: Vec::new() };
        let packed = pack(&source, Path::new(&name), &mut writer);
        drop(writer);
        packed
    });
    let parts = stream::unfold(parts, |mut parts: mpsc::Receiver<Vec<u8>>| async move {
        parts.recv().await.map(|part| (part, parts))
    });
    let client = session.client.vms();
    let sending = client.copy_to(vm, &directory, parts);
    let packed = async {
        let packed = packing.await.map_err(|error| Failure::other(error.into()))?;
        packed.map_err(|error| Failure::io(&format!("pack {}", from.display()), error))?;
        open = None;
        Ok::<(), Failure>(())
    };
    tokio::pin!(sending, packed);
    // Cancel-safe: a packing that fails drops the call, which breaks it off; a call that fails
    // closes the channel, which ends the packing.
    let copied = tokio::select! {
        copied = &mut sending => copied?,
        packed = &mut packed => {
            // One whose reader went away: the call says why.
            match packed {
                Err(failure) if !matches!(failure, Failure::Closed) => return Err(failure),
                Ok(()) | Err(_) => sending.await?,
            }
        }
    };
    let (entries, bytes) = (copied.entries, copied.bytes);
    session.printer.note(&format!("Copied {entries} entries, {bytes} bytes to {}.", clean(vm)));
    Ok(())
}

/// Packs a file or directory under another name. Links stay links.
fn pack(from: &Path, name: &Path, to: &mut Parts) -> io::Result<()> {
    let mut archive = tar::Builder::new(to);
    archive.follow_symlinks(false);
    // What is named is meant, also by a link to it; what lies in it is as it is.
    let facts = std::fs::metadata(from)?;
    if facts.is_dir() {
        archive.append_dir_all(name, from)?;
    } else {
        let mut file = std::fs::File::open(from)?;
        archive.append_file(name, &mut file)?;
    }
    archive.into_inner()?.flush()
}

/// The writing end: parts of bounded size.
struct Parts {
    send: mpsc::Sender<Vec<u8>>,
    part: Vec<u8>,
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = MAX_STREAM_DATA_BYTES - self.part.len();
        let taken = bytes.len().min(room);
        self.part.extend_from_slice(&bytes[..taken]);
        if self.part.len() == MAX_STREAM_DATA_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.part.is_empty() {
            return Ok(());
        }
        let part = std::mem::take(&mut self.part);
        self.send.blocking_send(part).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

async fn from_guest(session: &Session, vm: &str, path: &str, to: &Path) -> Result<(), Failure> {
    let path = path.trim_end_matches('/');
    let (_, Some(asked)) = split(path)? else {
        return Err(Failure::Usage("a guest is not copied as a whole: name a path".to_owned()));
    };
    let into = to.is_dir() || to.as_os_str().to_string_lossy().ends_with('/');
    let (directory, name) = match (into, to.parent(), to.file_name()) {
        (false, Some(directory), Some(name)) => {
            let here = directory.as_os_str().is_empty();
            (if here { Path::new(".") } else { directory }.to_owned(), name.to_owned())
        }
        _ => (to.to_owned(), OsString::from(&asked)),
    };
    let mut parts = session.client.vms().copy_from(vm, path).await?;
    let (send, receive) = mpsc::channel(QUEUE);
    let unpacking = tokio::task::spawn_blocking(move || {
        let mut reader = Pieces { receive, piece: Vec::new(), at: 0 };
        let unpacked = unpack::unpack(&mut reader, &asked, &directory, &name);
        // What follows the archive's end is read, so that the call ends as it should.
        unpacked.and_then(|done| io::copy(&mut reader, &mut io::sink()).map(|_| done))
    });
    let mut lost = None;
    loop {
        match parts.next().await {
            // Where nobody takes it, the unpacking has failed and says why.
            Ok(Some(part)) => {
                if send.send(Ok(part.data)).await.is_err() {
                    break;
                }
            }
            Ok(None) => break,
            Err(error) => {
                let _ = send.send(Err(io::ErrorKind::UnexpectedEof.into())).await;
                lost = Some(error);
                break;
            }
        }
    }
    drop(send);
    let unpacked = unpacking.await.map_err(|error| Failure::other(error.into()))?;
    if let Some(error) = lost {
        return Err(error.into());
    }
    let done = unpacked.map_err(|error| Failure::io(&format!("unpack {}", to.display()), error))?;
    for left_out in &done.left_out {
        session.printer.note(&format!("Left out {}", clean(left_out)));
    }
    let (entries, bytes) = (done.entries, done.bytes);
    session.printer.note(&format!("Copied {entries} entries, {bytes} bytes from {}.", clean(vm)));
    Ok(())
}

/// The reading end.
struct Pieces {
    receive: mpsc::Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.receive.blocking_recv() {
                Some(piece) => (self.piece, self.at) = (piece?, 0),
                None => return Ok(0),
            }
        }
        let length = into.len().min(self.piece.len() - self.at);
        into[..length].copy_from_slice(&self.piece[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
