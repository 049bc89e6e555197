//! Which process is found for a VM, and which is not.
//!
//! The machine is a fixture here, so that each case states exactly what `/proc` and the jail say.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use super::*;
use crate::host::fakes::FakeKernel;
use crate::host::{
    Change, ExitStatus, HostError, HostErrorKind, JailFacts, JailSpec, ProcessStart, Signal,
};

mod hostile;

const OURS: &str = "0193a7e2-3f40-7c21-9d5e-000000000001";
const OTHER: &str = "0193a7e2-3f40-7c21-9d5e-000000000002";
const JAIL_ROOT: FileId = FileId { device: 8, inode: 100 };
const BOOT: &str = "boot-1";
/// Of the VM.
const USER: u32 = 200_002;
/// Of somebody who may log in.
const LOCAL: u32 = 1000;

fn pid(n: u32) -> Pid {
    Pid::new(n).unwrap()
}

/// What the machine says: a VM whose jailed process 4711 runs, until a test changes it.
#[derive(Clone)]
struct Machine {
    processes: BTreeMap<Pid, ProcessFacts>,
    socket: SocketEntry,
    pidfile: Option<Vec<u8>>,
    jail_root: Option<FileId>,
    unreadable: bool,
    vmm: VmmKind,
    group: Vec<u32>,
}

fn jailed(n: u32, id: &str) -> ProcessFacts {
    let arguments = ["/firecracker", "--id", id, "--start-time-us", "1"];
    ProcessFacts {
        pid: pid(n),
        start_ticks: 500,
        comm: "firecracker".to_owned(),
        zombie: false,
        user: Some(USER),
        program: Some("firecracker".to_owned()),
        arguments: arguments.map(str::to_owned).to_vec(),
        root: Some(JAIL_ROOT),
    }
}

impl Machine {
    fn new() -> Self {
        let target = format!("/jails/firecracker/{OURS}/root/run/firecracker.socket");
        let mut machine = Self {
            processes: BTreeMap::new(),
            socket: SocketEntry::Link(target.into()),
            pidfile: Some(b"4711".to_vec()),
            jail_root: Some(JAIL_ROOT),
            unreadable: false,
            vmm: VmmKind::Firecracker,
            group: Vec::new(),
        };
        machine.run(jailed(4711, OURS));
        machine
    }

    fn run(&mut self, process: ProcessFacts) {
        self.processes.insert(process.pid, process);
    }

    fn change(&mut self, change: impl FnOnce(&mut ProcessFacts)) {
        change(self.processes.get_mut(&pid(4711)).unwrap());
    }

    async fn find(&self, remembered: Option<&ProcessIdentity>) -> Liveness {
        let fixture = Arc::new(self.clone());
        let mut host = FakeKernel::new().host();
        host.processes = fixture.clone();
        host.jails = fixture.clone();
        let table = ProcessTable::of(self.processes.values().cloned().collect());
        let search = Search {
            jail: &JailId::new(OURS).unwrap(),
            user: Some(USER),
            boot_id: BOOT,
            remembered,
            table: Some(&table),
        };
        vm_alive(&host, search).await
    }
}

#[async_trait]
impl Processes for Machine {
    async fn list(&self, comm: &str) -> HostResult<Vec<ProcessFacts>> {
        Ok(self.processes.values().filter(|process| process.comm == comm).cloned().collect())
    }

    async fn observe(&self, pid: Pid) -> HostResult<Option<ProcessFacts>> {
        if self.unreadable {
            return Err(HostError::new(HostErrorKind::Other, "read process", pid));
        }
        Ok(self.processes.get(&pid).cloned())
    }

    async fn started(&self, pid: Pid) -> HostResult<Option<ProcessStart>> {
        let process = self.observe(pid).await?;
        Ok(process.map(|p| ProcessStart { start_ticks: p.start_ticks, zombie: p.zombie }))
    }

    async fn signal(&self, _: Pid, _: u64, _: Signal) -> HostResult<Change> {
        panic!("looking for a process signals none")
    }

