//! Tools of this machine that build the test host: the one place that spawns them.
//!
//! Driven by the rest of [`super`]. A failure carries the command line and what it said.

use std::ffi::OsStr;
use std::io;
use std::process::{Command, Stdio};

/// Why a tool did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not installed.
    #[error("{tool} is not installed (Debian package {package})")]
    Missing {
        /// Its name.
        tool: String,
        /// Where it comes from.
        package: &'static str,
    },
    /// It could not be run.
    #[error("cannot run {line}")]
    Unstartable {
        /// The command line.
        line: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It failed.
    #[error("`{line}` failed ({status}): {said}")]
    Failed {
        /// The command line.
        line: String,
        /// How it ended.
        status: String,
        /// The end of what it said.
        said: String,
    },
}

/// One call of a tool.
#[derive(Debug)]
pub struct Tool {
    command: Command,
}

impl Tool {
    /// By its name; found in `PATH` or among the administrator's programs.
    pub fn new(name: &str) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the test host's own owner of spawning")]
        let mut command = Command::new(name);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LC_ALL", "C");
        Self { command }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<T: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets where it runs.
    #[must_use]
    pub fn directory(mut self, path: &std::path::Path) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Runs it to its end; its standard output.
    ///
    /// # Errors
    ///
    /// See [`ToolError`].
    pub fn run(mut self) -> Result<Vec<u8>, ToolError> {
        let line = self.line();
        let output = self
            .command
            .stdin(Stdio::null())
            .output()
            .map_err(|source| self.unstartable(line.clone(), source))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
        said.push_str(&String::from_utf8_lossy(&output.stdout));
        let from = said.len().saturating_sub(2000);
        let said = said.get(from..).unwrap_or(&said).to_owned();
        Err(ToolError::Failed { line, status: output.status.to_string(), said })
    }

    /// Starts it with its output in a file.
    ///
    /// # Errors
    ///
    /// See [`ToolError`].
    pub fn spawn(mut self, output: std::fs::File) -> Result<std::process::Child, ToolError> {
        let line = self.line();
        let error = output.try_clone();
        let error =
            error.map_err(|source| ToolError::Unstartable { line: line.clone(), source })?;
        self.command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(error)
            .spawn()
            .map_err(|source| self.unstartable(line, source))
    }

    fn line(&self) -> String {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
    }

    fn unstartable(&self, line: String, source: io::Error) -> ToolError {
        let tool = self.command.get_program().to_string_lossy().into_owned();
        if source.kind() == io::ErrorKind::NotFound {
            return ToolError::Missing { package: package_of(&tool), tool };
        }
        ToolError::Unstartable { line, source }
    }
}

/// The Debian package of each tool used here.
fn package_of(tool: &str) -> &'static str {
    match tool {
        "qemu-system-x86_64" => "qemu-system-x86",
        "debootstrap" => "debootstrap",
        "mke2fs" => "e2fsprogs",
        "chroot" | "cp" => "coreutils",
        "strip" => "binutils",
        "lz4" => "lz4",
        "setpriv" => "util-linux",
        "dpkg-deb" => "dpkg",
        "apt-get" | "apt-cache" => "apt",
        "cargo" => "cargo",
        _ => "of that name, or search with apt-file",
    }
}
