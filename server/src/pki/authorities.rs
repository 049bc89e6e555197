//! The CAs of a fleet: one, and another beside it while the first is replaced.
//!
//! ```text
//! ca/ca.key, ca/ca.crt      the first, made at the first start
//! ca/ca-2/, ca/ca-3/ …      those made later by `banger-server ca new`, the same two files in each
//! ca/retired/<digits>/      what is trusted no longer
//! ```
//! The newest signs the certificates of agents, and all of them are trusted. With the server's own
//! certificate toward agents it is the other way: the oldest signs it, because each agent trusts
//! that one until it is retired, and the newer ones only once it was told of them.
//!
//! What is made or retired becomes so by one rename. What can go wrong: a file can't be read or
//! does not fit; the server does not start then, or goes on with what it has.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use super::{CaError, CertificateAuthority, during};

/// Where those are that are trusted no longer.
const RETIRED: &str = "retired";

/// All CAs that are trusted: at least one.
#[derive(Debug)]
pub struct Authorities {
    /// The oldest first.
    all: Vec<CertificateAuthority>,
    /// Whether the oldest is the one that the fleet began with.
    has_first: bool,
}

/// The certificate of a CA on disk. Its key is not read: root may not have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaOnDisk {
    /// sha256 of it, DER.
    pub sha256: [u8; 32],
    directory: PathBuf,
    is_first: bool,
}

impl Authorities {
    /// Reads those that are there, and makes none.
    ///
    /// # Errors
    /// One is there and can't be used.
    pub fn look(directory: &Path) -> Result<Option<Self>, CaError> {
        let first = CertificateAuthority::look(directory)?;
        let has_first = first.is_some();
        let mut all: Vec<_> = first.into_iter().collect();
        for later in numbered(directory)? {
            all.extend(CertificateAuthority::look(&later)?);
        }
        Ok((!all.is_empty()).then_some(Self { all, has_first }))
    }

    /// Reads those that are there, or makes the first when there is none.
    ///
    /// # Errors
    /// One can't be made or read.
    pub fn open_or_make(directory: &Path, now: Timestamp) -> Result<Self, CaError> {
        if numbered(directory)?.is_empty() {
            let first = CertificateAuthority::open_or_make(directory, now)?;
            return Ok(Self::only(first));
        }
        let found = Self::look(directory)?;
        found.ok_or_else(|| CaError::Unreadable { path: directory.to_owned() })
    }

    /// Of one that there is alone.
    pub fn only(first: CertificateAuthority) -> Self {
        Self { all: vec![first], has_first: true }
    }

    /// The one that signs the certificates of agents.
    pub fn signing(&self) -> &CertificateAuthority {
        self.all.last().expect("there is at least one")
    }

    /// The one that signs what the server shows to agents.
    pub fn calling(&self) -> &CertificateAuthority {
        self.all.first().expect("there is at least one")
    }

    /// All of them, PEM, the one that signs first.
    pub fn trusted_pem(&self) -> String {
        self.all.iter().rev().map(CertificateAuthority::certificate_pem).collect()
    }

    /// The same, with the one of this digest first: by it somebody knows this server.
    pub fn trusted_pem_from(&self, sha256: &str) -> String {
        let is_it = |ca: &&CertificateAuthority| hex::encode(ca.fingerprint()) == sha256;
        let others = self.all.iter().rev().filter(|ca| !is_it(ca));
        let all = self.all.iter().filter(is_it).chain(others);
        all.map(CertificateAuthority::certificate_pem).collect()
    }

    /// The digests of all of them, sorted.
    pub fn digests(&self) -> Vec<[u8; 32]> {
        let mut all: Vec<_> = self.all.iter().map(CertificateAuthority::fingerprint).collect();
        all.sort_unstable();
        all
    }

    /// Whether a certificate stands on the one that signs now. `None`: it was signed by the first.
    pub fn is_newest(&self, signed_by: Option<[u8; 32]>) -> bool {
        match signed_by {
            Some(sha256) => sha256 == self.signing().fingerprint(),
            None => self.all.len() == 1 && self.has_first,
        }
    }
}

