//! `banger-server`: arguments, log, signals. Everything else is the library's.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use banger_server::clock::{Clock as _, SystemClock};
use banger_server::config::Overrides;
use banger_server::{Server, ServerConfig, commands, server, store};
use banger_wire::causes::with_causes;
use banger_wire::service::life::{self, Reloads, Termination};
use banger_wire::telemetry;
use clap::{Parser, Subcommand};

/// The server of banger: holds what people want of a fleet of microVMs and talks to its agents.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Configuration file [default: /etc/banger/server.toml if it is there].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the API listens.
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Where metrics, /healthz and /readyz are.
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    metrics_listen: Option<SocketAddr>,
    /// Holds the database and the CA.
    #[arg(long, global = true, value_name = "DIRECTORY")]
    state_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Verb>,
}

/// How long work that is left behind has at the end.
const LEFT_BEHIND: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Subcommand)]
enum Verb {
    /// Copy the database to a file, complete and of one moment, whether the server runs or not.
    Backup {
        /// The file to write. It must not exist yet.
        file: PathBuf,
    },
    /// Put a backup in place of the database, keep the old one aside, and begin a new epoch, so
    /// that agents accept the backup as the truth. The server must not be running.
    Restore {
        /// A file from `backup`, or another complete copy of the database.
        file: PathBuf,
        /// Check the file, say what a restore would do, and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Let in again whom somebody has shut out since the backup: hosts that were deleted, given
        /// another key or cordoned come back as they were, tokens and join tokens that were taken
        /// back or used are good again. Without it such hosts come back cordoned, such tokens not.
        #[arg(long)]
        keep_shut_out: bool,
    },
    /// Raise the epoch of the store, once, after you have put a copy of the database in place by
    /// hand; `restore` does both. The server must not be running.
    NewEpoch,
    /// Replace the CA of server and agents.
    Ca {
        #[command(subcommand)]
        verb: CaVerb,
    },
    /// Read the configuration and the files it names, say what is wrong, and start nothing.
    CheckConfig,
}

#[derive(Debug, Clone, Subcommand)]
enum CaVerb {
    /// Make another CA beside the present one. The server signs with it once it has reloaded.
    New,
    /// Say which CAs there are, and how many hosts stand on which.
    Status,
    /// Put the oldest CA aside, so that nothing trusts it once the server has reloaded. Refused
    /// while hosts stand on it.
    Retire {
        /// Do it all the same; those hosts are named, and have to join again.
        #[arg(long)]
        force: bool,
    },
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("banger-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<()> {
    let overrides = Overrides {
        listen: args.listen,
        metrics_listen: args.metrics_listen,
        state_dir: args.state_dir,
    };
    let config = ServerConfig::load(args.config.as_deref(), overrides)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    if args.command.is_none() {
        raise_open_files();
    }
    match args.command {
        Some(Verb::CheckConfig) => {
            for said in server::check(&config)? {
                println!("{said}");
            }
            println!("the configuration can be used");
            Ok(())
        }
        Some(Verb::Backup { file }) => {
            let made = runtime.block_on(commands::backup(&config, &file, SystemClock.now()));
            print!("{}", made.context("no backup was made")?);
            Ok(())
        }
        Some(Verb::Restore { file, dry_run, keep_shut_out }) => {
            let terms = store::RestoreTerms { dry_run, keep_shut_out };
            let restoring = commands::restore(&config, &file, SystemClock.now(), terms);
            let told = runtime.block_on(restoring);
            print!("{}", told.context("nothing was restored")?);
            Ok(())
        }
        Some(Verb::Ca { verb }) => {
            let told = match verb {
                CaVerb::New => commands::ca::new(&config, SystemClock.now()),
                CaVerb::Status => runtime.block_on(commands::ca::status(&config)),
                CaVerb::Retire { force } => runtime.block_on(commands::ca::retire(&config, force)),
            };
            print!("{}", told?);
            Ok(())
        }
        Some(Verb::NewEpoch) => {
            let epoch = runtime
                .block_on(store::raise_epoch(&config.database(), SystemClock.now()))
                .context("the epoch was not raised")?;
            println!("the epoch of {} is now {epoch}", config.database().display());
            Ok(())
        }
        None => {
            let served = runtime.block_on(serve(config));
            // Work that blocks, on a file system that hangs, is not waited for: a stop is a stop.
            runtime.shutdown_timeout(LEFT_BEHIND);
            served
        }
    }
}

/// As many open files as this process may have: each connection is one, and a shell's usual limit
/// is for programs that still use `select`. Where it can't be raised, fewer connections are taken.
fn raise_open_files() {
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limits.maximum, maximum: limits.maximum };
    // Raising a soft limit to the hard one is always allowed.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised);
}

async fn serve(config: ServerConfig) -> anyhow::Result<()> {
    let _telemetry = telemetry::init("banger-server", config.telemetry.clone())?;
    // Before the start, so that a signal during it is not lost.
    let mut termination = Termination::listen().context("could not listen for signals")?;
    let mut reloads = Reloads::listen().context("could not listen for signals")?;
    let server = Server::start(config).await?;
    life::ready();
    loop {
        tokio::select! {
            () = termination.wait() => break,
            () = reloads.asked() => match server.reload() {
                Ok(()) => tracing::info!("CAs, certificate and tokens were read again"),
                Err(error) => {
                    let error = with_causes(&error);
                    tracing::error!(error, "CAs, certificate and tokens stay as they were");
                }
            },
        }
    }
    life::stopping();
    server.shutdown().await;
    Ok(())
}