    async fn wait_exit(&self, _: Pid, _: u64) -> HostResult<ExitStatus> {
        panic!("looking for a process waits for none")
    }
}

#[async_trait]
impl crate::host::Jails for Machine {
    async fn survey(&self) -> HostResult<Vec<crate::host::JailSurvey>> {
        panic!("looking for a process looks at one jail")
    }

    async fn mounts(&self) -> HostResult<Vec<crate::host::MountFacts>> {
        panic!("looking for a process looks at no mount")
    }

    async fn list(&self) -> HostResult<Vec<JailId>> {
        Ok(vec![JailId::new(OURS).unwrap()])
    }

    async fn observe(&self, _: &JailId) -> HostResult<Option<JailFacts>> {
        let root = self.jail_root;
        Ok(root.map(|_| JailFacts { vmm: Some(self.vmm), root, cgroup: true }))
    }

    async fn ensure(&self, _: &JailSpec) -> HostResult<Change> {
        panic!("looking for a process changes no jail")
    }

    async fn members(&self, _: &JailId) -> HostResult<Vec<Pid>> {
        Ok(self.group.iter().map(|n| pid(*n)).collect())
    }

    async fn end_members(&self, _: &JailId) -> HostResult<Change> {
        panic!("looking for a process ends none")
    }

    async fn bounds(&self, _: &[JailId]) -> HostResult<Vec<crate::host::BoundsSeen>> {
        panic!("looking for a process reads no bounds")
    }

    async fn bound(&self, _: &JailId, _: &crate::host::JailBounds) -> HostResult<Change> {
        panic!("looking for a process bounds none")
    }

    async fn bounded_device(
        &self,
        _: crate::host::DeviceNumber,
    ) -> HostResult<Option<crate::host::DeviceNumber>> {
        panic!("looking for a process looks at no device")
    }

    async fn remove(&self, _: &JailId) -> HostResult<Change> {
        panic!("looking for a process changes no jail")
    }

    async fn observe_api_socket(&self, _: &JailId) -> HostResult<SocketEntry> {
        Ok(self.socket.clone())
    }

    async fn read_pidfile(&self, _: &JailId, vmm: VmmKind) -> HostResult<Option<Vec<u8>>> {
        Ok(self.pidfile.clone().filter(|_| vmm == self.vmm))
    }

    fn root_path(&self, id: &JailId, vmm: VmmKind) -> PathBuf {
        format!("/jails/{vmm}/{id}/root").into()
    }

    fn api_socket_path(&self, id: &JailId) -> PathBuf {
        format!("/run/banger/{id}.sock").into()
    }

    fn vsock_path(&self, id: &JailId) -> PathBuf {
        format!("/run/banger/{id}.vsock").into()
    }
}

fn alive(n: u32) -> Liveness {
    Liveness::Alive(identity(n))
}

/// The same machine, with its VM under QEMU.
fn qemu() -> Machine {
    let mut machine = Machine::new();
    machine.vmm = VmmKind::Qemu;
    machine.socket = SocketEntry::Link(format!("/jails/qemu/{OURS}/root/run/qmp.socket").into());
    machine.run(under_qemu(4711, OURS));
    machine
}

fn under_qemu(n: u32, id: &str) -> ProcessFacts {
    let name = format!("banger-{id}");
    let arguments = ["/usr/bin/qemu-system-x86_64", "-name", &name, "-nodefaults", "-S"];
    ProcessFacts {
        comm: "qemu-system-x86".to_owned(),
        program: Some("qemu-system-x86_64".to_owned()),
        arguments: arguments.map(str::to_owned).to_vec(),
        ..jailed(n, id)
    }
}

fn qemus_jailer(n: u32, id: &str) -> ProcessFacts {
    let arguments = ["banger-agent", "jail-qemu", "--id", id, "--uid", "200002"];
    ProcessFacts {
        comm: "exe".to_owned(),
        user: Some(0),
        program: Some("banger-agent".to_owned()),
        arguments: arguments.map(str::to_owned).to_vec(),
        root: Some(FileId { device: 8, inode: 2 }),
        ..jailed(n, id)
    }
}

