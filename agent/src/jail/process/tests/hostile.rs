//! A VMM that was taken over and a local user, as programs on this machine's kernel.
//!
//! The VMM is a Python program in the control group of a jail. It does by word what one that was
//! taken over can: rename itself, start others, end its first thread, change its root. The local
//! user runs a shell under a VMM's name with the VM's socket and id on its command line.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::*;
use crate::host::linux::{Chains, LinuxConfig, PinLayout, Reserve, host};
use crate::host::{Change, JailSpec, LinkName};

const TAKEN_OVER: &str = r#"
import ctypes, os, platform, sys, threading, time
libc = ctypes.CDLL(None)
def forever():
    while True:
        time.sleep(600)
def lead():
    threading.Thread(target=forever).start()
    print("done", flush=True)
    libc.syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)
def fork():
    if os.fork() == 0:
        os.setsid()
        forever()
words = {
    "rename": lambda: libc.prctl(15, b"kworker/u4:1", 0, 0, 0),
    "fork": fork,
    "chroot": lambda: os.chroot("/usr"),
    "lead": lead,
}
for line in sys.stdin:
    words[line.strip()]()
    print("done", flush=True)
"#;

/// A host of its own in a temporary directory, with control groups of its own.
struct Ground {
    temp: tempfile::TempDir,
    host: Host,
    jail: JailId,
    group: PathBuf,
}

