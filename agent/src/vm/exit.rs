//! How a VMM ended, by its exit status and the guest's last words: shut down, rebooted, panicked,
//! crashed. Pure.
//!
//! A VMM ends with status 0 for a guest that shut down, for one that rebooted, and for one whose
//! kernel panicked and then reset the machine. What tells them apart are last words: those of the
//! kernel on its console, and those of QEMU in its log (see `qmp`). Without any, and when nobody
//! asked for it, an end is *unexplained* and counts as a crash: a guest that is taken for finished
//! when it is not is the worse mistake.
//!
//! What can go wrong: a guest says nothing, because its console leads elsewhere, or lies. It is
//! about its own restart, by its own policy.

use jiff::Timestamp;

use crate::assignment::{Exit, ExitCause};
use crate::host::ExitStatus;

/// How much of a console is looked at, in bytes: the trace of a panic has some thousands.
pub const CONSOLE_TAIL: u64 = 8 * 1024;

/// How many of the console's last lines are told, and how long each may be.
const LINES_TOLD: usize = 6;
const LINE_LIMIT: usize = 120;

/// A kernel's first words on its console (`linux_banner`): what stands before is of an earlier run.
const BOOTED: &str = "Linux version ";

/// `panic()` in the kernel's `kernel/panic.c`.
const PANICKED: &str = "Kernel panic - not syncing";

/// `kernel/reboot.c`. Its way out of a panic does not pass here.
const SHUT_DOWN: [&str; 3] =
    ["reboot: Restarting system", "reboot: Power down", "reboot: System halted"];

/// What was said at the end.
#[derive(Debug, Clone, Copy, Default)]
pub struct LastWords<'a> {
    /// The end of the VMM's log.
    pub log: &'a str,
    /// The end of the guest's console.
    pub console: &'a str,
}

/// How a process ended, from its status and, where nobody could wait for it, from the last words
/// in the VMM's log (`exit_code=N` in `vmm/src/lib.rs` of Firecracker).
#[must_use]
pub fn exit_from(status: ExitStatus, words: LastWords<'_>, asked: bool, at: Timestamp) -> Exit {
    let told = words
        .log
        .rsplit_once("exit_code=")
        .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
    let (code, signal) = match status {
        ExitStatus::Code(code) => (Some(code), None),
        ExitStatus::Signal(signal) => (None, Some(signal)),
        ExitStatus::Unknown => (told, None),
    };
    let cause = if asked { ExitCause::Asked } else { cause_of(code, signal, words) };
    let crashed = !matches!(cause, ExitCause::Asked | ExitCause::GuestShutdown);
    let message = sentence(cause, code, signal, words);
    Exit { crashed, code, signal, message, at, cause }
}

fn cause_of(code: Option<i32>, signal: Option<i32>, words: LastWords<'_>) -> ExitCause {
    let console = this_run(words.console);
    let panicked = console.contains(PANICKED) || words.log.contains("qmp: GUEST_PANICKED");
    let shut_down = SHUT_DOWN.iter().any(|words| console.contains(words))
        || words.log.contains("qmp: SHUTDOWN guest-shutdown");
    match (code, signal) {
        // Somebody's signal ends a VMM in the midst of whatever its guest does.
        (_, Some(_)) => ExitCause::VmmEnded,
        (_, None) if panicked => ExitCause::GuestPanic,
        (Some(0), None) if shut_down => ExitCause::GuestShutdown,
        (Some(0), None) => ExitCause::Unexplained,
        (Some(_) | None, None) => ExitCause::VmmEnded,
    }
}

/// What was printed since the kernel that printed last began.
fn this_run(console: &str) -> &str {
    console.rfind(BOOTED).map_or(console, |at| &console[at..])
}

fn sentence(
    cause: ExitCause,
    code: Option<i32>,
    signal: Option<i32>,
    words: LastWords<'_>,
) -> String {
    let ended = match (code, signal) {
        (Some(code), _) => format!("the VMM ended with status {code}"),
        (None, Some(signal)) => format!("the VMM was ended by signal {signal}"),
        (None, None) => "the VMM ended; nobody could see how".to_owned(),
    };
    match cause {
        ExitCause::Asked if code == Some(0) => "the guest shut down as it was asked to".to_owned(),
        ExitCause::Asked => format!("{ended}, as it was to"),
        ExitCause::GuestShutdown => "the guest shut down".to_owned(),
        ExitCause::GuestPanic => {
            let console = this_run(words.console);
            let why = console.rfind(PANICKED).map_or("", |at| &console[at..]);
            let why = shown(why.lines().next().unwrap_or_default());
            format!("the guest's kernel panicked{}", console_end(console, &why))
        }
        ExitCause::Unexplained => format!(
            "the guest ended, and nobody asked for a shutdown or heard of one{}",
            console_end(this_run(words.console), "")
        ),
        ExitCause::VmmEnded | ExitCause::Unknown => {
            let last = words.log.lines().rev().find(|line| !line.trim().is_empty());
            match last.map(|line| line.chars().filter(|c| !c.is_control()).take(300)) {
                Some(line) => format!("{ended}; its log ends: {}", line.collect::<String>()),
                None => ended,
            }
        }
    }
}

/// The last lines of a console, in one, after the words on it that tell most, if there are any. The
/// server cuts what it shows viewers where the console begins, by these words: all that a guest has
/// printed is behind them.
fn console_end(console: &str, why: &str) -> String {
    let mut lines: Vec<String> =
        console.lines().rev().map(shown).filter(|line| !line.is_empty()).take(LINES_TOLD).collect();
    if lines.is_empty() && why.is_empty() {
        return "; its console says nothing".to_owned();
    }
    if !why.is_empty() {
        lines.push(format!("{why} …"));
    }
    lines.reverse();
    format!("; its console ends: {}", lines.join(" | "))
}

fn shown(line: &str) -> String {
    let plain: String = line.chars().filter(|c| !c.is_control()).take(LINE_LIMIT).collect();
    plain.trim().to_owned()
}

#[cfg(test)]
mod tests;
