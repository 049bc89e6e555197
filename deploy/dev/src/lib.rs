//! `banger dev`: a server and agents of this machine as real separate processes over loopback.
//!
//! ```text
//!   up:   lock ─ mode (doctor) ─ ports ─ server ─ ready ─ token ─ join ─ agent ─ ONLINE ─ unlock
//!   down: lock ─ (start what a delete needs) ─ delete VMs ─ gone ─ agents ─ server ─ remove
//! ```
//!
//! Everything is under one directory (`layout`), and one file in it says what was started
//! (`record`). A process is only believed to be ours by its start time and boot id, so that a stale
//! record never ends a stranger; one that was never written down, by its user and by the state
//! directory that it was given, which is in ours (`process`). Every step looks first and does only
//! what is missing: both commands can be repeated at any time, whatever became of the last.

use banger_terminal::failure::Failure;
use banger_terminal::output::Printer;

pub mod args;
mod demo;
mod down;
mod fleet;
mod layout;
mod mode;
mod ports;
mod process;
mod record;
mod share;
mod status;
mod unclaimed;
mod up;
mod vms;

use args::{DevArgs, DevCommand};

/// Runs one command of `banger dev`.
///
/// # Errors
/// What was not done; what was done before it stays, and the command can be repeated.
pub async fn run(printer: Printer, args: DevArgs) -> Result<(), Failure> {
    match args.command {
        None => up::up(printer, args.up).await,
        Some(DevCommand::Up(up)) => up::up(printer, up).await,
        Some(DevCommand::Down(down)) => down::down(printer, down).await,
        Some(DevCommand::Status(dir)) => status::status(printer, dir).await,
    }
}
