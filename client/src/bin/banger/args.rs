//! What can be typed. No behaviour here: `commands` has it.

use std::path::PathBuf;
use std::time::Duration;

use banger_client::contexts::Chosen;
use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) mod dev;
pub(crate) mod guest;
pub(crate) mod host;
pub(crate) mod image;
pub(crate) mod system;
pub(crate) mod value;
pub(crate) mod vm;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  something else went wrong
  2  wrong usage, or a confirmation is missing
  3  not found
  4  conflict: it exists already, was changed meanwhile, has no room, or its state forbids it
  5  invalid: the server refused one or more fields
  6  unavailable: the server can't be reached, or did not answer in time
  7  a wait ended without the state: it failed, was superseded, or time ran out
  8  the server does not have this yet
  9  not authenticated, or not permitted
125  a program in a guest was not run, or not to its end (exec, run; else the program's own)
130  interrupted

Environment: BANGER_SERVER, BANGER_TOKEN, BANGER_CA, BANGER_CONTEXT as the flags of these names;
NO_COLOR; OTEL_EXPORTER_OTLP_ENDPOINT to trace each command.";

/// Runs fleets of Firecracker microVMs.
#[derive(Debug, Parser)]
#[command(
    name = "banger",
    version,
    about,
    after_help = EXIT_CODES,
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
        help_heading = "Global"
    )]
    pub(crate) output: Format,
    /// Server address, such as http://127.0.0.1:7070 (the default).
    #[arg(
        long,
        global = true,
        env = "BANGER_SERVER",
        hide_env = true,
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
        hide_short_help = true,
        value_name = "TOKEN",
        help_heading = "Global"
    )]
    token: Option<String>,
    /// File that holds the bearer token.
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "FILE",
        help_heading = "Global"
    )]
    token_file: Option<PathBuf>,
    /// PEM file of the CA that signed the server's certificate.
    #[arg(
        long,
        global = true,
        env = "BANGER_CA",
        hide_env = true,
        hide_short_help = true,
        value_name = "FILE",
        help_heading = "Global"
    )]
    ca: Option<PathBuf>,
    /// Send the token even over plain http to another machine.
    #[arg(long, global = true, hide_short_help = true, help_heading = "Global")]
    insecure_plaintext: bool,
    /// Use this context instead of the current one.
    #[arg(
        long,
        global = true,
        env = "BANGER_CONTEXT",
        hide_env = true,
        hide_short_help = true,
        value_name = "NAME",
        help_heading = "Global"
    )]
    context: Option<String>,
    /// How long each call may take.
    #[arg(long, global = true, value_parser = value::duration, default_value = "30s", hide_short_help = true, value_name = "TIME", help_heading = "Global")]
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
            ("--context", self.context.clone()),
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
            token: text(&self.token),
            token_file: path(&self.token_file),
            insecure_plaintext: self.insecure_plaintext,
        }
    }
}

/// How to print a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// Protobuf JSON; streams print one object a line.
    Json,
    /// The same as YAML; streams print one document each.
    Yaml,
    /// Names only, one a line.
    Name,
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
    /// A server and agents on this machine, for trying banger.
    Dev(dev::DevArgs),
    /// Banger itself on this machine: install, update, remove.
    #[command(subcommand)]
    System(system::SystemCommand),
    /// Which servers there are, and which one is meant.
    #[command(subcommand)]
    Context(ContextCommand),
    /// Prints a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// Lists contexts.
    #[command(visible_alias = "list")]
    Ls,
    /// Makes a context the current one.
    Use {
        /// Its name; without one, no context is current and the default server is meant.
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
    /// Makes or changes a context from the global flags: --server, --ca, --token, --token-file.
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
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

/// The confirmation of what destroys.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Yes {
    /// Do not ask. Needed where there is no terminal to ask on.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// Whether to wait until the hosts are done.
#[derive(Debug, Clone, Args)]
pub(crate) struct WaitArgs {
    /// Wait until the host has done it.
    #[arg(short, long)]
    pub(crate) wait: bool,
    /// How long to wait at most.
    #[arg(long, value_parser = value::duration, default_value = "2m", value_name = "TIME")]
    pub(crate) timeout: Duration,
}

#[cfg(test)]
mod tests;
