//! `banger project …`.

use banger_client::v1::ProjectResources;
use clap::{Args, Subcommand};

use super::value;
use crate::complete;
use banger_terminal::args::Yes;

const HELP: &str = "\
Examples:
  banger project create shop
  banger project update shop --vms 20 --vcpus 40 --memory 64G --disk 500G
  banger project show shop
  banger token create ann --project shop --role developer
  banger --project shop vm ls";

#[derive(Debug, Subcommand)]
#[command(after_help = HELP)]
pub(crate) enum ProjectCommand {
    /// Makes projects.
    Create {
        /// Their names.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        #[command(flatten)]
        quota: QuotaArgs,
    },
    /// Gives projects another quota: the whole of it, none without a flag.
    Update {
        /// Their names.
        #[arg(required = true, value_name = "NAME", add = complete::projects())]
        names: Vec<String>,
        #[command(flatten)]
        quota: QuotaArgs,
    },
    /// Lists projects with what belongs to them.
    #[command(visible_alias = "list")]
    Ls,
    /// Shows what a project has of what it may have.
    #[command(visible_alias = "get")]
    Show {
        /// Its name; your own, or `default`, without.
        #[arg(value_name = "NAME", add = complete::projects())]
        name: Option<String>,
    },
    /// Takes away projects that have no VMs and no images, and the tokens of their callers.
    #[command(visible_alias = "delete")]
    Rm {
        /// Their names.
        #[arg(required = true, value_name = "NAME", add = complete::projects())]
        names: Vec<String>,
        /// Do not fail if it does not exist.
        #[arg(long)]
        allow_missing: bool,
        #[command(flatten)]
        yes: Yes,
    },
}

/// What a project may come to; what is not said is bounded by what the server is set to, or not.
#[derive(Debug, Clone, Args)]
pub(crate) struct QuotaArgs {
    /// How many VMs it may have.
    #[arg(long, value_name = "N", help_heading = "Quota")]
    pub(crate) vms: Option<u64>,
    /// How many vCPUs these may have together.
    #[arg(long, value_name = "N", help_heading = "Quota")]
    pub(crate) vcpus: Option<u64>,
    /// How much memory, such as 64G.
    #[arg(long, value_parser = value::mebibytes, value_name = "SIZE", help_heading = "Quota")]
    pub(crate) memory: Option<u32>,
    /// How much disk, such as 500G.
    #[arg(long, value_parser = value::mebibytes, value_name = "SIZE", help_heading = "Quota")]
    pub(crate) disk: Option<u32>,
    /// How much room its images and uploads may take on the server, such as 20G.
    #[arg(long, value_parser = value::mebibytes, value_name = "SIZE", help_heading = "Quota")]
    pub(crate) images: Option<u32>,
    /// How many calls that watch or wait it may have open.
    #[arg(long, value_name = "N", help_heading = "Quota")]
    pub(crate) watches: Option<u64>,
    /// How many calls that carry bytes of guests and images it may have open.
    #[arg(long, value_name = "N", help_heading = "Quota")]
    pub(crate) streams: Option<u64>,
    /// How many calls a second it may make.
    #[arg(long, value_name = "N", help_heading = "Quota")]
    pub(crate) calls_per_second: Option<u64>,
}

impl QuotaArgs {
    /// As the API has it; none where nothing is bounded.
    pub(crate) fn resources(&self) -> Option<ProjectResources> {
        let quota = ProjectResources {
            vms: self.vms.unwrap_or_default(),
            vcpus: self.vcpus.unwrap_or_default(),
            memory_mib: self.memory.unwrap_or_default().into(),
            disk_mib: self.disk.unwrap_or_default().into(),
            image_mib: self.images.unwrap_or_default().into(),
            watches: self.watches.unwrap_or_default(),
            streams: self.streams.unwrap_or_default(),
            calls_per_second: self.calls_per_second.unwrap_or_default(),
        };
        (quota != ProjectResources::default()).then_some(quota)
    }
}
