//! What the fake machine's guests and VMMs print: the `Outputs` seam of `host/launcher.rs`.
//!
//! Collecting belongs to a life of the agent and ends with it; what is printed while nobody
//! collects is lost. What can go wrong: no jail to collect from.

use async_trait::async_trait;

use crate::host::fakes::kernel::gate::{Repeat, Seam};
use crate::host::fakes::kernel::state::{State, refuse};
use crate::host::{Change, Console, HostErrorKind, HostResult, JailId, Outputs, PathPart};

/// How much of the log's end is told, in bytes.
const TAIL: usize = 4096;

const CONSOLE: &str = "console.log";

fn part(name: &'static str) -> PathPart {
    PathPart::new(name).expect("the names below are letters and a dot")
}

fn log_file() -> PathPart {
    part("firecracker.log")
}

impl State {
    /// The VMM writes to its log.
    pub(crate) fn log(&mut self, jail: &JailId, text: &str) {
        self.print(jail, log_file(), text);
    }

    /// The guest writes to its console.
    pub(crate) fn console(&mut self, jail: &JailId, text: &str) {
        self.print(jail, part(CONSOLE), text);
        if let Some(hub) = self.consoles.get(jail).filter(|_| self.collectors.contains_key(jail)) {
            hub.say(text.as_bytes());
        }
    }

    /// A guest's terminal shows what is typed, and nothing reads it.
    fn type_in(&mut self, id: &JailId, bytes: &[u8]) -> HostResult<()> {
        let verb = "type into the console of";
        if self.root_of(id).is_none() {
            return Err(refuse(HostErrorKind::NotFound, verb, id, "it has no jail"));
        }
        if self.pid_of(id).is_some() && !bytes.is_empty() {
            self.console(id, &String::from_utf8_lossy(bytes).replace('\r', "\r\n"));
        }
        Ok(())
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
        for file in [part(CONSOLE), log_file(), part("metrics.log")] {
            self.append_scratch(dir, &file, "");
        }
        Ok(Change::from_bool(before.as_ref() != Some(dir)))
    }
}

#[async_trait]
impl Outputs for Seam {
    async fn ensure(&self, id: &JailId, dir: &PathPart) -> HostResult<Change> {
        let life = self.life;
        self.effect("outputs.ensure", id.to_string(), Repeat::MustBeSo, |state| {
            // What only the memory of an agent holds is not made once that is dead, as an object of
            // the kernel is whose call was under way.
            if life < state.life {
                return Ok(Change::AlreadySo);
            }
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

    async fn console(&self, id: &JailId, dir: &PathPart, past: u64) -> HostResult<Console> {
        self.read("outputs.console", |state| {
            let kept = state.read_scratch(dir, &part(CONSOLE)).unwrap_or_default();
            let kept = kept.unwrap_or_default();
            let from = kept.len().saturating_sub(usize::try_from(past).unwrap_or(usize::MAX));
            state.consoles.retain(|_, hub| hub.has_readers());
            let live = state.consoles.entry(id.clone()).or_default().listen();
            Ok(Console { past: kept[from..].to_vec(), live })
        })
        .await
    }

    async fn type_in(&self, id: &JailId, bytes: &[u8]) -> HostResult<()> {
        let typed = self.read("outputs.type_in", |state| state.type_in(id, bytes)).await;
        self.kernel.inner.touched();
        typed
    }
}
