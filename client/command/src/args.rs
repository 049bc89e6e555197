//! All commands and global flags of `banger`, with the text of their help. No behaviour here:
//! `commands` has it.

use std::path::PathBuf;
use std::time::Duration;

use banger_client::contexts::Chosen;
use banger_terminal::args::Format;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::complete;

pub(crate) mod audit;
pub(crate) mod guest;
pub(crate) mod host;
pub(crate) mod image;
pub(crate) mod limits;
pub(crate) mod login;
pub(crate) mod project;
pub(crate) mod spec;
pub(crate) mod token;
pub(crate) mod value;
pub(crate) mod vm;

const COMPLETIONS: &str = "\
Examples:
  echo 'source <(banger completions bash)' >>~/.bashrc
  echo 'source <(banger completions zsh)' >>~/.zshrc
  banger completions fish >~/.config/fish/completions/banger.fish";

const HELP: &str = "\
Short forms: ps, logs, exec, shell, run and restart are those of `banger vm`.

Flags of every command:
  -o, --output FORMAT   table (for people), json, yaml (streams: an object or document each), name
      --server URL      the server [default: http://127.0.0.1:7070]
      --context NAME    a context other than the current one
      --project NAME    the project that is meant where a name does not say it (project/name)
      --ca FILE         PEM file of the CA that signed the server's certificate
      --client-cert FILE, --client-key FILE  certificate by which the server knows the caller
      --token-file FILE file with the bearer token
      --token TOKEN     the token itself, which everybody on this machine can see
      --insecure-plaintext  send the token in plain text to another machine or another user's server
      --deadline TIME   how long each call may take [default: 30s]

Examples:
  banger vm run hello --rm -- uname -a      a VM for one program
  banger vm create web --kernel k --root r --wait=ready
  banger vm exec web -- cat /etc/os-release
  banger vm ls -l app=web -o json

Exit codes:
  0  done
  1  something else went wrong
  2  wrong usage, or no confirmation
  3  not found
  4  conflict: it exists already, was changed meanwhile, has no room, or its state forbids it
  5  invalid: the server refused one or more fields
  6  unavailable: the server can't be reached, or did not answer in time
  7  a wait ended without reaching the state: failed, superseded, or out of time
  8  the server does not support this yet
  9  not authenticated, or not permitted
125  a program in a guest did not run, or not to its end (exec, run; otherwise its own code)
130  interrupted

Environment: BANGER_SERVER, BANGER_TOKEN, BANGER_CA, BANGER_CONTEXT, BANGER_PROJECT as the flags of
these names; NO_COLOR; OTEL_EXPORTER_OTLP_ENDPOINT to trace each command.";

/// Runs fleets of Firecracker microVMs.
#[derive(Debug, Parser)]
#[command(
    name = "banger",
    version,
    about = "A control plane for fleets of Firecracker microVMs",
    after_help = HELP,
    max_term_width = 100,
    arg_required_else_help = true,
    subcommand_required = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// How to print the result.
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        hide = true,
        help_heading = "Global"
    )]
    pub(crate) output: Format,
    /// Server address, such as http://127.0.0.1:7070 (the default).
    #[arg(
        long,
        global = true,
        env = "BANGER_SERVER",
        hide_env = true,
        hide = true,
        value_name = "URL",
        help_heading = "Global"
    )]
    server: Option<String>,
    /// Bearer token; better in a file or in BANGER_TOKEN than here, where everyone can see it.
    #[arg(
        long,
        global = true,
        env = "BANGER_TOKEN",
        hide_env = true,
        hide = true,
        value_name = "TOKEN",
        help_heading = "Global"
    )]
    token: Option<String>,
    /// File that holds the bearer token.
    #[arg(long, global = true, hide = true, value_name = "FILE", help_heading = "Global")]
    token_file: Option<PathBuf>,
    /// PEM file of the CA that signed the server's certificate.
    #[arg(
        long,
        global = true,
        env = "BANGER_CA",
        hide_env = true,
        hide = true,
        value_name = "FILE",
        help_heading = "Global"
    )]
    ca: Option<PathBuf>,
    /// PEM file of a certificate that is shown to the server.
    #[arg(long, global = true, hide = true, value_name = "FILE", help_heading = "Global")]
    client_cert: Option<PathBuf>,
    /// PEM file of its key; without it the key is in the certificate's file.
    #[arg(long, global = true, hide = true, value_name = "FILE", help_heading = "Global")]
    client_key: Option<PathBuf>,
    /// Send the token in plain text to another machine or another user's server.
    #[arg(long, global = true, hide = true, help_heading = "Global")]
    insecure_plaintext: bool,
    /// Use this context instead of the current one.
    #[arg(
        long,
        global = true,
        env = "BANGER_CONTEXT",
        hide_env = true,
        hide = true,
        value_name = "NAME",
        help_heading = "Global",
        add = complete::contexts()
    )]
    context: Option<String>,
    /// The project that is meant where a name does not say it.
    #[arg(
        long,
        global = true,
        env = "BANGER_PROJECT",
        hide_env = true,
        hide = true,
        value_name = "NAME",
        help_heading = "Global",
        add = complete::projects()
    )]
    project: Option<String>,
    /// How long each call may take.
    #[arg(long, global = true, value_parser = value::duration, default_value = "30s", hide = true, value_name = "TIME", help_heading = "Global")]
    pub(crate) deadline: Duration,
}

