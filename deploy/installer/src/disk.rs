//! Files of the machine, below its root: read, compared, put in place whole, removed.
//!
//! A file is replaced by writing a new one beside it and renaming: a program that runs keeps its
//! own file, and a crash leaves the old one or the new one. With `--root` no path leaves that
//! directory, whatever links are in it. Every verb names the file in its error.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use super::SYSTEM_DIR;

/// The file system of one machine.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    root: PathBuf,
    live: bool,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Present {
    Absent,
    File {
        sha256: String,
        mode: u32,
    },
    /// A directory, a link, a device.
    Other,
}

/// Held by the one command that changes the machine.
#[derive(Debug)]
pub(super) struct Turn {
    #[expect(dead_code, reason = "the lock lasts as long as the file")]
    file: File,
    /// Whether the lock's file was made for it.
    is_new: bool,
    /// Directories that were made for it.
    pub(super) made: BTreeSet<PathBuf>,
}

impl Disk {
    /// This machine.
    pub(super) fn live() -> Self {
        Self { root: PathBuf::from("/"), live: true }
    }

    /// A machine that does not run.
    pub(super) fn below(root: PathBuf) -> Self {
        Self { root, live: false }
    }

    /// A machine below a directory that is said to run.
    #[cfg(test)]
    pub(super) fn pretended(root: PathBuf) -> Self {
        Self { root, live: true }
    }

    /// Whether it is the machine this program runs on.
    pub(super) fn is_live(&self) -> bool {
        self.live
    }

    /// Where the machine's own `/` is here.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where a path of the machine is here. Links on the way are followed only inside the root.
    pub(super) fn at(&self, path: &Path) -> anyhow::Result<PathBuf> {
        let mut real = self.root.clone();
        let mut parts = path.components().peekable();
        while let Some(part) = parts.next() {
            match part {
                Component::RootDir | Component::CurDir => continue,
                Component::Normal(name) => real.push(name),
                Component::ParentDir | Component::Prefix(_) => {
                    bail!("{} is no plain path", path.display())
                }
            }
            let is_link = || fs::symlink_metadata(&real).is_ok_and(|m| m.is_symlink());
            if self.root != Path::new("/") && parts.peek().is_some() && is_link() {
                real = real.canonicalize().with_context(|| format!("{}", real.display()))?;
                let root = self.root.canonicalize().context("--root")?;
                if !real.starts_with(&root) {
                    bail!("{} leads out of {}", path.display(), root.display());
                }
            }
        }
        Ok(real)
    }

