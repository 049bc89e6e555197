//! Shutting down by way of whatever the guest has as its init, and setting the clock.
//!
//! Driven by the service. Each init is asked in its own way; one that is not known gets what the
//! kernel sends for Ctrl-Alt-Del, SIGINT, which inits take for a reboot. Under Firecracker a reboot
//! is the only end of a guest that the VMM sees, so it is what the host asks for. What can go
//! wrong: init can't be signalled, because the agent is not root.

use std::path::Path;

use nix::libc::{SIGINT, SIGTERM, SIGUSR2};
use tonic::Status;

use crate::status;

/// The first real-time signal that the C library leaves to programs: signal(7).
const SIGRTMIN: i32 = 34;

/// What runs as process 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// This program.
    Ours,
    /// busybox init.
    Busybox,
    /// systemd.
    Systemd,
    /// Something else.
    Other,
}

/// What process 1 is, from its executable and its first argument. A script is run by a busybox,
/// too, but is then not called `init`.
#[must_use]
pub fn init_of(executable: &Path, argument: &str) -> Init {
    let name = |path: &Path| {
        path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let called = name(Path::new(argument));
    match name(executable).as_str() {
        "banger-guest" => Init::Ours,
        "systemd" => Init::Systemd,
        "busybox" if matches!(called.as_str(), "init" | "linuxrc") => Init::Busybox,
        _ => Init::Other,
    }
}

/// The signal that asks it to reboot or to power off.
#[must_use]
pub const fn signal_for(init: Init, reboot: bool) -> i32 {
    match (init, reboot) {
        (Init::Ours | Init::Busybox, true) => SIGTERM,
        (Init::Ours | Init::Busybox, false) => SIGUSR2,
        // systemd(1): SIGRTMIN+4 starts poweroff.target, SIGRTMIN+5 reboot.target.
        (Init::Systemd, true) => SIGRTMIN + 5,
        (Init::Systemd, false) => SIGRTMIN + 4,
        (Init::Other, _) => SIGINT,
    }
}

/// Begins a clean shutdown.
///
/// # Errors
/// FAILED_PRECONDITION or PERMISSION_DENIED: init can't be found or signalled.
pub fn shut_down(reboot: bool) -> Result<(), Status> {
    let executable = std::fs::read_link("/proc/1/exe")
        .map_err(|error| status::io("look at the guest's init", &error))?;
    let words = std::fs::read("/proc/1/cmdline").unwrap_or_default();
    let argument = words.split(|byte| *byte == 0).next().unwrap_or_default();
    let init = init_of(&executable, &String::from_utf8_lossy(argument));
    #[expect(unsafe_code, reason = "nix and rustix know no real-time signals")]
    // SAFETY: kill(2) has no precondition.
    let sent = unsafe { nix::libc::kill(1, signal_for(init, reboot)) };
    if sent == 0 {
        return Ok(());
    }
    Err(status::io("signal the guest's init", &std::io::Error::last_os_error()))
}

/// Sets the clock of the guest.
///
/// # Errors
/// INVALID_ARGUMENT, or PERMISSION_DENIED when the agent is not root.
pub fn set_time(time: prost_types::Timestamp) -> Result<(), Status> {
    if time.seconds < 0 || !(0..1_000_000_000).contains(&time.nanos) {
        return Err(status::invalid("time is none after 1970"));
    }
    let time = rustix::time::Timespec { tv_sec: time.seconds, tv_nsec: time.nanos.into() };
    rustix::time::clock_settime(rustix::time::ClockId::Realtime, time)
        .map_err(|error| status::io("set the clock", &error.into()))
}

#[cfg(test)]
mod tests;