impl CaOnDisk {
    /// Those that are there, the oldest first, by their certificates alone.
    ///
    /// # Errors
    /// One can't be read.
    pub fn all(directory: &Path) -> Result<Vec<Self>, CaError> {
        let mut all = Vec::new();
        let places = std::iter::once(directory.to_owned()).chain(numbered(directory)?);
        for (at, place) in places.enumerate() {
            let path = place.join("ca.crt");
            let key_is_there = place.join("ca.key").try_exists();
            let pem = match fs::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                // Half of it went when the first was retired.
                Ok(_) if !key_is_there.map_err(during("read", &place))? => continue,
                read => read.map_err(during("read", &path))?,
            };
            let der = CertificateDer::from_pem_slice(&pem)
                .map_err(|_| CaError::Unreadable { path: path.clone() })?;
            let sha256 = Sha256::digest(&der).into();
            all.push(Self { sha256, directory: place, is_first: at == 0 });
        }
        Ok(all)
    }

    /// Whether a certificate was signed by it; `None`: by the first.
    pub fn has_signed(&self, signed_by: Option<[u8; 32]>) -> bool {
        signed_by.map_or(self.is_first, |sha256| sha256 == self.sha256)
    }

    /// Puts it aside, so that nothing trusts it from the next reload on. Answers where it is.
    ///
    /// # Errors
    /// It is where it was, or its key is aside and the rest is done by the next start.
    pub fn retire(&self, directory: &Path) -> Result<PathBuf, CaError> {
        let owner = directory.metadata().map_err(during("read", directory))?;
        let retired = directory.join(RETIRED);
        make_directory(&retired, &owner)?;
        let aside = retired.join(hex::encode(&self.sha256[..8]));
        if self.is_first {
            make_directory(&aside, &owner)?;
            // The key first: without it the certificate counts for nothing.
            for name in ["ca.key", "ca.crt"] {
                let (from, to) = (directory.join(name), aside.join(name));
                fs::rename(&from, &to).map_err(during("move", &from))?;
            }
        } else {
            fs::rename(&self.directory, &aside).map_err(during("move", &self.directory))?;
        }
        sync(&retired)?;
        sync(directory)?;
        Ok(aside)
    }
}

/// Makes another CA beside those that there are. Answers its digest. It is whose the directory is,
/// whoever makes it.
///
/// # Errors
/// There is none before it, or it can't be made; then nothing has changed.
pub fn make_another(directory: &Path, now: Timestamp) -> Result<[u8; 32], CaError> {
    if CaOnDisk::all(directory)?.is_empty() {
        return Err(CaError::Unreadable { path: directory.join("ca.crt") });
    }
    let owner = directory.metadata().map_err(during("read", directory))?;
    let retired = || fs::read_dir(directory.join(RETIRED)).map_or(0, Iterator::count);
    let last = numbered(directory)?.iter().filter_map(|path| number(path)).max().unwrap_or(1);
    // Above those that were retired too, so that no name comes back.
    let next = last.max(u32::try_from(retired()).unwrap_or(1)) + 1;
    let (new, place) = (directory.join("ca-new"), directory.join(format!("ca-{next}")));
    if new.symlink_metadata().is_ok() {
        // Left by one that was cut off; nobody has used it.
        fs::remove_dir_all(&new).map_err(during("remove", &new))?;
    }
    let made = CertificateAuthority::open_or_make(&new, now)?.fingerprint();
    for path in [new.join("ca.key"), new.join("ca.crt"), new.clone()] {
        give(&path, &owner)?;
    }
    fs::rename(&new, &place).map_err(during("make", &place))?;
    sync(directory)?;
    Ok(made)
}

/// The directories of those that were made later, in order.
fn numbered(directory: &Path) -> Result<Vec<PathBuf>, CaError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(during("read", directory)(source)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(during("read", directory))?.path();
        found.extend(number(&path).map(|number| (number, path)));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn number(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?.strip_prefix("ca-")?;
    name.parse().ok().filter(|number: &u32| *number > 1 && name == number.to_string())
}

fn make_directory(path: &Path, owner: &fs::Metadata) -> Result<(), CaError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(during("make", path))?;
    give(path, owner)
}

fn give(path: &Path, owner: &fs::Metadata) -> Result<(), CaError> {
    let now = path.metadata().map_err(during("read", path))?;
    if (now.uid(), now.gid()) == (owner.uid(), owner.gid()) {
        return Ok(());
    }
    std::os::unix::fs::lchown(path, Some(owner.uid()), Some(owner.gid()))
        .map_err(during("give to its owner", path))
}

fn sync(directory: &Path) -> Result<(), CaError> {
    File::open(directory).and_then(|opened| opened.sync_all()).map_err(during("sync", directory))
}

#[cfg(test)]
mod tests;
