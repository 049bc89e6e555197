//! Kinds of image (kernel, initial RAM disk, root), and what an import answers.

use std::fmt;

use crate::Platform;

/// What a VM boots from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An uncompressed x86-64 ELF kernel.
    Kernel,
    /// An initial RAM disk, as a kernel reads it.
    Initrd,
    /// An ext4 root file system.
    Root,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Initrd => "initial RAM disk",
            Self::Root => "root file system",
        })
    }
}

/// What is to be made of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// What the source looks like: a kernel from a kernel or a kernel's package, an initial RAM
    /// disk from a cpio archive, a root file system from everything else.
    Auto,
    Kernel,
    /// An initial RAM disk: a cpio archive is taken as it is; from a kernel's package and
    /// [`crate::Options::busybox`] one is made that loads the modules a guest needs and goes on to
    /// `/sbin/init` on `/dev/vda`.
    Initrd,
    /// A root file system.
    Root,
}

/// A finished file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// What it is.
    pub kind: Kind,
    /// Of the whole file, holes read as zeros.
    pub sha256: [u8; 32],
    /// Length of the file in bytes; an ext4 file occupies less.
    pub size_bytes: u64,
    /// What its owner may want to know, in order.
    pub notes: Vec<Note>,
}

impl Made {
    /// `sha256` in lower-case hexadecimal, without a prefix.
    #[must_use]
    pub fn sha256_hex(&self) -> String {
        hex::encode(self.sha256)
    }
}

/// Something that is no error but that its owner may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// The guest agent was put in and is started in this way.
    GuestAgent(&'static str),
    /// The guest agent was put in, and nothing that we know starts it.
    GuestAgentNotStarted,
    /// The guest agent was not put in: an ext4 file is taken as it is.
    GuestAgentNotPutIn,
    /// The image has no init, and no guest agent was given that could be it.
    NoInit,
    /// The digest of the manifest of the container image, `sha256:…`.
    Manifest(String),
    /// The container image is for machines of another kind than this one.
    OtherMachine(Platform),
    /// Features of an ext4 file that the kernel of a guest may lack.
    FileSystemFeatures(Vec<&'static str>),
    /// Device nodes that were left out.
    DevicesLeftOut(u64),
    /// Extended attributes that were left out: neither `user.*` nor `security.*`.
    AttributesLeftOut(u64),
    /// Sockets that were left out: without their process they are of no use.
    SocketsLeftOut(u64),
    /// Places of a directory where something else is mounted, the first of them and how many: each
    /// is an empty directory.
    MountsLeftOut(Vec<String>, u64),
    /// The release of the kernel, of which the modules were taken too.
    KernelRelease(String),
    /// Modules wanted of the kernel's package that it does not have; they may be built in.
    ModulesMissing(Vec<String>),
}

fn left_out(f: &mut fmt::Formatter<'_>, count: u64, what: &str) -> fmt::Result {
    match count {
        1 => write!(f, "1 {what} was left out"),
        many => write!(f, "{many} {what}s were left out"),
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GuestAgent(how) => write!(f, "the guest agent is started by {how}"),
            Self::GuestAgentNotStarted => f.write_str(
                "the guest agent was put in, but the image's init is not known to start it",
            ),
            Self::GuestAgentNotPutIn => {
                f.write_str("the guest agent was not put in: an ext4 file is taken as it is")
            }
            Self::NoInit => f.write_str("the image has no init and no guest agent was put in"),
            Self::Manifest(digest) => write!(f, "manifest {digest}"),
            Self::OtherMachine(platform) => write!(
                f,
                "it is for {platform}: guests of {} do not run it, and no guest agent was put in",
                Platform::default()
            ),
            Self::FileSystemFeatures(names) => write!(
                f,
                "the file system has {}: a guest boots from it only with a kernel (and its initial \
                 RAM disk) that has support for that; `tune2fs -O ^{}` takes it out",
                names.join(", "),
                names.join(",^")
            ),
            Self::DevicesLeftOut(count) => left_out(f, *count, "device node"),
            Self::AttributesLeftOut(count) => left_out(f, *count, "extended attribute"),
            Self::SocketsLeftOut(count) => left_out(f, *count, "socket"),
            Self::MountsLeftOut(first, count) => {
                let first: Vec<_> =
                    first.iter().map(|place| place.escape_debug().to_string()).collect();
                let (places, were) =
                    if *count == 1 { ("place", "was") } else { ("places", "were") };
                let first = first.join(", ");
                write!(f, "{count} {places} where something is mounted {were} left empty: {first}")
            }
            Self::KernelRelease(release) => write!(f, "kernel release {release}"),
            Self::ModulesMissing(names) => {
                write!(f, "modules not in the package: {}", names.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_is_counted_in_words_for_one_and_for_many() {
        for (note, said) in [
            (Note::DevicesLeftOut(1), "1 device node was left out"),
            (Note::DevicesLeftOut(2), "2 device nodes were left out"),
            (Note::AttributesLeftOut(1), "1 extended attribute was left out"),
            (Note::SocketsLeftOut(3), "3 sockets were left out"),
            (
                Note::MountsLeftOut(vec!["proc".to_owned()], 1),
                "1 place where something is mounted was left empty: proc",
            ),
            (
                Note::MountsLeftOut(vec!["proc".to_owned(), "sys".to_owned()], 2),
                "2 places where something is mounted were left empty: proc, sys",
            ),
        ] {
            assert_eq!(note.to_string(), said);
        }
    }
}
