//! The agent is killed with SIGKILL at every step of every operation, on a real kernel.
//!
//! One host for all of it. A neighbour VM runs the whole time and must never notice. The steps are
//! not written down here: the agent lists the effects of an undisturbed operation, and is then
//! killed before the first and after each of them, started again, and left to converge; then the
//! oracle compares. The agent's part is `agent/src/failpoint.rs`, which released builds have not.

use std::collections::BTreeMap;

use banger_client::v1::{
    DeleteVmRequest, RebootVmRequest, StartVmRequest, StopVmRequest, Vm, VmState,
};

use super::fleet::{FIRST, Fleet, oracle, spec};
use super::{process, seconds, start_ticks};

/// What the agent reads at each effect.
const FAILPOINT: &str = "/run/testhost.failpoint";

/// In the order in which one VM goes through them. A start is a create whose disks are there; it is
/// gone through undisturbed, to have a VM to reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    Create,
    Stop,
    Start,
    Reboot,
    Delete,
}

impl Operation {
    const ALL: [Self; 5] = [Self::Create, Self::Stop, Self::Start, Self::Reboot, Self::Delete];

    fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Reboot => "reboot",
            Self::Delete => "delete",
        }
    }
}

struct Sweep {
    fleet: Fleet,
    neighbour: Vm,
    /// Of the host with the neighbour and nothing else.
    before: String,
    vm: Option<Vm>,
    made: u32,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_killed_at_any_step_on_a_real_kernel_takes_over_and_leaves_nothing_behind() {
    let fleet = Fleet::start("crashes").await;
    fleet.kill_agent(&FIRST);
    fleet.start_agent_with(&FIRST, &format!("BANGER_FAILPOINT_FILE={FAILPOINT}"));
    fleet.online(&FIRST).await;
    let neighbour = fleet.create("neighbour", spec()).await;
    let neighbour = fleet.reaches(&neighbour, VmState::Running).await;
    let before = oracle::kernel(&fleet, &[&FIRST]);
    let mut sweep = Sweep { fleet, neighbour, before, vm: None, made: 0 };

    let mut steps = BTreeMap::new();
    for operation in Operation::ALL {
        steps.insert(operation, sweep.listed(operation).await);
    }
    // Once it is noted that the old process is gone, a reboot is a start: those steps are swept by
    // the create, and going through them twice would double the time.
    if let Some(reboot) = steps.get_mut(&Operation::Reboot) {
        let noted = reboot.iter().position(|step| step == "mark_booted");
        reboot.truncate(noted.expect("a reboot is noted") + 2);
    }
    let mut cases: BTreeMap<Operation, usize> = BTreeMap::new();
    let rounds = steps.values().map(Vec::len).max().unwrap_or_default();
    for round in 0..=rounds {
        let is_due = |operation: Operation| {
            operation != Operation::Start && round <= steps[&operation].len()
        };
        for operation in Operation::ALL {
            if is_due(operation) {
                sweep.killed(operation, round, &steps[&operation]).await;
                *cases.entry(operation).or_default() += 1;
                continue;
            }
            let is_needed = match operation {
                // A VM for those that come after.
                Operation::Create | Operation::Delete => true,
                Operation::Start => is_due(Operation::Stop),
                Operation::Stop | Operation::Reboot => false,
            };
            if is_needed {
                sweep.carry_out(operation).await;
            }
        }
    }
    for (operation, cases) in &cases {
        println!("sweep {} × kill -9 on a real kernel: {cases} cases", operation.name());
    }
    assert!(cases.values().sum::<usize>() > 35, "{cases:?}");
}

impl Sweep {
    /// Goes through an operation undisturbed; answers its effects.
    async fn listed(&mut self, operation: Operation) -> Vec<String> {
        let list = "/run/testhost.effects";
        self.fleet.sh(&format!("rm -f {list}; echo 'list {}' >{FAILPOINT}", operation.name()));
        self.carry_out(operation).await;
        let effects = self.fleet.sh(&format!("rm {FAILPOINT}; cat {list}"));
        println!("{}: {}", operation.name(), effects.replace('\n', " "));
        effects.lines().map(str::to_owned).collect()
    }

