//! A machine's agent with its VMs, in a temporary directory; VMMs and strangers are programs that
//! run.

use super::*;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

const VM: &str = "01890000-0000-7000-8000-000000000001";
const OTHER: &str = "01890000-0000-7000-8000-000000000002";
const STRANGER: u32 = 65_534;
const VMM: u32 = 200_002;

/// A VMM in its jail, which has no name and no arguments of one, and a child.
const IN_JAIL: &str = r#"
import os, sys, time
os.chroot(sys.argv[1])
os.chdir("/")
os.setresuid(200002, 200002, 200002)
if os.fork() != 0:
    print("done", flush=True)
while True:
    time.sleep(600)
"#;

/// Ended also when the test fails, with what it has started.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(group) = rustix::process::Pid::from_raw(self.0.id().cast_signed()) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

impl Ended {
    fn guest(&self, vm: &str) -> Guest {
        let stat = Process::new(self.0.id().cast_signed()).unwrap().stat().unwrap();
        Guest { vm: vm.to_owned(), pid: self.0.id(), start_ticks: stat.starttime }
    }
}

struct Ground {
    temp: tempfile::TempDir,
}

impl Ground {
    /// An agent with two VMs that claims `VMM` for its guests.
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        // Strangers, too, have to be able to run what lies in it.
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(temp.path().join("claims")).unwrap();
        let claim = serde_json::json!({
            "tag": "bg", "state_dir": temp.path(), "first_uid": VMM - 2, "uids": 16,
            "subnet": "10.0.0.0/28", "pid": 1,
        });
        fs::write(temp.path().join("claims/bg.json"), claim.to_string()).unwrap();
        Self { temp }
    }

    fn jail(&self, vm: &str) -> PathBuf {
        self.temp.path().join("jails").join(FIRECRACKER).join(vm).join("root")
    }

    fn guests(&self) -> Vec<Guest> {
        let names = [VM, OTHER].map(str::to_owned).to_vec();
        let at = |name: &str| self.temp.path().join(name);
        let share = Share::read(names, &at("jails"), &at("claims"), self.temp.path());
        share.guests(procfs::process::all_processes().unwrap().flatten())
    }

    /// A program that is called as a VMM is and says that it is a VM's, once it runs.
    fn forge(&self, vm: &str, user: u32) -> Ended {
        let program = self.temp.path().join(FIRECRACKER);
        if !program.exists() {
            fs::copy("/bin/sh", &program).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        start(&program, &["-c", "echo done; read line", "sh", "--id", vm], user)
    }
}

/// Starts a program and waits until it has said a line.
#[expect(clippy::disallowed_methods, reason = "programs to be looked at")]
fn start(program: &Path, arguments: &[&str], user: u32) -> Ended {
    let mut command = Command::new(program);
    command.args(arguments).uid(user).gid(user).current_dir("/").process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut started = Ended(command.spawn().unwrap());
    let mut said = String::new();
    BufReader::new(started.0.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "done\n");
    started
}

#[test]
fn priv_a_local_user_with_the_name_and_id_of_a_vm_is_no_guest_of_the_machine() {
    let ground = Ground::new();
    let before = ground.forge(VM, STRANGER);
    assert_eq!(ground.guests(), [], "a stranger alone, and no jail");
    let jail = ground.jail(VM);
    fs::create_dir_all(&jail).unwrap();
    assert_eq!(ground.guests(), [], "a stranger beside the jail");
    let jail = jail.to_string_lossy().into_owned();
    let vmm = start(Path::new("/usr/bin/python3"), &["-c", IN_JAIL, &jail], 0);
    let of_the_vm = [vmm.guest(VM)];
    assert_eq!(ground.guests(), of_the_vm, "what is in the jail, whatever it says, and no child");
    let after = ground.forge(VM, STRANGER);
    let other = ground.forge(OTHER, STRANGER);
    assert_eq!(ground.guests(), of_the_vm);
    drop((before, after, other));
    assert_eq!(ground.guests(), of_the_vm);
    drop(vmm);
    assert_eq!(ground.guests(), []);
}

