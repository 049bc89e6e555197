//! The flags of a spec, the same wherever a VM is made or changed.

use std::path::PathBuf;

use banger_client::v1::{ImageRef, RestartPolicy};
use clap::Args;

use super::limits::LimitArgs;
use super::value;
use crate::complete;

/// The parts of a spec that flags can name.
#[derive(Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Spec")]
pub(crate) struct SpecArgs {
    /// Number of vCPUs.
    #[arg(long, value_name = "N")]
    pub(crate) vcpus: Option<u32>,
    /// Guest memory, such as 512M or 2G.
    #[arg(long, value_parser = value::mebibytes, value_name = "SIZE")]
    pub(crate) memory: Option<u32>,
    /// What to boot, by one name: a root file system image that carries its kernel
    /// (`banger image get` says whether it does).
    #[arg(long, value_parser = value::image, value_name = "IMAGE", conflicts_with = "root", add = complete::images())]
    pub(crate) image: Option<ImageRef>,
    /// Kernel: an image of the server (`banger image ls`), or a file of the host's image directory;
    /// name or name@sha256:digest.
    #[arg(long, value_parser = value::image, value_name = "IMAGE", add = complete::images())]
    pub(crate) kernel: Option<ImageRef>,
    /// Initial RAM disk image.
    #[arg(long, value_parser = value::image, value_name = "IMAGE", add = complete::images())]
    pub(crate) initrd: Option<ImageRef>,
    /// Root file system image; a container image makes one (`banger image import`).
    #[arg(long, value_parser = value::image, value_name = "IMAGE", add = complete::images())]
    pub(crate) root: Option<ImageRef>,
    /// Size of the root disk; the guest's file system grows to it.
    #[arg(long, value_parser = value::mebibytes, value_name = "SIZE")]
    pub(crate) disk: Option<u32>,
    /// A second disk that survives a reset of the root disk.
    #[arg(long, value_parser = value::mebibytes, value_name = "SIZE")]
    pub(crate) work_disk: Option<u32>,
    /// Kernel command line.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) boot_args: Option<String>,
    /// File with the document that the guest reads from its metadata service (JSON, YAML or TOML).
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata: Option<PathBuf>,
    /// Let the guest reach beyond the host.
    #[arg(long, conflicts_with = "no_nat")]
    pub(crate) nat: bool,
    /// Let the guest reach nothing.
    #[arg(long)]
    pub(crate) no_nat: bool,
    /// A label; may be given several times.
    #[arg(short = 'l', long = "label", value_parser = value::label, value_name = "K=V")]
    pub(crate) labels: Vec<(String, String)>,
    /// What to do when the VM ends on its own: never, on-failure or always.
    #[arg(long, value_parser = value::restart(), hide_possible_values = true, value_name = "POLICY")]
    pub(crate) restart: Option<RestartPolicy>,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
}