fn identity(n: u32) -> ProcessIdentity {
    ProcessIdentity { pid: pid(n), start_ticks: 500, boot_id: BOOT.to_owned() }
}

#[tokio::test]
async fn pidfile_happy_path_finds_the_jailed_process() {
    assert_eq!(Machine::new().find(None).await, alive(4711));
}

#[tokio::test]
async fn white_space_in_the_pidfile_is_tolerated() {
    let mut machine = Machine::new();
    machine.pidfile = Some(b" 4711\n".to_vec());
    assert_eq!(machine.find(None).await, alive(4711));
}

#[tokio::test]
async fn missing_pidfile_is_not_found() {
    let mut machine = Machine::new();
    machine.pidfile = None;
    machine.processes.clear();
    assert_eq!(machine.find(None).await, Liveness::Dead(WhyNot::PidfileMissing));
}

#[tokio::test]
async fn stale_pid_in_the_pidfile_is_not_found() {
    let mut machine = Machine::new();
    machine.processes.clear();
    let why = WhyNot::NoSuchProcess { pid: pid(4711) };
    assert_eq!(machine.find(None).await, Liveness::Dead(why));
}

#[tokio::test]
async fn wrong_comm_is_not_found() {
    let mut machine = Machine::new();
    machine.change(|process| process.comm = "sshd".to_owned());
    let why = WhyNot::WrongComm { pid: pid(4711), comm: "sshd".to_owned() };
    assert_eq!(machine.find(None).await, Liveness::Dead(why));
}

#[tokio::test]
async fn garbage_in_the_pidfile_is_not_found() {
    let mut machine = Machine::new();
    machine.pidfile = Some(b"not a pid".to_vec());
    machine.processes.clear();
    let found = machine.find(None).await;
    assert!(matches!(found, Liveness::Dead(WhyNot::PidfileGarbage(_))), "{found:?}");
}

#[tokio::test]
async fn api_socket_that_is_no_symlink_is_not_found() {
    let mut machine = Machine::new();
    machine.socket = SocketEntry::NotALink;
    machine.processes.clear();
    assert_eq!(machine.find(None).await, Liveness::Dead(WhyNot::SocketNotALink));
}

#[tokio::test]
async fn missing_api_socket_is_not_found() {
    let mut machine = Machine::new();
    machine.socket = SocketEntry::Missing;
    machine.processes.clear();
    assert_eq!(machine.find(None).await, Liveness::Dead(WhyNot::SocketMissing));
}

#[tokio::test]
async fn an_api_socket_that_leads_out_of_the_jail_is_not_found() {
    let mut machine = Machine::new();
    let target = format!("/jails/firecracker/{OTHER}/root/run/firecracker.socket");
    machine.socket = SocketEntry::Link(target.clone().into());
    machine.processes.clear();
    let why = WhyNot::SocketElsewhere { target: target.into() };
    assert_eq!(machine.find(None).await, Liveness::Dead(why));
}

#[tokio::test]
async fn pid_recycled_to_another_vms_firecracker_is_somebody_elses() {
    let mut machine = Machine::new();
    machine
        .run(ProcessFacts { root: Some(FileId { device: 8, inode: 200 }), ..jailed(4711, OTHER) });
    let found = machine.find(None).await;
    assert_eq!(found, Liveness::SomebodyElses { pid: pid(4711), why: Foreign::AnotherId });
}

#[tokio::test]
async fn a_remembered_pid_with_another_start_time_is_somebody_elses() {
    let mut machine = Machine::new();
    machine.pidfile = None;
    machine.run(ProcessFacts { start_ticks: 501, ..jailed(4711, OTHER) });
    let why = Foreign::StartedAtAnotherTime;
    let found = machine.find(Some(&identity(4711))).await;
    assert_eq!(found, Liveness::SomebodyElses { pid: pid(4711), why });
}

