//! A piece of a file that is read as often as wanted: a file, or an entry of a tar archive.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::ImportError;
use crate::budget::{Budget, Metered, read_error};

/// Bytes of a file that stays open, so that every reading is of the same one.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    /// What it is called in messages.
    pub(crate) from: String,
    pub(crate) file: Arc<File>,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Blob {
    /// A regular file, which has no more than `limit` bytes.
    pub(crate) fn open(path: &Path, limit: u64) -> Result<Self, ImportError> {
        let from = path.display().to_string();
        let failed = |source| ImportError::Read { from: from.clone(), source };
        // A pipe would keep the opening waiting.
        let file = File::options()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
            .open(path)
            .map_err(failed)?;
        Self::of_file(file, from.clone(), limit)
    }

    pub(crate) fn of_file(file: File, from: String, limit: u64) -> Result<Self, ImportError> {
        let found = file.metadata();
        let found = found.map_err(|source| ImportError::Read { from: from.clone(), source })?;
        if !found.is_file() {
            let what = "it is no regular file".to_owned();
            return Err(ImportError::NotUsable { from, what });
        }
        if found.len() > limit {
            return Err(ImportError::Limit { from, limit, unit: "bytes" });
        }
        Ok(Self { from, file: Arc::new(file), offset: 0, length: found.len() })
    }

    /// From the beginning.
    pub(crate) fn reader(&self) -> BlobReader {
        BlobReader { blob: self.clone(), at: 0 }
    }

    /// The first bytes, as many as there are and fit.
    pub(crate) fn head(&self, most: usize) -> Result<Vec<u8>, ImportError> {
        let mut head = Vec::new();
        let read = self.reader().take(most as u64).read_to_end(&mut head);
        read.map_err(|error| read_error(&self.from, error))?;
        Ok(head)
    }

    /// Everything, if it is no more than `limit` bytes.
    pub(crate) fn read_whole(&self, limit: u64) -> Result<Vec<u8>, ImportError> {
        if self.length > limit {
            return Err(ImportError::Limit { from: self.from.clone(), limit, unit: "bytes" });
        }
        let all = self.head(limit as usize)?;
        if all.len() as u64 != self.length {
            return Err(read_error(&self.from, io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(all)
    }

    /// Reads everything and compares it with `sha256:…`.
    pub(crate) fn verify(&self, expected: &str, budget: &Budget<'_>) -> Result<(), ImportError> {
        self.compare(&mut Metered::plain(self.reader(), budget), expected)
    }

    /// Reads what comes of it, packed or unpacked, and compares that with `sha256:…`.
    pub(crate) fn compare(&self, reader: &mut dyn Read, expected: &str) -> Result<(), ImportError> {
        let mut hash = Sha256::new();
        let mut chunk = vec![0; 1 << 20];
        loop {
            let read = reader.read(&mut chunk).map_err(|error| read_error(&self.from, error))?;
            if read == 0 {
                break;
            }
            hash.update(&chunk[..read]);
        }
        let found = format!("sha256:{}", hex::encode(hash.finalize()));
        if found == expected {
            return Ok(());
        }
        let (from, expected) = (self.from.clone(), expected.to_owned());
        Err(ImportError::Digest { from, expected, found })
    }
}

/// Reads a [`Blob`] once.
pub(crate) struct BlobReader {
    blob: Blob,
    at: u64,
}

impl Read for BlobReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = (self.blob.length - self.at).min(buf.len() as u64) as usize;
        let read = self.blob.file.read_at(&mut buf[..most], self.blob.offset + self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
