//! `banger host …`.

use std::time::Duration;

use clap::{Args, Subcommand};

use banger_terminal::args::Yes;

use super::value;
use crate::complete;

#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// Lists hosts.
    #[command(visible_alias = "list")]
    Ls {
        /// Only with these labels: key=value,key!=value,key in (a,b),key notin (a,b),key,!key.
        #[arg(
            short = 'l',
            long,
            default_value = "",
            hide_default_value = true,
            value_name = "SELECTOR"
        )]
        selector: String,
    },
    /// Shows hosts, with the images they have.
    Get(Hosts),
    /// Makes a token with which one host can join, once.
    Token {
        /// How long the token is valid (server's default: 15m).
        #[arg(long, value_parser = value::duration, value_name = "TIME")]
        ttl: Option<Duration>,
        /// The only name under which a host may join with it.
        #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
        name: String,
        /// A label that the host gets; may be given several times. A host cannot choose its own.
        #[arg(long = "label", value_parser = value::label, value_name = "K=V")]
        labels: Vec<(String, String)>,
        #[command(flatten)]
        most: AcceptedSize,
    },
    /// Changes labels, agent address, overcommit or accepted capacity of a host.
    #[command(visible_alias = "set", after_help = UPDATE_HELP)]
    Update(HostUpdateArgs),
    /// Places no further VM on hosts; those they have stay.
    Cordon(Hosts),
    /// Places VMs on hosts again.
    Uncordon(Hosts),
    /// Moves the VMs away from hosts. Servers do not have it yet.
    #[command(hide = true)]
    Drain(Hosts),
    /// Shows every kernel object of banger on a host, with its owner.
    Inventory {
        #[command(flatten)]
        host: OneHost,
        /// Leave out what a VM owns.
        #[arg(long)]
        unowned: bool,
    },
    /// Removes from a host what no VM owns.
    Sweep {
        #[command(flatten)]
        host: OneHost,
        /// Say what would be removed and remove nothing.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        yes: Yes,
    },
    /// Shuts a host out: its agent is dialled no more, and no key that it had is taken again.
    #[command(after_help = REVOKE_HELP)]
    Revoke {
        #[command(flatten)]
        host: OneHost,
        /// Why, for whoever looks at the host and the audit.
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        yes: Yes,
    },
    /// Forgets hosts that hold no VMs.
    #[command(visible_alias = "delete")]
    Rm {
        #[command(flatten)]
        hosts: Hosts,
        /// Do not fail if it does not exist.
        #[arg(long)]
        allow_missing: bool,
        #[command(flatten)]
        yes: Yes,
    },
}

/// How large a host is at most, whatever its agent says.
#[derive(Debug, Args)]
pub(crate) struct AcceptedSize {
    /// Most CPUs of the host that count, whatever its agent says.
    #[arg(long, value_name = "N")]
    pub(crate) max_vcpus: Option<u32>,
    /// Most memory of the host that counts, such as 512G.
    #[arg(long, value_parser = value::mebibytes, value_name = "SIZE")]
    pub(crate) max_memory: Option<u32>,
    /// Most disk of the host that counts, such as 4T.
    #[arg(long, value_parser = value::mebibytes, value_name = "SIZE")]
    pub(crate) max_disk: Option<u32>,
    /// Most guests on the host.
    #[arg(long, value_name = "N")]
    pub(crate) max_guests: Option<u32>,
}

/// Several hosts.
#[derive(Debug, Args)]
pub(crate) struct Hosts {
    /// Names or ids.
    #[arg(required = true, value_name = "HOST", add = complete::hosts())]
    pub(crate) hosts: Vec<String>,
}

/// One host.
#[derive(Debug, Args)]
pub(crate) struct OneHost {
    /// Name or id.
    #[arg(value_name = "HOST", add = complete::hosts())]
    pub(crate) host: String,
}

const REVOKE_HELP: &str = "\
What the host runs may run on; its VMs are UNKNOWN, and nothing is deleted. To let it in again:
banger host token --name NAME, and on the host the lines that it prints.";

const UPDATE_HELP: &str = "\
Examples:
  banger host update b0 --label zone=a --remove-label old
  banger host set b0 --vcpu-overcommit 2
  banger host set b0 --vcpu-overcommit 0   (again as the server is set)
  banger host set b0 --accept-capacity     (b0 has got more memory)";

#[derive(Debug, Args)]
pub(crate) struct HostUpdateArgs {
    #[command(flatten)]
    pub(crate) host: OneHost,
    /// Set a label; may be given several times.
    #[arg(long = "label", value_parser = value::label, value_name = "K=V")]
    pub(crate) labels: Vec<(String, String)>,
    /// Take a label away; may be given several times.
    #[arg(long = "remove-label", value_name = "KEY")]
    pub(crate) remove_labels: Vec<String>,
    /// Where the server dials the agent, address:port.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "ADDRESS")]
    pub(crate) agent_address: String,
    /// How many vCPUs may be booked for each CPU, 0.1 to 100; 0: as the server is set.
    #[arg(long, value_name = "RATIO")]
    pub(crate) vcpu_overcommit: Option<f64>,
    /// How much memory may be booked for each MiB, 0.1 to 100; 0: as the server is set.
    #[arg(long, value_name = "RATIO")]
    pub(crate) memory_overcommit: Option<f64>,
    /// Accept that the host is as large as its agent says now. Until then it counts as it was.
    #[arg(long)]
    pub(crate) accept_capacity: bool,
}
