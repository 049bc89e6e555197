//! `banger system …`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use banger_terminal::args::{Yes, duration};

/// Banger on this machine: its programs, units, user and configuration. What changes it, as root.
#[derive(Debug, Subcommand)]
pub enum SystemCommand {
    /// Lays everything down and starts it; you can repeat it safely.
    Install(InstallArgs),
    /// Shows what is installed and what runs, to anybody; root sees all of it.
    Status(RootDir),
    /// Replaces programs and units with newer ones, and goes back if a VM or a service does not
    /// stay well.
    Update(UpdateArgs),
    /// Removes what was laid down. State stays, unless you say --purge.
    Uninstall(UninstallArgs),
    /// Prints the files that this release lays down, for another release's `update`.
    #[command(hide = true)]
    Payload,
}

/// Where the machine's root is.
#[derive(Debug, Clone, Args)]
pub struct RootDir {
    /// Work on a machine that is not running, with its root file system here; check and start
    /// nothing.
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

/// Which programs.
#[derive(Debug, Clone, Args)]
pub struct ReleaseDir {
    /// Directory with banger, banger-server and banger-agent, and with banger-guest if images are
    /// to get a guest agent [default: where this program is; of an installed one, the package].
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,
}

/// One of the two services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Only {
    /// The control plane.
    Server,
    /// What makes this machine a host.
    Agent,
}

#[derive(Debug, Args)]
pub struct InstallArgs {
    /// Only one of the two. What is already installed stays.
    #[arg(long, value_enum, value_name = "PART")]
    pub only: Option<Only>,
    #[command(flatten)]
    pub from: ReleaseDir,
    /// Install although `banger-agent doctor` says that no guest can run here.
    #[arg(long)]
    pub anyway: bool,
    /// Enable the units without starting them.
    #[arg(long)]
    pub no_start: bool,
    /// Say what it would do, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub root: RootDir,
}

#[derive(Debug, Args)]
pub struct UpdateArgs {
    #[command(flatten)]
    pub from: ReleaseDir,
    /// How long each service may take to be well, and the agent to report all VMs.
    #[arg(long, value_parser = duration, default_value = "2m", value_name = "TIME")]
    pub timeout: Duration,
    /// Say what it would do, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub root: RootDir,
}

#[derive(Debug, Args)]
pub struct UninstallArgs {
    /// Go on while VMs run; they run on, and nobody looks after them.
    #[arg(long, conflicts_with = "purge")]
    pub vms_may_keep_running: bool,
    /// Remove state, configuration and the server's user as well. Refused while there are VMs.
    #[arg(long)]
    pub purge: bool,
    #[command(flatten)]
    pub yes: Yes,
    #[command(flatten)]
    pub root: RootDir,
}
