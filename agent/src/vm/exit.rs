//! How a VMM process ended, as it is shown. Pure.

use jiff::Timestamp;

use crate::assignment::Exit;
use crate::host::ExitStatus;

/// How a process ended, from its status and, where nobody could wait for it, from the last words
/// in the VMM's log (`exit_code=N` in `vmm/src/lib.rs` of Firecracker).
#[must_use]
pub fn exit_from(status: ExitStatus, log: &str, at: Timestamp) -> Exit {
    let last_line = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let told = log
        .rsplit_once("exit_code=")
        .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
    let (code, signal) = match status {
        ExitStatus::Code(code) => (Some(code), None),
        ExitStatus::Signal(signal) => (None, Some(signal)),
        ExitStatus::Unknown => (told, None),
    };
    let crashed = code != Some(0);
    let mut message = match (code, signal) {
        (Some(0), _) => "the guest shut down".to_owned(),
        (Some(code), _) => format!("the VMM ended with status {code}"),
        (None, Some(signal)) => format!("the VMM was ended by signal {signal}"),
        (None, None) => "the VMM ended; nobody could see how".to_owned(),
    };
    if crashed && !last_line.is_empty() {
        message.push_str("; its log ends: ");
        message.extend(last_line.chars().filter(|c| !c.is_control()).take(300));
    }
    Exit { crashed, code, signal, message, at }
}

#[cfg(test)]
mod tests;
