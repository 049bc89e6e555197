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

use super::ready;
use super::terminal::{Signals, Told};
use crate::args::guest::CpArgs;
use crate::session::Session;
use banger_terminal::ask;
use banger_terminal::failure::Failure;
use banger_terminal::progress::{Count, Progress};
use banger_terminal::text::{clean, counted};

mod pack;
mod unpack;

/// Parts of an archive on their way between the call and the thread.
const QUEUE: usize = 4;

/// How many files, directories and links a guest may send before somebody is asked.
const ENTRIES: u64 = 1_000_000;

/// The most that is read after an archive's end: tar fills its last block up, to 10 KiB mostly.
const AFTER_END: u64 = 1024 * 1024;

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Here(PathBuf),
    Guest { vm: String, path: String },
}

pub(in super::super) async fn copy(session: &Session, args: CpArgs) -> Result<(), Failure> {
    if [&args.from, &args.to].iter().any(|text| *text == "-") {
        let text = "cp has no standard input or output: use `banger vm exec VM -- cat PATH`, or \
                    `banger vm exec -i VM -- tee PATH`; a file of that name is ./-";
        return Err(Failure::Usage(text.to_owned()));
    }
    let places = (place(&args.from), place(&args.to));
    let ((Place::Guest { vm, .. }, Place::Here(_)) | (Place::Here(_), Place::Guest { vm, .. })) =
        &places
    else {
        let text = "exactly one of the two is in a guest: write it as VM:/path";
        return Err(Failure::Usage(text.to_owned()));
    };
    let error = match once(session, &places, args.max_size).await {
        Err(Failure::Client(error)) => error,
        done => return done,
    };
    // Refused before anything was copied, if the guest has not begun to listen.
    let mut signals = Signals::hear()?;
    if !ready::after(session, vm, &error, &mut signals).await? {
        return Err(error.into());
    }
    let again = once(session, &places, args.max_size);
    tokio::pin!(again);
    loop {
        // Cancel-safe: the copy goes on where it was.
        tokio::select! {
            done = &mut again => return done,
            told = signals.next() => match told {
                Told::End(_) => return Err(Failure::Interrupted("interrupted".to_owned())),
                Told::Resized => {}
            }
        }
    }
}