    /// The contents; `None` when there is no such file.
    pub(super) fn read(&self, path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
        match fs::read(self.at(path)?) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// What is at a path.
    pub(super) fn look(&self, path: &Path) -> anyhow::Result<Present> {
        let real = self.at(path)?;
        let metadata = match fs::symlink_metadata(&real) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Present::Absent),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot look at {}", path.display()));
            }
        };
        if !metadata.is_file() {
            return Ok(Present::Other);
        }
        let sha256 = sha256_of(&real)?;
        Ok(Present::File { sha256, mode: metadata.mode() & 0o7777 })
    }

    /// Puts a file in place.
    pub(super) fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
        self.put(path, mode, |file| file.write_all(bytes))
    }

    /// Puts a copy of a file of this machine in place.
    pub(super) fn install(&self, source: &Path, path: &Path, mode: u32) -> anyhow::Result<()> {
        let mut from =
            File::open(source).with_context(|| format!("cannot read {}", source.display()))?;
        self.put(path, mode, |file| io::copy(&mut from, file).map(drop))
    }

    fn put(
        &self,
        path: &Path,
        mode: u32,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let real = self.at(path)?;
        let place = || -> anyhow::Result<()> {
            let dir = real.parent().context("it has no directory")?;
            make_directories(dir)?;
            let mut file = tempfile::Builder::new().prefix(".banger-").tempfile_in(dir)?;
            fill(file.as_file_mut())?;
            file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
            file.as_file().sync_all()?;
            file.persist(&real)?;
            File::open(dir)?.sync_all()?;
            Ok(())
        };
        place().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Copies one file of the machine, with its mode and owner. False when there is none.
    pub(super) fn copy(&self, from: &Path, to: &Path) -> anyhow::Result<bool> {
        let real = self.at(from)?;
        let metadata = match fs::symlink_metadata(&real) {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => bail!("{} is no regular file", from.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot look at {}", from.display()));
            }
        };
        self.install(&real, to, metadata.mode() & 0o7777)?;
        let target = self.at(to)?;
        let own = fs::metadata(&target).map(|own| (own.uid(), own.gid()));
        if own.ok() != Some((metadata.uid(), metadata.gid())) {
            std::os::unix::fs::chown(&target, Some(metadata.uid()), Some(metadata.gid()))
                .with_context(|| format!("cannot give {} its owner", to.display()))?;
        }
        Ok(true)
    }

    /// Whether anything is at a path.
    pub(super) fn is_there(&self, path: &Path) -> anyhow::Result<bool> {
        match fs::symlink_metadata(self.at(path)?) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
        }
    }

    /// Gives a file a second name, or makes a copy where there can be none, as between file
    /// systems. Only for files that are replaced whole and never written in place.
    pub(super) fn link(&self, from: &Path, to: &Path) -> anyhow::Result<()> {
        match fs::hard_link(self.at(from)?, self.at(to)?) {
            Ok(()) => Ok(()),
            Err(_) => self.copy(from, to).map(drop),
        }
    }

    /// Makes a symbolic link that says a path of the machine, in place of one that is there.
    pub(super) fn point(&self, link: &Path, to: &Path) -> anyhow::Result<()> {
        let real = self.at(link)?;
        self.unpoint(link)?;
        let dir = real.parent().context("it has no directory")?;
        make_directories(dir)?;
        std::os::unix::fs::symlink(to, &real)
            .with_context(|| format!("cannot make the link {}", link.display()))
    }

    /// Removes a symbolic link; anything else stays.
    pub(super) fn unpoint(&self, link: &Path) -> anyhow::Result<()> {
        let is_link = fs::symlink_metadata(self.at(link)?).is_ok_and(|found| found.is_symlink());
        if is_link { self.remove(link).map(drop) } else { Ok(()) }
    }

    /// Whether something is a link, which may lead anywhere.
    pub(super) fn is_link(&self, path: &Path) -> anyhow::Result<bool> {
        Ok(fs::symlink_metadata(self.at(path)?).is_ok_and(|found| found.is_symlink()))
    }

    /// Removes a file. False when there was none.
    pub(super) fn remove(&self, path: &Path) -> anyhow::Result<bool> {
        match fs::remove_file(self.at(path)?) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
        }
    }

    /// Removes a directory with all that is in it. False when there was none.
    pub(super) fn remove_tree(&self, path: &Path) -> anyhow::Result<bool> {
        match fs::remove_dir_all(self.at(path)?) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
        }
    }

    /// Removes a file, or a directory with all that is in it; of a link only the link. False when
    /// there was none.
    pub(super) fn remove_whole(&self, path: &Path) -> anyhow::Result<bool> {
        let is_directory = fs::symlink_metadata(self.at(path)?).is_ok_and(|found| found.is_dir());
        if is_directory { self.remove_tree(path) } else { self.remove(path) }
    }

    /// The directories above these paths that are not there.
    pub(super) fn missing_above<'a>(
        &self,
        paths: impl IntoIterator<Item = &'a Path>,
    ) -> anyhow::Result<BTreeSet<PathBuf>> {
        let mut missing = BTreeSet::new();
        for path in paths {
            for dir in path.ancestors().skip(1) {
                if missing.contains(dir) || self.is_there(dir)? {
                    break;
                }
                missing.insert(dir.to_owned());
            }
        }
        Ok(missing)
    }

    /// Removes those of these directories that nothing is in, the innermost first.
    pub(super) fn remove_all_empty(&self, dirs: &BTreeSet<PathBuf>) -> anyhow::Result<()> {
        // A path sorts before what is below it.
        dirs.iter().rev().try_for_each(|dir| self.remove_empty(dir).map(drop))
    }

    /// Removes a directory if nothing is in it.
    pub(super) fn remove_empty(&self, path: &Path) -> anyhow::Result<bool> {
        match fs::remove_dir(self.at(path)?) {
            Ok(()) => Ok(true),
            Err(error) => match error.kind() {
                // No directory: somebody has put something else there.
                io::ErrorKind::NotFound
                | io::ErrorKind::DirectoryNotEmpty
                | io::ErrorKind::NotADirectory => Ok(false),
                _ => Err(error).with_context(|| format!("cannot remove {}", path.display())),
            },
        }
    }

    /// Renames a directory; what was at the other name is gone.
    pub(super) fn rename_tree(&self, from: &Path, to: &Path) -> anyhow::Result<()> {
        self.remove_tree(to)?;
        fs::rename(self.at(from)?, self.at(to)?)
            .with_context(|| format!("cannot rename {}", from.display()))
    }

    /// Directories in a directory; none when it is not there.
    pub(super) fn directories(&self, path: &Path) -> anyhow::Result<Vec<String>> {
        self.listed(path, |entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
    }

    /// Everything in a directory; nothing when it is not there, or is none.
    pub(super) fn names(&self, path: &Path) -> anyhow::Result<Vec<String>> {
        self.listed(path, |_| true)
    }

    fn listed(
        &self,
        path: &Path,
        is_meant: impl Fn(&fs::DirEntry) -> bool,
    ) -> anyhow::Result<Vec<String>> {
        let listing = match fs::read_dir(self.at(path)?) {
            Ok(listing) => listing,
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => return Ok(Vec::new()),
                _ => {
                    return Err(error).with_context(|| format!("cannot list {}", path.display()));
                }
            },
        };
        let mut names: Vec<_> = listing
            .flatten()
            .filter(is_meant)
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        Ok(names)
    }

    /// Takes the turn; an error when another command has it.
    pub(super) fn turn(&self) -> anyhow::Result<Turn> {
        let lock = Self::lock();
        let path = self.at(&lock)?;
        let made = self.missing_above([&*lock])?;
        let is_new = !self.is_there(&lock)?;
        let dir = path.parent().context("the lock has no directory")?;
        make_directories(dir)?;
        let file =
            lock_file(&path).with_context(|| format!("cannot open the lock {}", path.display()))?;
        let how = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        rustix::fs::flock(&file, how).context("another `banger system` is at work")?;
        Ok(Turn { file, is_new, made })
    }

    fn lock() -> PathBuf {
        Path::new(SYSTEM_DIR).join("lock")
    }

    /// Takes away what was made for a turn that came to nothing on a machine without banger.
    pub(super) fn undo_turn(&self, turn: &Turn) -> anyhow::Result<()> {
        if turn.is_new {
            self.remove(&Self::lock())?;
        }
        self.remove_all_empty(&turn.made)
    }
}

/// Opens the lock's file, for root only: whoever may open it can hold the lock (flock(2)) and keep
/// every command out. One of an earlier release could be read by all.
fn lock_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(path)?;
    if file.metadata()?.mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Directories that are made are for everybody to look into, whatever the umask.
fn make_directories(dir: &Path) -> anyhow::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(above) = dir.parent() {
        make_directories(above)?;
    }
    fs::create_dir(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    // Only what holds programs and copies of state is for root alone.
    let mode = if dir.ends_with(SYSTEM_DIR.trim_start_matches('/')) { 0o700 } else { 0o755 };
    fs::set_permissions(dir, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot open {} to others", dir.display()))
}

/// The SHA-256 of a file, in hexadecimal.
pub(super) fn sha256_of(path: &Path) -> anyhow::Result<String> {
    let sum = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let mut sum = Sha256::new();
        let mut piece = vec![0; 1 << 16];
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(hex::encode(sum.finalize())),
                read => sum.update(&piece[..read]),
            }
        }
    };
    sum().with_context(|| format!("cannot read {}", path.display()))
}

/// The same of a text.
pub(super) fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests;
