//! From any machine to any assignment: walks through assignments, deaths, faults, damage and
//! half-made objects, and then one last assignment. It comes true in a bounded number of effects,
//! the agent is silent after it, and nothing that is not the VM's was touched on the way.

use std::sync::mpsc;
use std::time::Duration;

use proptest::prelude::*;

use super::case::carry_out;
use super::company;
use super::operation::wanted;
use crate::assignment::{Assignment, Power};
use crate::host::fakes::{At, Broken, Difference, FakeKernel, FaultPlan, InjectedFault, Oracle};
use crate::host::{
    ExitStatus, HostErrorKind, ImageName, JailSpec, LaunchSpec, MacAddress, PathPart, Pid, Pin,
    SnapshotSpec, SocketEntry, TapSpec, VmmConfig, VmmKind,
};
use crate::inventory::sweep::SweepSettings;
use crate::naming::{self, Naming, file, part};
use crate::supervisor::harness::{World, names};
use crate::vm::fixtures::vm_id;

/// Effects from any machine to rest: everything taken apart, twice, and built.
const EFFECTS: u64 = 120;

/// How long one walk may take on a machine that is busy; it takes a twentieth of a second on one
/// that is not.
const LIMIT: Duration = Duration::from_secs(60);

/// Rounds of the sweep until it finds nothing more.
const ROUNDS: usize = 20;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    /// The server wants something else; the numbers of boot and root disk rise or stay.
    Want { power: Power, boot: bool, root_disk: bool },
    /// The next effects but so many meets a fault.
    InjectedFault { after: u64, fault: InjectedFault },
    /// Whatever is waited for, time goes on.
    Time { seconds: u64 },
    /// The VMM ends by itself.
    Ends(ExitStatus),
    /// The VMM's API stops answering, or answers again.
    Hangs(bool),
    /// Somebody flushes the rules.
    Flushed,
    /// The agent is killed; meanwhile this is done to what it left.
    Died(Vec<Damage>),
}

/// What is done to a machine while no agent lives.
#[derive(Debug, Clone)]
enum Damage {
    Handles(Option<Vec<u8>>),
    Record(Option<Vec<u8>>),
    Pidfile(Option<Vec<u8>>),
    Socket(SocketEntry),
    Ends,
    Zombie,
    PidReused,
    /// Objects are made by our names that no agent noted, those of the bits that can be.
    HalfMade(u16),
}

fn any_power() -> impl Strategy<Value = Power> {
    prop::sample::select(vec![Power::Running, Power::Paused, Power::Stopped, Power::Absent])
}

fn any_content() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        Just(None),
        Just(Some(Vec::new())),
        Just(Some(b"4242".to_vec())),
        Just(Some(b"{\"format\":1,\"vm\":\"".to_vec())),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Some),
    ]
}

fn any_damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any_content().prop_map(Damage::Handles),
        any_content().prop_map(Damage::Record),
        any_content().prop_map(Damage::Pidfile),
        Just(Damage::Socket(SocketEntry::Missing)),
        Just(Damage::Socket(SocketEntry::NotALink)),
        Just(Damage::Socket(SocketEntry::Link("/etc/passwd".into()))),
        Just(Damage::Ends),
        Just(Damage::Zombie),
        Just(Damage::PidReused),
        any::<u16>().prop_map(Damage::HalfMade),
    ]
}

fn any_fault() -> impl Strategy<Value = InjectedFault> {
    prop::sample::select(vec![
        InjectedFault::Fail(HostErrorKind::Other),
        InjectedFault::Fail(HostErrorKind::Busy),
        InjectedFault::Fail(HostErrorKind::NoSpace),
        InjectedFault::FailAfter(HostErrorKind::TimedOut),
        InjectedFault::CrashBefore,
        InjectedFault::CrashAfter,
        InjectedFault::Hang,
        InjectedFault::HangAfter,
        InjectedFault::Repeat,
    ])
}

