//! What the fake machine's guests and VMMs print: the `Outputs` seam of `host/launcher.rs`.
//!
//! Collecting belongs to a life of the agent and ends with it; what is printed while nobody
//! collects is lost. What can go wrong: no jail to collect from.

use async_trait::async_trait;

use super::gate::{Repeat, Seam};
use super::state::{State, refuse};
use crate::host::{Change, HostErrorKind, HostResult, JailId, Outputs, PathPart};

/// How much of the log's end is told, in bytes.
const TAIL: usize = 4096;

fn part(name: &'static str) -> PathPart {
    PathPart::new(name).expect("the names below are letters and a dot")
}

fn log_file() -> PathPart {
    part("firecracker.log")
}

impl State {
    /// The VMM writes to its log.
    pub(super) fn log(&mut self, jail: &JailId, text: &str) {
        self.print(jail, log_file(), text);
    }

    /// The guest writes to its console.
    pub(super) fn console(&mut self, jail: &JailId, text: &str) {
        self.print(jail, part("console.log"), text);
    }

    fn print(&mut self, jail: &JailId, file: PathPart, text: &str) {
        if let Some(dir) = self.collectors.get(jail).cloned() {
            self.append_scratch(&dir, &file, text);
        }
    }

    fn collect(&mut self, id: &JailId, dir: &PathPart) -> HostResult<Change> {
        let verb = "collect the output of";
        if self.root_of(id).is_none() {
            return Err(refuse(HostErrorKind::NotFound, verb, id, "there is no jail"));
        }
        if !self.dirs.contains_key(dir) {
            return Err(refuse(HostErrorKind::NotFound, verb, id, "there is no directory for it"));
        }
        let before = self.collectors.insert(id.clone(), dir.clone());
        for file in [part("console.log"), log_file(), part("metrics.log")] {
            self.append_scratch(dir, &file, "");
        }
        Ok(Change::from_bool(before.as_ref() != Some(dir)))
    }
}

#[async_trait]
impl Outputs for Seam {
    async fn ensure(&self, id: &JailId, dir: &PathPart) -> HostResult<Change> {
        self.effect("outputs.ensure", id.to_string(), Repeat::MustBeSo, |state| {
            state.collect(id, dir)
        })
        .await
    }

    async fn remove(&self, id: &JailId) -> HostResult<Change> {
        self.effect("outputs.remove", id.to_string(), Repeat::MustBeSo, |state| {
            Ok(Change::from_bool(state.collectors.remove(id).is_some()))
        })
        .await
    }

    async fn log_tail(&self, dir: &PathPart) -> HostResult<String> {
        self.read("outputs.log_tail", |state| {
            let content = state.read_scratch(dir, &log_file())?.unwrap_or_default();
            let from = content.len().saturating_sub(TAIL);
            Ok(String::from_utf8_lossy(&content[from..]).into_owned())
        })
        .await
    }
}
