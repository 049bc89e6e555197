//! A stand-in for Firecracker, for machines that have no real one.
//!
//! Driven by the agent under test through the API socket, in a jail made by either jailer. It
//! serves Firecracker 1.16's HTTP API, opens the kernel, the disks, the tap and the vsock socket
//! for real and with the jailed user's rights, and refuses what the real one refuses with the same
//! status and sentence. It needs no KVM and runs no guest: [`guest`] plays a small one that counts
//! its boots on its disks, asks for its gateway over the tap and obeys Ctrl-Alt-Del.
//!
//! What can be told apart by design: `--version` and `GET /version` say `stand-in`. Left out:
//! snapshots, the balloon, pmem, hot-plugging, `--no-api`, `--config-file` (refused, not faked).

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use crate::FOLLOWED_VERSION;
use crate::arguments::{self, Given, Known, Parsed, Takes};

pub mod action;
pub mod config;
pub mod devices;
pub mod guest;
pub mod http;
pub mod log;
pub mod machine;
pub mod serve;

/// Firecracker's exit code for a command line it does not understand.
const EXIT_ARGUMENTS: u8 = 153;

/// What the real one allows in a request's body unless told otherwise, in bytes.
pub const DEFAULT_BODY_LIMIT: usize = 51_200;

const KNOWN: [Known; 19] = [
    Known::defaulted("api-sock", "/run/firecracker.socket"),
    Known::defaulted("id", "anonymous-instance"),
    Known { forbids: Some("no-seccomp"), ..Known::new("seccomp-filter", Takes::One) },
    Known { forbids: Some("seccomp-filter"), ..Known::new("no-seccomp", Takes::Nothing) },
    Known::new("start-time-us", Takes::One),
    Known::new("start-time-cpu-us", Takes::One),
    Known::new("parent-cpu-time-us", Takes::One),
    Known::new("config-file", Takes::One),
    Known::new("metadata", Takes::One),
    Known { requires: Some("config-file"), ..Known::new("no-api", Takes::Nothing) },
    Known::new("log-path", Takes::One),
    Known::new("level", Takes::One),
    Known::new("module", Takes::One),
    Known::new("show-level", Takes::Nothing),
    Known::new("show-log-origin", Takes::Nothing),
    Known::new("metrics-path", Takes::One),
    Known::new("boot-timer", Takes::Nothing),
    Known::new("http-api-max-payload-size", Takes::One),
    Known::new("enable-pci", Takes::Nothing),
];

/// The version as this program shows it.
pub fn version() -> String {
    format!("stand-in v{FOLLOWED_VERSION}")
}

/// The whole program.
pub fn main() -> ExitCode {
    let line: Vec<String> = std::env::args().skip(1).collect();
    let given = match arguments::parse(&KNOWN, &line) {
        Ok(Parsed::Version) => {
            println!("Firecracker {}\n", version());
            return ExitCode::SUCCESS;
        }
        Ok(Parsed::Help) => {
            println!("Firecracker {}: arguments as firecracker's\n", version());
            return ExitCode::SUCCESS;
        }
        Ok(Parsed::Run(given)) => given,
        Err(error) => {
            eprintln!("Error: ParseArguments({error:?}): {error}");
            return ExitCode::from(EXIT_ARGUMENTS);
        }
    };
    match run(&given) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("Error: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run(given: &Given) -> Result<(), String> {
    if given.flag("config-file") || given.flag("no-api") {
        return Err("the stand-in is configured over its API socket only".to_owned());
    }
    let id = given.one("id").unwrap_or_default().to_owned();
    arguments::check_instance_id(&id).map_err(|why| format!("Invalid instance ID: {why}"))?;
    let body_limit = match given.one("http-api-max-payload-size") {
        Some(text) => text.parse().map_err(|_| {
            "'http-api-max-payload-size' parameter expected to be of 'usize' type.".to_owned()
        })?,
        None => DEFAULT_BODY_LIMIT,
    };
    let mut log = log::Log::new(&id);
    if let Some(path) = given.one("log-path") {
        log.open(&PathBuf::from(path)).map_err(|error| format!("LoggerInitialization({error})"))?;
    }
    log.line(&format!("Running Firecracker {}", version()));
    let mut machine = machine::Machine::new(id, log, body_limit);
    if let Some(path) = given.one("metrics-path") {
        machine.open_metrics(&PathBuf::from(path)).map_err(|refusal| refusal.to_string())?;
    }
    let socket = PathBuf::from(given.one("api-sock").unwrap_or_default());
    serve::run(Arc::new(Mutex::new(machine)), &socket, body_limit)
}

/// Locks what a panicking thread may have left; its state is still the best there is.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
