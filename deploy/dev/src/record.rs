//! What was started, on disk: written after every start and stop, by temporary file and rename.
//!
//! It is a hint: what it says of a process is checked against the kernel before it is believed.

use std::net::SocketAddr;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::layout::Layout;
use super::process::Identity;
use super::share::Share;
use banger_terminal::failure::Failure;

const VERSION: u32 = 1;

/// One set-up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    /// Whether the agents pretend.
    pub(super) simulated: bool,
    /// Why, in words.
    pub(super) why: String,
    /// What it has of the machine; `None` in a record of an older release.
    #[serde(default)]
    pub(super) share: Option<Share>,
    pub(super) server: Service,
    pub(super) agents: Vec<Service>,
}

/// One process that is to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Service {
    /// "server", or the name of the host: "b0".
    pub(super) name: String,
    pub(super) listen: SocketAddr,
    pub(super) metrics: SocketAddr,
    /// Set once an agent has joined.
    #[serde(default)]
    pub(super) joined: bool,
    /// The agent's instance tag; empty: its name.
    #[serde(default)]
    pub(super) tag: String,
    /// The process, if it was started and not stopped since.
    pub(super) process: Option<Identity>,
    /// It is being stopped, by a command that may not have lived to see its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) stopping: bool,
}

impl Service {
    pub(super) fn new(name: String, listen: SocketAddr, metrics: SocketAddr) -> Self {
        let (joined, tag, process, stopping) = (false, String::new(), None, false);
        Self { name, listen, metrics, joined, tag, process, stopping }
    }

    /// The agent's instance tag.
    pub(super) fn instance(&self) -> &str {
        if self.tag.is_empty() { &self.name } else { &self.tag }
    }

    /// Whether its process lives.
    pub(super) fn lives(&self) -> bool {
        self.process.as_ref().is_some_and(Identity::lives)
    }
}

impl Record {
    pub(super) fn new(simulated: bool, why: String, share: Share, server: Service) -> Self {
        let (share, agents) = (Some(share), Vec::new());
        Self { version: VERSION, simulated, why, share, server, agents }
    }

    /// The API's address as a URL.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.server.listen)
    }

    /// Server and agents.
    pub(super) fn services(&self) -> impl Iterator<Item = &Service> {
        std::iter::once(&self.server).chain(&self.agents)
    }

    /// The same, to be changed.
    pub(super) fn services_mut(&mut self) -> impl Iterator<Item = &mut Service> {
        std::iter::once(&mut self.server).chain(&mut self.agents)
    }

    /// Reads the record; `None` when nothing was ever started here.
    pub(super) fn load(layout: &Layout) -> Result<Option<Self>, Failure> {
        let path = layout.record();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::io(&format!("read {}", path.display()), error)),
        };
        let record: Self = serde_json::from_slice(&text).with_context(|| {
            format!(
                "cannot read {}; if nothing of it runs any more, remove {}",
                path.display(),
                layout.root.display()
            )
        })?;
        if record.version != VERSION {
            return Err(Failure::Other(anyhow::anyhow!(
                "{} is of another version of banger ({}); take it down with that one",
                path.display(),
                record.version
            )));
        }
        Ok(Some(record))
    }

    /// Replaces the record.
    pub(super) fn save(&self, layout: &Layout) -> Result<(), Failure> {
        layout.replace(&layout.record(), self)
    }
}

#[cfg(test)]
mod tests;
