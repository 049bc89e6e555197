//! Writes the result of an import to a file that is there whole or not at all: with holes, hashed,
//! synced, renamed.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::blob::Blob;
use crate::budget::{Budget, Stop, read_error};
use crate::ext4::is_zero;
use crate::{ImportError, Kind, Made, Note, SCRATCH_PREFIX};

const CHUNK_BYTES: usize = 1 << 20;

/// Runs of zeros of this length are left out.
const HOLE_BYTES: usize = 64 << 10;

/// A file that is being made beside the place it will have. Dropped unfinished it is removed.
#[derive(Debug)]
pub(crate) struct Output {
    file: NamedTempFile,
    path: PathBuf,
}

/// The directory of a file, "." where it has none.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

impl Output {
    pub(crate) fn create(path: &Path) -> Result<Self, ImportError> {
        let file = tempfile::Builder::new()
            .prefix(SCRATCH_PREFIX)
            .tempfile_in(directory_of(path))
            .map_err(|source| ImportError::Write { path: path.to_owned(), source })?;
        Ok(Self { file, path: path.to_owned() })
    }

    pub(crate) fn file(&self) -> &File {
        self.file.as_file()
    }

    pub(crate) fn failed(&self, source: io::Error) -> ImportError {
        ImportError::Write { path: self.path.clone(), source }
    }

    /// Copies a blob; blocks of zeros become holes.
    pub(crate) fn copy_sparse(&self, blob: &Blob, budget: &Budget<'_>) -> Result<(), ImportError> {
        let file = self.file();
        file.set_len(blob.length).map_err(|error| self.failed(error))?;
        let mut reader = blob.reader();
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut at = 0;
        while at < blob.length {
            let read = reader.read(&mut chunk).map_err(|error| read_error(&blob.from, error))?;
            if read == 0 {
                return Err(read_error(&blob.from, io::ErrorKind::UnexpectedEof.into()));
            }
            for (place, part) in chunk[..read].chunks(HOLE_BYTES).enumerate() {
                if !is_zero(part) {
                    let at = at + (place * HOLE_BYTES) as u64;
                    file.write_all_at(part, at).map_err(|error| self.failed(error))?;
                }
            }
            at += read as u64;
            budget.spend(read as u64).map_err(|stop| stop.at(&blob.from))?;
        }
        Ok(())
    }

    /// Digests the file, syncs it and gives it its name.
    pub(crate) fn finish(
        mut self,
        kind: Kind,
        notes: Vec<Note>,
        budget: &Budget<'_>,
    ) -> Result<Made, ImportError> {
        let from = self.path.display().to_string();
        let (sha256, size_bytes) = match digest(self.file.as_file_mut(), budget) {
            Ok(Ok(found)) => found,
            Ok(Err(stop)) => return Err(stop.at(&from)),
            Err(error) => return Err(self.failed(error)),
        };
        let Self { file, path } = self;
        let placed = (|| {
            file.as_file().set_permissions(Permissions::from_mode(0o644))?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            fs::File::open(directory_of(&path))?.sync_all()
        })();
        placed.map_err(|source| ImportError::Write { path, source })?;
        Ok(Made { kind, sha256, size_bytes, notes })
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn digest(file: &mut File, budget: &Budget<'_>) -> io::Result<Result<([u8; 32], u64), Stop>> {
    file.seek(SeekFrom::Start(0))?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut size = 0;
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(Ok((hash.finalize().into(), size)));
        }
        hash.update(&chunk[..read]);
        size += read as u64;
        if let Err(stop) = budget.spend(read as u64) {
            return Ok(Err(stop));
        }
    }
}
