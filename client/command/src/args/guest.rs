//! `banger vm console|exec|cp|ssh|forward|run`: what reaches into a guest.

use std::time::Duration;

use clap::Args;

use super::spec::SpecArgs;
use super::value;
use crate::complete;

const CONSOLE_HELP: &str = "\
Attached to a terminal, everything typed goes to the guest but Ctrl-], which detaches. Attached to
a pipe, its end ends nothing: the console is shown until the VM is deleted or this is interrupted.";

const EXEC_HELP: &str = "\
Exit codes: the program's own; 128 and its number where a signal ended it; 125 where banger itself
failed, before the program or on the way. SIGINT, SIGTERM, SIGHUP and SIGQUIT go to the program; a
third SIGINT ends banger.

Examples:
  banger vm exec web -- uname -a
  banger vm exec -it web -- sh
  banger vm run job --rm -- cat /etc/hostname";

#[derive(Debug, Args)]
#[command(after_help = CONSOLE_HELP)]
pub(crate) struct ConsoleArgs {
    /// Name or id.
    #[arg(value_name = "VM", add = complete::vms())]
    pub(crate) vm: String,
    /// Only show what is kept; type nothing.
    #[arg(long)]
    pub(crate) no_attach: bool,
    /// Type nothing, and keep showing what comes.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many bytes of the past to show first; what is kept is at most 2 MiB.
    #[arg(long, default_value_t = 65536, value_name = "BYTES")]
    pub(crate) tail: u64,
    #[command(flatten)]
    pub(crate) raw: RawArgs,
}

/// Whether this terminal is shown all that a guest writes.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct RawArgs {
    /// Show a terminal every byte: also what makes it answer, or sets its title and clipboard.
    #[arg(long)]
    pub(crate) raw: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Name or id.
    #[arg(value_name = "VM", add = complete::vms())]
    pub(crate) vm: String,
    /// Keep showing what comes.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many bytes of the past to show first; what is kept is at most 2 MiB.
    #[arg(long, default_value_t = 65536, value_name = "BYTES")]
    pub(crate) tail: u64,
    #[command(flatten)]
    pub(crate) raw: RawArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ShellArgs {
    /// Name or id.
    #[arg(value_name = "VM", add = complete::vms())]
    pub(crate) vm: String,
    /// Run it as this user of the guest (default: root).
    #[arg(long, default_value = "", hide_default_value = true, value_name = "USER")]
    pub(crate) user: String,
    #[command(flatten)]
    pub(crate) raw: RawArgs,
}

/// How a program is run.
#[derive(Debug, Args)]
pub(crate) struct ProgramArgs {
    /// Pass standard input to the program.
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the program a terminal; together with -i, this one.
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Run it as this user of the guest (default: root).
    #[arg(long, default_value = "", hide_default_value = true, value_name = "USER")]
    pub(crate) user: String,
    /// Run it in this directory of the guest (default: the user's home).
    #[arg(long, default_value = "", hide_default_value = true, value_name = "DIR")]
    pub(crate) cwd: String,
    /// A variable for its environment; may be given several times.
    #[arg(short, long = "env", value_parser = value::variable, value_name = "K=V")]
    pub(crate) env: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) raw: RawArgs,
    /// The program and its arguments; there is no shell.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = EXEC_HELP)]
pub(crate) struct ExecArgs {
    /// Name or id.
    #[arg(value_name = "VM", add = complete::vms())]
    pub(crate) vm: String,
    #[command(flatten)]
    pub(crate) program: ProgramArgs,
}

const RUN_HELP: &str = "\
Without an image it boots the demo guest (--image demo), which `banger image build-demo` makes.";

#[derive(Debug, Args)]
#[command(after_help = [RUN_HELP, EXEC_HELP].join("\n\n"))]
pub(crate) struct RunArgs {
    /// Name of the VM; without one the server chooses a name.
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Delete the VM with its disks at the end, even when interrupted.
    #[arg(long)]
    pub(crate) rm: bool,
    /// How long to wait until the guest is ready.
    #[arg(long, value_parser = value::duration, default_value = "2m", value_name = "TIME")]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) spec: SpecArgs,
    #[command(flatten, next_help_heading = "Program")]
    pub(crate) program: ProgramArgs,
}

const CP_HELP: &str = "\
A destination that ends with / (or here, that is a directory) takes the source under its own name;
any other gives it a new one, unless there is a directory by that name, which takes it, as cp has it.
The directory to copy into must be there. Links are copied as links and never followed; devices and
the rights to run as another user are left out. Holes stay holes.

Examples:
  banger vm cp site/ web:/srv/
  banger vm cp web:/var/log/syslog .";

#[derive(Debug, Args)]
#[command(after_help = CP_HELP)]
pub(crate) struct CpArgs {
    /// What to copy: a path here, or VM:/path.
    #[arg(value_name = "SRC", add = complete::vm_paths())]
    pub(crate) from: String,
    /// Where to: VM:/path, or a path here.
    #[arg(value_name = "DST", add = complete::vm_paths())]
    pub(crate) to: String,
    /// How much a guest may send before you are asked; without a terminal, before it is refused.
    #[arg(long, value_parser = value::bytes, default_value = "16G", value_name = "SIZE")]
    pub(crate) max_size: u64,
}

const SSH_HELP: &str = "\
The guest needs an SSH server and a key or password of yours, but no route from here: the
connection goes through the guest agent. The host key is remembered under the VM's id.";

#[derive(Debug, Args)]
#[command(after_help = SSH_HELP)]
pub(crate) struct SshArgs {
    /// Name or id.
    #[arg(value_name = "VM", add = complete::vms())]
    pub(crate) vm: String,
    /// Log in as this user.
    #[arg(long, default_value = "root", value_name = "USER")]
    pub(crate) user: String,
    /// For ssh: flags, then a command.
    #[arg(last = true, value_name = "SSH ARGS")]
    pub(crate) args: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ForwardArgs {
    /// Name or id.
    #[arg(value_name = "VM", add = complete::vms())]
    pub(crate) vm: String,
    /// Port of the guest's loopback, with the port to listen on here before it where that is
    /// another one; 0 takes any free one.
    #[arg(value_parser = value::ports, value_name = "[LOCAL:]PORT")]
    pub(crate) ports: (u16, u16),
    /// Connect standard input and output instead of listening, once.
    #[arg(long)]
    pub(crate) stdio: bool,
}
