//! `banger system …`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{Yes, value};

/// Banger on this machine: its programs, units, user and configuration. As root.
#[derive(Debug, Subcommand)]
pub(crate) enum SystemCommand {
    /// Lays everything down and starts it. Safe to repeat.
    Install(InstallArgs),
    /// Shows what is installed and what runs.
    Status(RootDir),
    /// Replaces programs and units by newer ones, and goes back by itself if a VM or a service
    /// does not stay well.
    Update(UpdateArgs),
    /// Removes what was laid down. State stays unless it is told otherwise.
    Uninstall(UninstallArgs),
    /// Prints the files that this release lays down, for another release's `update`.
    #[command(hide = true)]
    Payload,
}

/// Where the machine's root is.
#[derive(Debug, Clone, Args)]
pub(crate) struct RootDir {
    /// Work on the machine whose root file system is here, which does not run: nothing is checked
    /// or started.
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
}

/// Which programs.
#[derive(Debug, Clone, Args)]
pub(crate) struct From {
    /// Directory with banger, banger-server and banger-agent [default: where this program is].
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Option<PathBuf>,
}

/// One of the two services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Only {
    /// The control plane.
    Server,
    /// What makes this machine a host.
    Agent,
}

#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    /// One of the two alone. What is installed already stays.
    #[arg(long, value_enum, value_name = "PART")]
    pub(crate) only: Option<Only>,
    #[command(flatten)]
    pub(crate) from: From,
    /// Install although `banger-agent doctor` says that no guest can run here.
    #[arg(long)]
    pub(crate) anyway: bool,
    /// Enable the units without starting them.
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) root: RootDir,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    pub(crate) from: From,
    /// How long each service may take to be well, and all VMs to be reported.
    #[arg(long, value_parser = value::duration, default_value = "2m", value_name = "TIME")]
    pub(crate) timeout: Duration,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) root: RootDir,
}

#[derive(Debug, Args)]
pub(crate) struct UninstallArgs {
    /// Go on while VMs run; they run on, and nobody looks after them.
    #[arg(long, conflicts_with = "purge")]
    pub(crate) vms_may_keep_running: bool,
    /// Remove state, configuration and the server's user as well. Refused while there are VMs.
    #[arg(long)]
    pub(crate) purge: bool,
    #[command(flatten)]
    pub(crate) yes: Yes,
    #[command(flatten)]
    pub(crate) root: RootDir,
}
