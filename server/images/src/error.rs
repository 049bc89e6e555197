//! Why an import failed. The message names the source and the entry; causes are sources, never
//! part of the message.

use std::io;
use std::path::PathBuf;

use crate::Kind;

/// An import that failed; nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The source is not there, or cannot be read.
    #[error("cannot read {from}")]
    Read {
        /// File, directory or blob.
        from: String,
        source: io::Error,
    },
    /// The output cannot be written.
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
    /// The source is damaged: a stream that ends too early, a structure that cannot be.
    #[error("{from} is damaged: {what}")]
    Damaged {
        /// File, directory or blob.
        from: String,
        /// What is wrong, in words.
        what: String,
    },
    /// The source is nothing that we know, or nothing of the kind wanted.
    #[error("{from}: {what}")]
    NotUsable {
        /// File, directory or reference.
        from: String,
        /// What it is and what would be usable, in words.
        what: String,
    },
    /// An entry of an archive or directory is not accepted.
    #[error("{from}: entry {entry:?}: {why}")]
    Refused {
        /// The archive, layer or directory.
        from: String,
        /// The name of the entry, escaped and shortened.
        entry: String,
        /// The rule it breaks.
        why: Refusal,
    },
    /// More than [`crate::Limits`] allow.
    #[error("{from} has more than {limit} {unit}")]
    Limit {
        /// The archive, layer, directory or reference.
        from: String,
        limit: u64,
        /// What it counts, "bytes unpacked".
        unit: &'static str,
    },
    /// Contents that are not what their digest says.
    #[error("{from}: the contents have the digest {found}, not {expected}")]
    Digest {
        /// The blob and where it comes from.
        from: String,
        /// `sha256:…` as it was asked for.
        expected: String,
        /// `sha256:…` of what came.
        found: String,
    },
    /// The contents do not fit into the size that was asked for.
    #[error("the {kind} needs {needed_bytes} bytes, more than the {given_bytes} asked for")]
    TooSmall {
        /// What was to be made.
        kind: Kind,
        /// Bytes needed at least.
        needed_bytes: u64,
        /// Bytes that were asked for.
        given_bytes: u64,
    },
    /// The registry cannot be reached, or refuses.
    #[error("registry {registry}: {what}")]
    Registry {
        /// Host and port.
        registry: String,
        /// What was asked and what it answered, in words.
        what: String,
        /// The HTTP status of its answer, where there was one.
        status: Option<u16>,
        /// The cause, where it is not the registry's answer.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The disk of the output has less room than is to be left; see [`crate::Room`].
    #[error(
        "the disk has no room for it: {free_bytes} bytes are free and {reserve_bytes} are to be left"
    )]
    NoRoom {
        free_bytes: u64,
        /// Bytes that are to be left.
        reserve_bytes: u64,
    },
    /// It did not come to its end in the time that was given.
    #[error("the import was not done after {seconds} seconds")]
    TooLong {
        /// The time given.
        seconds: u64,
    },
    /// [`crate::Cancel::cancel`] was called, or the future was dropped.
    #[error("the import was cancelled")]
    Cancelled,
}

/// Why an entry is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// `..` in its path.
    #[error("the path has a part \"..\"")]
    ParentPart,
    /// No name, or a part longer than 255 bytes.
    #[error("a part of the path is empty or longer than 255 bytes")]
    BadPart,
    /// NUL in the path or the target.
    #[error("the name has a NUL byte")]
    Nul,
    /// A directory deeper than we follow.
    #[error("the path has more than 256 parts")]
    TooDeep,
    /// A part of the path that is a file.
    #[error("the path goes through something that is no directory")]
    ThroughNonDirectory,
    /// More symbolic links on the way than Linux follows.
    #[error("the path goes through more than 40 symbolic links")]
    LinkLoop,
    /// A hard link to nothing, or to a directory.
    #[error("the hard link's target is not a file in the archive")]
    LinkTarget,
    /// More than 65000 hard links.
    #[error("the file has more than 65000 hard links")]
    TooManyLinks,
    /// A symbolic link without a target or with one longer than 4095 bytes.
    #[error("the symbolic link's target is empty or longer than 4095 bytes")]
    BadTarget,
    /// A device node, with [`crate::Devices::Refuse`].
    #[error("it is a device node; import with --devices keep or --devices leave-out")]
    Device,
    /// A device node with a number past what ext4 holds.
    #[error("its device number is too large; import with --devices leave-out")]
    DeviceNumber,
    /// A sparse file in one of GNU tar's formats.
    #[error("it is packed as a sparse file; pack it without tar's option --sparse")]
    Sparse,
    /// A multi-volume part or another kind of entry we do not read.
    #[error("it is of a kind that only the program that packed it knows")]
    UnsupportedKind,
    /// A whiteout with nothing to hide.
    #[error("the whiteout names nothing")]
    BadWhiteout,
    /// Extended attributes past what an ext4 block holds.
    #[error("its extended attributes do not fit into 4 KiB")]
    Attributes,
    /// A socket, or a file that changed while it was read.
    #[error("it changed while it was read")]
    Changed,
}

/// Whose fault a failure is; what an API makes a code of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The source is not there.
    NotFound,
    /// The source is not accepted: damaged, hostile, of the wrong kind.
    Refused,
    /// A limit was passed, or the size asked for is too small.
    TooLarge,
    /// The registry refuses the credentials, or asks for some.
    Denied,
    /// The registry cannot be reached or is at fault: later may be better.
    Unavailable,
    /// This machine is at fault: a disk that is full, a directory without rights.
    Host,
    Cancelled,
}

impl ImportError {
    /// Whose fault it is.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Read { source, .. } => match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorClass::NotFound,
                _ => ErrorClass::Host,
            },
            Self::Write { .. } | Self::NoRoom { .. } => ErrorClass::Host,
            Self::Damaged { .. }
            | Self::NotUsable { .. }
            | Self::Refused { .. }
            | Self::Digest { .. } => ErrorClass::Refused,
            Self::Limit { .. } | Self::TooSmall { .. } | Self::TooLong { .. } => {
                ErrorClass::TooLarge
            }
            Self::Registry { status, .. } => match status {
                Some(401 | 403) => ErrorClass::Denied,
                Some(404) => ErrorClass::NotFound,
                _ => ErrorClass::Unavailable,
            },
            Self::Cancelled => ErrorClass::Cancelled,
        }
    }
}
