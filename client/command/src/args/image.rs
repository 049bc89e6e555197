//! What can be typed after `banger image`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use banger_images::Platform;
use banger_terminal::args::Yes;

use super::value;
use crate::complete;

const IMPORT_HELP: &str = "\
Examples:
  banger image import kernel ./vmlinux
  banger image import alpine --registry docker.io/library/alpine:3.20 --root-size 2G
  banger image import alpine alpine.tar --kernel demo-kernel --initrd demo-initrd
  banger image import tree ./rootfs/
  tar -c -C ./rootfs . | banger image import tree -";

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Makes an image from a file, a directory or a registry.
    ///
    /// A kernel: a vmlinux, a bzImage or a distribution's kernel package. A root file system: an
    /// ext4 file, a tar archive or directory, an OCI image as archive or layout. The contents
    /// decide which it is.
    Import(ImportArgs),
    /// Makes a small guest from Debian's packages: demo, with demo-kernel and demo-initrd.
    BuildDemo(DemoArgs),
    /// Lists images.
    #[command(visible_alias = "list")]
    Ls,
    /// Shows images.
    Get {
        /// Their names.
        #[arg(required = true, value_name = "IMAGE", add = complete::images())]
        images: Vec<String>,
    },
    /// Deletes images from the server.
    #[command(visible_alias = "delete")]
    Rm {
        /// Their names.
        #[arg(required = true, value_name = "IMAGE", add = complete::images())]
        images: Vec<String>,
        /// Do not fail if it does not exist.
        #[arg(long)]
        allow_missing: bool,
        #[command(flatten)]
        yes: Yes,
    },
}

#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("from").required(true),
    override_usage = "banger image import [OPTIONS] <NAME> \
                      <FILE|--registry REFERENCE|--server-path PATH>",
    after_help = IMPORT_HELP
)]
pub(crate) struct ImportArgs {
    /// Name of the image.
    #[arg(value_name = "NAME")]
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
    /// What to make of it; by default the contents decide.
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) kind: Option<KindArg>,
    /// Make a root file system without the guest agent.
    #[arg(long)]
    pub(crate) no_guest_agent: bool,
    /// Size of the root file system, such as 2G; by default what its contents need.
    #[arg(long, value_parser = value::mebibytes, value_name = "SIZE")]
    pub(crate) root_size: Option<u32>,
    /// What to do with device nodes of a root file system.
    #[arg(long, value_enum, value_name = "WHAT", default_value = "keep")]
    pub(crate) devices: DevicesArg,
    /// Which image of an archive or directory that holds several: its name, tag or digest.
    #[arg(long, value_name = "NAME")]
    pub(crate) image: Option<String>,
    /// Which variant of a container image, such as linux/amd64; by default that for machines of the
    /// server's kind.
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
    /// What a root file system boots with, so that `--image NAME` is all that a VM needs: its
    /// kernel, by name.
    #[arg(long, value_name = "IMAGE", help_heading = "Boot", add = complete::images())]
    pub(crate) kernel: Option<String>,
    /// Its initial RAM disk, by name.
    #[arg(long, value_name = "IMAGE", requires = "kernel", help_heading = "Boot", add = complete::images())]
    pub(crate) initrd: Option<String>,
    /// Its kernel command line.
    #[arg(
        long,
        value_name = "TEXT",
        requires = "kernel",
        allow_hyphen_values = true,
        help_heading = "Boot"
    )]
    pub(crate) boot_args: Option<String>,
    /// Whether VMs of every project may boot from it; by default what the image of the name has.
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "true|false"
    )]
    pub(crate) public: Option<bool>,
    /// If the name is taken, give it to the new content; existing VMs keep what they have.
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
    /// Let VMs of every project boot from it.
    #[arg(long)]
    pub(crate) public: bool,
    /// The guest agent, a static binary, to put into the root file system.
    #[arg(long, value_name = "FILE")]
    pub(crate) guest_agent: Option<PathBuf>,
}

/// What is done with device nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DevicesArg {
    /// Keep them, as container runtimes do.
    Keep,
    /// Leave them out, and count them.
    LeaveOut,
    /// Fail, and name the first.
    Refuse,
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
