//! The only place that starts programs.
//!
//! Driven by the Linux side of the seams. Tools (`dmsetup`, `iptables-restore`, `ip`) are run to
//! their end within a time limit; a jailer is started and left alone. No shell ever: a program is
//! an absolute path found once in a fixed list of directories, arguments are passed one by one,
//! the environment is empty but for the locale.
//!
//! What can go wrong: a tool is missing, says no, or hangs. A tool that hangs is killed, and what
//! it did is unknown ([`HostErrorKind::TimedOut`]): the caller looks again before it believes
//! anything.
//!
//! An alternative that lost: linking libdevmapper and libiptc. Both are C libraries with unstable
//! or missing headers; the commands are the stable interface.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{HostError, HostErrorKind, HostResult};

/// A program we run, by the name it is known under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tool {
    /// Device-mapper's command.
    Dmsetup,
    /// Applies rendered rules.
    IptablesRestore,
    /// Reads the rules there are.
    IptablesSave,
    /// Applies and reads the pins of guests.
    Nft,
    /// Reads routes.
    Ip,
    /// The VMM; run by us only to ask its version.
    Firecracker,
    /// Starts the VMM.
    Jailer,
    /// The VMM where there is no KVM.
    Qemu,
    /// Starts QEMU: this very program, by its subcommand.
    QemuJailer,
}

impl Tool {
    /// All there are.
    pub const ALL: [Self; 9] = [
        Self::Dmsetup,
        Self::IptablesRestore,
        Self::IptablesSave,
        Self::Nft,
        Self::Ip,
        Self::Firecracker,
        Self::Jailer,
        Self::Qemu,
        Self::QemuJailer,
    ];

    /// The file name that is looked for.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dmsetup => "dmsetup",
            Self::IptablesRestore => "iptables-restore",
            Self::IptablesSave => "iptables-save",
            Self::Nft => "nft",
            Self::Ip => "ip",
            Self::Firecracker => "firecracker",
            Self::Jailer => "jailer",
            Self::Qemu => "qemu-system-x86_64",
            Self::QemuJailer => "banger-agent",
        }
    }

    /// The Debian package that has it; `None` for Firecracker's own, which no package has.
    #[must_use]
    pub const fn package(self) -> Option<&'static str> {
        match self {
            Self::Dmsetup => Some("dmsetup"),
            Self::IptablesRestore | Self::IptablesSave => Some("iptables"),
            Self::Nft => Some("nftables"),
            Self::Ip => Some("iproute2"),
            Self::Qemu => Some("qemu-system-x86"),
            Self::Firecracker | Self::Jailer | Self::QemuJailer => None,
        }
    }
}

/// One run of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Which program.
    pub program: Tool,
    /// Its arguments, each one word.
    pub args: Vec<String>,
    /// What it reads; empty means end of file at once.
    pub stdin: String,
}

impl ToolCall {
    /// A call without input.
    pub fn new<I, S>(program: Tool, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Self { program, args: args.into_iter().map(Into::into).collect(), stdin: String::new() }
    }

    /// With input.
    #[must_use]
    pub fn stdin(mut self, text: impl Into<String>) -> Self {
        self.stdin = text.into();
        self
    }
}

impl std::fmt::Display for ToolCall {
    /// For messages only: not quoted, never to be run.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.program.name())?;
        for arg in &self.args {
            write!(f, " {arg}")?;
        }
        Ok(())
    }
}

/// What a tool that ran to its end left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolOutput {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl ToolOutput {
    /// Whether it exited with 0.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }

    /// The complaint on one line, at most 500 characters.
    #[must_use]
    pub fn complaint(&self) -> String {
        let text = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let line: Vec<&str> = text.split_whitespace().collect();
        line.join(" ").chars().take(500).collect()
    }
}

