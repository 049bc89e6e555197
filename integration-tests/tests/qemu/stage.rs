//! The stage of a real guest: a network, a state directory, images, and `banger dev` on it.
//!
//! What can go wrong: a program is missing, which is said; a step takes too long, then the panic
//! has the logs. Whatever happens, `banger dev down` runs at the end.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use banger_integration_tests::programs::{command, ours};
use banger_testhost::host::demo::{Demo, FILES};
use serde_json::Value;

use super::machine;

/// How long anything may take: guests are emulated, and the machine is busy with other tests.
const LIMIT: Duration = Duration::from_secs(120);

/// The name servers of the machine in a test, which guests are told without being configured:
/// documentation addresses (RFC 5737), where nobody answers.
pub(crate) const DNS: [&str; 2] = ["192.0.2.53", "192.0.2.54"];

/// What the demo guest is made from, there before the test cuts itself off from every network.
pub(crate) fn demo() -> Demo {
    Demo::ready().unwrap_or_else(|why| panic!("no demo guest: {why}"))
}

/// Kernel, initial RAM disk and root file system of the demo guest, kept beside the build.
pub(crate) fn make_images() -> PathBuf {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest-images");
    let made = demo().images(&ours("banger"), &cache);
    made.unwrap_or_else(|why| panic!("no demo guest: {why}"));
    cache
}

/// Runs a test on a thread with a network of its own and other name servers, which its processes
/// inherit.
pub(crate) fn in_network_of_its_own(test: impl FnOnce() + Send + 'static) {
    in_network_with(|| {
        // An uplink that leads nowhere.
        tool("ip", &["tuntap", "add", "up0", "mode", "tap"]);
        uplink();
        test();
    });
}

/// The machine's uplink is there: it gets documentation addresses (RFC 5737).
pub(crate) fn uplink() {
    for words in [
        "addr add 192.0.2.2/24 dev up0",
        "link set up0 up",
        "route add default via 192.0.2.1 dev up0",
    ] {
        tool("ip", &words.split(' ').collect::<Vec<_>>());
    }
}