fn any_step() -> impl Strategy<Value = Step> {
    let status = prop::sample::select(vec![
        ExitStatus::Code(0),
        ExitStatus::Code(1),
        ExitStatus::Signal(9),
        ExitStatus::Unknown,
    ]);
    prop_oneof![
        4 => (any_power(), any::<bool>(), any::<bool>())
            .prop_map(|(power, boot, root_disk)| Step::Want { power, boot, root_disk }),
        3 => (1..30_u64, any_fault()).prop_map(|(after, fault)| Step::InjectedFault { after, fault }),
        2 => (0..100_u64).prop_map(|seconds| Step::Time { seconds }),
        1 => status.prop_map(Step::Ends),
        1 => any::<bool>().prop_map(Step::Hangs),
        1 => Just(Step::Flushed),
        2 => prop::collection::vec(any_damage(), 0..4).prop_map(Step::Died),
    ]
}

/// The walk so far.
struct Walk {
    world: World,
    generation: u64,
    boot_number: u64,
    root_disk_number: u64,
    /// Processes that got a pid of the VM's.
    heirs: Vec<Pid>,
}

impl Walk {
    fn assignment(&mut self, power: Power, boot: bool, root_disk: bool) -> Assignment {
        self.generation += 1;
        self.boot_number += u64::from(boot);
        self.root_disk_number += u64::from(root_disk);
        Assignment {
            boot_number: self.boot_number,
            root_disk_number: self.root_disk_number,
            ..wanted(self.generation, power)
        }
    }

    async fn step(&mut self, step: Step) {
        let jail = names(1).jail;
        match step {
            Step::Want { power, boot, root_disk } => {
                let assignment = self.assignment(power, boot, root_disk);
                self.world.assign(assignment).await;
            }
            Step::InjectedFault { after, fault } => {
                self.world.kernel.set_faults(FaultPlan::none().with(At::nth(after), fault));
            }
            Step::Time { seconds } => {
                self.world.passes(Duration::from_secs(seconds)).await;
            }
            Step::Ends(status) => {
                self.world.kernel.crash(&jail, status);
            }
            Step::Hangs(hung) => self.world.kernel.hang_vmm(&jail, hung),
            Step::Flushed => self.world.kernel.flush_rules(),
            Step::Died(damages) => {
                self.world.kernel.set_faults(FaultPlan::none());
                let heirs = &mut self.heirs;
                let done = async |kernel: &FakeKernel| {
                    for damage in damages {
                        heirs.extend(damaged(kernel, damage).await);
                    }
                };
                self.world.dead_while(vm_id(1), done).await;
            }
        }
    }

    /// The sweep of orphans as the agent runs it, until it finds nothing more.
    async fn swept(&mut self) {
        let grace = SweepSettings::default().grace;
        self.world.round().await;
        let mut removed = Vec::new();
        for _ in 0..ROUNDS {
            self.world.passes(grace).await;
            removed = self.world.round().await;
            if removed.is_empty() {
                return;
            }
        }
        panic!("the sweep finds the same again and again: {removed:?}");
    }

    /// The last assignment, and all that has to hold then.
    async fn end(mut self, power: Power, before: &Oracle) -> Vec<Broken> {
        let kernel = self.world.kernel.clone();
        kernel.set_faults(FaultPlan::none());
        kernel.release();
        kernel.hang_vmm(&names(1).jail, false);
        // A crash may have struck at the last step.
        self.world.passes(Duration::from_secs(120)).await;
        kernel.set_faults(FaultPlan::none());
        // An agent whose record was lost takes what it finds for what is wanted. So it is told the
        // present numbers, and then a boot of its own: then no end of an earlier process holds it
        // down, and a process that nobody can reach any more is ended.
        let assignment = self.assignment(power, false, false);
        self.world.assign(assignment).await;
        let assignment = self.assignment(power, true, false);
        carry_out(&mut self.world, assignment).await;
        let mut broken = Vec::new();
        if kernel.effects() > EFFECTS {
            let how = format!("{} effects: {:#?}", kernel.effects(), kernel.trace());
            broken.push(Broken::new(crate::host::fakes::Invariant::Converges, how));
        }
        broken.extend(self.world.broken().await);
        let assignment = self.assignment(Power::Absent, false, false);
        carry_out(&mut self.world, assignment).await;
        // The sweep looks at the rules, too: those that were flushed are missed by the next look.
        self.swept().await;
        self.world.agent.wake_all();
        self.world.passes(Duration::from_secs(60)).await;
        // Who inherited a pid lives on; then it and the zombies are taken away.
        for heir in self.heirs {
            if !kernel.end_process(heir) {
                let how = format!("process {heir}, a stranger with a pid of the VM's, is gone");
                broken.push(Broken::new(crate::host::fakes::Invariant::ProcessKept, how));
            }
        }
        for zombie in kernel.objects_with("(zombie)") {
            let pid = zombie.split(' ').nth(1).and_then(|pid| pid.parse().ok()).and_then(Pid::new);
            kernel.end_process(pid.expect("an object of a process names its pid"));
        }
        broken.extend(before.broken(&kernel, &Difference::default()));
        broken
    }
}

