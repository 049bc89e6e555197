//! Images kept by the server: a name, the digest of its content, and where that came from.
//!
//! Content is known by its sha256 alone; on hosts its file is named after that, so that one host
//! can hold what a name stood for yesterday and today. Whether the content is here, or on a host,
//! is no matter of this module.

use jiff::Timestamp;

use super::project::{Named, ProjectName};

/// How files that the server brings to hosts are named, before the digest.
const HOST_FILE_PREFIX: &str = "sha256-";

/// What an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredKind {
    /// An uncompressed ELF kernel.
    Kernel,
    /// An ext4 root file system.
    Root,
    /// An initial RAM disk.
    Initrd,
}

impl StoredKind {
    /// The word stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "KERNEL",
            Self::Root => "ROOT",
            Self::Initrd => "INITRD",
        }
    }

    /// The same for people.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Kernel => "a kernel",
            Self::Root => "a root file system",
            Self::Initrd => "an initial RAM disk",
        }
    }

    /// From the word stored.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Kernel, Self::Root, Self::Initrd].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// What a root file system carries to be booted with: names of images or of files of the hosts, as
/// a spec names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    pub kernel: String,
    /// The initial RAM disk, if it needs one.
    pub initrd: Option<String>,
    /// Kernel command line; empty: the default.
    pub boot_args: String,
}

impl Boot {
    /// The images it names, each with the field and what it has to be.
    pub fn images(&self) -> impl Iterator<Item = (&'static str, &str, StoredKind)> {
        let kernel = ("boot.kernel", self.kernel.as_str(), StoredKind::Kernel);
        let initrd = self.initrd.as_deref().map(|name| ("boot.initrd", name, StoredKind::Initrd));
        std::iter::once(kernel).chain(initrd)
    }
}

/// One image: a row of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecord {
    /// Unique in its project.
    pub name: String,
    /// Never changes.
    pub project: ProjectName,
    /// Whether VMs of every project may boot from it. Only those of `default` are.
    pub public: bool,
    /// Of the content, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Length of the content in bytes.
    pub size_bytes: u64,
    /// What it is for.
    pub kind: StoredKind,
    /// Where it came from, for people.
    pub origin: String,
    /// Whether the guest agent was put in.
    pub guest_agent: bool,
    /// What its owner may want to know, sentences.
    pub notes: Vec<String>,
    /// When the name was given to this content.
    pub created_at: Timestamp,
    /// Who did.
    pub created_by: String,
    /// What it is booted with, where it is a root file system that carries that.
    pub boot: Option<Boot>,
}

impl ImageRecord {
    /// What finds it.
    pub fn named(&self) -> Named {
        Named::new(&self.project, &self.name)
    }

    /// Whether it is there for whoever sees the things of this project alone.
    pub fn is_for(&self, project: &ProjectName) -> bool {
        self.public || self.project == *project
    }
}

/// The name of the file that holds this content on a host.
pub fn host_file(sha256: &str) -> String {
    format!("{HOST_FILE_PREFIX}{sha256}")
}

/// The digest that a host's file of this name holds, if the name is one that the server gives.
pub fn digest_of(host_file: &str) -> Option<&str> {
    let digest = host_file.strip_prefix(HOST_FILE_PREFIX)?;
    let ours = digest.len() == 64
        && digest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    ours.then_some(digest)
}

/// Whether a name would be taken for a file that the server has brought.
pub fn is_reserved(name: &str) -> bool {
    name.starts_with(HOST_FILE_PREFIX)
}