/// A local user whose root directory stops answering: the agent's tests have the same.
const MUTE_ROOT: &str = include_str!("../../../../../agent/src/jail/process/tests/mute_root.py");

#[test]
fn priv_a_local_user_whose_root_directory_answers_nobody_holds_nothing_up() {
    let ground = Ground::new();
    fs::create_dir_all(ground.jail(VM)).unwrap();
    let node = ground.temp.path().join("fuse.node");
    // As distributions have it; here only root might open the machine's own.
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, &node, kind, mode, makedev(10, 229)).unwrap();
    fs::set_permissions(&node, fs::Permissions::from_mode(0o666)).unwrap();
    let [node, base] = [&node, ground.temp.path()].map(|path| path.to_string_lossy().into_owned());
    let arguments = ["-c", MUTE_ROOT, &node, &base, FIRECRACKER];
    let mute = start(Path::new("/usr/bin/python3"), &arguments, 0);
    let (told, guests) = std::sync::mpsc::channel();
    let looking = std::thread::spawn(move || told.send(ground.guests()));
    // Were he asked, nobody would answer until he is ended.
    let guests = guests.recv_timeout(std::time::Duration::from_secs(20));
    drop(mute);
    looking.join().unwrap().unwrap();
    assert_eq!(guests, Ok(Vec::new()), "he is a stranger");
}

#[test]
fn priv_where_a_jail_is_gone_root_and_the_agents_own_users_are_believed() {
    for (user, is_believed) in [(0, true), (VMM, true), (VMM + 16, false), (STRANGER, false)] {
        let ground = Ground::new();
        let process = ground.forge(VM, user);
        let expected: Vec<_> = is_believed.then(|| process.guest(VM)).into_iter().collect();
        assert_eq!(ground.guests(), expected, "user {user}");
        // A VMM that was taken over and names another VM is none of that.
        fs::create_dir_all(ground.jail(VM)).unwrap();
        assert_eq!(ground.guests(), [], "user {user}, outside of the jail");
    }
}

#[test]
fn a_process_that_is_no_vmm_is_no_guest() {
    let me = Process::myself().unwrap();
    assert_eq!(Share::default().guest(&me), None);
}

#[test]
fn users_are_those_of_the_agents_own_claim_and_of_its_earlier_ones() {
    let temp = tempfile::tempdir().unwrap();
    let state_dir = Path::new("/var/lib/banger-agent");
    assert_eq!(users(&temp.path().join("none"), state_dir), []);
    let claim = |state: &str, first: u32| {
        serde_json::json!({
            "state_dir": state, "first_uid": first, "uids": 16, "earlier": [[first + 100, 4]],
        })
    };
    let write = |name: &str, text: &str| fs::write(temp.path().join(name), text).unwrap();
    write("bg.json", &claim("/var/lib/banger-agent", 1000).to_string());
    write("zz.json", &claim("/elsewhere", 2000).to_string());
    write("bad.json", "{");
    write("bg.new", &claim("/var/lib/banger-agent", 3000).to_string());
    assert_eq!(users(temp.path(), state_dir), [1000..1016, 1100..1104]);
}

#[test]
fn both_vmms_tell_their_vm_and_a_foreign_one_tells_none() {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let firecracker = words(&format!("/firecracker --id {VM} --start-time-us 1"));
    assert_eq!(jail_of("firecracker", &firecracker), Some(VM));
    let qemu = words(&format!("qemu-system-x86_64 -S -name banger-{VM} -m 128M"));
    assert_eq!(jail_of("qemu-system-x86", &qemu), Some(VM));
    let foreign = words("qemu-system-x86_64 -name mine -m 128M");
    assert_eq!(jail_of("qemu-system-x86", &foreign), None);
    assert_eq!(jail_of("bash", &firecracker), None);
}
