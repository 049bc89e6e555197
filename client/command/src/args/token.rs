//! `banger token …`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use banger_terminal::args::Yes;

use super::value;
use crate::complete;

const CREATE_HELP: &str = "\
Roles:
  viewer     reads what holds no secret: no metadata of VMs, no console, nothing in a guest
  operator   everything about VMs, what is in them, hosts and images
  admin      everything
With --project they are of that project alone, and nothing else is there for whoever holds it:
  viewer     as above
  developer  everything about its VMs, what is in them, and its images
  admin      everything of it, its tokens too

Examples:
  (umask 077; banger token create wall --role viewer --ttl 30d >wall.token)
  banger --token-file wall.token vm ls
  banger token create ann --project shop --role developer";

const HELP: &str = "\
Examples:
  banger token create ci --role operator --ttl 90d
  banger token ls
  banger token revoke ci";

#[derive(Debug, Subcommand)]
#[command(after_help = HELP)]
pub(crate) enum TokenCommand {
    /// Makes a token. It is printed once, and the server keeps only a digest of it.
    Create(TokenArgs),
    /// Lists tokens: whose, which role, until when, and when each was used last.
    #[command(visible_alias = "list")]
    Ls,
    /// Takes tokens back, and those that were made with them. Their calls end within a second.
    #[command(visible_alias = "rm")]
    Revoke {
        /// Their names or ids.
        #[arg(required = true, value_name = "TOKEN", add = complete::tokens())]
        tokens: Vec<String>,
        /// Do not fail if it does not exist.
        #[arg(long)]
        allow_missing: bool,
        /// Leave the tokens that were made with them; they are taken back too otherwise.
        #[arg(long)]
        keep_made: bool,
        #[command(flatten)]
        yes: Yes,
    },
}

#[derive(Debug, Args)]
#[command(after_help = CREATE_HELP)]
pub(crate) struct TokenArgs {
    /// Who is to hold it: what the history calls them.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// What they may do.
    #[arg(long, value_enum, value_name = "ROLE")]
    pub(crate) role: RoleArg,
    /// How long the token is valid (server's default: 90d).
    #[arg(long, value_parser = value::duration, value_name = "TIME")]
    pub(crate) ttl: Option<Duration>,
}

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleArg {
    Viewer,
    Developer,
    Operator,
    Admin,
}
