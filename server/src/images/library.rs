//! The files: contents by digest, uploads by digest, and what is on its way to be one.
//!
//! ```text
//! <state>/images/incoming/   being written; removed at start and when dropped
//!                sha256/     contents, one file each, named by digest
//!                blobs/      uploads, named by digest, for a day; of a project other than `default`
//!                            in a directory of its name, which is shorter than a digest
//! ```
//! A file comes into being by a rename of a complete, synced one, so that what has a digest for a
//! name has that content. Which contents are to stay is for the store to say. What can go wrong:
//! the disk is full, which is noticed before it is: a reserve is left for the database beside it.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use banger_images::{Room, TooSlow};
use jiff::Timestamp;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::model::ledger::Refusal;
use crate::model::names::check_sha256;
use crate::model::project::ProjectName;

/// How long an upload is kept.
pub const BLOB_LIFE: Duration = Duration::from_secs(24 * 3600);

/// The directories, and how much may come in.
#[derive(Debug)]
pub struct Library {
    root: PathBuf,
    max_upload_bytes: u64,
    reserve_bytes: u64,
    /// Held while uploads come or are counted, so that none is counted twice or not at all.
    counted: Mutex<()>,
}

/// Why something could not be kept. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The disk has no room, or less than is to be left free.
    #[error("the server's disk has no room for it: {0}")]
    Full(String),
    /// Its project may have no more.
    #[error("{0}")]
    Quota(#[source] Refusal),
    /// It is larger than an upload may be.
    #[error("it has more than {limit} bytes, the most that an upload may have")]
    TooLarge {
        /// In bytes.
        limit: u64,
    },
    /// Its sender takes too long.
    #[error("the upload was given up: {0}")]
    TooSlow(#[source] TooSlow),
    /// It has taken long, and others wait.
    #[error("it took long and gave way to others that wait; ask again later")]
    GaveWay,
    /// The files can't be written or read.
    #[error("could not {what}")]
    Io {
        /// The verb and what it was about.
        what: &'static str,
        #[source]
        source: io::Error,
    },
}

impl KeepError {
    /// What an error of the file system means.
    pub fn of(what: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full(format!("could not {what}: {source}"))
            }
            _ => Self::Io { what, source },
        }
    }
}

/// A content to be read.
#[derive(Debug)]
pub struct Content {
    /// At its beginning.
    pub file: File,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// What it occupies, in bytes: less when it has holes.
    pub data_bytes: u64,
}