impl Global {
    /// The flags that say which server is meant, for another run of this program; without what is
    /// secret.
    pub(crate) fn flags(&self) -> Vec<String> {
        let path = |path: &Option<PathBuf>| {
            // The other run may be in another directory.
            let path = path.as_ref().map(|path| std::path::absolute(path).unwrap_or(path.clone()));
            path.map(|path| path.to_string_lossy().into_owned())
        };
        let mut flags = Vec::new();
        for (flag, value) in [
            ("--server", self.server.clone()),
            ("--token-file", path(&self.token_file)),
            ("--ca", path(&self.ca)),
            ("--client-cert", path(&self.client_cert)),
            ("--client-key", path(&self.client_key)),
            ("--context", self.context.clone()),
            ("--project", self.project.clone()),
        ] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                flags.extend([flag.to_owned(), value]);
            }
        }
        if self.insecure_plaintext {
            flags.push("--insecure-plaintext".to_owned());
        }
        flags
    }

    /// The rest, for its environment.
    pub(crate) fn secrets(&self) -> Vec<(&'static str, String)> {
        self.token.clone().map(|token| ("BANGER_TOKEN", token)).into_iter().collect()
    }

    /// What was said about the server. An empty variable counts as not set.
    pub(crate) fn chosen(&self) -> Chosen {
        let text = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
        let path = |value: &Option<PathBuf>| value.clone().filter(|p| !p.as_os_str().is_empty());
        Chosen {
            context: text(&self.context),
            server: text(&self.server),
            ca: path(&self.ca),
            client_cert: path(&self.client_cert),
            client_key: path(&self.client_key),
            token: text(&self.token),
            token_file: path(&self.token_file),
            project: text(&self.project),
            insecure_plaintext: self.insecure_plaintext,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Virtual machines.
    #[command(subcommand)]
    Vm(vm::VmCommand),
    /// Hosts of the fleet.
    #[command(subcommand)]
    Host(host::HostCommand),
    /// Kernels and root file systems kept by the server.
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Projects: what belongs to whom on one fleet.
    #[command(subcommand)]
    Project(project::ProjectCommand),
    /// Tokens by which callers are known.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Who did what: changes, opened guests, refused calls. For admins.
    Audit(audit::AuditArgs),
    /// A server and agents on this machine, for trying banger.
    Dev(banger_dev::args::DevArgs),
    /// Banger itself on this machine: install, update, remove.
    #[command(subcommand)]
    System(banger_installer::args::SystemCommand),
    /// Servers by name, and the one that commands go to.
    #[command(subcommand)]
    Context(ContextCommand),
    /// Logs you in with the provider of identities of a context, in a browser on any machine.
    Login(login::LoginArgs),
    /// Forgets the login of a context, and has its provider take it back.
    Logout,
    /// Says who you are to the server, and what you may do.
    Whoami,
    /// Shows how many hosts and VMs the server has, by state.
    Status,
    /// Prints the script that lets a shell complete commands and names.
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Writes a manual page for each command.
    Man {
        /// Directory for the pages, such as /usr/local/share/man/man1.
        #[arg(value_name = "DIRECTORY")]
        directory: PathBuf,
    },
    /// Prints the version.
    Version,
    /// As `banger vm ls`.
    #[command(hide = true)]
    Ps(vm::FilterArgs),
    /// As `banger vm logs`.
    #[command(hide = true)]
    Logs(guest::LogsArgs),
    /// As `banger vm exec`.
    #[command(hide = true)]
    Exec(guest::ExecArgs),
    /// As `banger vm shell`.
    #[command(hide = true)]
    Shell(guest::ShellArgs),
    /// As `banger vm run`.
    #[command(hide = true)]
    Run(Box<guest::RunArgs>),
    /// As `banger vm reboot`.
    #[command(hide = true)]
    Restart(vm::RebootArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// Lists contexts.
    #[command(visible_alias = "list")]
    Ls,
    /// Makes a context the current one.
    Use {
        /// Its name; without one, no context is current and commands go to the default server.
        #[arg(value_name = "NAME", add = complete::contexts())]
        name: Option<String>,
    },
    /// Makes or changes a context from the global flags: --server, --ca, --client-cert,
    /// --client-key, --token, --token-file, --project.
    Set {
        /// Its name.
        #[arg(value_name = "NAME")]
        name: String,
        /// Make it the current one too.
        #[arg(long = "use")]
        make_current: bool,
    },
    /// Forgets contexts.
    Rm {
        /// Their names.
        #[arg(required = true, value_name = "NAME", add = complete::contexts())]
        names: Vec<String>,
    },
}

/// Whether to wait until the hosts are done.
#[derive(Debug, Clone, Args)]
pub(crate) struct WaitArgs {
    /// Wait until the host has done it; with =ready, until the guest agent has answered too.
    #[arg(
        short,
        long,
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "done",
        hide_possible_values = true,
        value_name = "ready"
    )]
    pub(crate) wait: Option<WaitUntil>,
    /// How long to wait at most.
    #[arg(long, value_parser = value::duration, default_value = "2m", value_name = "TIME")]
    pub(crate) timeout: Duration,
}

/// What a change is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WaitUntil {
    /// The host has done it.
    Done,
    /// The guest agent has answered, too.
    Ready,
}

impl WaitArgs {
    /// How long to wait, and whether for the guest too; none where nothing is waited for.
    pub(crate) fn wanted(&self) -> Option<(Duration, bool)> {
        self.wait.map(|until| (self.timeout, until == WaitUntil::Ready))
    }
}

#[cfg(test)]
mod tests;
