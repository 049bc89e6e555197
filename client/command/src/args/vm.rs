//! `banger vm …`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use banger_client::v1::{AffinityRule, PlacementStrategy, VmFilter, VmState};
use clap::{Args, Subcommand};

use super::guest::{
    ConsoleArgs, CpArgs, ExecArgs, ForwardArgs, LogsArgs, RunArgs, ShellArgs, SshArgs,
};
use super::spec::SpecArgs;
use super::{WaitArgs, value};
use crate::complete;
use banger_terminal::args::Yes;

#[derive(Debug, Subcommand)]
pub(crate) enum VmCommand {
    /// Creates VMs, all with the same spec.
    Create(Box<CreateArgs>),
    /// Lists VMs.
    #[command(visible_aliases = ["list", "ps"], after_help = FILTER_HELP)]
    Ls(FilterArgs),
    /// Shows VMs.
    #[command(visible_aliases = ["show", "status"])]
    Get(Vms),
    /// Changes the spec of VMs; what you do not name stays as it is.
    Update(Box<VmUpdateArgs>),
    /// Starts VMs.
    Start(ChangeArgs),
    /// Stops VMs; their disks stay.
    Stop(StopArgs),
    /// Stops and starts VMs once.
    #[command(visible_alias = "restart")]
    Reboot(RebootArgs),
    /// Stops the vCPUs of VMs; their memory stays.
    Pause(ChangeArgs),
    /// Resumes paused VMs.
    Resume(ChangeArgs),
    /// Deletes VMs with their disks.
    #[command(visible_alias = "delete")]
    Rm(RmArgs),
    /// Waits until VMs reach a state.
    Wait(WaitForArgs),
    /// Shows every change as it happens, until interrupted.
    Watch(WatchArgs),
    /// Shows the history of a VM, oldest first, even of a deleted one.
    Events(OneVm),
    /// Says what the server would do for a VM now, and why.
    Explain(OneVm),
    /// Places a waiting VM on a host: for a scheduler that does so in place of the server.
    #[command(after_help = BIND_HELP)]
    Bind(BindArgs),
    /// Attaches to the serial console of a VM, or shows it.
    Console(ConsoleArgs),
    /// Shows what a VM's serial console has printed.
    Logs(LogsArgs),
    /// Runs a program in a guest.
    Exec(ExecArgs),
    /// Runs a shell in a guest, on this terminal.
    Shell(ShellArgs),
    /// Copies files and directories to and from a guest.
    Cp(CpArgs),
    /// Logs in to a guest by ssh.
    Ssh(SshArgs),
    /// Makes a port of a guest reachable here.
    Forward(ForwardArgs),
    /// Creates a VM, runs a program in it, and exits with its code.
    Run(Box<RunArgs>),
}

/// Several VMs.
#[derive(Debug, Args)]
pub(crate) struct Vms {
    /// Names or ids.
    #[arg(required = true, value_name = "VM", add = complete::vms())]
    pub(crate) vms: Vec<String>,
}

/// One VM.
#[derive(Debug, Args)]
pub(crate) struct OneVm {
    /// Name or id.
    #[arg(value_name = "VM", add = complete::vms())]
    pub(crate) vm: String,
}

/// Several VMs to change.
#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    #[command(flatten)]
    pub(crate) vms: Vms,
    /// Change it only if it still has this etag (one VM only).
    #[arg(long, value_name = "ETAG")]
    pub(crate) etag: Option<String>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

const BIND_HELP: &str = "\
Examples:
  banger vm create web --scheduler mine
  banger vm bind web b0";

#[derive(Debug, Args)]
pub(crate) struct BindArgs {
    /// Name or id.
    #[arg(value_name = "VM", add = complete::vms())]
    pub(crate) vm: String,
    /// Name or id of the host.
    #[arg(value_name = "HOST", add = complete::hosts())]
    pub(crate) host: String,
    /// Bind it only if it still has this etag.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "ETAG")]
    pub(crate) etag: String,
}

#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
    /// How long the guest may take to shut down (server's default: 10s).
    #[arg(long, value_parser = value::duration, value_name = "TIME")]
    pub(crate) grace: Option<Duration>,
    /// End it at once, without asking the guest.
    #[arg(long, conflicts_with = "grace")]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RebootArgs {
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
    /// How long the guest may take to shut down (server's default: 10s).
    #[arg(long, value_parser = value::duration, value_name = "TIME")]
    pub(crate) grace: Option<Duration>,
    /// Give it a new root disk from its image; what the guest wrote there is lost.
    #[arg(long)]
    pub(crate) reset_root_disk: bool,
    #[command(flatten)]
    pub(crate) yes: Yes,
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
    /// Do not fail if it does not exist.
    #[arg(long)]
    pub(crate) allow_missing: bool,
    #[command(flatten)]
    pub(crate) yes: Yes,
}

const FILTER_HELP: &str = "\
Examples:
  banger vm ls -l app=web,tier!=test --state running,paused
  banger vm ls -l 'app in (web,db)'
  banger vm ls --host b0 -o name";

#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Only with these labels: key=value,key!=value,key in (a,b),key notin (a,b),key,!key.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,
    /// Only on this host (name or id).
    #[arg(long, value_name = "HOST", add = complete::hosts())]
    pub(crate) host: Option<String>,
    /// Only in one of these states.
    #[arg(long, value_parser = value::state(), ignore_case = true, value_delimiter = ',', value_name = "STATE")]
    pub(crate) state: Vec<VmState>,
}

