//! The programs of this workspace as processes.
//!
//! Each has a log that is shown when something is wrong with it, and ends with its value. Signals
//! go only to our own children, which are not waited for before, so that a pid is always ours.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

/// How long a program may take to end when it is asked to.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The directory that cargo puts programs into; a test is in `deps` below it.
///
/// # Panics
/// When this program does not lie in a target directory.
#[must_use]
pub fn programs_dir() -> PathBuf {
    let this = std::env::current_exe().expect("a process knows its program");
    let dir = this.parent().expect("a program is in a directory");
    if dir.ends_with("deps") {
        dir.parent().expect("deps is in one").to_owned()
    } else {
        dir.to_owned()
    }
}

/// A program of this workspace.
///
/// # Panics
/// When it is not built.
#[must_use]
pub fn ours(name: &str) -> PathBuf {
    let path = programs_dir().join(name);
    assert!(path.exists(), "{} is not built: cargo build --workspace --bins", path.display());
    path
}

/// A client that `make tools` installs below `target/tools`, or else one on PATH.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn tool(name: &str) -> PathBuf {
    let target = programs_dir().parent().expect("a profile's directory is in target").to_owned();
    let installed = target.join("tools/venv/bin").join(name);
    if installed.exists() {
        return installed;
    }
    std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .map(|dir| dir.join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is missing: make tools"))
}

/// A command without the settings of the person who runs the test.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this file starts the processes of the tests")]
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for name in ["BANGER_SERVER", "BANGER_TOKEN", "BANGER_CA", "BANGER_CONTEXT", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// A process that is ended, and waited for, when this goes.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a program whose output is appended to a file.
    ///
    /// # Panics
    /// When the log or the process can't be made.
    #[must_use]
    pub fn start(program: &Path, arguments: &[String], log: PathBuf) -> Self {
        Self::start_in(program, arguments, &[], log)
    }

    /// The same with more in its environment.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn start_in(
        program: &Path,
        arguments: &[String],
        environment: &[(String, String)],
        log: PathBuf,
    ) -> Self {
        let out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .expect("a log can be made in a temporary directory");
        let err = out.try_clone().expect("a file can be opened twice");
        let child = command(program)
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        Self { child, log }
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it, and others with the same log before it, have printed so far.
    #[must_use]
    pub fn printed(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How it ended, if it has. It is not waited for by that: its pid stays ours.
    ///
    /// # Panics
    /// When it has been waited for already.
    #[must_use]
    pub fn has_ended(&self) -> Option<String> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("pids fit"));
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(pid), flags).expect("our own child can be looked at") {
            WaitStatus::Exited(_, code) => Some(format!("with exit code {code}")),
            WaitStatus::Signaled(_, signal, _) => Some(format!("by {signal}")),
            _ => None,
        }
    }

    /// The end of what it has printed.
    #[must_use]
    pub fn last_words(&self) -> String {
        let printed = self.printed();
        let lines: Vec<_> = printed.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When it has been waited for already.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("pids fit");
        kill(Pid::from_raw(pid), signal).expect("our own child can be signalled");
    }

    /// Ends it without a chance to do anything: SIGKILL.
    pub fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Panics
    /// When it does not end in time, with what it printed.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        let begun = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(
                begun.elapsed() < STOP_LIMIT,
                "pid {} does not end:\n{}",
                self.pid(),
                self.printed()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; either way it must not outlive the test.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- {}\n{}", self.log.display(), self.printed());
        }
    }
}
