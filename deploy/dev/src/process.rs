//! Processes of `banger dev`: found, started, identified, ended.
//!
//! A pid alone names nobody: it is used again. Here a process is its pid with its start time in
//! clock ticks and the boot it belongs to, and it is signalled only through a pidfd that was opened
//! *before* that identity was checked.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use procfs::process::ProcState;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::layout::Layout;
use banger_terminal::failure::Failure;

/// How often a process is looked at that is to end.
const LOOK: Duration = Duration::from_millis(20);

/// One process and no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) pid: u32,
    /// Field 22 of `/proc/<pid>/stat` (proc_pid_stat(5)).
    start_ticks: u64,
    boot_id: String,
}

fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Start time of a process that lives; `None` when there is none or it is a zombie.
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?.stat().ok()?;
    match stat.state() {
        Ok(ProcState::Zombie | ProcState::Dead) | Err(_) => None,
        Ok(_) => Some(stat.starttime),
    }
}

impl Identity {
    /// Of a process that was just started; `None` when it has ended already.
    pub(super) fn of(pid: u32) -> io::Result<Option<Self>> {
        let boot_id = boot_id()?;
        Ok(start_ticks(pid).map(|start_ticks| Self { pid, start_ticks, boot_id }))
    }

    /// Whether this very process lives.
    pub(super) fn lives(&self) -> bool {
        start_ticks(self.pid) == Some(self.start_ticks)
            && boot_id().is_ok_and(|boot| boot == self.boot_id)
    }

    /// A pidfd of this very process; `None` when it is gone.
    fn open(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let fd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // The fd is of whoever has the pid now; only then is it asked who that is.
        Ok(self.lives().then_some(fd))
    }

    /// Returns when the process has ended.
    pub(super) async fn ended(&self) -> io::Result<()> {
        match self.open()? {
            Some(fd) => ended(&fd).await,
            None => Ok(()),
        }
    }

    /// Asks it to end, and ends it when it has not within `grace`.
    pub(super) async fn stop(&self, grace: Duration) -> io::Result<Stopped> {
        let Some(fd) = self.open()? else { return Ok(Stopped::WasGone) };
        let signal = |signal| match pidfd_send_signal(&fd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(io::Error::from(error)),
        };
        signal(Signal::TERM)?;
        if let Ok(ended) = tokio::time::timeout(grace, ended(&fd)).await {
            ended?;
            return Ok(Stopped::ByItself);
        }
        signal(Signal::KILL)?;
        ended(&fd).await?;
        Ok(Stopped::Killed)
    }
}

/// A pidfd is readable when its process has ended (pidfd_open(2)). Looked at rather than waited
/// for: the runtime's own way to wait for a file descriptor needs unsafe code.
async fn ended(fd: &OwnedFd) -> io::Result<()> {
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        let mut fds = [PollFd::new(fd, PollFlags::IN)];
        match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// How a process was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// There was none.
    WasGone,
    /// It did as it was asked.
    ByItself,
    /// It did not within its time.
    Killed,
}

/// Servers and agents of this user, joining ones too, whose state lies in this set-up. What they
/// are called for people, and who they are.
pub(super) fn of_set_up(layout: &Layout) -> Result<Vec<(String, Identity)>, Failure> {
    let failed = |error: procfs::ProcError| Failure::Other(anyhow::Error::new(error));
    let me = rustix::process::geteuid().as_raw();
    let mut found = Vec::new();
    for process in procfs::process::all_processes().map_err(failed)?.flatten() {
        // One that has just ended is none.
        if process.uid().ok() != Some(me) {
            continue;
        }
        // Before its arguments are read: whoever has the pid later is another.
        let Ok(Some(identity)) = u32::try_from(process.pid).map_or(Ok(None), Identity::of) else {
            continue;
        };
        let arguments = process.cmdline().unwrap_or_default();
        found.extend(role(&arguments, layout).map(|name| (name, identity)));
    }
    Ok(found)
}

/// What of a set-up a command line is.
fn role(arguments: &[String], layout: &Layout) -> Option<String> {
    // A program that is a script has its interpreter first.
    let at = arguments.iter().take(2).position(|word| {
        let name = Path::new(word).file_name();
        name.is_some_and(|name| name == "banger-server" || name == "banger-agent")
    })?;
    let (program, words) = (Path::new(&arguments[at]).file_name()?, &arguments[at + 1..]);
    let state = words.iter().skip_while(|word| *word != "--state-dir").nth(1).map(Path::new)?;
    match (program.to_str()?, words.first()?.as_str()) {
        ("banger-server", "--config") if state == layout.server_state() => {
            Some("server".to_owned())
        }
        ("banger-agent", "run" | "join") => {
            let name = state.file_name()?.to_str()?;
            (state == layout.agent_state(name)).then(|| format!("agent {name}"))
        }
        _ => None,
    }
}

/// Finds a program beside this one, else on PATH.
pub(super) fn find(program: &str) -> Result<PathBuf, Failure> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.join(program)))
        .filter(|path| is_executable(path));
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| is_executable(path))
    };
    beside.or_else(on_path).ok_or_else(|| {
        Failure::Other(anyhow::anyhow!(
            "cannot find {program}: it is neither beside `banger` nor on PATH"
        ))
    })
}

fn is_executable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file()
}

/// The one place of the command that makes processes.
#[expect(clippy::disallowed_methods, reason = "this is where `banger dev` starts processes")]
fn command(program: &Path) -> Command {
    Command::new(program)
}

/// Starts a program that goes on by itself: its own process group, so that Ctrl-C reaches only
/// `banger dev`, which then stops things in their order; output into a log.
/// `None` when it has ended already.
pub(super) fn spawn(
    program: &Path,
    args: &[String],
    log: &Path,
) -> Result<Option<Identity>, Failure> {
    let start = || -> anyhow::Result<Option<Identity>> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        let child = command(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        // Not waited for: it outlives a detached `banger dev`, and a zombie counts as dead.
        Ok(Identity::of(child.id())?)
    };
    Ok(start().with_context(|| format!("cannot start {}", program.display()))?)
}

/// Runs a program to its end. What is secret goes by `env`, which only its owner can read.
pub(super) fn run(
    program: &Path,
    args: &[String],
    env: &[(&str, &str)],
) -> Result<Output, Failure> {
    let output = command(program)
        .args(args)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    Ok(output)
}

#[cfg(test)]
mod tests;
