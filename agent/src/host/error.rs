//! What an effect on the host answers: whether it changed something, or of which kind its failure
//! is.
//!
//! One error shape crosses the seam, so that a fake host can fail exactly as a real one does and
//! the layer above can map a failure to a fault reason without reading text. Inside a real
//! implementation a file has its own small error, which becomes the source of a [`HostError`].

use std::error::Error;
use std::fmt;

use banger_proto::words;
use banger_wire::causes::with_causes;

/// Whether an idempotent verb found work to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The object was made, changed or removed.
    Made,
    /// The object was as asked already.
    AlreadySo,
}

impl Change {
    /// [`Change::Made`] when either of two parts made something.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::AlreadySo, Self::AlreadySo) => Self::AlreadySo,
            (Self::Made, _) | (_, Self::Made) => Self::Made,
        }
    }

    /// [`Change::Made`] when `changed`.
    #[must_use]
    pub fn from_bool(changed: bool) -> Self {
        if changed { Self::Made } else { Self::AlreadySo }
    }
}

/// Why a host verb failed, coarse enough to act upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HostErrorKind {
    /// A program that the verb needs is not installed.
    MissingTool,
    /// A file system, or a table of the kernel, is full.
    NoSpace,
    /// The object is in use by somebody; trying later may help.
    Busy,
    /// The agent lacks the rights: not root, or a capability was dropped.
    NotPermitted,
    /// The name we need belongs to an object that is not ours.
    NameTaken,
    /// The machine uses addresses of the guest subnet elsewhere.
    SubnetTaken,
    /// Another guest of this host has the address, or the user of its VMM.
    AddressTaken,
    /// The object, or one that it needs, does not exist.
    NotFound,
    /// The host has no default route, so no uplink.
    NoUplink,
    /// `/dev/kvm` is missing or does not work.
    KvmUnavailable,
    /// The arguments make no sense together; nothing was done.
    Invalid,
    /// The answer did not come in time. Whether the thing was done is unknown.
    TimedOut,
    /// The other side (a tool, or the VMM's API) understood and said no.
    Refused,
    /// Anything else.
    Other,
}

impl HostErrorKind {
    /// The kind an operating system error belongs to.
    #[must_use]
    pub fn of_io(error: &std::io::Error) -> Self {
        use rustix::io::Errno;
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOSPC | Errno::DQUOT | Errno::ROFS) => Self::NoSpace,
            Some(Errno::BUSY | Errno::TXTBSY | Errno::AGAIN) => Self::Busy,
            Some(Errno::PERM | Errno::ACCESS) => Self::NotPermitted,
            Some(Errno::EXIST) => Self::NameTaken,
            Some(Errno::NOENT | Errno::NODEV | Errno::NXIO | Errno::SRCH) => Self::NotFound,
            Some(Errno::TIMEDOUT) => Self::TimedOut,
            Some(Errno::INVAL) => Self::Invalid,
            _ => match error.kind() {
                std::io::ErrorKind::NotFound => Self::NotFound,
                std::io::ErrorKind::PermissionDenied => Self::NotPermitted,
                std::io::ErrorKind::TimedOut => Self::TimedOut,
                std::io::ErrorKind::AlreadyExists => Self::NameTaken,
                _ => Self::Other,
            },
        }
    }
}

/// A host verb that failed: what it was doing, to which object, and what came back.
///
/// `Display` is one sentence without the source; print the chain at the boundary.
#[derive(Debug)]
pub struct HostError {
    /// What to do about it.
    pub kind: HostErrorKind,
    /// The verb, such as `"attach loop device"`. Reads well after "could not".
    pub verb: &'static str,
    /// The object, such as a device name or a file.
    pub object: String,
    /// What a person should know that the source does not say; may be empty.
    pub detail: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl HostError {
    /// An error without a source.
    pub fn new(kind: HostErrorKind, verb: &'static str, object: impl fmt::Display) -> Self {
        Self { kind, verb, object: object.to_string(), detail: String::new(), source: None }
    }

    /// From an operating system error, with the kind read from it.
    pub fn io(
        verb: &'static str,
        object: impl fmt::Display,
        error: impl Into<std::io::Error>,
    ) -> Self {
        let error = error.into();
        Self::new(HostErrorKind::of_io(&error), verb, object).because(error)
    }

    /// Adds what a person should know.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Adds the error below.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The whole chain in one line, for a fault message or a log field: a bounded sentence, for a
    /// tool, a kernel or a VMM may have written any part of it.
    #[must_use]
    pub fn chain(&self) -> String {
        words::sentence(with_causes(self))
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {} {}", self.verb, self.object)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

impl Error for HostError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// What every host verb answers.
pub type HostResult<T> = Result<T, HostError>;
