//! One entry of an archive in its place: a file is there whole, or what was there before is.
//!
//! Driven by the unpacking. tar writes a file where it belongs, so that one that is broken off
//! would be left there as half of it, with what it replaced gone. Here it is written beside its
//! place and renamed. Where that place is says a [`Landing`]. What can go wrong: as with any file;
//! a guest that is switched off in the middle keeps a file named [`NAME`] in that directory.

use std::ffi::{OsStr, OsString};
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

/// Where the entries of an archive go.
pub(super) struct Landing {
    /// Below this directory, and nowhere else.
    directory: PathBuf,
    /// The first name of every entry, and what it is here.
    renamed: Option<(OsString, OsString)>,
}

impl Landing {
    /// Under their own names.
    pub(super) fn below(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), renamed: None }
    }

    /// Where `cp` would put what is to be `name` in a directory and is `own` by itself.
    ///
    /// # Errors
    /// A link by that name leads nowhere, or the kernel says no.
    pub(super) fn as_cp(directory: &Path, name: &OsStr, own: &str) -> io::Result<Self> {
        let wanted = directory.join(name);
        let link = fs::symlink_metadata(&wanted).is_ok_and(|facts| facts.is_symlink());
        let (directory, to) = match fs::metadata(&wanted) {
            Ok(facts) if facts.is_dir() => (wanted, OsString::from(own)),
            Ok(_) if link => {
                let real = wanted.canonicalize()?;
                match (real.parent(), real.file_name()) {
                    (Some(parent), Some(name)) => (parent.to_owned(), name.to_owned()),
                    // A file has both.
                    _ => return Err(io::ErrorKind::InvalidInput.into()),
                }
            }
            Ok(_) => (directory.to_owned(), name.to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && link => {
                let text = format!("{} is a link that leads nowhere", wanted.display());
                return Err(io::Error::other(text));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (directory.to_owned(), name.to_owned())
            }
            Err(error) => return Err(error),
        };
        Ok(Self { directory, renamed: Some((name.to_owned(), to)) })
    }

    /// The place of a name in the archive; none where it leads out.
    fn place(&self, name: &Path) -> Option<PathBuf> {
        let mut place = self.directory.clone();
        let mut first = true;
        for part in name.components() {
            match (part, &self.renamed) {
                (Component::Normal(part), Some((from, to))) if first => {
                    if part != from {
                        return None;
                    }
                    place.push(to);
                    first = false;
                }
                (Component::Normal(part), _) => place.push(part),
                (Component::ParentDir, _) => return None,
                (Component::Prefix(_) | Component::RootDir | Component::CurDir, _) => {}
            }
        }
        Some(place)
    }
}

/// Puts an entry in its place. `false`: it leads out of the directory.
pub(super) fn put(entry: &mut Entry<'_, impl Read>, landing: &Landing) -> io::Result<bool> {
    let kind = entry.header().entry_type();
    let directory = &landing.directory;
    let Some(place) = landing.place(&entry.path()?) else { return Ok(false) };
    let Some(parent) = place.parent().filter(|_| place != *directory) else { return Ok(true) };
    if !ensure_parent(directory, parent)? {
        return Ok(false);
    }
    // Of old, a name with a slash at its end is a directory's.
    if kind == EntryType::Directory || entry.path_bytes().ends_with(b"/") {
        entry.unpack(&place)?;
        return Ok(true);
    }
    // One process unpacks here. What an earlier one has left under that name is replaced.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let partial = Partial(parent.join(format!("{NAME}{}-{number}", std::process::id())));
    if kind == EntryType::Link {
        let Some(to) = entry.link_name()? else { return Ok(false) };
        let Some(to) = landing.place(&to) else { return Ok(false) };
        if !to.parent().is_some_and(|parent| inside(directory, parent).unwrap_or(false)) {
            return Ok(false);
        }
        fs::hard_link(&to, &partial.0)?;
    } else {
        entry.unpack(&partial.0)?;
    }
    fs::rename(&partial.0, &place)?;
    Ok(true)
}

fn inside(directory: &Path, path: &Path) -> io::Result<bool> {
    Ok(path.canonicalize()?.starts_with(directory.canonicalize()?))
}

/// Makes the directories on the way. `false`: a link on it leads out of `directory`.
fn ensure_parent(directory: &Path, parent: &Path) -> io::Result<bool> {
    let missing: Vec<&Path> =
        parent.ancestors().take_while(|path| fs::symlink_metadata(path).is_err()).collect();
    for path in missing.into_iter().rev() {
        let Some(above) = path.parent() else { return Ok(false) };
        if !inside(directory, above)? {
            return Ok(false);
        }
        fs::create_dir(path)?;
    }
    inside(directory, parent)
}