impl From<FilterArgs> for VmFilter {
    fn from(args: FilterArgs) -> Self {
        Self {
            label_selector: args.selector.unwrap_or_default(),
            host: args.host.unwrap_or_default(),
            states: args.state.into_iter().map(Into::into).collect(),
            project: String::new(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Only these VMs (names or ids).
    #[arg(value_name = "VM", add = complete::vms())]
    pub(crate) vms: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Leave out the initial state.
    #[arg(long)]
    pub(crate) changes_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WaitForArgs {
    #[command(flatten)]
    pub(crate) vms: Vms,
    /// The state to wait for; by default the desired one.
    #[arg(long = "for", value_parser = value::state(), ignore_case = true, value_name = "STATE")]
    pub(crate) state: Option<VmState>,
    /// The generation that must be reached; by default the current one.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N")]
    pub(crate) generation: u64,
    /// Wait also until the guest agent has said that the guest is ready.
    #[arg(long)]
    pub(crate) ready: bool,
    /// How long to wait at most.
    #[arg(long, value_parser = value::duration, default_value = "2m", value_name = "TIME")]
    pub(crate) timeout: Duration,
}

const CREATE_HELP: &str = "\
Examples:
  banger vm create web --wait=ready
  banger vm create web --image demo --memory 512M --label app=web
  banger vm create old --kernel vmlinux --initrd initrd.img --root root.ext4
  banger vm create a b c -f spec.yaml --label app=web
  banger vm create big --memory 64G --strategy pack --dry-run
  banger vm create web-1 web-2 web-3 --label app=web --apart app=web
  banger vm create db --label app=db --apart app=db@zone --on disk=nvme:50
  banger vm get web -o json | banger vm create copy -f -";

#[derive(Debug, Args)]
#[command(after_help = CREATE_HELP)]
pub(crate) struct CreateArgs {
    /// Names of the VMs; without one the server chooses a name.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Read the spec from a file (JSON, YAML or TOML; - for standard input); flags win over it.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// A UUID of your own for the VM: creating it twice gives the same VM.
    #[arg(long, value_name = "UUID")]
    pub(crate) id: Option<String>,
    /// Create it stopped.
    #[arg(long)]
    pub(crate) stopped: bool,
    /// Check everything, placement included, and create nothing.
    #[arg(long, conflicts_with = "wait")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) spec: SpecArgs,
    /// Place it on this host (name or id) and no other.
    #[arg(long, value_name = "HOST", help_heading = "Placement", add = complete::hosts())]
    pub(crate) host: Option<String>,
    /// Place it only on hosts with this label; may be given several times.
    #[arg(long = "host-label", value_parser = value::label, value_name = "K=V", help_heading = "Placement")]
    pub(crate) host_labels: Vec<(String, String)>,
    /// In which order hosts are filled: the emptiest first, or the fullest (default: as the server
    /// is set).
    #[arg(long, value_parser = value::strategy(), value_name = "ORDER", help_heading = "Placement")]
    pub(crate) strategy: Option<PlacementStrategy>,
    /// Place it near VMs with such labels: on their host, or where the label TOPOLOGY of hosts has
    /// the same value; with a WEIGHT of 1 to 100 that is a wish and no condition.
    #[arg(long, value_parser = value::near, value_name = "SELECTOR[@TOPOLOGY][:WEIGHT]", help_heading = "Placement")]
    pub(crate) near: Vec<AffinityRule>,
    /// Keep it apart from VMs with such labels; may be given several times, as --near.
    #[arg(long, value_parser = value::apart, value_name = "SELECTOR[@TOPOLOGY][:WEIGHT]", help_heading = "Placement")]
    pub(crate) apart: Vec<AffinityRule>,
    /// Place it on hosts with such labels.
    #[arg(long, value_parser = value::on, value_name = "SELECTOR[:WEIGHT]", help_heading = "Placement")]
    pub(crate) on: Vec<AffinityRule>,
    /// Place it on no host with such labels.
    #[arg(long, value_parser = value::not_on, value_name = "SELECTOR[:WEIGHT]", help_heading = "Placement")]
    pub(crate) not_on: Vec<AffinityRule>,
    /// Where it stands among VMs that wait for a host, -1000 to 1000; the highest goes first.
    #[arg(long, allow_negative_numbers = true, value_name = "NUMBER", help_heading = "Placement")]
    pub(crate) priority: Option<i32>,
    /// Place it in this pool of hosts, those with the label banger/pool of this value.
    #[arg(long, value_name = "POOL", help_heading = "Placement")]
    pub(crate) pool: Option<String>,
    /// Leave it to this scheduler to find the host; the server looks for none.
    #[arg(long, value_name = "NAME", conflicts_with = "host", help_heading = "Placement")]
    pub(crate) scheduler: Option<String>,
}

impl CreateArgs {
    pub(crate) fn host_labels(&self) -> BTreeMap<String, String> {
        self.host_labels.iter().cloned().collect()
    }
}

#[derive(Debug, Args)]
pub(crate) struct VmUpdateArgs {
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
    /// Read the whole new spec from a file (JSON, YAML or TOML; - for standard input).
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Allow one restart where a changed field needs a stopped VM.
    #[arg(long)]
    pub(crate) allow_restart: bool,
    #[command(flatten)]
    pub(crate) spec: SpecArgs,
    /// Take a label away; may be given several times.
    #[arg(long = "remove-label", value_name = "KEY", help_heading = "Spec")]
    pub(crate) remove_labels: Vec<String>,
}