#[tokio::test]
async fn a_process_remembered_from_another_boot_is_never_believed() {
    let mut machine = Machine::new();
    machine.processes.clear();
    let before = ProcessIdentity { boot_id: "boot-0".to_owned(), ..identity(4711) };
    let found = machine.find(Some(&before)).await;
    let why = Foreign::AnotherBoot;
    assert_eq!(found, Liveness::SomebodyElses { pid: pid(4711), why });
}

#[tokio::test]
async fn a_firecracker_in_another_root_with_our_id_is_somebody_elses() {
    let mut machine = Machine::new();
    machine.change(|process| process.root = Some(FileId { device: 8, inode: 200 }));
    let why = Foreign::AnotherRoot;
    assert_eq!(machine.find(None).await, Liveness::SomebodyElses { pid: pid(4711), why });
}

#[tokio::test]
async fn zombie_is_dead() {
    let mut machine = Machine::new();
    machine.change(|process| {
        process.zombie = true;
        process.arguments.clear();
        process.root = None;
    });
    let why = WhyNot::Zombie { pid: pid(4711) };
    assert_eq!(machine.find(None).await, Liveness::Dead(why.clone()));
    assert_eq!(machine.find(Some(&identity(4711))).await, Liveness::Dead(why));
}

#[tokio::test]
async fn a_root_that_cannot_be_read_cannot_be_told() {
    let mut machine = Machine::new();
    machine.change(|process| process.root = None);
    machine.pidfile = None;
    let why = WhyUnclear::RootUnreadable { pid: pid(4711) };
    assert_eq!(machine.find(None).await, Liveness::CannotTell(why));
}

#[tokio::test]
async fn a_jailer_that_has_not_become_the_vmm_yet_cannot_be_told() {
    let mut machine = Machine::new();
    machine.change(|process| {
        process.comm = "jailer".to_owned();
        process.user = Some(0);
        process.program = Some("jailer-v1.16.1-x86_64".to_owned());
    });
    let why = WhyUnclear::StillTheJailer { pid: pid(4711) };
    assert_eq!(machine.find(None).await, Liveness::CannotTell(why));
    assert_eq!(machine.find(Some(&identity(4711))).await, alive(4711), "we remember its start");
}

#[tokio::test]
async fn a_process_whose_jail_is_gone_cannot_be_told() {
    let mut machine = Machine::new();
    machine.jail_root = None;
    let why = WhyUnclear::JailGone { pid: pid(4711) };
    assert_eq!(machine.find(None).await, Liveness::CannotTell(why));
}

#[tokio::test]
async fn a_machine_that_does_not_answer_cannot_be_told() {
    let mut machine = Machine::new();
    machine.unreadable = true;
    assert!(matches!(machine.find(None).await, Liveness::CannotTell(_)));
}

#[tokio::test]
async fn a_direct_unjailed_launch_is_found_by_the_socket_on_its_command_line() {
    let mut machine = Machine::new();
    machine.socket = SocketEntry::NotALink;
    machine.processes.clear();
    let socket = format!("/run/banger/{OURS}.sock");
    machine.run(ProcessFacts {
        arguments: vec!["firecracker".to_owned(), "--api-sock".to_owned(), socket],
        root: Some(FileId { device: 1, inode: 2 }),
        ..jailed(99, OURS)
    });
    assert_eq!(machine.find(None).await, alive(99));
}

#[tokio::test]
async fn a_live_process_is_found_by_its_id_when_the_pidfile_is_garbage() {
    let mut machine = Machine::new();
    machine.pidfile = Some(b"garbage".to_vec());
    assert_eq!(machine.find(None).await, alive(4711));
    machine.pidfile = Some(b"1".to_vec());
    assert_eq!(machine.find(None).await, alive(4711));
}

#[tokio::test]
async fn lookup_prefers_the_live_process_over_the_remembered_one() {
    let mut machine = Machine::new();
    machine.run(ProcessFacts { start_ticks: 7, ..jailed(12, OTHER) });
    assert_eq!(machine.find(Some(&identity(12))).await, alive(4711));
}