/// Does something to what a dead agent left. Answers who got the VM's pid.
async fn damaged(kernel: &FakeKernel, damage: Damage) -> Option<Pid> {
    let names = names(1);
    match damage {
        Damage::Handles(content) => {
            kernel.set_file(&names.dir, &part(file::HANDLES), content.as_deref());
        }
        Damage::Record(content) => {
            kernel.set_file(&names.dir, &part(file::RECORD), content.as_deref());
        }
        Damage::Pidfile(content) => {
            kernel.set_pidfile(&names.jail, content.as_deref());
        }
        Damage::Socket(entry) => {
            kernel.set_api_socket(&names.jail, entry);
        }
        Damage::Ends => {
            kernel.crash(&names.jail, ExitStatus::Signal(9));
        }
        Damage::Zombie => {
            kernel.make_zombie(&names.jail);
        }
        Damage::PidReused => {
            return kernel.stage_pid_reuse(&names.jail, "sshd", &["sshd"]).map(|heir| heir.pid);
        }
        Damage::HalfMade(bits) => half_made(kernel, bits).await,
    }
    None
}

/// Makes objects of VM 1 by its names, as an agent that died on the way, or one that died in
/// another order than ours, might have left them. What cannot be made is not.
async fn half_made(kernel: &FakeKernel, bits: u16) {
    let (host, names) = (kernel.host(), names(1));
    let made = |bit: u16| bits & 1 << bit != 0;
    let root: ImageName = crate::host::fakes::DEMO_ROOT.parse().expect("a name of an image");
    if made(0) {
        drop(host.files.ensure_dir(&names.dir).await);
    }
    let sparse = async |name: &'static str, bytes| {
        let name: PathPart = part(name);
        drop(host.files.ensure_sparse(&names.dir, &name, bytes).await);
    };
    if made(1) {
        sparse(file::COW, 4096).await;
    }
    if made(2) {
        sparse(file::WORK, 1 << 20).await;
    }
    if made(3) {
        drop(host.loops.ensure_attached(&naming::base(root.clone()), true).await);
    }
    if made(4) {
        drop(host.loops.ensure_attached(&names.cow(), false).await);
    }
    if made(5)
        && let Ok(Some(base)) = host.loops.observe(&naming::base(root)).await
        && let Ok(Some(cow)) = host.loops.observe(&names.cow()).await
    {
        let spec = SnapshotSpec {
            name: names.snapshot.clone(),
            base: base.device,
            base_bytes: base.size_bytes,
            cow: cow.device,
            tail: None,
        };
        drop(host.snapshots.ensure(&spec).await);
    }
    if made(6) {
        let bridge = Naming::default().bridge();
        let spec = TapSpec { name: names.tap.clone(), bridge, owner_uid: 7 };
        drop(host.taps.ensure(&spec).await);
    }
    if made(7) {
        let guest = crate::host::GuestNet {
            key: names.rules.clone(),
            tap: Some(names.tap.clone()),
            address: Some("10.64.0.9".parse().expect("an address")),
            nat: true,
            stale: false,
        };
        drop(host.firewall.ensure(&guest).await);
        let pin = Pin {
            key: names.rules.clone(),
            tap: names.tap.clone(),
            mac: MacAddress([2, 0, 0, 0, 0, 9]),
            address: "10.64.0.9".parse().expect("an address"),
            uid: 7,
        };
        drop(host.pins.ensure(&pin).await);
    }
    if made(8) {
        let spec = JailSpec {
            id: names.jail.clone(),
            vmm: VmmKind::Firecracker,
            uid: 7,
            files: Vec::new(),
            devices: Vec::new(),
            bounds: Default::default(),
        };
        drop(host.jails.ensure(&spec).await);
    }
    if made(9) && kernel.process_of(&names.jail).is_none() {
        let spec = LaunchSpec {
            id: names.jail.clone(),
            uid: 7,
            vmm: VmmKind::Firecracker,
            machine: machine(),
        };
        drop(host.launcher.launch(&spec).await);
    }
}