async fn once(session: &Session, places: &(Place, Place), max_size: u64) -> Result<(), Failure> {
    match places {
        (Place::Here(from), Place::Guest { vm, path }) => to_guest(session, from, vm, path).await,
        (Place::Guest { vm, path }, Place::Here(to)) => {
            from_guest(session, vm, path, to, max_size).await
        }
        // Refused by the caller.
        (Place::Here(_), Place::Here(_)) | (Place::Guest { .. }, Place::Guest { .. }) => Ok(()),
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
    // `.` and `..` have names too.
    let own = from.file_name().map(OsString::from).or_else(own);
    let name = name
        .map(OsString::from)
        .or_else(|| own.clone())
        .ok_or_else(|| Failure::Usage(format!("{} has no name of its own", from.display())))?;
    // The root of this machine has none: it never goes into what is there.
    let own = own.unwrap_or_default().to_string_lossy().into_owned();
    let source = from.to_owned();
    let failed = |error| Failure::io(&format!("read {}", from.display()), error);
    let measured = tokio::task::spawn_blocking(move || pack::measure(&source)).await;
    let size = measured.map_err(|error| Failure::other(error.into()))?.map_err(failed)?;
    let (send, parts) = mpsc::channel(QUEUE);
    // The parts end with the last who can send, and that is the end of the archive: so this is let
    // go of where the archive was seen to be whole, and else after the call.
    let mut open = Some(send.clone());
    let count = Count::new(Some(size));
    let (source, counted_bytes) = (from.to_owned(), count.clone());
    let packing = tokio::task::spawn_blocking(move || {
        let mut writer = Parts { send, part: Vec::new(), count: counted_bytes };
        let packed = pack::pack(&source, Path::new(&name), &mut writer);
        drop(writer);
        packed
    });
    let parts = stream::unfold(parts, |mut parts: mpsc::Receiver<Vec<u8>>| async move {
        parts.recv().await.map(|part| (part, parts))
    });
    let client = session.client.vms();
    let sending = client.copy_to(vm, &directory, &own, parts);
    let packed = async {
        let packed = packing.await.map_err(|error| Failure::other(error.into()))?;
        let packed =
            packed.map_err(|error| Failure::io(&format!("pack {}", from.display()), error))?;
        open = None;
        Ok::<_, Failure>(packed)
    };
    let work = async {
        tokio::pin!(sending, packed);
        // Cancel-safe: a packing that fails drops the call, which breaks it off; a call that fails
        // closes the channel, which ends the packing.
        tokio::select! {
            copied = &mut sending => {
                let copied = copied?;
                Ok((copied, packed.await?))
            }
            packed = &mut packed => match packed {
                Ok(packed) => Ok((sending.await?, packed)),
                // One whose reader went away: the call says why.
                Err(Failure::Closed) => Ok((sending.await?, Vec::new())),
                Err(failure) => Err(failure),
            },
        }
    };
    let progress = Progress::start();
    let (copied, left_out) = progress.counting("copying", &count, work).await?;
    drop(progress);
    said(session, "to", vm, &left_out, copied.entries, copied.bytes)
}

/// Says what was copied, and that nothing was.
fn said(
    session: &Session,
    way: &str,
    vm: &str,
    left_out: &[String],
    entries: u64,
    bytes: u64,
) -> Result<(), Failure> {
    for left_out in left_out {
        session.printer.note(&format!("Left out {}", clean(left_out)));
    }
    if entries == 0 {
        let text = format!("nothing was copied {way} {}: there is no file in it", clean(vm));
        return Err(Failure::Invalid(text));
    }
    let (entries, bytes) = (counted(entries, "entry"), counted(bytes, "byte"));
    session.printer.note(&format!("Copied {entries}, {bytes} {way} {}.", clean(vm)));
    Ok(())
}

/// The writing end: parts of bounded size.
struct Parts {
    send: mpsc::Sender<Vec<u8>>,
    part: Vec<u8>,
    count: Count,
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
        self.count.add(part.len() as u64);
        self.send.blocking_send(part).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

async fn from_guest(
    session: &Session,
    vm: &str,
    path: &str,
    to: &Path,
    max_bytes: u64,
) -> Result<(), Failure> {
    let path = path.trim_end_matches('/');
    let (_, Some(asked)) = split(path)? else {
        return Err(Failure::Usage("a guest is not copied as a whole: name a path".to_owned()));
    };
    let real;
    let to = if to.is_symlink() && !to.is_dir() {
        // As cp has it: through a link of the caller's own, not in its place.
        let leads = |error| Failure::io(&format!("follow the link {}", to.display()), error);
        real = to.canonicalize().map_err(leads)?;
        &real
    } else {
        to
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
    let (progress, count) = (Progress::start(), Count::default());
    let (away, who) = (progress.while_away(), clean(vm));
    let ask = move || {
        let size = banger_terminal::text::bytes(max_bytes);
        let text = format!("{who} sends more than {size} or {ENTRIES} files.");
        away(&|| ask::go_on(&text))
    };
    let mut limits = unpack::Limits {
        bytes: max_bytes,
        entries: ENTRIES,
        ask: Box::new(ask),
        count: count.clone(),
        umask: umask()?,
    };
    let unpacking = tokio::task::spawn_blocking(move || {
        let mut reader = Pieces { receive, piece: Vec::new(), at: 0 };
        let unpacked = unpack::unpack(&mut reader, &asked, &directory, &name, &mut limits);
        // What follows the archive's end is read, so that the call ends as it should.
        unpacked.and_then(|done| read_out(&mut reader).map(|()| done))
    });
    let work = async {
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
        (unpacking.await, lost)
    };
    let (unpacked, lost) = progress.counting("copying", &count, work).await;
    drop(progress);
    let unpacked = unpacked.map_err(|error| Failure::other(error.into()))?;
    if let Some(error) = lost {
        return Err(error.into());
    }
    let done = unpacked.map_err(|error| Failure::io(&format!("unpack {}", to.display()), error))?;
    said(session, "from", vm, &done.left_out, done.entries, done.bytes)
}

/// Reads what follows the end of an archive.
fn read_out(reader: &mut impl Read) -> io::Result<()> {
    if io::copy(&mut reader.take(AFTER_END + 1), &mut io::sink())? > AFTER_END {
        return Err(io::Error::other("the guest sends on after the end of its archive"));
    }
    Ok(())
}

/// What this process takes from the mode of every file it makes.
fn umask() -> Result<u32, Failure> {
    let own = procfs::process::Process::myself().and_then(|own| own.status());
    let status = own.map_err(|error| Failure::other(error.into()))?;
    // Linux says it since 4.7; older ones get what is usual.
    Ok(status.umask.unwrap_or(0o022))
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