#[test]
fn the_id_is_read_in_both_spellings() {
    let named = |text: &str| {
        let arguments = text.split(' ').map(str::to_owned).collect();
        jail_named_by(&ProcessFacts { arguments, ..jailed(1, "x") }).map(str::to_owned)
    };
    assert_eq!(named("/firecracker --id a").as_deref(), Some("a"));
    assert_eq!(named("/firecracker --id=a").as_deref(), Some("a"));
    assert_eq!(named("/firecracker --ident a"), None);
    assert_eq!(named("/firecracker --id"), None);
    // The name of a QEMU is no argument of a Firecracker.
    assert_eq!(named("/firecracker -name banger-a"), None);
}

#[tokio::test]
async fn a_qemu_is_found_by_the_same_proof() {
    assert_eq!(qemu().find(None).await, alive(4711));
    assert_eq!(qemu().find(Some(&identity(4711))).await, alive(4711));
    // Without its pidfile by its name among all processes.
    let mut machine = qemu();
    machine.pidfile = None;
    machine.run(under_qemu(99, OTHER));
    assert_eq!(machine.find(None).await, alive(4711));
}

#[tokio::test]
async fn a_qemu_that_is_not_the_vms_is_not_taken_for_it() {
    // Somebody else's whose name is no VM's, one of another VM, one in another jail.
    let mut machine = qemu();
    machine.change(|process| process.arguments[2] = format!("guest={OURS}"));
    assert!(matches!(
        machine.find(None).await,
        Liveness::SomebodyElses { why: Foreign::AnotherId, .. } | Liveness::Dead(_)
    ));
    let mut machine = qemu();
    machine.change(|process| process.arguments[2] = format!("banger-{OTHER}"));
    assert!(!matches!(machine.find(None).await, Liveness::Alive(_)));
    let mut machine = qemu();
    machine.change(|process| process.root = Some(FileId { device: 8, inode: 7 }));
    let somebody = Liveness::SomebodyElses { pid: pid(4711), why: Foreign::AnotherRoot };
    assert_eq!(machine.find(None).await, somebody);
}

#[tokio::test]
async fn a_vmm_of_the_other_kind_is_not_the_one_of_the_jail() {
    let mut machine = qemu();
    machine.run(jailed(4711, OURS));
    assert!(matches!(machine.find(None).await, Liveness::Dead(WhyNot::WrongComm { .. })));
    let mut machine = Machine::new();
    machine.run(under_qemu(4711, OURS));
    assert!(matches!(machine.find(None).await, Liveness::Dead(WhyNot::WrongComm { .. })));
}

#[tokio::test]
async fn the_jailer_of_qemu_is_unclear_unless_we_remember_its_start() {
    let mut machine = qemu();
    machine.run(qemus_jailer(4711, OURS));
    let still = Liveness::CannotTell(WhyUnclear::StillTheJailer { pid: pid(4711) });
    assert_eq!(machine.find(None).await, still);
    assert_eq!(machine.find(Some(&identity(4711))).await, alive(4711));
    // The agent itself is no jailer.
    let mut machine = qemu();
    let mut agent = qemus_jailer(4711, OURS);
    agent.arguments[1] = "run".to_owned();
    machine.run(agent);
    assert!(matches!(machine.find(None).await, Liveness::Dead(WhyNot::WrongComm { .. })));
}

/// What a VMM that was taken over can make of how it is seen.
fn disguises() -> [fn(&mut ProcessFacts); 5] {
    [
        |process| process.comm = "kworker/u4:1".to_owned(),
        |process| process.arguments = vec!["/usr/sbin/sshd".to_owned()],
        |process| process.root = Some(FileId { device: 8, inode: 7 }),
        // Its first thread has ended: no arguments, no root.
        |process| {
            process.arguments.clear();
            process.root = None;
            process.program = None;
        },
        |process| {
            process.comm = "firecracker".to_owned();
            process.arguments = ["/firecracker", "--id", OTHER].map(str::to_owned).to_vec();
        },
    ]
}