/// A machine that was never told to anybody.
fn machine() -> VmmConfig {
    VmmConfig {
        vcpus: 1,
        memory_mib: 128,
        kernel: part(naming::in_jail::KERNEL),
        initrd: None,
        boot_args: String::new(),
        drives: Vec::new(),
        interface: None,
        vsock_cid: None,
        metadata_json: None,
    }
}

/// What did not hold, and every effect.
async fn walk(steps: Vec<Step>, last: Power) -> (Vec<Broken>, Vec<String>) {
    let world = company::world().await;
    // Whoever flushes the rules flushes the strangers' too.
    world.kernel.host().firewall.remove(&company::rules()).await.expect("they are there");
    let before = Oracle::look(&world.kernel).guarding(&world.kernel, &names(2).jail);
    let mut walk =
        Walk { world, generation: 0, boot_number: 1, root_disk_number: 1, heirs: Vec::new() };
    for step in steps {
        walk.step(step).await;
    }
    let kernel = walk.world.kernel.clone();
    let broken = walk.end(last, &before).await;
    (broken, kernel.trace())
}

/// Does what has to end, in an agent's time that costs nothing, within moments: a walk without an
/// end says which it is and takes the test down, where a limit from outside would name none.
fn ends<T>(how: String, work: impl FnOnce() -> T) -> T {
    let (done, waits) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if waits.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("a walk does not end: {how}");
            std::process::abort();
        }
    });
    let result = work();
    drop(done);
    watch.join().expect("it only waits");
    result
}

/// In an agent's time.
fn walked(steps: Vec<Step>, last: Power) -> Vec<String> {
    let how = format!("steps = {steps:?}, last = {last:?}");
    let broken = ends(how, || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime")
            .block_on(walk(steps, last))
    });
    let (broken, trace) = broken;
    let mut said: Vec<String> = broken.iter().map(Broken::to_string).collect();
    if !said.is_empty() {
        said.push(format!("trace: {trace:#?}"));
    }
    said
}

#[test]
fn a_directory_that_the_kernel_removes_once_its_agent_is_dead_is_made_again() {
    let want = |power| Step::Want { power, boot: false, root_disk: false };
    let steps = vec![
        want(Power::Running),
        want(Power::Stopped),
        Step::InjectedFault { after: 16, fault: InjectedFault::Hang },
        want(Power::Absent),
        Step::Time { seconds: 1 },
        Step::Died(Vec::new()),
        want(Power::Running),
    ];
    assert_eq!(walked(steps, Power::Running), Vec::<String>::new());
}

#[test]
fn nothing_collects_for_a_vm_that_is_gone_whose_agent_died_without_its_record() {
    let want = |power| Step::Want { power, boot: false, root_disk: false };
    let steps = vec![
        want(Power::Running),
        Step::InjectedFault { after: 13, fault: InjectedFault::Hang },
        want(Power::Running),
        Step::Died(vec![Damage::Record(None)]),
    ];
    assert_eq!(walked(steps, Power::Stopped), Vec::<String>::new());
}

proptest! {
    #[test]
    fn from_any_machine_any_assignment_comes_true_and_then_nothing_moves(
        steps in prop::collection::vec(any_step(), 0..12), last in any_power(),
    ) {
        let broken = walked(steps, last);
        prop_assert!(broken.is_empty(), "{}", broken.join("\n"));
    }
}
