//! The `banger` command: people and scripts talk to a banger server with it.
//!
//! `args` says what can be typed, `commands` does it, `output` says which columns there are. What
//! all commands share is a crate of its own, `banger-terminal`: printing, failing, asking,
//! progress. `banger dev` is the crate `banger-dev` (`deploy/dev`), `banger system`
//! `banger-installer` (`deploy/installer`). What goes to standard output is the result and nothing
//! else; questions, progress and notes go to standard error.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

mod args;
mod clock;
mod commands;
mod complete;
mod output;
mod pack;
mod session;
mod spec;

use banger_terminal::failure::{Exit, Failure};
use banger_terminal::text;

fn main() -> ExitCode {
    // A shell that wants to know what could stand here runs this program so.
    clap_complete::CompleteEnv::with_factory(args::Cli::command).complete();
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(error),
    };
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
        Ok(()) => Exit::Ok.into(),
        Err(failure) => failure.report(format),
    }
}

/// clap prints help and usage errors itself and leaves with 0 or 2; where a program for a guest was
/// not set apart from the flags, how that is done is said too.
fn usage(mut error: clap::Error) -> ExitCode {
    use clap::error::{ContextKind, ContextValue, ErrorKind};

    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let wrong =
        matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument);
    if let Some(tip) = set_apart(&words).filter(|_| wrong) {
        let tip = text::clean(&format!("the program comes after --: banger {tip}"));
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    // Where nobody reads it there is nobody to tell.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// A command that runs a program in a guest, with the program set apart; none where it is already,
/// or where it cannot be told which word is the first of it.
fn set_apart(words: &[String]) -> Option<String> {
    let verb = words.iter().position(|word| matches!(word.as_str(), "exec" | "run"))?;
    let rest = words.get(verb + 1..)?;
    // Flags that take no value may stand before the VM's name.
    let plain = |word: &&String| {
        matches!(word.as_str(), "-i" | "-t" | "-it" | "-ti" | "--interactive" | "--tty" | "--rm")
    };
    let vm = verb + 1 + rest.iter().take_while(plain).count();
    let program = words.get(vm + 1..).filter(|program| !program.is_empty())?;
    let named = words.get(vm).is_some_and(|word| !word.starts_with('-'));
    if !named || words.iter().any(|word| word == "--") || program[0].starts_with('-') {
        return None;
    }
    Some(format!("{} -- {}", words.get(..=vm)?.join(" "), program.join(" ")))
}

/// Runs the command inside one span, exported when an OTLP endpoint is named in the environment
/// as OpenTelemetry does it.
async fn traced(cli: args::Cli) -> Result<(), Failure> {
    use banger_wire::telemetry::{LogFormat, TelemetryConfig, init};
    use tracing::Instrument as _;

    let endpoint = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok().filter(|e| !e.is_empty());
    if endpoint.is_none() && std::env::var_os("RUST_LOG").is_none() {
        return commands::run(cli).await;
    }
    let config = TelemetryConfig {
        otlp_endpoint: endpoint,
        log_format: LogFormat::Text,
        log_filter: "warn,banger=info".to_owned(),
    };
    let _flushed_at_the_end = init("banger", config).map_err(|e| Failure::other(e.into()))?;
    commands::run(cli).instrument(tracing::info_span!("banger")).await
}
