//! `banger vm …`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use banger_client::v1::{ImageRef, RestartPolicy, VmState};
use clap::{Args, Subcommand};

use super::guest::{ConsoleArgs, CpArgs, ExecArgs, ForwardArgs, RunArgs, SshArgs};
use super::{WaitArgs, Yes, value};

#[derive(Debug, Subcommand)]
pub(crate) enum VmCommand {
    /// Creates VMs, all with the same spec.
    Create(Box<CreateArgs>),
    /// Lists VMs.
    #[command(visible_alias = "list")]
    Ls(FilterArgs),
    /// Shows VMs.
    Get(Vms),
    /// Changes the spec of VMs: what is not named stays as it is.
    Update(Box<UpdateArgs>),
    /// Wants VMs running.
    Start(ChangeArgs),
    /// Wants VMs stopped; their disks stay.
    Stop(StopArgs),
    /// Stops and starts VMs once.
    Reboot(RebootArgs),
    /// Stops the vCPUs of VMs; their memory stays.
    Pause(ChangeArgs),
    /// Lets paused VMs run on.
    Resume(ChangeArgs),
    /// Deletes VMs with their disks.
    #[command(visible_alias = "delete")]
    Rm(RmArgs),
    /// Waits until VMs reach a state.
    Wait(WaitForArgs),
    /// Shows every change as it happens, until interrupted.
    Watch(WatchArgs),
    /// Shows what happened to a VM, oldest first; for one that is gone, give its id.
    Events(OneVm),
    /// Says what the server would do for a VM now, and why.
    Explain(OneVm),
    /// Attaches to the serial console of a VM, or shows it.
    Console(ConsoleArgs),
    /// Runs a program in a guest.
    Exec(ExecArgs),
    /// Copies files and directories to and from a guest.
    Cp(CpArgs),
    /// Logs in to a guest by ssh.
    Ssh(SshArgs),
    /// Makes a port of a guest reachable here.
    Forward(ForwardArgs),
    /// Creates a VM, runs a program in it, and leaves as that does.
    Run(Box<RunArgs>),
}

/// Several VMs.
#[derive(Debug, Args)]
pub(crate) struct Vms {
    /// Names or ids.
    #[arg(required = true, value_name = "VM")]
    pub(crate) vms: Vec<String>,
}

/// One VM.
#[derive(Debug, Args)]
pub(crate) struct OneVm {
    /// Name or id.
    #[arg(value_name = "VM")]
    pub(crate) vm: String,
}

/// Several VMs to change.
#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    #[command(flatten)]
    pub(crate) vms: Vms,
    /// Change it only while it still has this etag (one VM only).
    #[arg(long, value_name = "ETAG")]
    pub(crate) etag: Option<String>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
    /// How long the guest may take to shut down by itself (server's default: 10s).
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
    /// How long the guest may take to shut down by itself (server's default: 10s).
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
    /// Do not fail for what is not there.
    #[arg(long)]
    pub(crate) allow_missing: bool,
    #[command(flatten)]
    pub(crate) yes: Yes,
}

#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Only with these labels: key=value,key!=value,key,!key.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,
    /// Only on this host (name or id).
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Only in one of these states.
    #[arg(long, value_parser = value::state(), ignore_case = true, value_delimiter = ',', value_name = "STATE")]
    pub(crate) state: Vec<VmState>,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Only these VMs (names or ids).
    #[arg(value_name = "VM")]
    pub(crate) vms: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Leave out the state at the start.
    #[arg(long)]
    pub(crate) changes_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WaitForArgs {
    #[command(flatten)]
    pub(crate) vms: Vms,
    /// The state to wait for; without it, the one that is wanted.
    #[arg(long = "for", value_parser = value::state(), ignore_case = true, value_name = "STATE")]
    pub(crate) state: Option<VmState>,
    /// The generation that must be reached; without it, the present one.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N")]
    pub(crate) generation: u64,
    /// Wait also until the guest agent has said that the guest is ready.
    #[arg(long)]
    pub(crate) ready: bool,
    /// How long to wait at most.
    #[arg(long, value_parser = value::duration, default_value = "2m", value_name = "TIME")]
    pub(crate) timeout: Duration,
}

/// The parts of a spec that flags can name.
#[derive(Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Spec")]
pub(crate) struct SpecArgs {
    /// Number of vCPUs.
    #[arg(long, value_name = "N")]
    pub(crate) vcpus: Option<u32>,
    /// Guest memory, such as 512M or 2G.
    #[arg(long, value_parser = value::mebibytes, value_name = "SIZE")]
    pub(crate) memory: Option<u32>,
    /// Kernel image in the host's image directory, optionally name@sha256:digest.
    #[arg(long, value_parser = value::image, value_name = "IMAGE")]
    pub(crate) kernel: Option<ImageRef>,
    /// Initial RAM disk image.
    #[arg(long, value_parser = value::image, value_name = "IMAGE")]
    pub(crate) initrd: Option<ImageRef>,
    /// Root file system image.
    #[arg(long, value_parser = value::image, value_name = "IMAGE")]
    pub(crate) root: Option<ImageRef>,
    /// How much the guest may write over its root image.
    #[arg(long, value_parser = value::mebibytes, value_name = "SIZE")]
    pub(crate) disk: Option<u32>,
    /// A second disk that survives a reset of the root disk.
    #[arg(long, value_parser = value::mebibytes, value_name = "SIZE")]
    pub(crate) work_disk: Option<u32>,
    /// Kernel command line.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) boot_args: Option<String>,
    /// File with the document that the guest reads from its metadata service (JSON, YAML or TOML).
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata: Option<PathBuf>,
    /// Let the guest reach what is beyond the host.
    #[arg(long, conflicts_with = "no_nat")]
    pub(crate) nat: bool,
    /// Let the guest reach nothing.
    #[arg(long)]
    pub(crate) no_nat: bool,
    /// A label; may be given several times.
    #[arg(long = "label", value_parser = value::label, value_name = "K=V")]
    pub(crate) labels: Vec<(String, String)>,
    /// What to do when the VM ends by itself: never, on-failure or always.
    #[arg(long, value_parser = value::restart(), hide_possible_values = true, value_name = "POLICY")]
    pub(crate) restart: Option<RestartPolicy>,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Names of the VMs; without one the server makes a name.
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
    #[arg(long, value_name = "HOST", help_heading = "Placement")]
    pub(crate) host: Option<String>,
    /// Place it only on hosts with this label; may be given several times.
    #[arg(long = "host-label", value_parser = value::label, value_name = "K=V", help_heading = "Placement")]
    pub(crate) host_labels: Vec<(String, String)>,
}

impl CreateArgs {
    pub(crate) fn host_labels(&self) -> BTreeMap<String, String> {
        self.host_labels.iter().cloned().collect()
    }
}

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
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
