//! The `banger` command: people and scripts talk to a banger server with it.
//!
//! `args` says what can be typed, `commands` does it (one file per noun), `output` prints it as a
//! table, JSON, YAML or names, `failure` turns every error into one line and an exit code, `dev`
//! runs a server and agents on this machine, `system` installs and updates banger itself. What goes to standard output is the result and
//! nothing else; questions, progress and notes go to standard error.

use std::process::ExitCode;

use clap::Parser as _;

mod args;
mod ask;
mod clock;
mod commands;
mod dev;
mod doctor;
mod failure;
mod output;
mod pack;
mod progress;
mod session;
mod spec;
mod system;

use failure::Failure;

fn main() -> ExitCode {
    // clap prints help and usage errors itself and leaves with 0 or 2.
    let cli = args::Cli::parse();
    let format = cli.global.output;
    // One thread beside this one: spans are exported by it while this one waits for the last.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(source) => {
            return Failure::io("start", source).report(format);
        }
    };
    let answer = runtime.block_on(traced(cli));
    // A question to a terminal or a name lookup may still hold a thread; nobody waits for it.
    runtime.shutdown_background();
    match answer {
        Ok(()) => failure::Exit::Ok.into(),
        Err(failure) => failure.report(format),
    }
}

/// Runs the command inside one span, exported when an OTLP endpoint is named in the environment
/// as OpenTelemetry does it.
async fn traced(cli: args::Cli) -> Result<(), Failure> {
    use banger_proto::wire::telemetry::{LogFormat, TelemetryConfig, init};
    use tracing::Instrument as _;

    let endpoint = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok().filter(|e| !e.is_empty());
    if endpoint.is_none() && std::env::var_os("RUST_LOG").is_none() {
        return commands::run(cli).await;
    }
    let config = TelemetryConfig {
        service_name: "banger",
        otlp_endpoint: endpoint,
        log_format: LogFormat::Text,
        log_filter: "warn,banger=info".to_owned(),
    };
    let _flushed_at_the_end = init(config).map_err(|e| Failure::other(e.into()))?;
    commands::run(cli).instrument(tracing::info_span!("banger")).await
}
