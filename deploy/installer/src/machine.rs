//! The machine beyond its files: programs that are run, processes, and what the services say. One
//! trait, so that an update can be tried on a machine that does not keep its word.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::guests::{Fleet, Guest};
use super::settings::Settings;

/// Time between two looks, see [`Machine::pause`].
pub(super) const LOOK: Duration = Duration::from_millis(250);

/// One run of a program, each argument one word. No shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) program: String,
    pub(super) args: Vec<String>,
}

impl Call {
    pub(super) fn new(program: impl Into<String>, args: &[&str]) -> Self {
        Self { program: program.into(), args: args.iter().map(|&arg| arg.to_owned()).collect() }
    }

    /// As somebody would type it.
    pub(super) fn text(&self) -> String {
        [std::slice::from_ref(&self.program), &self.args].concat().join(" ")
    }
}

/// What a program answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// It ended with 0.
    pub(super) good: bool,
    pub(super) out: String,
    pub(super) err: String,
}

impl Said {
    /// The last line of what it complained about, or of what it printed.
    pub(super) fn complaint(&self) -> &str {
        let mut lines = self.err.lines().rev().chain(self.out.lines().rev());
        lines.find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim()
    }
}

/// The machine.
pub(super) trait Machine {
    /// Runs a program to its end. An error when it could not be started.
    async fn run(&self, call: &Call) -> anyhow::Result<Said>;

    /// Whether systemd runs this machine (sd_booted(3)).
    fn has_systemd(&self) -> bool;

    /// The VMM processes of the agent with these settings, one for each VM that runs.
    fn guests(&self, agent: &Settings) -> anyhow::Result<Vec<Guest>>;

    /// Whether a process runs the very file at this path. `None` when there is no such process.
    fn runs(&self, pid: u32, program: &Path) -> Option<bool>;

    /// Reads a page of a service on this machine.
    async fn page(&self, address: SocketAddr, path: &str) -> Result<String, String>;

    /// What the server knows of the host with this id.
    async fn fleet(&self, host_id: &str) -> Result<Fleet, String>;

    /// Waits a little before the next look.
    async fn pause(&self);
}
