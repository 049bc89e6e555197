//! A host with an agent's supervisor on a fake kernel, and a stand-in for its server: what the
//! tests of the agent's life drive.
//!
//! Time is paused: it goes on only when every task waits for it, so that an hour of back-off
//! costs nothing and "until nothing happens any more" is exact.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::ids::{Version, VmId};

use super::adoption::Parts;
use super::{Outcome, Supervisor};
use crate::assignment::{Assignment, Power};
use crate::clock::Clock;
use crate::host::fakes::FakeKernel;
use crate::naming::{Naming, VmNames};
use crate::report::VmReport;
use crate::vm::fixtures::{assignment_of, vm_id};
use crate::vm::phase::Phase;

/// A fake machine and the agent on it.
pub(crate) struct World {
    pub(crate) kernel: FakeKernel,
    pub(crate) agent: Supervisor,
    pub(crate) before: BTreeSet<String>,
    /// What was accepted last of each VM: an older report is of an older wish.
    accepted: BTreeMap<VmId, Version>,
}

pub(crate) async fn start(kernel: &FakeKernel) -> Supervisor {
    start_with(kernel, |_| {}).await
}

pub(crate) async fn start_with(kernel: &FakeKernel, change: impl FnOnce(&mut Parts)) -> Supervisor {
    let mut parts = Parts::new(kernel.host(), Naming::default(), Clock::system());
    change(&mut parts);
    Supervisor::start(parts).await.expect("the fake host can be read")
}

pub(crate) fn names(n: u32) -> VmNames {
    Naming::default().vm(vm_id(n))
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::on(FakeKernel::new()).await
    }

    /// A machine that was prepared.
    pub(crate) async fn on(kernel: FakeKernel) -> Self {
        let before = kernel.objects();
        let agent = start(&kernel).await;
        Self { kernel, agent, before, accepted: BTreeMap::new() }
    }

    /// A machine with VM 1 running.
    pub(crate) async fn running() -> Self {
        let mut world = Self::new().await;
        world.assign(assignment_of(1, 1, 1, Power::Running)).await;
        world.settles(1, Phase::Running).await;
        world
    }

    /// The agent is killed and started again; all it did not write down is lost.
    pub(crate) async fn restart(&mut self) {
        self.agent.shutdown(Duration::from_secs(1)).await;
        self.kernel.new_agent();
        self.agent = start(&self.kernel).await;
    }

    /// Sends an assignment as a server does: again after a crash of the agent or a refusal, until
    /// it is held.
    pub(crate) async fn assign(&mut self, assignment: Assignment) -> Outcome {
        loop {
            let sent = self.agent.clone();
            let outcome = self.surviving(sent.accept_one(assignment.clone())).await;
            if let Some(Ok(outcome)) = outcome {
                if let Outcome::Accepted(version) = outcome {
                    self.accepted.insert(assignment.vm, version);
                }
                return outcome;
            }
        }
    }

    /// Waits until a VM's report is settled in a phase, through crashes of the agent.
    pub(crate) async fn settles(&mut self, n: u32, phase: Phase) -> Arc<VmReport> {
        let accepted = self.accepted.get(&vm_id(n)).copied();
        let holds = move |report: Option<&VmReport>| {
            report.is_some_and(|r| {
                r.phase == phase
                    && r.settled == Some(r.accepted)
                    && accepted.is_none_or(|accepted| r.accepted >= accepted)
            })
        };
        self.until(n, &format!("{phase:?}, settled"), holds).await.expect("it holds of a report")
    }

    /// Waits until a VM's report is in a phase.
    pub(crate) async fn sees(&mut self, n: u32, phase: Phase) -> Arc<VmReport> {
        let holds = move |report: Option<&VmReport>| report.is_some_and(|r| r.phase == phase);
        self.until(n, &format!("{phase:?}"), holds).await.expect("it holds of a report")
    }

    /// Waits until nothing of a VM is reported any more. A server that hears of a VM again asks
    /// again, so that a crash between the last effect and the report changes nothing.
    pub(crate) async fn gone(&mut self, n: u32) {
        self.until(n, "gone", |report| report.is_none()).await;
    }

    async fn until(
        &mut self,
        n: u32,
        what: &str,
        holds: impl Fn(Option<&VmReport>) -> bool + Copy,
    ) -> Option<Arc<VmReport>> {
        loop {
            let reporter = self.agent.reporter().clone();
            let seen = reporter.wait_for(vm_id(n), holds);
            let limit = Duration::from_secs(3600);
            match self.surviving(tokio::time::timeout(limit, seen)).await {
                None => {}
                Some(Ok(report)) => return report,
                Some(Err(_)) => panic!(
                    "VM {n} is not {what} within an hour; last report: {:#?}; trace: {:#?}",
                    self.agent.reporter().get(vm_id(n)),
                    self.kernel.trace()
                ),
            }
        }
    }

    /// Runs something to its end, or starts the agent anew when that crashes (`None`).
    async fn surviving<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let kernel = self.kernel.clone();
        tokio::select! {
            biased;
            () = kernel.crashed() => {
                kernel.new_agent();
                // A second crash may strike the start itself.
                let started = tokio::select! {
                    biased;
                    agent = start(&kernel) => Some(agent),
                    () = kernel.crashed() => None,
                };
                if let Some(agent) = started {
                    self.agent = agent;
                }
                None
            }
            done = work => Some(done),
        }
    }

    /// Waits until no task has anything to do now. Exact, because time is paused and goes on
    /// only then.
    pub(crate) async fn idle(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// What is on the machine now and was not before, the bridge apart: it is the host's and
    /// stays.
    pub(crate) fn left(&self) -> Vec<String> {
        let now = self.kernel.objects();
        now.difference(&self.before).filter(|o| !o.starts_with("bridge ")).cloned().collect()
    }

    /// What is left of a VM that is stopped or failed: its directory and files, nothing else.
    pub(crate) fn left_beside_files(&self) -> Vec<String> {
        let file = |o: &String| o.starts_with("dir ") || o.starts_with("file ");
        self.left().into_iter().filter(|o| !file(o)).collect()
    }

    pub(crate) fn report(&self, vm: VmId) -> Option<Arc<VmReport>> {
        self.agent.reporter().get(vm)
    }
}