    /// Kills the agent after so many effects of an operation, and starts it again.
    async fn killed(&mut self, operation: Operation, after: usize, steps: &[String]) {
        let (place, step) = match after.checked_sub(1) {
            None => ("before 1".to_owned(), "before the first effect".to_owned()),
            Some(last) => (format!("after {after}"), format!("after {}", steps[last])),
        };
        let what = format!("{} killed {step}", operation.name());
        let word = format!("{} {}", operation.name(), self.made);
        self.fleet.sh(&format!("echo '{place} {word}' >{FAILPOINT}"));
        let wished = self.wish(operation).await;
        self.fleet.agent_dies(&FIRST, &what).await;
        self.fleet.start_agent_with(&FIRST, &format!("BANGER_FAILPOINT_FILE={FAILPOINT}"));
        self.comes_true(operation, &wished).await;
        self.oracle(&what).await;
    }

    async fn carry_out(&mut self, operation: Operation) {
        let wished = self.wish(operation).await;
        self.comes_true(operation, &wished).await;
        self.oracle(operation.name()).await;
    }

    /// Asks the server; answers the VM as it is wanted now.
    async fn wish(&mut self, operation: Operation) -> Vm {
        let vms = self.fleet.client.vms();
        let id = self.vm.as_ref().map(|vm| vm.id.clone()).unwrap_or_default();
        match operation {
            Operation::Create => {
                self.made += 1;
                let vm = self.fleet.create(&format!("crash-{}", self.made), spec()).await;
                self.vm = Some(vm.clone());
                vm
            }
            Operation::Stop => {
                let grace_period = Some(seconds(3));
                let request = StopVmRequest { vm: id, grace_period, ..Default::default() };
                vms.stop(request).await.expect("is accepted")
            }
            Operation::Start => {
                let request = StartVmRequest { vm: id, ..Default::default() };
                vms.start(request).await.expect("is accepted")
            }
            Operation::Reboot => {
                let grace_period = Some(seconds(0));
                let request = RebootVmRequest { vm: id, grace_period, ..Default::default() };
                vms.reboot(request).await.expect("is accepted")
            }
            Operation::Delete => {
                let request = DeleteVmRequest { vm: id, ..Default::default() };
                vms.delete(request).await.expect("is accepted")
            }
        }
    }

    /// I6.
    async fn comes_true(&mut self, operation: Operation, wished: &Vm) {
        match operation {
            Operation::Create | Operation::Start | Operation::Reboot => {
                self.fleet.reaches(wished, VmState::Running).await;
            }
            Operation::Stop => drop(self.fleet.reaches(wished, VmState::Stopped).await),
            Operation::Delete => {
                self.fleet.gone(wished).await;
                self.vm = None;
            }
        }
    }

    /// I3. The neighbour's guest goes on to print meanwhile, and its files with it.
    async fn is_as_before(&self, what: &str) {
        let prints = format!("== files: /data/agent/vms/{}/", self.neighbour.id);
        self.fleet
            .eventually(&format!("{what}: nothing of the VM is left"), async || {
                let now = oracle::kernel(&self.fleet, &[&FIRST]);
                let difference = oracle::difference(&self.before, &now);
                let left: Vec<&str> =
                    difference.lines().filter(|line| !line.contains(&prints)).collect();
                if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
            })
            .await;
    }

    /// I2, I3 and I4: at most one process, nothing left over, the neighbour as it was.
    async fn oracle(&self, what: &str) {
        let now = self.fleet.get(&self.neighbour).await;
        let was = process(&self.neighbour);
        let is = process(&now);
        assert_eq!((is.pid, is.start_ticks), (was.pid, was.start_ticks), "{what}");
        assert_eq!(start_ticks(&self.fleet, was.pid), was.start_ticks, "{what}");
        let Some(vm) = &self.vm else { return self.is_as_before(what).await };
        let vm = self.fleet.get(vm).await;
        let said = vm.status.as_ref().is_some_and(|status| status.process.is_some());
        self.fleet
            .eventually(&format!("{what}: as many processes as are said"), async || {
                // The look itself has the id on its command lines.
                let script = format!(
                    "for p in $(grep -l -x firecracker /proc/[0-9]*/comm); do \
                     grep -a -q -F -e {} ${{p%comm}}cmdline && echo $p; done; true",
                    vm.id
                );
                let found = self.fleet.sh(&script);
                let processes = found.lines().count();
                if processes == usize::from(said) { Ok(()) } else { Err(found) }
            })
            .await;
    }
}
