//! A host with an agent's supervisor on a fake kernel, and a stand-in for its server: what the
//! tests of the agent's life drive.
//!
//! Time is paused: it goes on only when every task waits for it, so that an hour of back-off
//! costs nothing and "until nothing happens any more" is exact.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::ids::VmId;

use parking_lot::Mutex;

use super::Supervisor;
use super::adoption::Parts;
use crate::assignment::{Assignment, Power};
use crate::clock::Clock;
use crate::host::fakes::{Broken, FakeKernel, Invariant};
use crate::inventory::Object;
use crate::inventory::sweep::{Asker, Fate};
use crate::naming::{self, Naming, VmNames};
use crate::report::phase::{Phase, Reason};
use crate::report::{Reported, VmReport};
use crate::rpc::Assigned;
use crate::vm::fixtures::{assignment_of, vm_id};
use crate::vm::record;

/// A fake machine and the agent on it.
pub(crate) struct World {
    pub(crate) kernel: FakeKernel,
    pub(crate) agent: Supervisor,
    pub(crate) before: BTreeSet<String>,
    /// What was accepted last of each VM: an older report is of an older assignment.
    acknowledged: BTreeMap<VmId, Assignment>,
    /// Every fault that was ever reported, by any life of the agent.
    seen: Arc<Mutex<Vec<Arc<VmReport>>>>,
    /// What was found not to hold between two lives of the agent.
    broken: Vec<Broken>,
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

/// An object as kind and name.
pub(crate) fn shown(object: &Object) -> String {
    format!("{} {}", object.kind().as_str(), object.name)
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::on(FakeKernel::new()).await
    }

    /// A machine that was prepared.
    pub(crate) async fn on(kernel: FakeKernel) -> Self {
        let before = kernel.objects();
        let agent = start(&kernel).await;
        let world = Self {
            kernel,
            agent,
            before,
            acknowledged: BTreeMap::new(),
            seen: Arc::default(),
            broken: Vec::new(),
        };
        world.follow_reports();
        world
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
        self.acknowledged_is_on_disk();
        self.agent = start(&self.kernel).await;
        self.follow_reports();
    }

    /// The agent is killed, something is done to the machine meanwhile, and the agent is started
    /// again. What was acknowledged of the VM may be lost by it, and is not asked for any more.
    pub(crate) async fn dead_while(&mut self, vm: VmId, done: impl AsyncFnOnce(&FakeKernel)) {
        self.agent.shutdown(Duration::from_secs(1)).await;
        self.acknowledged.remove(&vm);
        done(&self.kernel).await;
        self.kernel.new_agent();
        self.agent = start(&self.kernel).await;
        self.follow_reports();
    }

    /// Sends an assignment as a server does: again after a crash of the agent, and a while after a
    /// refusal, until it is held.
    pub(crate) async fn assign(&mut self, assignment: Assignment) -> Assigned {
        let limit = tokio::time::Instant::now() + Duration::from_secs(3600);
        loop {
            let sent = self.agent.clone();
            let outcome = match self.surviving(sent.accept(assignment.clone())).await {
                None => continue,
                Some(Err(refused)) => {
                    let trace = || self.kernel.trace();
                    let now = tokio::time::Instant::now();
                    assert!(now < limit, "refused for an hour: {refused:?}; trace: {:#?}", trace());
                    self.passes(Duration::from_secs(1)).await;
                    continue;
                }
                Some(Ok(outcome)) => outcome,
            };
            match outcome {
                Assigned::Accepted(_) => {
                    self.acknowledged.insert(assignment.vm, assignment);
                }
                Assigned::Absent => {
                    self.acknowledged.remove(&assignment.vm);
                }
                Assigned::Stale(_) => {}
            }
            return outcome;
        }
    }

    /// Waits until a VM's report is settled in a phase, through crashes of the agent.
    pub(crate) async fn settles(&mut self, n: u32, phase: Phase) -> Arc<VmReport> {
        self.settled(n, phase, false).await
    }

    /// As [`Self::settles`], and nothing is left to be tried again.
    pub(crate) async fn settles_well(&mut self, n: u32, phase: Phase) -> Arc<VmReport> {
        self.settled(n, phase, true).await
    }