/// A program to start and leave alone.
#[derive(Debug)]
pub struct LaunchCall {
    /// Which program.
    pub program: Tool,
    /// Its arguments, each one word.
    pub args: Vec<String>,
    /// What it reads; `None`: nothing, the end at once.
    pub input: Option<OwnedFd>,
    /// Where its standard output goes; `None`: where its errors go.
    pub output: Option<OwnedFd>,
    /// Where its errors go.
    pub errors: OwnedFd,
}

/// Runs tools.
#[async_trait]
pub trait Exec: Send + Sync {
    /// Runs a tool to its end. An exit code other than 0 is an answer, not an error.
    async fn run(&self, call: &ToolCall) -> HostResult<ToolOutput>;

    /// Starts a program in a session of its own and, where we are root, in an IPC namespace of its
    /// own.
    fn launch(&self, call: LaunchCall) -> HostResult<Child>;

    /// Where a program lies.
    fn path(&self, program: Tool) -> HostResult<PathBuf>;
}

/// Runs a tool that must succeed, and gives what it printed.
///
/// # Errors
/// [`HostErrorKind::Refused`] with its complaint when it exited with another code than 0.
pub async fn run_ok(
    exec: &dyn Exec,
    verb: &'static str,
    object: &str,
    call: &ToolCall,
) -> HostResult<String> {
    let output = exec.run(call).await?;
    if output.succeeded() { Ok(output.stdout) } else { Err(refusal(verb, object, call, &output)) }
}

/// The error for a tool that said no.
#[must_use]
pub fn refusal(
    verb: &'static str,
    object: &str,
    call: &ToolCall,
    output: &ToolOutput,
) -> HostError {
    let complaint = output.complaint();
    let lower = complaint.to_ascii_lowercase();
    let kind = if lower.contains("busy") {
        HostErrorKind::Busy
    } else if lower.contains("permission denied") || lower.contains("not permitted") {
        HostErrorKind::NotPermitted
    } else if lower.contains("no space left") {
        HostErrorKind::NoSpace
    } else {
        HostErrorKind::Refused
    };
    let ended = output.code.map_or("a signal".to_owned(), |code| format!("code {code}"));
    HostError::new(kind, verb, object)
        .detail(format!("{} ended with {ended}: {complaint}", call.program.name()))
}

/// Where tools are looked for when the configuration names none. Never `PATH`: the agent is root.
pub const SEARCH_DIRS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// A tool that is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not in {}", tool.name(), looked.join(", "))]
pub struct MissingTool {
    /// Which.
    pub tool: Tool,
    /// Where it was looked for.
    pub looked: Vec<String>,
}

/// Runs programs of this machine.
#[derive(Debug, Clone)]
pub struct RealExec {
    paths: BTreeMap<Tool, PathBuf>,
    time_limit: Duration,
}

impl RealExec {
    /// Looks for every tool once. `named` are places given by the configuration, `dirs` where to
    /// look for the rest. A tool that is missing is an error when it is used, and listed by
    /// [`RealExec::missing`].
    #[must_use]
    pub fn find(named: &BTreeMap<Tool, PathBuf>, dirs: &[PathBuf], time_limit: Duration) -> Self {
        let paths = Tool::ALL
            .into_iter()
            .filter_map(|tool| {
                let path = match named.get(&tool) {
                    Some(path) => path.clone(),
                    None => dirs
                        .iter()
                        .map(|dir| dir.join(tool.name()))
                        .find(|path| is_executable(path))?,
                };
                is_executable(&path).then_some((tool, path))
            })
            .collect();
        Self { paths, time_limit }
    }

    /// Which tools were not found.
    #[must_use]
    pub fn missing(&self) -> Vec<MissingTool> {
        Tool::ALL
            .into_iter()
            .filter(|tool| !self.paths.contains_key(tool))
            .map(|tool| MissingTool {
                tool,
                looked: SEARCH_DIRS.iter().map(ToString::to_string).collect(),
            })
            .collect()
    }
}

/// The directories of [`SEARCH_DIRS`] as paths.
#[must_use]
pub fn search_dirs() -> Vec<PathBuf> {
    SEARCH_DIRS.iter().map(PathBuf::from).collect()
}