impl Library {
    /// Makes the directories, for the owner only, and removes what an earlier life left unfinished.
    ///
    /// # Errors
    /// They can't be made or read.
    pub fn open(root: PathBuf, max_upload_bytes: u64, reserve_bytes: u64) -> io::Result<Self> {
        let library = Self { root, max_upload_bytes, reserve_bytes, counted: Mutex::default() };
        match fs::remove_dir_all(library.incoming()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        for dir in [library.incoming(), library.contents(), library.blobs()] {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        Ok(library)
    }

    fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    fn contents(&self) -> PathBuf {
        self.root.join("sha256")
    }

    fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Where uploads to a project are.
    fn blobs_of(&self, project: &ProjectName) -> PathBuf {
        match project.is_default() {
            true => self.blobs(),
            false => self.blobs().join(project.as_str()),
        }
    }

    /// Where an upload is, if it is there and has not expired.
    pub fn blob(&self, project: &ProjectName, sha256: &str, now: Timestamp) -> Option<PathBuf> {
        check_sha256(sha256).ok()?;
        let path = self.blobs_of(project).join(sha256);
        let written = fs::metadata(&path).and_then(|facts| facts.modified()).ok()?;
        (!expired(written, now)).then_some(path)
    }

    /// A content, opened.
    ///
    /// # Errors
    /// It is not here, or can't be read.
    pub fn content(&self, sha256: &str) -> io::Result<Content> {
        check_sha256(sha256).map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
        let file = File::open(self.contents().join(sha256))?;
        let facts = file.metadata()?;
        // POSIX counts in 512 bytes whatever the file system's block size is.
        let data_bytes = facts.blocks().saturating_mul(512).min(facts.len());
        Ok(Content { file, size_bytes: facts.len(), data_bytes })
    }

    /// What is to be left of the disk while a content is made.
    pub fn room(&self) -> Room {
        Room { directory: self.incoming(), reserve_bytes: self.reserve_bytes }
    }

    /// A place for a file that is to become a content. Removed when dropped.
    pub fn place(&self, name: &str) -> IncomingFile {
        IncomingFile { path: self.incoming().join(name) }
    }

    /// Begins an upload.
    ///
    /// # Errors
    /// The disk is full, or the file can't be made.
    pub fn begin(&self, name: &str) -> Result<Upload, KeepError> {
        let place = self.place(name);
        self.check_room(0)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(place.path());
        let file = file.map_err(|error| KeepError::of("make a file for the upload", error))?;
        Ok(Upload { file, place, hash: Sha256::new(), size: 0 })
    }

    /// Whether an upload of this size would be kept.
    ///
    /// # Errors
    /// It is too large, or the disk has no room for it.
    pub fn expect(&self, size: u64) -> Result<(), KeepError> {
        if size > self.max_upload_bytes {
            return Err(KeepError::TooLarge { limit: self.max_upload_bytes });
        }
        self.check_room(size)
    }

    /// Adds to an upload.
    ///
    /// # Errors
    /// It becomes too large, or the disk is full.
    pub fn append(&self, upload: &mut Upload, data: &[u8]) -> Result<(), KeepError> {
        let more = data.len() as u64;
        if upload.size + more > self.max_upload_bytes {
            return Err(KeepError::TooLarge { limit: self.max_upload_bytes });
        }
        self.check_room(more)?;
        upload.file.write_all(data).map_err(|e| KeepError::of("write the upload", e))?;
        upload.hash.update(data);
        upload.size += more;
        Ok(())
    }

    /// Keeps an upload from `now` on, and tells how many bytes are there more: none of one that was
    /// there. Answers its digest and size.
    ///
    /// # Errors
    /// It can't be brought to the disk.
    pub fn keep_blob(
        &self,
        upload: Upload,
        project: &ProjectName,
        now: Timestamp,
        kept: impl FnOnce(u64),
    ) -> Result<(String, u64), KeepError> {
        let Upload { file, place, hash, size } = upload;
        let failed = |error| KeepError::of("keep the upload", error);
        file.set_modified(SystemTime::from(now)).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let sha256 = hex::encode(hash.finalize());
        let directory = self.blobs_of(project);
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
        let path = directory.join(&sha256);
        let _counted = self.counted.lock();
        let more = if path.exists() { 0 } else { size };
        move_to(place, &path).map_err(failed)?;
        kept(more);
        Ok((sha256, size))
    }

    /// Tells how many bytes uploads to each project have. None comes meanwhile.
    ///
    /// # Errors
    /// They can't be looked at; nothing is told then.
    pub fn kept_blobs(&self, tell: impl FnOnce(HashMap<ProjectName, u64>)) -> io::Result<()> {
        let _counted = self.counted.lock();
        let mut kept = HashMap::new();
        let own = bytes_in(&self.blobs())?;
        kept.insert(ProjectName::default(), own);
        for entry in fs::read_dir(self.blobs())? {
            let entry = entry?;
            let name = entry.file_name().into_string().unwrap_or_default();
            if entry.file_type()?.is_dir()
                && let Ok(project) = ProjectName::parse(&name)
            {
                kept.insert(project, bytes_in(&entry.path())?);
            }
        }
        tell(kept);
        Ok(())
    }

    /// Makes a finished file the content of this digest.
    ///
    /// # Errors
    /// It can't be brought to the disk.
    pub fn keep_content(&self, place: IncomingFile, sha256: &str) -> Result<(), KeepError> {
        let failed = |error| KeepError::of("keep the image", error);
        let file = File::open(place.path()).map_err(failed)?;
        file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        move_to(place, &self.contents().join(sha256)).map_err(failed)
    }

    /// Whether there is room for so many bytes beside the reserve.
    ///
    /// # Errors
    /// There is not.
    pub fn check_room(&self, bytes: u64) -> Result<(), KeepError> {
        let facts = rustix::fs::statvfs(&self.root)
            .map_err(|error| KeepError::of("look at the disk", error.into()))?;
        let free = facts.f_bavail.saturating_mul(facts.f_frsize);
        if free < self.reserve_bytes.saturating_add(bytes) {
            let reserve = self.reserve_bytes;
            return Err(KeepError::Full(format!(
                "{free} bytes are free and {reserve} are to be left (images.reserve_mib)"
            )));
        }
        Ok(())
    }

    /// Removes every content that is not among those to be kept. Answers the digests of those that
    /// went.
    ///
    /// # Errors
    /// The directory can't be read; what could be removed was.
    pub fn collect(&self, kept: &BTreeSet<String>) -> io::Result<Vec<String>> {
        let mut gone = Vec::new();
        for entry in fs::read_dir(self.contents())? {
            let entry = entry?;
            let name = entry.file_name().into_string().unwrap_or_default();
            if !kept.contains(&name) && check_sha256(&name).is_ok() {
                fs::remove_file(entry.path())?;
                gone.push(name);
            }
        }
        Ok(gone)
    }

    /// Removes uploads that have expired. Answers how many.
    ///
    /// # Errors
    /// The directory can't be read; what could be removed was.
    pub fn expire(&self, now: Timestamp) -> io::Result<usize> {
        self.expire_in(&self.blobs(), now)
    }

    /// Removes all uploads to a project.
    ///
    /// # Errors
    /// They can't be removed.
    pub fn remove_blobs(&self, project: &ProjectName) -> io::Result<()> {
        if project.is_default() {
            return Ok(());
        }
        match fs::remove_dir_all(self.blobs_of(project)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Removes the uploads to every project but these, as at a start: a server that was killed when
    /// a project had gone has left its uploads, and the next of that name is another's.
    ///
    /// # Errors
    /// They can't be looked at, or not removed.
    pub fn keep_blobs_of(&self, projects: &BTreeSet<ProjectName>) -> io::Result<usize> {
        let mut gone = 0;
        for entry in fs::read_dir(self.blobs())? {
            let entry = entry?;
            let name = entry.file_name();
            let known = projects.iter().any(|project| *project.as_str() == *name);
            if entry.file_type()?.is_dir() && !known {
                fs::remove_dir_all(entry.path())?;
                gone += 1;
            }
        }
        Ok(gone)
    }

    fn expire_in(&self, directory: &Path, now: Timestamp) -> io::Result<usize> {
        let mut gone = 0;
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                gone += self.expire_in(&entry.path(), now)?;
                continue;
            }
            if entry.metadata()?.modified().is_ok_and(|written| expired(written, now)) {
                fs::remove_file(entry.path())?;
                gone += 1;
            }
        }
        Ok(gone)
    }
}

/// How many bytes the files of a directory have, those below it not counted.
fn bytes_in(directory: &Path) -> io::Result<u64> {
    let mut bytes: u64 = 0;
    for entry in fs::read_dir(directory)? {
        let facts = match entry?.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            facts => facts?,
        };
        bytes = bytes.saturating_add(if facts.is_file() { facts.len() } else { 0 });
    }
    Ok(bytes)
}

fn expired(written: SystemTime, now: Timestamp) -> bool {
    SystemTime::from(now).duration_since(written).is_ok_and(|age| age > BLOB_LIFE)
}

fn move_to(place: IncomingFile, to: &Path) -> io::Result<()> {
    fs::rename(place.path(), to)?;
    // The name is on the disk when its directory is.
    to.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

/// A file on its way. Removed when dropped, unless it was moved away.
#[derive(Debug)]
pub struct IncomingFile {
    path: PathBuf,
}

impl IncomingFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for IncomingFile {
    fn drop(&mut self) {
        // It is usually gone: moved to where it belongs.
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), error = %error, "a file was left behind");
        }
    }
}

/// An upload under way. Removed when dropped.
#[derive(Debug)]
pub struct Upload {
    file: File,
    place: IncomingFile,
    hash: Sha256,
    size: u64,
}

#[cfg(test)]
mod tests;
