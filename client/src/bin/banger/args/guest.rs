//! `banger vm console|exec|cp|ssh|forward|run`: what reaches into a guest.

use std::time::Duration;

use clap::Args;

use super::value;
use super::vm::SpecArgs;

const CONSOLE_HELP: &str = "\
Attached to a terminal, everything typed goes to the guest but Ctrl-], which detaches. Attached to
a pipe, its end ends nothing: the console is shown until the VM is deleted or this is interrupted.";

const EXEC_HELP: &str = "\
Exit codes: the program's own; 128 and its number where a signal ended it; 125 where banger itself
failed, before the program or on the way. SIGINT, SIGTERM, SIGHUP and SIGQUIT go to the program; a
third SIGINT ends banger.";

#[derive(Debug, Args)]
#[command(after_help = CONSOLE_HELP)]
pub(crate) struct ConsoleArgs {
    /// Name or id.
    #[arg(value_name = "VM")]
    pub(crate) vm: String,
    /// Only show what is kept, and type nothing.
    #[arg(long)]
    pub(crate) no_attach: bool,
    /// Type nothing, and keep showing what comes.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many bytes of the past to show first; what is kept is at most 2 MiB.
    #[arg(long, default_value_t = 65536, value_name = "BYTES")]
    pub(crate) tail: u64,
}

/// How a program is run.
#[derive(Debug, Args)]
pub(crate) struct ProgramArgs {
    /// Pass standard input on.
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
    /// The program and its arguments. No shell is used.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = EXEC_HELP)]
pub(crate) struct ExecArgs {
    /// Name or id.
    #[arg(value_name = "VM")]
    pub(crate) vm: String,
    #[command(flatten)]
    pub(crate) program: ProgramArgs,
}

const RUN_HELP: &str = "\
Without --kernel, --initrd and --root it boots the demo guest that `banger image build-demo` makes,
if the server has it.";

#[derive(Debug, Args)]
#[command(after_help = [RUN_HELP, EXEC_HELP].join("\n\n"))]
pub(crate) struct RunArgs {
    /// Name of the VM; without one the server makes a name.
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Delete the VM with its disks at the end, also when this is interrupted.
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
any other gives it a new one. In a guest the directory to copy into must be there. Links are copied
as links and never followed; devices and the rights to run as another user are left out.";

#[derive(Debug, Args)]
#[command(after_help = CP_HELP)]
pub(crate) struct CpArgs {
    /// What to copy: a path here, or VM:/path.
    #[arg(value_name = "SRC")]
    pub(crate) from: String,
    /// Where to: VM:/path, or a path here.
    #[arg(value_name = "DST")]
    pub(crate) to: String,
}

const SSH_HELP: &str = "\
The guest needs an SSH server and a key or password of yours, but no route from here: the
connection goes through the guest agent. The host key is remembered under the VM's id.";

#[derive(Debug, Args)]
#[command(after_help = SSH_HELP)]
pub(crate) struct SshArgs {
    /// Name or id.
    #[arg(value_name = "VM")]
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
    #[arg(value_name = "VM")]
    pub(crate) vm: String,
    /// Port of the guest's loopback, with the port to listen on here before it where that is
    /// another one; 0 takes any free one.
    #[arg(value_parser = value::ports, value_name = "[LOCAL:]PORT")]
    pub(crate) ports: (u16, u16),
    /// Connect standard input and output instead of listening, once.
    #[arg(long)]
    pub(crate) stdio: bool,
}
