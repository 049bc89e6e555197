//! Where the files of a container image lie: in a directory, or in a tar archive, by name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::blob::Blob;
use crate::budget::Budget;
use crate::directory::OpenDirectory;
use crate::kernel::copy;
use crate::output::Output;
use crate::root::drain;
use crate::tarball::{EntryKind, Tarball, shown};
use crate::tree::parts;
use crate::unpack::{Packing, SNIFF_BYTES, unpacked};
use crate::{ImportError, Options, Progress, Step};

/// The files of an image.
pub(crate) struct Store {
    from: String,
    limit: u64,
    files: Place,
}

enum Place {
    Directory(OpenDirectory),
    /// By their names without `./`; the output keeps the unpacked archive on the disk.
    Archive {
        by_name: HashMap<String, Blob>,
        _unpacked: Option<Output>,
    },
}

impl Store {
    pub(crate) fn of_directory(path: &Path, options: &Options) -> Result<Self, ImportError> {
        let (from, limit) = (path.display().to_string(), options.limits.source_bytes);
        Ok(Self { from, limit, files: Place::Directory(OpenDirectory::open(path)?) })
    }

    pub(crate) fn of_archive(
        archive: &Blob,
        within: &str,
        out: &Path,
        options: &Options,
        report: &dyn Fn(Progress),
    ) -> Result<Self, ImportError> {
        let budget = Budget::new(options.limits, &options.cancel, report, Step::Check, None)
            .writing_to(options.room.as_ref());
        let packing = Packing::of(&archive.head(SNIFF_BYTES)?);
        let (archive, unpacked) = match packing {
            Packing::Plain => (archive.clone(), None),
            _ => {
                let (archive, output) = unpack_beside(archive, out, &budget)?;
                (archive, Some(output))
            }
        };
        let by_name = list(&archive, within, &budget)?;
        let (from, limit) = (archive.from, options.limits.source_bytes);
        let files = Place::Archive { by_name, _unpacked: unpacked };
        Ok(Self { from, limit, files })
    }

    /// What the image is called in messages.
    pub(crate) fn from(&self) -> &str {
        &self.from
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.file(name).is_ok()
    }

    /// A file by its path in the image.
    pub(crate) fn file(&self, name: &str) -> Result<Blob, ImportError> {
        let missing = || ImportError::Damaged {
            from: self.from.clone(),
            what: format!("it has no {name:?}"),
        };
        match &self.files {
            Place::Archive { by_name, .. } => by_name.get(name).cloned().ok_or_else(missing),
            Place::Directory(source) => {
                let file =
                    source.file(&PathBuf::from(name)).map_err(|error| match error.class() {
                        crate::ErrorClass::NotFound => missing(),
                        _ => error,
                    })?;
                Blob::of_file(file, format!("{}/{name}", self.from), self.limit)
            }
        }
    }
}

fn unpack_beside(
    archive: &Blob,
    out: &Path,
    budget: &Budget<'_>,
) -> Result<(Blob, Output), ImportError> {
    let mut output = Output::create(out)?;
    let mut stream = unpacked(archive.reader(), &archive.from, budget)?;
    copy(&mut stream, &archive.from, &mut output)?;
    let file = output.file().try_clone().map_err(|error| output.failed(error))?;
    Ok((Blob::of_file(file, archive.from.clone(), u64::MAX)?, output))
}

/// Links from one file of an archive to another that are followed.
const MOST_LINKS: usize = 8;

/// Where every file of an archive lies. Links to files are followed: old versions of Docker write
/// a layer that is there already as one.
fn list(
    archive: &Blob,
    within: &str,
    budget: &Budget<'_>,
) -> Result<HashMap<String, Blob>, ImportError> {
    let mut by_name = HashMap::new();
    let mut links: HashMap<String, String> = HashMap::new();
    let stream = unpacked(archive.reader(), &archive.from, budget)?;
    let mut entries = Tarball::new(stream, &archive.from);
    while let Some(entry) = entries.next()? {
        budget.spend_entry().map_err(|stop| entries.stopped(stop))?;
        let path = parts(&entry.path).map_err(|why| entries.refused(&entry.path, why))?;
        // Kept up to four times: whole, within the archive, and as where it and a link to it are.
        let texts = 4 * (entry.path.len() + entry.link.len()) as u64;
        budget.spend_memory(texts + 512).map_err(|stop| entries.stopped(stop))?;
        let path = String::from_utf8_lossy(&path.join(&b'/')).into_owned();
        let Some(name) = path.strip_prefix(within).map(str::to_owned) else { continue };
        let link = String::from_utf8_lossy(&entry.link);
        let target = match entry.kind {
            EntryKind::File => {
                let blob = Blob {
                    from: format!("{}: {}", archive.from, shown(name.as_bytes())),
                    offset: archive.offset + entries.position(),
                    length: entry.size,
                    ..archive.clone()
                };
                links.remove(&name);
                by_name.insert(name, blob);
                continue;
            }
            // From the directory of the link on.
            EntryKind::Symlink if !link.starts_with('/') => {
                format!("{}/{link}", path.rsplit_once('/').map_or("", |(above, _)| above))
            }
            EntryKind::Symlink | EntryKind::HardLink => link.into_owned(),
            _ => continue,
        };
        by_name.remove(&name);
        if let Some(target) = joined(&target).strip_prefix(within) {
            links.insert(name, target.to_owned());
        }
    }
    drain(entries.into_inner(), &archive.from)?;
    for (name, target) in &links {
        let mut target = target;
        for _ in 0..MOST_LINKS {
            let Some(next) = links.get(target) else { break };
            target = next;
        }
        if let Some(blob) = by_name.get(target).cloned() {
            by_name.insert(name.clone(), blob);
        }
    }
    Ok(by_name)
}

/// A path without `.`, `..` and double slashes; what would climb out stays at the root.
fn joined(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
