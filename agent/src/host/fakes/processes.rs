//! Processes of the fake machine: the seam of `host/processes.rs`.
//!
//! Like the real one: a process of this life of the agent is reaped as it ends, and whoever waits
//! for it, then or later, is told how; of any other process only that it ended.

use std::sync::Arc;

use async_trait::async_trait;

use super::kernel::gate::{Repeat, Seam};
use super::kernel::state::State;
use crate::host::{
    Change, ExitStatus, HostResult, Pid, ProcessFacts, ProcessStart, Processes, Signal,
};

pub(super) const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// The number of a signal: signal(7).
const fn number(signal: Signal) -> i32 {
    match signal {
        Signal::Terminate => SIGTERM,
        Signal::Kill => SIGKILL,
    }
}

impl State {
    fn signal(&mut self, pid: Pid, start_ticks: u64, signal: Signal) -> Change {
        match self.processes.get(&pid) {
            Some(process) if process.start_ticks == start_ticks && !process.zombie => {
                if process.jail.is_none() {
                    let comm = &process.comm;
                    self.violations
                        .push(format!("process {pid}, {comm:?} in no jail, is signalled"));
                    return Change::Made;
                }
                if !process.unkillable {
                    self.end_process(pid, ExitStatus::Signal(number(signal)));
                }
                Change::Made
            }
            Some(_) | None => Change::AlreadySo,
        }
    }

    /// How a process ended, or what tells when it does.
    fn exit(&self, pid: Pid, start_ticks: u64) -> Result<ExitStatus, Arc<tokio::sync::Notify>> {
        match self.processes.get(&pid) {
            Some(process) if process.start_ticks == start_ticks && !process.zombie => {
                Err(process.ended.clone())
            }
            Some(_) | None => {
                Ok(self.exits.get(&(pid, start_ticks)).copied().unwrap_or(ExitStatus::Unknown))
            }
        }
    }
}

#[async_trait]
impl Processes for Seam {
    async fn list(&self, comm: &str) -> HostResult<Vec<ProcessFacts>> {
        self.read("processes.list", |state| {
            let all = state.processes.values();
            Ok(all.filter(|process| process.comm == comm).map(|process| process.facts()).collect())
        })
        .await
    }

    async fn observe(&self, pid: Pid) -> HostResult<Option<ProcessFacts>> {
        self.read("processes.observe", |state| {
            Ok(state.processes.get(&pid).map(|process| process.facts()))
        })
        .await
    }

    async fn started(&self, pid: Pid) -> HostResult<Option<ProcessStart>> {
        self.read("processes.started", |state| {
            let process = state.processes.get(&pid);
            Ok(process.map(|p| ProcessStart { start_ticks: p.start_ticks, zombie: p.zombie }))
        })
        .await
    }

    async fn signal(&self, pid: Pid, start_ticks: u64, signal: Signal) -> HostResult<Change> {
        let object = format!("{pid} {signal:?}");
        self.effect("processes.signal", object, Repeat::Allowed, |state| {
            Ok(state.signal(pid, start_ticks, signal))
        })
        .await
    }

    async fn wait_exit(&self, pid: Pid, start_ticks: u64) -> HostResult<ExitStatus> {
        loop {
            let verb = "processes.wait_exit";
            let ended = match self.read(verb, |s| Ok(s.exit(pid, start_ticks))).await? {
                Ok(status) => return Ok(status),
                Err(ended) => ended,
            };
            // Made before the second look, so that no end is missed between the two.
            let wake = ended.notified();
            if let Ok(status) = self.read(verb, |s| Ok(s.exit(pid, start_ticks))).await? {
                return Ok(status);
            }
            wake.await;
        }
    }
}