fn is_executable(path: &Path) -> bool {
    path.is_absolute()
        && path.is_file()
        && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[async_trait]
impl Exec for RealExec {
    async fn run(&self, call: &ToolCall) -> HostResult<ToolOutput> {
        let path = self.path(call.program)?;
        let failed = |error: io::Error| HostError::io("run", call.program.name(), error);
        #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
        let mut command = tokio::process::Command::new(path);
        command
            .args(&call.args)
            .env_clear()
            .env("LC_ALL", "C")
            // iptables-nft loads modules through modprobe, dmsetup locates nothing by PATH.
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let talk = async {
            // All three pipes at once: a tool that prints much before it has read all would
            // otherwise wait for us while we wait for it.
            let write = async {
                if let Some(mut stdin) = stdin {
                    match stdin.write_all(call.stdin.as_bytes()).await {
                        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
                        Ok(()) | Err(_) => Ok(()),
                    }
                } else {
                    Ok(())
                }
            };
            let (written, stdout, stderr) = tokio::join!(write, drain(stdout), drain(stderr));
            written?;
            let status = child.wait().await?;
            Ok(ToolOutput { code: status.code(), stdout: stdout?, stderr: stderr? })
        };
        match tokio::time::timeout(self.time_limit, talk).await {
            Ok(output) => output.map_err(failed),
            // Dropping the child kills it; the runtime reaps it.
            Err(_) => Err(HostError::new(HostErrorKind::TimedOut, "run", call.program.name())
                .detail(format!("no end after {:?}; it was killed", self.time_limit))),
        }
    }

    fn launch(&self, call: LaunchCall) -> HostResult<Child> {
        let path = self.path(call.program)?;
        let failed = |error: io::Error| HostError::io("start", call.program.name(), error);
        let output = match call.output {
            Some(output) => output,
            None => call.errors.try_clone().map_err(failed)?,
        };
        #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
        let mut command = std::process::Command::new(path);
        command
            .args(call.args.iter().map(OsString::from))
            .env_clear()
            .current_dir("/")
            .stdin(call.input.map_or_else(Stdio::null, Stdio::from))
            .stdout(Stdio::from(output))
            .stderr(Stdio::from(call.errors));
        #[expect(unsafe_code, reason = "what a child does before it is a program is not wrapped")]
        // SAFETY: `set_apart` makes system calls, and neither allocates nor locks.
        unsafe {
            command.pre_exec(set_apart);
        }
        command.spawn().map_err(failed)
    }

    fn path(&self, program: Tool) -> HostResult<PathBuf> {
        self.paths.get(&program).cloned().ok_or_else(|| {
            HostError::new(HostErrorKind::MissingTool, "find the program", program.name()).because(
                MissingTool {
                    tool: program,
                    looked: SEARCH_DIRS.iter().map(ToString::to_string).collect(),
                },
            )
        })
    }
}

/// What a program that we leave alone does not share with us, in the child before the exec. A
/// session: a Ctrl-C in our terminal is not for the guests, and the terminal itself neither. An IPC
/// namespace: memory and messages that are shared by a key (`shmget(2)`, `mq_open(2)`) would stay
/// behind a VMM that made them, and be everybody's. Only root makes one; nobody else starts VMMs.
fn set_apart() -> io::Result<()> {
    nix::unistd::setsid()?;
    match nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWIPC) {
        // Or a kernel that has no such namespaces.
        Ok(()) | Err(nix::errno::Errno::EPERM | nix::errno::Errno::EINVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What is read of a tool's output at most; a table of rules with 10,000 guests is 10 MB.
const OUTPUT_LIMIT: u64 = 64 * 1024 * 1024;

async fn drain<R: tokio::io::AsyncRead + Unpin>(pipe: Option<R>) -> io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(OUTPUT_LIMIT).read_to_end(&mut bytes).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
pub(crate) mod recording;
#[cfg(test)]
mod tests;
