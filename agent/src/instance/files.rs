//! Claims as files: opened without following a link or waiting for anybody, written whole or not at
//! all, read up to a bound.
//!
//! Driven by whoever claims, in turn with all others, and by the doctor. What can go wrong: what
//! lies in a claim's place can't be understood. An empty file that nobody holds is what earlier
//! versions left where they refused an agent: nobody's, unless something of its instance is on the
//! machine, for an agent of those versions that was killed while it wrote left one, too.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::Claim;
use super::now::MachineNow;

/// What a claim's name ends with.
pub(super) const SUFFIX: &str = ".json";

/// A claim that is being written, beside it.
const NEW: &str = ".new";

/// Whoever holds this has the turn.
const TURN: &str = "lock";

/// A claim is a few hundred bytes; what is longer is none.
const MAX_BYTES: u64 = 16 * 1024;

/// Opens without following a symlink, and without waiting for whoever writes to a FIFO.
const FLAGS: i32 = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC;

/// Opens a file, which is made if it is missing.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(FLAGS)
        .open(path)
}

/// Opens what is there; `None`: nothing is.
pub(super) fn open_claim(path: &Path) -> io::Result<Option<File>> {
    match OpenOptions::new().read(true).custom_flags(FLAGS).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits for a turn with the claims, which lasts for as long as the file is open.
pub(super) fn take_turn(directory: &Path) -> io::Result<File> {
    let turn = open(&directory.join(TURN))?;
    turn.lock()?;
    Ok(turn)
}

/// Waits until nobody claims, and makes nothing.
fn wait_for_turn(directory: &Path) -> io::Result<Option<File>> {
    let turn = open_claim(&directory.join(TURN))?;
    turn.iter().try_for_each(File::lock_shared)?;
    Ok(turn)
}

/// Puts a claim in its place, whole and locked.
pub(super) fn write(path: &Path, text: &[u8]) -> io::Result<File> {
    let new = path.with_extension(NEW.trim_start_matches('.'));
    let mut file = open(&new)?;
    file.lock()?;
    // What an agent left that died here.
    file.set_len(0)?;
    file.write_all(text)?;
    // Where `/run` is a disk, a claim that a loss of power emptied would keep every agent from
    // starting.
    file.sync_all()?;
    fs::rename(&new, path)?;
    Ok(file)
}

/// A claim and whether an agent holds it; `None` if it is gone by now or nobody's, or why it can't
/// be understood. `held` where the caller knows. To be called in turn with those who claim.
pub(super) fn look(
    path: &Path,
    held: Option<bool>,
    now: &MachineNow,
) -> Result<Option<(Claim, bool)>, String> {
    let unread = |error: io::Error| error.to_string();
    let Some(file) = open_claim(path).map_err(unread)? else { return Ok(None) };
    let facts = file.metadata().map_err(unread)?;
    if !facts.is_file() {
        return Err("it is no regular file".to_owned());
    }
    // What cannot be told counts as held.
    let held = held.unwrap_or_else(|| file.try_lock_shared().is_err());
    match facts.len() {
        0 => return whose_empty(path, held, now).map_or(Ok(None), Err),
        length if length > MAX_BYTES => return Err("it is longer than any claim".to_owned()),
        _ => {}
    }
    let mut text = Vec::new();
    (&file).take(MAX_BYTES).read_to_end(&mut text).map_err(unread)?;
    let claim: Claim = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if path.file_name() != Some(OsStr::new(&format!("{}{SUFFIX}", claim.tag))) {
        return Err(format!("it is in the name of instance {:?}", claim.tag));
    }
    Ok(Some((claim, held)))
}

/// Why an empty claim is somebody's; `None`: it is nobody's.
fn whose_empty(path: &Path, held: bool, now: &MachineNow) -> Option<String> {
    if held {
        return Some("it is empty, and an agent holds it".to_owned());
    }
    let name = path.file_name().and_then(OsStr::to_str)?;
    let Ok(tag) = name.strip_suffix(SUFFIX)?.parse() else {
        return Some("it is empty, and its name is no instance's".to_owned());
    };
    let interface = now.interface_of(tag)?;
    Some(format!("it is empty, and interface {interface} is of its instance"))
}

/// The claims of a directory that can't be understood, each with what is wrong with it; none where
/// there is no directory. Changes nothing.
///
/// # Errors
/// They can't be listed.
pub(super) fn unclear(directory: &Path, now: &MachineNow) -> io::Result<Vec<String>> {
    let listed = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed?,
    };
    let _turn = wait_for_turn(directory)?;
    let mut unclear = Vec::new();
    for entry in listed {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(SUFFIX)
            && let Err(why) = look(&path, None, now)
        {
            unclear.push(format!("{}: {why}", path.display()));
        }
    }
    unclear.sort();
    Ok(unclear)
}
