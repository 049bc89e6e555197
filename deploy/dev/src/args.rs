//! `banger dev …`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use banger_terminal::args::Yes;

/// Most hosts of one set-up: an instance tag has one hexadecimal digit for them.
pub(super) const HOSTS: u8 = 16;

/// A server and agents on this machine, as separate processes over loopback.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DevArgs {
    #[command(subcommand)]
    pub command: Option<DevCommand>,
    #[command(flatten)]
    pub up: UpArgs,
}

#[derive(Debug, Subcommand)]
pub enum DevCommand {
    /// Starts what is not running yet (the default).
    Up(UpArgs),
    /// Deletes all VMs, stops everything and removes the state.
    Down(DownArgs),
    /// Shows what is running.
    Status(StateDir),
}

/// Where everything is kept.
#[derive(Debug, Clone, Args)]
pub struct StateDir {
    /// Directory for state and logs [default: $XDG_STATE_HOME/banger/dev or
    /// ~/.local/state/banger/dev].
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct UpArgs {
    /// How many hosts, each with an agent of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(HOSTS)), value_name = "N")]
    pub hosts: u8,
    /// Pretend: the agents make no kernel objects and run no guests.
    #[arg(long, conflicts_with = "real")]
    pub simulate: bool,
    /// Run real guests; by default this happens where the machine can do it.
    #[arg(long)]
    pub real: bool,
    #[command(flatten)]
    pub state_dir: StateDir,
    /// Leave everything running and return.
    #[arg(short, long)]
    pub detach: bool,
    /// Address of the API [default: 127.0.0.1:7070]; metrics and agents take the ports after it.
    /// Port 0 takes free ones.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub struct DownArgs {
    #[command(flatten)]
    pub state_dir: StateDir,
    /// Only stop the processes: VMs and state stay for the next `banger dev up`.
    #[arg(long)]
    pub keep: bool,
    /// Stop everything even when VMs can't be deleted. While something of them is left, the state
    /// stays.
    #[arg(long, conflicts_with = "keep")]
    pub force: bool,
    /// Whoever calls this takes away what they put there themselves, and says then what stays.
    #[arg(long, hide = true, conflicts_with = "keep")]
    pub rest_follows: bool,
    #[command(flatten)]
    pub yes: Yes,
}