/// As [`in_network_of_its_own`], without an uplink.
pub(crate) fn in_network_with(test: impl FnOnce() + Send + 'static) {
    use nix::sched::CloneFlags;
    let run = std::thread::spawn(|| {
        nix::sched::unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .expect("root may make namespaces");
        tool("mount", &["--make-rprivate", "/"]);
        let resolvers = tempfile::NamedTempFile::new().expect("a file can be made");
        let text = DNS.map(|server| format!("nameserver {server}\n")).concat();
        std::fs::write(resolvers.path(), text).expect("it can be written");
        let file = resolvers.path().to_str().expect("paths here are text");
        tool("mount", &["--bind", file, "/etc/resolv.conf"]);
        tool("ip", &["link", "set", "lo", "up"]);
        test();
    });
    if let Err(panic) = run.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a tool that must succeed.
pub(crate) fn tool(name: &str, args: &[&str]) -> String {
    let output = command(Path::new(name)).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{name}: {error}; run .ci/tools.sh test"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{name} {args:?}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

/// Waits until there is an answer.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(last) if begun.elapsed() > LIMIT => panic!("{what}: not within {LIMIT:?}; {last}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// An id of a VM, and so the name of its directory and its jail, in bytes.
const VM_ID_LENGTH: usize = 36;

/// A state directory with a server and one host.
pub(crate) struct Stage {
    temp: tempfile::TempDir,
    /// Above the guests' control groups, which are not in the directory.
    cgroups: String,
}

impl Stage {
    /// With images in place, if there are any, and the host's configuration written; nothing runs
    /// yet. `name` keeps tests apart, `config` goes to the end of the configuration.
    pub(crate) fn new(name: &str, cache: Option<&Path>, config: &str) -> Self {
        // Beside the build: there is room, and device nodes are allowed.
        let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let temp = tempfile::tempdir_in(place).expect("a directory can be made");
        let stage = Self { temp, cgroups: format!("banger-test-{name}") };
        if let Some(cache) = cache {
            let images = stage.agent().join("images");
            std::fs::create_dir_all(&images).expect("it can be made");
            for image in FILES {
                std::fs::hard_link(cache.join(image), images.join(image)).expect("one file system");
            }
        }
        let cgroups = &stage.cgroups;
        stage.configure(
            "b0",
            &format!("vmm = \"qemu\"\n[guests]\ncgroup_parent = \"{cgroups}\"\n{config}"),
        );
        stage
    }

    /// Writes the configuration of `server` or a host, before it starts.
    pub(crate) fn configure(&self, whose: &str, text: &str) {
        let dir = self.state().join("config");
        std::fs::create_dir_all(&dir).expect("it can be made");
        std::fs::write(dir.join(format!("{whose}.toml")), text).expect("it can be written");
    }

    /// Starts everything, and prints which VMM runs guests here.
    pub(crate) fn up_and_say(&self) {
        self.up();
        let host = self.json(&["host", "get", "b0"]);
        let vmm = host["status"]["vmm"].as_str().expect("the host says what it runs");
        assert!(vmm.starts_with("qemu "), "{vmm}");
        println!("vmm: {vmm}");
    }

    fn state(&self) -> PathBuf {
        self.temp.path().join("dev")
    }

    fn agent(&self) -> PathBuf {
        self.state().join("agents/b0")
    }

    /// The root of a jail for QEMU.
    pub(crate) fn jail_root(&self, id: &str) -> PathBuf {
        self.agent().join("jails/qemu").join(id).join("root")
    }

    /// A file of a VM's scratch directory.
    pub(crate) fn vm_file(&self, id: &str, name: &str) -> PathBuf {
        self.agent().join("vms").join(id).join(name)
    }

    fn dev(&self, words: &[&str]) -> Result<String, String> {
        let output = command(&ours("banger"))
            .args(["dev", words[0]])
            .arg("--state-dir")
            .arg(self.state())
            .args(&words[1..])
            .output()
            .expect("banger can be started");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(said) } else { Err(said + &complaint) }
    }

    /// Starts what does not run.
    pub(crate) fn up(&self) {
        // Several stages may be in one network; what was up before keeps its address.
        let anew = !self.state().join("dev.json").exists();
        let listen: &[&str] = if anew { &["--listen", "127.0.0.1:0"] } else { &[] };
        if let Err(words) = self.dev(&[&["up", "--real", "--detach"], listen].concat()) {
            panic!("banger dev up: {words}{}", self.agent_log());
        }
    }

    /// Stops and removes everything. What was there before the start stays: the host's
    /// configuration, and its directory where images were put into it; nothing of a VM is in that.
    pub(crate) fn down(&self) {
        let tag = self.tag();
        // The claim at least; the bridge comes with the first guest, chains and tables go with the
        // last.
        let there = machine::of_instance(&tag);
        assert!(!there.is_empty(), "the claim is there, at least");
        if let Err(words) = self.dev(&["down", "--yes"]) {
            panic!("banger dev down: {words}{}", self.agent_log());
        }
        assert_eq!(
            machine::of_instance(&tag),
            Vec::<String>::new(),
            "of the machine's network, or the claim"
        );
        for place in ["dev.json", "made.json", "server", "logs"] {
            assert!(!self.state().join(place).exists(), "{place} is still there");
        }
        for place in ["vms", "jails/qemu", "jails/firecracker"] {
            let left = std::fs::read_dir(self.agent().join(place)).into_iter().flatten();
            let left = left.map(|entry| entry.expect("it can be read").file_name());
            // Beside them the agent keeps the room that it needs on a full disk.
            let left: Vec<_> = left.filter(|name| name.len() == VM_ID_LENGTH).collect();
            assert!(left.is_empty(), "{place}: {left:?}");
        }
        assert!(self.state().join("config/b0.toml").exists(), "it was there before");
        std::fs::remove_dir_all(self.state()).expect("nothing is mounted there");
    }

    pub(crate) fn agent_log(&self) -> String {
        std::fs::read_to_string(self.state().join("logs/b0.log")).unwrap_or_default()
    }

    /// `banger`, which asks the stage's server.
    pub(crate) fn command(&self) -> Command {
        let mut banger = command(&ours("banger"));
        banger.env("BANGER_SERVER", self.server());
        banger
    }

    /// Where the stage's server is asked.
    pub(crate) fn server(&self) -> String {
        let listen = self.record()["server"]["listen"].as_str().expect("an address").to_owned();
        format!("http://{listen}")
    }

    /// What `banger dev` noted of what it started.
    fn record(&self) -> Value {
        let text = std::fs::read(self.state().join("dev.json")).expect("banger dev has a record");
        serde_json::from_slice(&text).expect("it is JSON")
    }

    /// Runs `banger` against the stage's server.
    pub(crate) fn banger(&self, args: &[&str]) -> String {
        let output = self.command().args(args).output().expect("banger can be started");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "banger {args:?}: {said}{}\n---- agent\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.agent_log()
        );
        said
    }

    /// The same, for programs.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let said = self.banger(&[args, &["-o", "json"]].concat());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{args:?}: {error}: {said}"))
    }

    /// Kind, name and state of everything on the host that no VM owns, or of everything there is.
    pub(crate) fn objects(&self, unowned: bool) -> Vec<[String; 3]> {
        let words = ["host", "inventory", "b0", "--unowned"];
        let inventory = self.json(&words[..3 + usize::from(unowned)]);
        let objects = inventory["objects"].as_array().map_or(&[][..], Vec::as_slice);
        let text = |object: &Value, key: &str| object[key].as_str().unwrap_or_default().to_owned();
        objects.iter().map(|o| ["kind", "name", "state"].map(|key| text(o, key))).collect()
    }

    /// Whether the guest answers one ping.
    pub(crate) fn answers(&self, address: &str) -> bool {
        let ping = ["ping", "-c", "1", "-W", "1", address];
        let output = command(Path::new("busybox")).args(ping).output();
        output.expect("busybox can be started; run .ci/tools.sh test").status.success()
    }

    /// Waits until it does.
    pub(crate) fn until_it_answers(&self, address: &str, id: &str) {
        until("the guest answers a ping", || {
            if self.answers(address) { Ok(()) } else { Err(self.console(id)) }
        });
    }

    /// What the guest printed.
    pub(crate) fn console(&self, id: &str) -> String {
        let bytes = std::fs::read(self.vm_file(id, "console.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until it printed something.
    pub(crate) fn until_console(&self, id: &str, holds: impl Fn(&str) -> bool) {
        until("the guest printed it", || {
            let text = self.console(id);
            if holds(&text) { Ok(()) } else { Err(text) }
        });
    }

    /// Types a command into the guest's console by `banger vm console`, and waits until the answer
    /// is seen there.
    pub(crate) fn type_and_see(&self, vm: &str, typed: &str, answer: &str) {
        let mut console = self
            .command()
            .args(["vm", "console", vm, "--tail", "0"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("banger can be started");
        let mut keys = console.stdin.take().expect("it has one");
        let screen = console.stdout.take().expect("it has one");
        let (send, shown) = std::sync::mpsc::channel();
        let reading = std::thread::spawn(move || {
            for byte in std::io::BufReader::new(screen).bytes() {
                if byte.map(|byte| send.send(byte)).is_err() {
                    return;
                }
            }
        });
        keys.write_all(format!("\n{typed}\n").as_bytes()).expect("it reads");
        let mut text = Vec::new();
        until("the guest answers on its console", || {
            text.extend(shown.try_iter());
            let text = String::from_utf8_lossy(&text).into_owned();
            if text.contains(answer) { Ok(()) } else { Err(text) }
        });
        // Ours, and not waited for before.
        console.kill().expect("it runs");
        console.wait().expect("it was started");
        reading.join().expect("no panic");
    }

    /// The agent's pid, as `banger dev` noted it.
    pub(crate) fn agent_pid(&self) -> i32 {
        let pid = self.record()["agents"][0]["process"]["pid"].as_i64().expect("the agent runs");
        i32::try_from(pid).expect("pids fit")
    }

    /// Starts another agent of the same tag, with its state elsewhere, to its end; what it said.
    pub(crate) fn second_agent(&self) -> String {
        let elsewhere = self.scratch("elsewhere");
        let identity = elsewhere.join("identity");
        std::fs::create_dir_all(&identity).expect("it can be made");
        for file in std::fs::read_dir(self.agent().join("identity")).expect("it has joined") {
            let file = file.expect("it can be read");
            std::fs::copy(file.path(), identity.join(file.file_name())).expect("copied");
        }
        let output = command(&ours("banger-agent"))
            .args(["run", "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0"])
            .arg("--config")
            .arg(self.state().join("config/b0.toml"))
            .arg("--state-dir")
            .arg(&elsewhere)
            .arg("--runtime-dir")
            .arg(elsewhere.join("run"))
            .args(["--instance", &self.tag()])
            .output()
            .expect("banger-agent can be started");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(!output.status.success(), "it was let in: {said}");
        said
    }

    /// The agent's instance tag: one that nothing on the machine had.
    pub(crate) fn tag(&self) -> String {
        self.record()["agents"][0]["tag"].as_str().expect("it has one").to_owned()
    }

    /// Waits until a process is gone, or is a zombie that its parent has yet to reap.
    pub(crate) fn until_dead(&self, pid: i32) {
        until("the process is dead", || {
            match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
                Ok(stat) if !stat.contains(") Z ") => Err(stat),
                Ok(_) | Err(_) => Ok(()),
            }
        });
    }

    /// Waits until the new life of the agent says that it took a VM over.
    pub(crate) fn until_adopted(&self, vm: &str) {
        until("the VM is adopted", || {
            let vm = self.json(&["vm", "get", vm]);
            let adopted = vm["status"]["adoptedAt"].is_string();
            let running = vm["status"]["state"] == "VM_STATE_RUNNING";
            if adopted && running { Ok(()) } else { Err(vm["status"].to_string()) }
        });
    }

    /// A path in the stage's own directory, outside of the state.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// Waits until the agent reaches a VM's guest agent.
    pub(crate) fn until_connected(&self, vm: &str) {
        until("the guest agent is reached", || {
            let vm = self.json(&["vm", "get", vm]);
            match vm["status"]["guest"]["connected"] == true {
                true => Ok(()),
                false => Err(vm["status"].to_string() + &self.agent_log()),
            }
        });
    }

    /// What is there of a VM, by kind.
    pub(crate) fn left_of(&self, id: &str) -> Vec<String> {
        let mut left = Vec::new();
        let name = format!("banger-{id}");
        for entry in std::fs::read_dir("/proc").expect("there is /proc").flatten() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if line.split(|byte| *byte == 0).any(|word| word == name.as_bytes()) {
                left.push(format!("process {:?}", entry.file_name()));
            }
        }
        for path in [
            self.agent().join("vms").join(id),
            self.agent().join("jails/qemu").join(id),
            self.agent().join("run").join(format!("{id}.sock")),
        ] {
            if std::fs::symlink_metadata(&path).is_ok() {
                left.push(path.display().to_string());
            }
        }
        let tag = self.tag();
        let ours = format!(" {tag}-");
        let links = tool("ip", &["-o", "link"]);
        left.extend(links.lines().filter(|line| line.contains(&ours)).map(str::to_owned));
        // Those of the test's thread: see `in_network_of_its_own`.
        let mounts = std::fs::read_to_string("/proc/thread-self/mounts").expect("there are mounts");
        left.extend(mounts.lines().filter(|line| line.contains(id)).map(str::to_owned));
        for mount in mounts.lines().filter(|line| line.split(' ').nth(2) == Some("cgroup2")) {
            let mount = mount.split(' ').nth(1).unwrap_or_default();
            let group = Path::new(mount).join(&self.cgroups).join(&tag).join(id);
            if group.exists() {
                left.push(group.display().to_string());
            }
        }
        left
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Guests and agents of a test that failed must not outlive it.
        if self.state().exists() {
            if std::thread::panicking() {
                eprintln!("---- agent\n{}", self.agent_log());
            }
            if let Err(words) = self.dev(&["down", "--yes", "--force"]) {
                eprintln!("banger dev down: {words}");
            }
        }
        // Above the guests' group, which is gone with them.
        for mount in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
            let _ = std::fs::remove_dir(Path::new(mount).join(&self.cgroups));
        }
    }
}
