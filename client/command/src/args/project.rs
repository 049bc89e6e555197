//! `banger project …`.

use clap::Subcommand;

use crate::complete;
use banger_terminal::args::Yes;

const HELP: &str = "\
Examples:
  banger project create shop
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
    },
    /// Lists projects with what belongs to them.
    #[command(visible_alias = "list")]
    Ls,
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
