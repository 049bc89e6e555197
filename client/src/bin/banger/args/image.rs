//! What can be typed after `banger image`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Yes, value};

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Makes an image from a file, a directory or a registry.
    ///
    /// A kernel: a vmlinux, a bzImage or a distribution's kernel package. A root file system: an
    /// ext4 file, a tar archive or directory, an OCI image as archive or layout. What it is, is
    /// found out by looking.
    Import(ImportArgs),
    /// Makes a small guest from Debian's packages: demo-kernel, demo-initrd and demo-root.
    BuildDemo(DemoArgs),
    /// Lists images.
    #[command(visible_alias = "list")]
    Ls,
    /// Shows images.
    Get {
        /// Their names.
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
    },
    /// Deletes images from the server.
    #[command(visible_alias = "delete")]
    Rm {
        /// Their names.
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
        /// Do not fail for what is not there.
        #[arg(long)]
        allow_missing: bool,
        #[command(flatten)]
        yes: Yes,
    },
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("from").required(true))]
pub(crate) struct ImportArgs {
    /// Name of the image.
    pub(crate) name: String,
    /// A file or directory of this machine; - reads standard input.
    #[arg(group = "from", value_name = "FILE")]
    pub(crate) source: Option<PathBuf>,
    /// A container image that the server pulls, such as registry.example/alpine:3.
    #[arg(long, group = "from", value_name = "REFERENCE")]
    pub(crate) registry: Option<String>,
    /// A path on the server, below one of its import directories.
    #[arg(long, group = "from", value_name = "PATH")]
    pub(crate) server_path: Option<String>,
    /// What it is to be; found out by looking when not given.
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) kind: Option<KindArg>,
    /// Leave the guest agent out of a root file system that is made.
    #[arg(long)]
    pub(crate) no_guest_agent: bool,
    /// Size of a root file system that is made, such as 2G; as its contents need when not given.
    #[arg(long, value_parser = value::mebibytes, value_name = "SIZE")]
    pub(crate) root_size: Option<u32>,
    /// Give the name to new content when it is taken. VMs that are there keep what they have.
    #[arg(long)]
    pub(crate) replace: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Directory with a kernel's package (linux-image-*.deb) and busybox-static's.
    #[arg(value_name = "PACKAGES")]
    pub(crate) packages: PathBuf,
    /// Write vmlinux, initrd.img and root.ext4 into this directory and upload nothing.
    #[arg(long = "to", value_name = "DIRECTORY")]
    pub(crate) directory: Option<PathBuf>,
    /// The guest agent, a static binary, to be put into the root file system.
    #[arg(long, value_name = "FILE")]
    pub(crate) guest_agent: Option<PathBuf>,
}

/// What an image is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KindArg {
    /// An uncompressed ELF kernel.
    Kernel,
    /// An initial RAM disk.
    Initrd,
    /// An ext4 root file system.
    Root,
}
