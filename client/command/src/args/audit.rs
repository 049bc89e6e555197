//! `banger audit`.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;

use super::value;

const HELP: &str = "\
Examples:
  banger audit --since 1h
  banger audit --principal alice --method DeleteVm
  banger audit --object web                    by name or id
  banger audit --all -o json >audit.jsonl      a record a line, newest first
  banger audit --all --after 48211 -o json     what is new since the record with that id
  banger audit --follow                        what is done from now on, oldest first
  banger audit --follow --after 48211 -o json  the same from that record on, a record a line";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct AuditArgs {
    /// Only what this principal did.
    #[arg(long, value_name = "NAME")]
    pub(crate) principal: Option<String>,
    /// Only calls of this method, such as DeleteVm.
    #[arg(long, value_name = "METHOD")]
    pub(crate) method: Option<String>,
    /// Only what was done to the object with this name or id.
    #[arg(long, value_name = "OBJECT")]
    pub(crate) object: Option<String>,
    /// Only of so long ago, or less.
    #[arg(long, value_parser = value::duration, value_name = "TIME")]
    pub(crate) since: Option<Duration>,
    /// Only of longer ago.
    #[arg(long, value_parser = value::duration, value_name = "TIME")]
    pub(crate) until: Option<Duration>,
    /// Only records after the one with this id.
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<u64>,
    /// How many at most.
    #[arg(long, value_name = "NUMBER", default_value = "100", conflicts_with = "all")]
    pub(crate) limit: NonZeroUsize,
    /// All of them.
    #[arg(long)]
    pub(crate) all: bool,
    /// Show records as they are written, oldest first: after the one of --after, or from now on.
    #[arg(long, short = 'f', conflicts_with_all = ["all", "limit", "since", "until"])]
    pub(crate) follow: bool,
}