    async fn settled(&mut self, n: u32, phase: Phase, well: bool) -> Arc<VmReport> {
        let accepted = self.acknowledged.get(&vm_id(n)).map(|assignment| assignment.version);
        let holds = move |report: Option<&VmReport>| {
            report.is_some_and(|r| {
                r.phase == phase
                    && r.settled == Some(r.accepted)
                    && !(well && r.fault.is_some())
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
                self.acknowledged_is_on_disk();
                // A second crash may strike the start itself.
                let started = tokio::select! {
                    biased;
                    agent = start(&kernel) => Some(agent),
                    () = kernel.crashed() => None,
                };
                if let Some(agent) = started {
                    self.agent = agent;
                    self.follow_reports();
                }
                None
            }
            done = work => Some(done),
        }
    }

    /// Lets time go on, through crashes of the agent.
    pub(crate) async fn passes(&mut self, time: Duration) {
        let until = tokio::time::Instant::now() + time;
        while self.surviving(tokio::time::sleep_until(until)).await.is_none() {}
    }

    /// One round of the sweep as the timer has it. Answers what was removed, as kind and name.
    pub(crate) async fn round(&self) -> Vec<String> {
        let (swept, _) = self.agent.sweep(&Asker::Timer, false).await.expect("the host is read");
        let removed = swept.into_iter().filter(|(_, fate)| *fate == Fate::Removed);
        removed.map(|(listed, _)| shown(&listed.object)).collect()
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

    /// Keeps every report with a fault that this life of the agent makes.
    fn follow_reports(&self) {
        let (_, mut changes) = self.agent.reporter().subscribe();
        let seen = Arc::clone(&self.seen);
        tokio::spawn(async move {
            while let Ok(changes) = changes.changes().await {
                for change in changes {
                    match change {
                        Reported::Vm(report) if report.fault.is_some() => seen.lock().push(report),
                        Reported::Vm(_) | Reported::Gone { .. } => {}
                    }
                }
            }
        });
    }

    /// I1 between two lives of the agent: what was acknowledged is on disk, whole. A VM that was
    /// to be absent may be gone.
    fn acknowledged_is_on_disk(&mut self) {
        for (vm, acknowledged) in &self.acknowledged {
            let names = Naming::default().vm(*vm);
            let content = self.kernel.file(&names.dir, &naming::part(naming::file::RECORD));
            let held = content.map(|content| record::decode(*vm, &content));
            let how = match held {
                None if acknowledged.power == Power::Absent => continue,
                None => "there is no record".to_owned(),
                Some(Err(why)) => why.to_string(),
                Some(Ok(held)) if held.assignment.version < acknowledged.version => {
                    format!("version {} is held", held.assignment.version)
                }
                Some(Ok(_)) => continue,
            };
            let how = format!("VM {vm} was accepted at {}: {how}", acknowledged.version);
            self.broken.push(Broken::new(Invariant::IntentSurvives, how));
        }
    }

    /// The agent's part of the invariants: I1 of what is held and reported now, I6, I7, and what
    /// did not hold on the way. Call it when nothing moves. Lets every task look twice more.
    pub(crate) async fn broken(&mut self) -> Vec<Broken> {
        self.acknowledged_is_on_disk();
        let mut broken = std::mem::take(&mut self.broken);
        for (vm, acknowledged) in &self.acknowledged {
            match self.report(*vm) {
                None if acknowledged.power == Power::Absent => {}
                None => {
                    let how = format!("VM {vm} is wanted and not reported");
                    broken.push(Broken::new(Invariant::IntentSurvives, how));
                }
                Some(report) => broken.extend(self.report_is_so(&report)),
            }
        }
        for report in self.seen.lock().iter() {
            broken.extend(error_says(report));
        }
        // A hint that could not be written is written by the next look, and by that one only.
        self.agent.wake_all();
        self.idle().await;
        let before = self.kernel.effects();
        self.agent.wake_all();
        self.idle().await;
        let more = self.kernel.effects() - before;
        if more > 0 {
            let trace = self.kernel.trace();
            let last = &trace[trace.len().saturating_sub(usize::try_from(more).unwrap_or(0))..];
            let how = format!("{more} effects at rest: {last:#?}");
            broken.push(Broken::new(Invariant::Converges, how));
        }
        broken
    }

    /// I1 and I4 of one VM at rest: the report is of the newest assignment and of the process there
    /// is.
    fn report_is_so(&self, report: &VmReport) -> Option<Broken> {
        let acknowledged = self.acknowledged.get(&report.vm)?;
        if report.accepted != acknowledged.version || report.settled != Some(report.accepted) {
            let how = format!("VM {} is not settled at {}", report.vm, acknowledged.version);
            return Some(Broken::new(Invariant::IntentSurvives, how));
        }
        let jail = Naming::default().vm(report.vm).jail;
        let is = self.kernel.process_of(&jail).map(|process| (process.pid, process.start_ticks));
        let said = report.process.as_ref().map(|process| (process.pid, process.start_ticks));
        (is != said).then(|| {
            let how = format!("VM {} is reported with process {said:?} and has {is:?}", report.vm);
            Broken::new(Invariant::ProcessKept, how)
        })
    }
}

/// I7 of one fault that was reported.
fn error_says(report: &VmReport) -> Option<Broken> {
    let fault = report.fault.as_ref()?;
    let named = |left: &String| left.split_once(' ').is_some_and(|(_, name)| !name.is_empty());
    let says = fault.reason != Reason::Internal
        && !fault.step.is_empty()
        && !fault.message.trim().is_empty()
        && fault.left_behind.iter().all(named);
    let how = || format!("VM {}: {fault:?}", report.vm);
    (!says).then(|| Broken::new(Invariant::ErrorsSay, how()))
}
