//! One entry of an archive in its place: a file is there whole, or what was there before is.
//!
//! Driven by the unpacking. tar writes a file where it belongs, so that one that is broken off would
//! be left there as half of it, with what it replaced gone. Here it is written beside its place and
//! renamed. What can go wrong: as with any file; a guest that is switched off in the middle keeps a
//! file named [`NAME`] in that directory.

use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tar::{Entry, EntryType};

/// How the name of a file begins that is not whole yet.
const NAME: &str = ".banger-copy-";

/// A file that is removed with its holder, unless it was renamed.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // Not there: it was renamed, or never begun.
        let _ = fs::remove_file(&self.0);
    }
}

/// Puts an entry in its place below a directory. `false`: it leads out of it.
pub(super) fn put(entry: &mut Entry<'_, impl Read>, directory: &Path) -> io::Result<bool> {
    let kind = entry.header().entry_type();
    let file = matches!(kind, EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse);
    // Of old, a name with a slash at its end is a directory's.
    if !file || entry.path_bytes().ends_with(b"/") {
        return entry.unpack_in(directory);
    }
    let mut place = directory.to_owned();
    for part in entry.path()?.components() {
        match part {
            Component::Normal(part) => place.push(part),
            Component::ParentDir => return Ok(false),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    let Some(parent) = place.parent().filter(|_| place != directory) else { return Ok(true) };
    if !ensure_parent(directory, parent)? {
        return Ok(false);
    }
    // One process unpacks here. What an earlier one has left under that name is replaced.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let partial = Partial(parent.join(format!("{NAME}{}-{number}", std::process::id())));
    entry.unpack(&partial.0)?;
    fs::rename(&partial.0, &place)?;
    Ok(true)
}

/// Makes the directories on the way. `false`: a link on it leads out of `directory`.
fn ensure_parent(directory: &Path, parent: &Path) -> io::Result<bool> {
    let inside = |path: &Path| {
        Ok::<_, io::Error>(path.canonicalize()?.starts_with(directory.canonicalize()?))
    };
    let missing: Vec<&Path> =
        parent.ancestors().take_while(|path| fs::symlink_metadata(path).is_err()).collect();
    for path in missing.into_iter().rev() {
        let Some(above) = path.parent() else { return Ok(false) };
        if !inside(above)? {
            return Ok(false);
        }
        fs::create_dir(path)?;
    }
    inside(parent)
}
