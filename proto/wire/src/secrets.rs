//! Files with a secret: private keys and tokens; and what lies beside them, such as certificates.
//!
//! One rule for all secrets: a file that others than its owner may read is refused, whatever is in
//! it, and so is one whose owner is neither root nor the user of this process: its owner may read
//! and change it, and a service of root's would do as that user says. Where root only looks, or
//! acts for whoever called it, [`Owners::AnyForRoot`] is said. What is no regular file is refused
//! too: a FIFO or a device may give nothing for ever, and would hang whoever reads it. Kind and
//! mode are asked of the file that is open, so that what was looked at is what is read.

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{
    FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// The most that is read, in bytes: far above any key, chain or list of tokens.
const MAX_BYTES: u64 = 4 << 20;

/// A secret can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can't be read.
    #[error("could not read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no regular file.
    #[error("{} is {kind}, not a regular file", path.display())]
    NotAFile {
        /// What is there.
        path: PathBuf,
        /// Its kind, with an article.
        kind: &'static str,
    },
    /// Others than the owner of the file may read or write it.
    #[error(
        "{} has mode {mode:o}; others than its owner may read it: chmod 600 it, and chown it to the \
         user of the service",
        path.display()
    )]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is somebody else's.
    #[error(
        "{} belongs to user {owner}, who may read and change it; chown it to the user of the service",
        path.display()
    )]
    OfAnother {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
}

/// Whose secrets are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// Root's, and those of the user that this process runs as: for a service, which goes by them.
    Ours,
    /// Where this process is root's, everybody's, too: for a check of what a service is to read
    /// that runs as another user, and for a command that a user has root run.
    AnyForRoot,
}

/// Reads a secret that a service goes by.
///
/// # Errors
/// As [`read_of`], of [`Owners::Ours`].
pub fn read(path: &Path) -> Result<Vec<u8>, SecretError> {
    read_of(path, Owners::Ours)
}

/// Reads a secret of one of these.
///
/// # Errors
/// The file can't be read, is no regular one, is larger than any secret, others than its owner may
/// read it, or it belongs to another user.
pub fn read_of(path: &Path, owners: Owners) -> Result<Vec<u8>, SecretError> {
    let (file, Facts { mode, owner }) = open(path)?;
    if mode & 0o077 != 0 {
        return Err(SecretError::OpenToOthers { path: path.to_owned(), mode });
    }
    if !may_own(owner, rustix::process::geteuid().as_raw(), owners) {
        return Err(SecretError::OfAnother { path: path.to_owned(), owner });
    }
    whole(file, path)
}

/// Whether a secret of this user may be used by that one.
const fn may_own(owner: u32, own: u32, owners: Owners) -> bool {
    owner == 0 || owner == own || (own == 0 && matches!(owners, Owners::AnyForRoot))
}

/// Reads what everybody may read, such as a certificate.
///
/// # Errors
/// The file can't be read, is no regular one, or is larger than any of these.
pub fn read_public(path: &Path) -> Result<Vec<u8>, SecretError> {
    let (file, _) = open(path)?;
    whole(file, path)
}

struct Facts {
    /// Permission bits.
    mode: u32,
    owner: u32,
}

fn open(path: &Path) -> Result<(File, Facts), SecretError> {
    let failed = |source| SecretError::Read { path: path.to_owned(), source };
    // Without this flag, to open a FIFO is to wait until somebody writes to it. A regular file is
    // read as ever (open(2)).
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        let kind = kind_of(metadata.file_type());
        return Err(SecretError::NotAFile { path: path.to_owned(), kind });
    }
    let mode = metadata.permissions().mode() & 0o777;
    Ok((file, Facts { mode, owner: metadata.uid() }))
}

fn kind_of(kind: FileType) -> &'static str {
    match kind {
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a FIFO",
        _ if kind.is_char_device() || kind.is_block_device() => "a device",
        _ => "something else",
    }
}

fn whole(file: File, path: &Path) -> Result<Vec<u8>, SecretError> {
    let failed = |source| SecretError::Read { path: path.to_owned(), source };
    let mut content = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > MAX_BYTES {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large")));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::fs::Permissions;

    use super::*;

    #[test]
    fn a_secret_that_anybody_but_its_owner_may_touch_is_refused() {
        let path = std::env::temp_dir().join(format!("banger-secret-{}", std::process::id()));
        fs::write(&path, "secret").expect("written");
        for mode in 0o400..=0o777 {
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("it is ours");
            match read(&path) {
                Ok(content) => {
                    assert_eq!(mode & 0o077, 0, "{mode:o} was taken");
                    assert_eq!(content, b"secret");
                }
                Err(SecretError::OpenToOthers { mode: said, .. }) => {
                    assert_ne!(mode & 0o077, 0, "{mode:o} was refused");
                    assert_eq!(said, mode);
                }
                Err(error) => panic!("{mode:o}: {error:?}"),
            }
        }
        fs::remove_file(&path).expect("it is there");
        assert!(matches!(read(&path), Err(SecretError::Read { .. })));
    }

    #[test]
    fn a_secret_of_another_user_is_refused_and_roots_is_not() {
        for owners in [Owners::Ours, Owners::AnyForRoot] {
            assert!(may_own(0, 1000, owners) && may_own(1000, 1000, owners));
            assert!(!may_own(1001, 1000, owners) && may_own(0, 0, owners));
        }
        // `check-config` is root's, the service need not be.
        assert!(may_own(1000, 0, Owners::AnyForRoot));
        assert!(!may_own(1000, 0, Owners::Ours), "its owner would command a service of root's");
        let file = tempfile::NamedTempFile::new().expect("a file, 0600");
        read(file.path()).expect("it is ours");
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(file.path(), Some(65_534), None).expect("given away");
            let refused = read(file.path()).expect_err("it is another's");
            assert!(matches!(refused, SecretError::OfAnother { owner: 65_534, .. }), "{refused:?}");
            read_of(file.path(), Owners::AnyForRoot).expect("root only looks");
        }
    }

    #[test]
    fn what_is_no_file_is_called_so_and_hangs_nobody() {
        let directory = tempfile::tempdir().expect("a directory");
        let fifo = directory.path().join("fifo");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).expect("a FIFO");
        let device = Path::new("/dev/null");
        for (path, word) in [(&*fifo, "FIFO"), (directory.path(), "directory"), (device, "device")]
        {
            for read in [read, read_public] {
                let error = read(path).expect_err("it is no file");
                assert!(matches!(error, SecretError::NotAFile { .. }), "{error:?}");
                let said = error.to_string();
                assert!(said.contains(word) && !said.contains("chmod"), "{said}");
            }
        }
    }
}