#[tokio::test]
async fn what_we_started_is_ours_whatever_it_calls_itself() {
    for machine in [Machine::new(), qemu()] {
        for disguise in disguises() {
            let mut machine = machine.clone();
            machine.change(disguise);
            assert_eq!(machine.find(Some(&identity(4711))).await, alive(4711));
            // Its jail and pidfile may be gone, too.
            machine.pidfile = None;
            machine.jail_root = None;
            assert_eq!(machine.find(Some(&identity(4711))).await, alive(4711));
        }
    }
}

#[tokio::test]
async fn what_nobody_remembers_is_found_in_its_control_group_whatever_it_calls_itself() {
    for machine in [Machine::new(), qemu()] {
        for disguise in disguises() {
            let mut machine = machine.clone();
            machine.change(disguise);
            machine.group = vec![4800, 4711, 4712];
            machine.run(ProcessFacts { start_ticks: 900, ..jailed(4712, OTHER) });
            assert_eq!(machine.find(None).await, alive(4711), "the oldest in it");
        }
    }
}

#[tokio::test]
async fn children_of_a_vmm_that_is_dead_are_not_taken_for_it() {
    let mut machine = Machine::new();
    machine.change(|process| process.zombie = true);
    let child = ProcessFacts { start_ticks: 900, comm: "sh".to_owned(), ..jailed(4712, OTHER) };
    machine.run(child);
    machine.group = vec![4711, 4712];
    let found = machine.find(Some(&identity(4711))).await;
    assert_eq!(found, Liveness::Dead(WhyNot::Zombie { pid: pid(4711) }));
}

#[tokio::test]
async fn a_local_user_is_never_taken_for_a_vm_and_never_waited_for() {
    let socket = format!("/run/banger/{OURS}.sock");
    let named = format!("banger-{OURS}");
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let forged = [
        ("firecracker", words(&["firecracker", "--api-sock", &socket, "--id", OURS])),
        ("firecracker", words(&["firecracker", "--id", OURS])),
        ("jailer", words(&["jailer", "--id", OURS])),
        ("exe", words(&["banger-agent", "jail-qemu", "--id", OURS])),
        ("qemu-system-x86", words(&["qemu-system-x86_64", "-name", &named])),
        ("qemu-system-x86", words(&["qemu-system-x86_64", "-name", &named, &socket])),
    ];
    for (comm, arguments) in forged {
        for (user, program) in [
            // With any program of their own by the right name, or one that runs for another user.
            (Some(LOCAL), Some("firecracker")),
            (Some(LOCAL), Some("jailer")),
            (None, Some("jailer")),
            // Root's own, or the VM's user's, which is none of our programs.
            (Some(0), Some("python3.13")),
            (Some(USER), Some("sh")),
        ] {
            for root in [None, Some(FileId { device: 8, inode: 2 })] {
                for jail_root in [None, Some(JAIL_ROOT)] {
                    for vmm in VmmKind::ALL {
                        let mut machine =
                            if vmm == VmmKind::Qemu { qemu() } else { Machine::new() };
                        machine.processes.clear();
                        machine.jail_root = jail_root;
                        let forger = ProcessFacts {
                            comm: comm.to_owned(),
                            arguments: arguments.clone(),
                            user,
                            program: program.map(str::to_owned),
                            root,
                            ..jailed(4711, OURS)
                        };
                        machine.run(forger.clone());
                        let found = machine.find(None).await;
                        assert!(
                            matches!(found, Liveness::Dead(_) | Liveness::SomebodyElses { .. }),
                            "{found:?} of {forger:?}"
                        );
                        let table = ProcessTable::of(vec![forger.clone()]);
                        for (process, jail) in table.claims() {
                            let seen = judge(process, false, &jail, (Some(vmm), jail_root), BOOT);
                            assert!(
                                matches!(seen, Liveness::Dead(_) | Liveness::SomebodyElses { .. }),
                                "{seen:?} of {forger:?}"
                            );
                        }
                    }
                }
            }
        }
    }
}
