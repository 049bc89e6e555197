//! Process 1 of a guest whose image has no init, such as an OCI image.
//!
//! Driven by the kernel, by way of an initial RAM disk or of `/sbin/init`. It mounts what a Linux
//! program expects ([`mounts`]), names the guest and sets up its network from the kernel's command
//! line ([`network`]), starts the guest agent as a process of its own, and the image's program
//! ([`image`]) if there is one. From then on it waits: for children, whoever left them to it, and
//! for signals. When the image's program ends the guest stays up.
//!
//! Signals, as busybox init has them: SIGTERM and Ctrl-Alt-Del (SIGINT) reboot, SIGUSR2 powers off.
//! A reboot is how a guest ends under Firecracker and QEMU both.
//!
//! What can go wrong: a step fails. It is said on the console and the next one is tried, because a
//! guest that is half there can be looked into and one whose process 1 ended is a kernel panic.

use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::reboot::{RebootMode, reboot, set_cad_enabled};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

mod image;
mod mounts;
mod network;

/// How long everything has to end by itself.
const GRACE: Duration = Duration::from_secs(10);

/// The shortest life of a guest agent that is started again at once.
const STEADY: Duration = Duration::from_secs(5);

fn say(words: impl std::fmt::Display) {
    eprintln!("banger-guest: {words}");
}

/// Says what failed, and goes on.
fn attempt<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) -> Option<T> {
    result.map_err(|error| say(format_args!("could not {what}: {error}"))).ok()
}

/// The signals that process 1 waits for; all others it has no handler for do nothing to it.
fn awaited() -> SigSet {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR2] {
        signals.add(signal);
    }
    signals
}

/// The whole life of process 1. Comes back only when not even waiting works.
pub fn run() -> ExitCode {
    let signals = awaited();
    // Children begin with an empty mask: std clears it.
    attempt("block signals", signals.thread_block());
    mounts::mount_all();
    // Ctrl-Alt-Del is a signal to us from here on, and no reboot on the spot.
    attempt("take Ctrl-Alt-Del", set_cad_enabled(false));
    let command_line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    network::set_up(&command_line);
    let mut agent = Agent::default();
    agent.start();
    attempt("start the image's program", image::start());
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => reap(&mut agent),
            Ok(Signal::SIGUSR2) => end(RebootMode::RB_POWER_OFF),
            Ok(_) => end(RebootMode::RB_AUTOBOOT),
            Err(error) => {
                say(format_args!("process 1 can't wait for signals: {error}"));
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }
}

/// The guest agent, as a process.
#[derive(Default)]
struct Agent {
    pid: Option<Pid>,
    since: Option<Instant>,
}

impl Agent {
    fn start(&mut self) {
        #[expect(clippy::disallowed_methods, reason = "process 1 starts the guest agent")]
        let mut command = std::process::Command::new("/proc/self/exe");
        command.arg("serve").stdin(Stdio::null());
        // Its end is heard of as any child's is.
        let child = attempt("start the guest agent", command.spawn());
        self.pid = child.as_ref().map(Child::id).and_then(pid_of);
        self.since = Some(Instant::now());
    }

    fn ended(&mut self) {
        say("the guest agent ended and is started again");
        if self.since.is_some_and(|since| since.elapsed() < STEADY) {
            std::thread::sleep(Duration::from_secs(1));
        }
        self.start();
    }
}

fn pid_of(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().map(Pid::from_raw)
}

/// Takes the end of every child that has ended, ours or left to us.
fn reap(agent: &mut Agent) {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
            Ok(status) => {
                if status.pid().is_some() && status.pid() == agent.pid {
                    agent.ended();
                } else if status.pid().is_some() && status.pid() == image::pid() {
                    say(format_args!("the image's program has ended: {status:?}"));
                }
            }
            Err(Errno::EINTR) => {}
            Err(error) => {
                say(format_args!("could not wait for a child: {error}"));
                return;
            }
        }
    }
}

/// Whether nothing but us is left, waiting for that as long as there is time.
fn all_ended(limit: Duration) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return true,
            Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_millis(10)),
            Ok(_) | Err(_) => {}
        }
    }
    false
}

/// Ends everything, writes everything to disk, and then the machine.
fn end(how: RebootMode) {
    say("shutting down");
    // Everybody but process 1 itself: kill(2).
    let everybody = Pid::from_raw(-1);
    let _ = kill(everybody, Signal::SIGTERM);
    if !all_ended(GRACE) {
        let _ = kill(everybody, Signal::SIGKILL);
        all_ended(GRACE);
    }
    mounts::let_go();
    attempt("end the machine", reboot(how));
}
