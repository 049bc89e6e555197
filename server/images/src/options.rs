//! What an import may use (limits, sizes, registries, time), and how it says how far it is.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::{Patience, Platform};

/// How an import is made. The default puts no guest agent in and keeps device nodes.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How much may be read and made.
    pub limits: Limits,
    /// The guest agent, a static binary, to be put into a root file system.
    pub guest: Option<PathBuf>,
    /// A static busybox, or the package that has it, for an initial RAM disk that is made from a
    /// kernel's package.
    pub busybox: Option<PathBuf>,
    /// Size in bytes of the root file system, rounded down to 4 KiB; one that is too small for the
    /// contents is an error. Without it: the contents, a quarter more, and 64 MiB.
    pub root_size: Option<u64>,
    /// What is done with device nodes.
    pub devices: Devices,
    /// Which image of an archive or layout that holds several: by its name or by its digest.
    pub choice: Option<String>,
    /// Which variant of a container image; this machine's by default.
    pub platform: Platform,
    /// For the registry; without them what [`Registries::docker_config`] says is used, and else it
    /// is asked anonymously.
    pub credentials: Option<Credentials>,
    /// Where registries are, and how they are asked.
    pub registries: Registries,
    /// The longest that the import may take in all. Without it there is no end.
    pub deadline: Option<Duration>,
    /// What of the output's disk is to be left to others.
    pub room: Option<Room>,
    /// Stops the import where it is.
    pub cancel: Cancel,
}

/// Where registries are, and how they are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registries {
    /// Registries, as host or `host:port`, that may be at addresses of this machine or of its link.
    /// All others that are there are refused, after a redirect too.
    pub local: Vec<String>,
    /// Which may be at addresses of private networks.
    pub private: PrivateRegistries,
    /// Docker's `config.json`, for names and passwords.
    pub docker_config: Option<PathBuf>,
    /// An `http://` proxy for every registry; without it what `HTTPS_PROXY`, `ALL_PROXY` and
    /// `NO_PROXY` of the environment say.
    pub proxy: Option<String>,
    /// How slow a registry may be.
    pub patience: Patience,
    /// Before the second try of a request that failed in a way that may pass; four times that
    /// before the third, which is the last.
    pub back_off: Duration,
}

/// Which registries may be at addresses of private networks (RFC 1918, RFC 4193 and the like),
/// where a server also reaches what is no registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrivateRegistries {
    /// All of them.
    All,
    /// These, as host or `host:port`; others that are there are refused, after a redirect too.
    Named(Vec<String>),
}

impl Default for Registries {
    fn default() -> Self {
        let (local, docker_config, proxy) = (Vec::new(), None, None);
        let (patience, back_off) = (Patience::default(), Duration::from_secs(1));
        let private = PrivateRegistries::All;
        Self { local, private, docker_config, proxy, patience, back_off }
    }
}

/// A disk that is not ours alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    pub directory: PathBuf,
    /// Bytes that stay free. An import ends with [`crate::ImportError::NoRoom`] when there are
    /// less, about a mebibyte after that is so.
    pub reserve_bytes: u64,
}

/// Bounds on what an import reads and makes. Past one of them it ends with
/// [`crate::ImportError::Limit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the source as it lies there or comes from the registry.
    pub source_bytes: u64,
    /// Bytes of all layers or archives unpacked, what a later layer replaces included.
    pub unpacked_bytes: u64,
    /// Files, directories and links of all layers, what a later layer replaces included.
    pub entries: u64,
    /// Layers of a container image.
    pub layers: u64,
    pub path_bytes: u64,
    /// Bytes of memory that the names and attributes of all layers take, about.
    pub tree_bytes: u64,
    /// Times an archive may grow when it is unpacked, once it is past 64 MiB.
    pub ratio: u64,
    /// Bytes of a kernel or an initial RAM disk.
    pub boot_bytes: u64,
    /// Bytes of a root file system, whatever size was asked for; one that is made has never more
    /// than 128 GiB.
    pub root_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            source_bytes: 16 << 30,
            unpacked_bytes: 32 << 30,
            entries: 1_000_000,
            layers: 128,
            path_bytes: 4095,
            tree_bytes: 1 << 30,
            ratio: 200,
            boot_bytes: 512 << 20,
            root_bytes: 64 << 30,
        }
    }
}

/// What is done with character and block device nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Devices {
    /// The import fails and names the node.
    Refuse,
    /// They are left out and counted in a note: a guest's kernel makes its own.
    LeaveOut,
    /// They are kept, as container runtimes do: only the guest's kernel ever sees them as devices.
    #[default]
    Keep,
}

/// A user of a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name.
    pub username: String,
    /// The password or token. Never shown.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Stops an import from elsewhere: every copy shares one flag.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// The import ends with [`crate::ImportError::Cancelled`] soon: it looks with every piece that
    /// it reads and with every entry.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`Cancel::cancel`] was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How far an import is. Steps come in the order of [`Step`]; those that a source does not need
/// are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub step: Step,
    /// Bytes done in this step.
    pub done_bytes: u64,
    /// Bytes to be done in this step, as far as known.
    pub total_bytes: Option<u64>,
}

/// What an import is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Blobs come from the registry.
    Pull,
    /// The source is read and checked.
    Check,
    /// The output is written.
    Write,
    /// The output is read for its digest.
    Digest,
}

/// Told how far an import is, about every mebibyte; must not block.
pub type Report = Arc<dyn Fn(Progress) + Send + Sync>;