impl Ground {
    fn new(n: u32) -> Self {
        let temp = tempfile::tempdir().unwrap();
        // Also a local user has to be able to run what lies in it.
        std::fs::set_permissions(temp.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let at = |name: &str| temp.path().join(name);
        let parent = PathBuf::from(format!("banger-test-{}-{n}.slice", std::process::id()));
        let config = LinuxConfig {
            image_dir: at("images"),
            scratch_dir: at("vms"),
            jail_dir: at("jails"),
            guest_users: std::iter::once(200_000..200_016).collect(),
            runtime_dir: at("run"),
            cgroup_parent: parent.clone(),
            without_cgroups: false,
            tools: std::collections::BTreeMap::new(),
            bridge: LinkName::new("bgtest0").unwrap(),
            chains: Chains::of_tag("zz"),
            pins: PinLayout::of_tag("zz", LinkName::new("bgtest0").unwrap()),
            reserve: Reserve { memory_mib: 0, disk_mib: 0 },
            vmm_max_files: 1024,
            vmm: None,
            root_disks: None,
            tool_time_limit: std::time::Duration::from_secs(5),
            vmm_call_limit: std::time::Duration::from_secs(5),
        };
        let host = host(&config).unwrap();
        let pid = std::process::id();
        let jail = JailId::new(format!("0191e0a0-0000-7000-8000-{pid:08x}{n:04x}")).unwrap();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
        let mount = mount.and_then(|line| line.split(' ').nth(1)).expect("needs control groups v2");
        let group = Path::new(mount).join(parent).join(jail.as_str());
        Self { temp, host, jail, group }
    }

    /// Waits until a process has become its program: then it is what is looked for by name.
    async fn until_called(&self, child: &Ended, name: &str) {
        let seen = async || self.host.processes.observe(pid_of(child)).await.unwrap();
        while seen().await.is_none_or(|process| process.comm != name) {
            tokio::task::yield_now().await;
        }
    }

    async fn is_listed(&self, child: &Ended, name: &str) -> bool {
        let all = self.host.processes.list(name).await.unwrap();
        all.into_iter().any(|process| process.pid == pid_of(child))
    }

    async fn find(&self, remembered: Option<&ProcessIdentity>) -> Liveness {
        let table = ProcessTable::read(&*self.host.processes).await.unwrap();
        let search = Search {
            jail: &self.jail,
            user: Some(200_002),
            boot_id: BOOT,
            remembered,
            table: Some(&table),
        };
        vm_alive(&self.host, search).await
    }
}

/// Nothing is left also when the test fails.
impl Drop for Ground {
    fn drop(&mut self) {
        let _ = std::fs::write(self.group.join("cgroup.kill"), "1");
        for _ in 0..100 {
            if !self.group.exists() || std::fs::remove_dir(&self.group).is_ok() {
                break;
            }
            std::thread::yield_now();
        }
        let _ = self.group.parent().map(std::fs::remove_dir);
    }
}

const BOOT: &str = "this one";

/// Ended also when the test fails.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "programs to be looked at")]
fn start(program: &Path, arguments: &[&str], user: u32) -> Ended {
    let mut command = Command::new(program);
    command.args(arguments).uid(user).gid(user).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    Ended(command.spawn().unwrap())
}

fn pid_of(child: &Ended) -> Pid {
    Pid::new(child.0.id()).unwrap()
}

#[tokio::test]
async fn priv_a_vmm_that_was_taken_over_is_ours_whatever_it_does_and_ends_with_all_it_started() {
    let ground = Ground::new(1);
    let spec = JailSpec {
        id: ground.jail.clone(),
        vmm: VmmKind::Firecracker,
        uid: 200_002,
        files: Vec::new(),
        devices: Vec::new(),
        bounds: Default::default(),
    };
    ground.host.jails.ensure(&spec).await.unwrap();
    let program = ground.temp.path().join("firecracker");
    symlink("/usr/bin/python3", &program).unwrap();
    let id = ground.jail.to_string();
    let mut vmm = start(&program, &["-c", TAKEN_OVER, "--id", &id], 0);
    std::fs::write(ground.group.join("cgroup.procs"), vmm.0.id().to_string()).unwrap();
    let mut says = BufReader::new(vmm.0.stdout.take().unwrap()).lines();
    let mut told: ChildStdin = vmm.0.stdin.take().unwrap();
    let pid = pid_of(&vmm);
    let start_ticks = ground.host.processes.started(pid).await.unwrap().unwrap().start_ticks;
    let identity = ProcessIdentity { pid, start_ticks, boot_id: BOOT.to_owned() };

    for word in ["rename", "fork", "fork", "chroot", "lead"] {
        writeln!(told, "{word}").unwrap();
        assert_eq!(says.next().unwrap().unwrap(), "done");
        if word == "lead" {
            // The kernel says so a moment after the thread has said it would.
            let zombie = || {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
                stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
            };
            while !zombie() {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(ground.find(Some(&identity)).await, Liveness::Alive(identity.clone()), "{word}");
        // And to an agent that has lost its hints.
        assert_eq!(ground.find(None).await, Liveness::Alive(identity.clone()), "{word}");
    }
    let members = ground.host.jails.members(&ground.jail).await.unwrap();
    assert_eq!(members.len(), 3, "it and two children: {members:?}");
    let busy = ground.host.jails.remove(&ground.jail).await.unwrap_err();
    assert_eq!(busy.kind, crate::host::HostErrorKind::Busy);

    assert_eq!(ground.host.jails.end_members(&ground.jail).await.unwrap(), Change::Made);
    assert_eq!(ground.host.jails.end_members(&ground.jail).await.unwrap(), Change::AlreadySo);
    vmm.0.wait().unwrap();
    for member in members {
        let seen = ground.host.processes.started(member).await.unwrap();
        assert!(seen.is_none_or(|process| process.zombie), "{member} lives: {seen:?}");
    }
    assert!(matches!(ground.find(Some(&identity)).await, Liveness::Dead(_)));
    assert_eq!(ground.host.jails.remove(&ground.jail).await.unwrap(), Change::Made);
    assert_eq!(ground.host.jails.observe(&ground.jail).await.unwrap(), None);
    assert!(!ground.group.exists());
}

#[tokio::test]
async fn priv_a_local_user_with_the_name_socket_and_id_of_a_vm_is_nobody() {
    const NOBODY: u32 = 65_534;
    let ground = Ground::new(2);
    let socket = ground.host.jails.api_socket_path(&ground.jail).to_string_lossy().into_owned();
    let id = ground.jail.to_string();
    for name in ["firecracker", "jailer"] {
        let program = ground.temp.path().join(name);
        std::fs::copy("/bin/sh", &program).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let arguments = ["-c", "read line", "sh", "--api-sock", &socket, "--id", &id];
        let forger = start(&program, &arguments, NOBODY);
        ground.until_called(&forger, name).await;
        let found = ground.find(None).await;
        let nobody = matches!(found, Liveness::Dead(_) | Liveness::SomebodyElses { .. });
        assert!(nobody, "{name}: {found:?}");
        drop(forger);
        // The very same by root is listened to: it is the user that tells.
        let ours = start(&program, &arguments, 0);
        let found = async || ground.find(None).await;
        while matches!(found().await, Liveness::Dead(_)) {
            tokio::task::yield_now().await;
        }
        match found().await {
            Liveness::Alive(identity) => assert_eq!(identity.pid, pid_of(&ours)),
            Liveness::CannotTell(WhyUnclear::StillTheJailer { pid }) => {
                assert_eq!((name, pid), ("jailer", pid_of(&ours)));
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn priv_of_strangers_who_are_called_as_vmms_nothing_is_read_and_nobody_of_ours_is_missed() {
    const IN_JAIL: &str = r#"
import os, sys, time
os.chroot(sys.argv[1])
os.setresuid(65534, 65534, 65534)
print("done", flush=True)
while True:
    time.sleep(600)
"#;
    let ground = Ground::new(3);
    let program = ground.temp.path().join("firecracker");
    std::fs::copy("/bin/sh", &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let id = ground.jail.to_string();
    let many = vec![""; 300];
    let mut arguments = vec!["-c", "read line", "sh", "--id", &id];
    arguments.extend(many);
    for (user, ours) in [(0, true), (200_002, true), (200_016, false), (65_534, false)] {
        let child = start(&program, &arguments, user);
        ground.until_called(&child, "firecracker").await;
        assert_eq!(ground.is_listed(&child, "firecracker").await, ours, "user {user}");
        let seen = ground.host.processes.observe(pid_of(&child)).await.unwrap().unwrap();
        assert_eq!(seen.arguments.len(), 64, "of {}", arguments.len());
    }
    // Whoever is in a jail is ours, as whomever it runs: an agent that has lost its claim finds it.
    let root = ground.host.jails.root_path(&ground.jail, VmmKind::Firecracker);
    std::fs::create_dir_all(&root).unwrap();
    std::fs::remove_file(&program).unwrap();
    symlink("/usr/bin/python3", &program).unwrap();
    let root = root.to_string_lossy().into_owned();
    let mut child = start(&program, &["-c", IN_JAIL, &root], 0);
    let mut says = BufReader::new(child.0.stdout.take().unwrap()).lines();
    assert_eq!(says.next().unwrap().unwrap(), "done");
    assert!(ground.is_listed(&child, "firecracker").await);
}

#[tokio::test]
async fn priv_a_local_user_whose_root_directory_answers_nobody_holds_nobody_up() {
    let ground = Ground::new(4);
    let node = ground.temp.path().join("fuse.node");
    // As distributions have it; here only root might open the machine's own.
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    let fuse = rustix::fs::makedev(10, 229);
    let at = rustix::fs::CWD;
    rustix::fs::mknodat(at, &node, rustix::fs::FileType::CharacterDevice, mode, fuse).unwrap();
    std::fs::set_permissions(&node, std::fs::Permissions::from_mode(0o666)).unwrap();
    let base = ground.temp.path().to_string_lossy().into_owned();
    let node = node.to_string_lossy().into_owned();
    let arguments = ["-c", include_str!("mute_root.py"), &node, &base, "firecracker"];
    let mut mute = start(Path::new("/usr/bin/python3"), &arguments, 0);
    let mut says = BufReader::new(mute.0.stdout.take().unwrap()).lines();
    assert_eq!(says.next().expect("a root of his own is made").unwrap(), "done");
    // Were he asked, nobody would answer until he is ended.
    let limit = std::time::Duration::from_secs(20);
    let listed = tokio::time::timeout(limit, ground.is_listed(&mute, "firecracker")).await;
    let found = tokio::time::timeout(limit, ground.find(None)).await;
    let seen = tokio::time::timeout(limit, ground.host.processes.observe(pid_of(&mute))).await;
    drop(mute);
    assert!(listed.is_ok_and(|listed| !listed), "he is a stranger, and is not waited for");
    assert!(matches!(found, Ok(Liveness::Dead(_) | Liveness::SomebodyElses { .. })), "{found:?}");
    let seen = seen.expect("who is looked at by number is not waited for either");
    assert_eq!(seen.unwrap().expect("he lives").user, Some(65_534));
}
