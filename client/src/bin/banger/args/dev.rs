//! `banger dev …`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Yes;

/// A server and agents on this machine, as separate processes over loopback.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct DevArgs {
    #[command(subcommand)]
    pub(crate) command: Option<DevCommand>,
    #[command(flatten)]
    pub(crate) up: UpArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DevCommand {
    /// Starts what is not running yet (the default).
    Up(UpArgs),
    /// Deletes all VMs, stops everything and removes the state.
    Down(DownArgs),
    /// Shows what is running.
    Status(StateDir),
}

/// Where everything is kept.
#[derive(Debug, Clone, Args)]
pub(crate) struct StateDir {
    /// Directory for state and logs [default: $XDG_STATE_HOME/banger/dev or
    /// ~/.local/state/banger/dev].
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// How many hosts, each with an agent of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16), value_name = "N")]
    pub(crate) hosts: u8,
    /// Pretend: the agents make no kernel object and run no guest.
    #[arg(long, conflicts_with = "real")]
    pub(crate) simulate: bool,
    /// Run real guests; without either flag this is done where the machine can do it.
    #[arg(long)]
    pub(crate) real: bool,
    #[command(flatten)]
    pub(crate) state_dir: StateDir,
    /// Leave everything running and return.
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Address of the API [default: 127.0.0.1:7070]; metrics and agents take the ports after it.
    /// Port 0 takes free ones.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    #[command(flatten)]
    pub(crate) state_dir: StateDir,
    /// Only stop the processes: VMs and state stay for the next `banger dev up`.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Go on when VMs can't be deleted; real guests may be left behind.
    #[arg(long, conflicts_with = "keep")]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) yes: Yes,
}
