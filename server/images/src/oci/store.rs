//! Where the files of a container image lie: in a directory, or in a tar archive, by name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::blob::Blob;
use crate::budget::Budget;
use crate::directory::Source;
use crate::kernel::copy;
use crate::output::Output;
use crate::root::drain;
use crate::tarball::{EntryKind, Tarball};
use crate::tree::parts;
use crate::unpack::{Packing, SNIFF_BYTES, unpacked};
use crate::{ImportError, Options, Progress, Step};

/// The files of an image.
pub(crate) struct Store {
    from: String,
    limit: u64,
    files: Files,
}

enum Files {
    Directory(Source),
    /// By their names without `./`; the output keeps the unpacked archive on the disk.
    Archive {
        by_name: HashMap<String, Blob>,
        _unpacked: Option<Output>,
    },
}

impl Store {
    pub(crate) fn of_directory(path: &Path, options: &Options) -> Result<Self, ImportError> {
        let (from, limit) = (path.display().to_string(), options.limits.source_bytes);
        Ok(Self { from, limit, files: Files::Directory(Source::open(path)?) })
    }

    pub(crate) fn of_archive(
        archive: &Blob,
        out: &Path,
        options: &Options,
        report: &dyn Fn(Progress),
    ) -> Result<Self, ImportError> {
        let budget = Budget::new(options.limits, &options.cancel, report, Step::Check, None);
        let packing = Packing::of(&archive.head(SNIFF_BYTES)?);
        let (archive, unpacked) = match packing {
            Packing::Plain => (archive.clone(), None),
            _ => {
                let (archive, output) = unpack_beside(archive, out, &budget)?;
                (archive, Some(output))
            }
        };
        let by_name = list(&archive, &budget)?;
        let (from, limit) = (archive.from, options.limits.source_bytes);
        let files = Files::Archive { by_name, _unpacked: unpacked };
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
            Files::Archive { by_name, .. } => by_name.get(name).cloned().ok_or_else(missing),
            Files::Directory(source) => {
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

/// Where every file of an archive lies.
fn list(archive: &Blob, budget: &Budget<'_>) -> Result<HashMap<String, Blob>, ImportError> {
    let mut by_name = HashMap::new();
    let stream = unpacked(archive.reader(), &archive.from, budget)?;
    let mut entries = Tarball::new(stream, &archive.from);
    while let Some(entry) = entries.next()? {
        budget.spend_entry().map_err(|stop| entries.stopped(stop))?;
        let path = parts(&entry.path).map_err(|why| entries.refused(&entry.path, why))?;
        if entry.kind != EntryKind::File {
            continue;
        }
        let name = String::from_utf8_lossy(&path.join(&b'/')).into_owned();
        let blob = Blob {
            from: format!("{}: {name}", archive.from),
            offset: archive.offset + entries.position(),
            length: entry.size,
            ..archive.clone()
        };
        by_name.insert(name, blob);
    }
    drain(entries.into_inner(), &archive.from)?;
    Ok(by_name)
}
