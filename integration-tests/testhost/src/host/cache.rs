//! Where the test host's files are kept between runs: `target/testhost`.
//!
//! Driven by the rest of [`super`]. Every product has a directory named by the hash of what it is
//! made from, made under another name and renamed when whole; a build that was interrupted leaves
//! nothing that looks finished. One lock lets test processes that run side by side build in turn.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use super::HostError;

/// The open cache.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    target: PathBuf,
    profile: PathBuf,
}

impl Cache {
    /// Finds it from the place of the running test, so that it is in the target directory the
    /// test was built in.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or the running program is not in a target directory.
    pub fn open() -> Result<Self, HostError> {
        let own = std::env::current_exe()
            .map_err(HostError::file("find", Path::new("the running test")))?;
        // <target>/<profile>/deps/<test>, or <target>/<profile>/<program>.
        let profile = own
            .ancestors()
            .skip(1)
            .find(|path| path.file_name().is_some_and(|name| name != "deps" && name != "examples"))
            .ok_or_else(|| HostError::Unfit("the test is not in a target directory".to_owned()))?
            .to_owned();
        let target = profile.parent().unwrap_or(&profile).to_owned();
        let root = target.join("testhost");
        fs::create_dir_all(&root).map_err(HostError::file("make", &root))?;
        Ok(Self { root, target, profile })
    }

    /// The directory for everything of the test host.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where Cargo put the programs of the running test's profile.
    pub fn profile(&self) -> &Path {
        &self.profile
    }

    /// Cargo's target directory.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The product `<kind>-<hash of inputs>`, made by `make` where it is not there yet. `make`
    /// gets an empty directory. Older products of the kind are removed, except `keep` newest.
    ///
    /// # Errors
    ///
    /// Whatever `make` says, or a file that cannot be written.
    pub fn product(
        &self,
        kind: &str,
        inputs: &[&[u8]],
        keep: usize,
        make: impl FnOnce(&Path) -> Result<(), HostError>,
    ) -> Result<PathBuf, HostError> {
        let finished = self.root.join(format!("{kind}-{}", hash(inputs)));
        if finished.is_dir() {
            return Ok(finished);
        }
        let _turn = self.lock()?;
        if finished.is_dir() {
            return Ok(finished);
        }
        self.discard(kind, keep)?;
        let unfinished = tempfile::Builder::new()
            .prefix(&format!("unfinished-{kind}-"))
            .tempdir_in(&self.root)
            .map_err(HostError::file("make a directory in", &self.root))?;
        let product = unfinished.path().join("product");
        fs::create_dir(&product).map_err(HostError::file("make", &product))?;
        make(&product)?;
        fs::rename(&product, &finished).map_err(HostError::file("rename", &product))?;
        Ok(finished)
    }

    /// Waits for this process's turn to build.
    ///
    /// # Errors
    ///
    /// When the lock file cannot be had.
    pub fn lock(&self) -> Result<Flock<File>, HostError> {
        let path = self.root.join("lock");
        let file = File::create(&path).map_err(HostError::file("open", &path))?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| HostError::File {
            what: "lock",
            path,
            source: errno.into(),
        })
    }

    fn discard(&self, kind: &str, keep: usize) -> Result<(), HostError> {
        let listing = fs::read_dir(&self.root).map_err(HostError::file("list", &self.root))?;
        let mut older = Vec::new();
        for entry in listing.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let hash = name.strip_prefix(kind).and_then(|rest| rest.strip_prefix('-'));
            if hash.is_some_and(|hash| hash.len() == HASH_DIGITS) {
                let modified = entry.metadata().and_then(|metadata| metadata.modified());
                older.extend(modified.ok().map(|modified| (modified, entry.path())));
            }
        }
        older.sort();
        older.reverse();
        for (_, path) in older.into_iter().skip(keep) {
            fs::remove_dir_all(&path).map_err(HostError::file("remove", &path))?;
        }
        Ok(())
    }
}

const HASH_DIGITS: usize = 16;

/// A short name for a list of inputs; the boundaries between them count.
pub fn hash(inputs: &[&[u8]]) -> String {
    let mut sum = Sha256::new();
    for input in inputs {
        sum.update((input.len() as u64).to_be_bytes());
        sum.update(input);
    }
    let digest = sum.finalize();
    let mut name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    name.truncate(HASH_DIGITS);
    name
}

#[cfg(test)]
mod tests;
