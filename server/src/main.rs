//! `banger-server`: arguments, log, signals. Everything else is the library's.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use banger_proto::causes::with_causes;
use banger_proto::service::life::{self, Reloads, Termination};
use banger_proto::wire::telemetry::{self, TelemetryConfig};
use banger_server::config::Overrides;
use banger_server::{Server, ServerConfig, store};
use clap::{Parser, Subcommand};

/// The server of banger: holds what is wanted of a fleet of microVMs and speaks to its agents.
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
    command: Option<Command>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Raise the epoch of the store, once, after it was restored from a backup: agents then take
    /// its intents for newer than what they were told before. The server must not be running.
    NewEpoch,
    /// Read the configuration, say what is wrong with it, and start nothing.
    CheckConfig,
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
    match args.command {
        Some(Command::CheckConfig) => {
            println!("the configuration can be used");
            Ok(())
        }
        Some(Command::NewEpoch) => {
            let epoch = runtime
                .block_on(store::raise_epoch(&config.database()))
                .context("the epoch was not raised")?;
            println!("the epoch of {} is now {epoch}", config.database().display());
            Ok(())
        }
        None => runtime.block_on(serve(config)),
    }
}

async fn serve(config: ServerConfig) -> anyhow::Result<()> {
    let _telemetry = telemetry::init(TelemetryConfig {
        service_name: "banger-server",
        otlp_endpoint: config.telemetry.otlp_endpoint.clone(),
        log_format: config.telemetry.log_format,
        log_filter: config.telemetry.log_filter.clone(),
    })?;
    // Before the start, so that a signal during it is not lost.
    let mut termination = Termination::listen().context("could not listen for signals")?;
    let mut reloads = Reloads::listen().context("could not listen for signals")?;
    let server = Server::start(config).await?;
    life::ready();
    loop {
        tokio::select! {
            () = termination.wait() => break,
            () = reloads.asked() => match server.reload() {
                Ok(()) => tracing::info!("certificate and tokens were read again"),
                Err(error) => {
                    let error = with_causes(&error);
                    tracing::error!(error, "certificate and tokens stay as they were");
                }
            },
        }
    }
    life::stopping();
    server.shutdown().await;
    Ok(())
}
