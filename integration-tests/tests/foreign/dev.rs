//! `banger dev` as people have it, with the real programs on simulated hosts.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use banger_integration_tests::programs::{command, ours};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A set-up in a directory of its own, taken down whatever happens.
struct Dev {
    dir: tempfile::TempDir,
}

impl Dev {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory can be made") }
    }

    fn state(&self) -> &Path {
        self.dir.path()
    }

    fn command(&self, args: &[&str]) -> Output {
        let mut command = command(&ours("banger"));
        command.env("HOME", self.dir.path()).args(args);
        command.output().expect("banger can be started")
    }

    /// `banger dev …` in this set-up, to be started.
    fn dev_command(&self, args: &[&str]) -> Command {
        let mut command = command(&ours("banger"));
        command.env("HOME", self.dir.path()).arg("dev").args(args);
        command.arg("--state-dir").arg(self.state().join("dev"));
        command
    }

    /// `banger dev …` in this set-up; what it printed.
    fn dev(&self, args: &[&str]) -> String {
        let output = self.dev_command(args).output().expect("banger can be started");
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.status.success(), "{args:?}: {said}");
        said
    }

    fn up(&self, hosts: &str) -> String {
        let listen = ["--listen", "127.0.0.1:0"];
        let first = !self.state().join("dev/dev.json").exists();
        let words = ["up", "--simulate", "--detach", "--hosts", hosts];
        let args = if first { [&words[..], &listen[..]].concat() } else { words.to_vec() };
        self.dev(&args)
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.dev(&["status", "-o", "json"])).expect("it is JSON")
    }

    /// The process of the server or of a host's agent.
    fn pid(&self, name: &str) -> Pid {
        let status = self.status();
        let mut processes = status["processes"].as_array().expect("a list").iter();
        let found = processes.find(|process| process["name"] == name).expect(name);
        Pid::from_raw(found["pid"].as_i64().and_then(|pid| pid.try_into().ok()).expect("a pid"))
    }

    fn kill(&self, name: &str) {
        kill(self.pid(name), Signal::SIGKILL).expect("it is ours");
    }

    /// Changes what the set-up has on record.
    fn record(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let path = self.state().join("dev/dev.json");
        let text = std::fs::read(&path).expect("there is a record");
        let mut record = serde_json::from_slice(&text).expect("it is JSON");
        change(&mut record);
        std::fs::write(&path, record.to_string()).expect("written");
    }

    /// Servers and agents that live with their state in this set-up.
    fn alive(&self) -> usize {
        let state = self.state().join("dev/");
        let state = state.to_str().expect("paths here are text");
        let entries = std::fs::read_dir("/proc").expect("readable").flatten();
        let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        lines.filter(|line| String::from_utf8_lossy(line).contains(state)).count()
    }

    /// Names of the hosts that the status shows as online.
    fn online(&self) -> Vec<String> {
        let status = self.status();
        let processes = status["processes"].as_array().expect("a list").iter();
        let online = processes.filter(|process| process["hostState"] == "ONLINE");
        online.map(|process| process["name"].as_str().expect("a name").to_owned()).collect()
    }

    fn server(&self) -> String {
        self.status()["server"].as_str().expect("an address").to_owned()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let state = self.state().join("dev");
        let state = state.to_string_lossy();
        let _ = self.command(&["dev", "down", "--yes", "--force", "--state-dir", &state]);
    }
}

#[test]
fn a_dev_fleet_has_as_many_hosts_as_it_offers_and_its_tips_name_it() {
    let dev = Dev::new();
    let said = dev.up("16");
    let state = dev.state().join("dev").display().to_string();
    assert!(said.contains(&format!("banger dev down --state-dir {state}")), "{said}");
    assert!(!said.contains("Ctrl-C"), "it has returned: {said}");
    assert_eq!(dev.online().len(), 16, "{said}");
}

#[test]
fn a_dev_fleet_forgets_a_host_that_was_removed_and_comes_up_again() {
    let dev = Dev::new();
    dev.up("2");
    let server = dev.server();
    let removed = dev.command(&["--server", &server, "host", "rm", "b0", "--yes"]);
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    let said = dev.up("1");
    assert!(said.contains("Host b0 was removed"), "{said}");
    assert_eq!(dev.online(), ["b1"]);
    dev.up("2");
    assert_eq!(dev.online(), ["b1", "b0"], "its number is free again");
}

#[test]
fn a_dev_fleet_whose_server_knows_a_host_by_an_earlier_id_has_it_join_anew() {
    let dev = Dev::new();
    dev.up("1");
    let copy = dev.state().join("backup.db");
    let state = dev.state().join("dev/server");
    let server = |words: &[&str]| {
        let mut command = command(&ours("banger-server"));
        let output = command.arg("--state-dir").arg(&state).args(words).arg(&copy).output();
        let output = output.expect("banger-server can be started");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    server(&["backup"]);
    let removed = dev.command(&["--server", &dev.server(), "host", "rm", "b0", "--yes"]);
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    dev.up("1");
    dev.dev(&["down", "--keep"]);
    let said = server(&["restore"]);
    assert!(said.contains("knows by an earlier id"), "{said}");
    let said = dev.up("1");
    assert!(said.contains("joins anew"), "{said}");
    assert_eq!(dev.online(), ["b0"]);
}

#[test]
fn a_dev_fleet_of_which_something_or_all_was_killed_comes_up_again() {
    let dev = Dev::new();
    dev.up("2");
    let (server, agent) = (dev.pid("server"), dev.pid("b1"));
    for lost in [&["server"][..], &["b0"], &["server", "b0", "b1"]] {
        lost.iter().for_each(|name| dev.kill(name));
        dev.up("2");
        assert_eq!(dev.online(), ["b0", "b1"], "{lost:?}");
        assert_eq!(dev.alive(), 3, "{lost:?}");
        assert_eq!(dev.pid("b1") == agent, lost.len() == 1, "what lives is left alone: {lost:?}");
    }
    assert_ne!(dev.pid("server"), server);
}

#[test]
fn what_dies_while_dev_up_waits_for_it_is_started_again() {
    let dev = Dev::new();
    dev.up("1");
    let (server, address) = (dev.pid("server"), dev.server());
    let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    // It lives, and says nothing.
    kill(server, Signal::SIGSTOP).expect("it is ours");
    let up = dev.dev_command(&["up", "--simulate", "--detach"]).spawn();
    let mut up = up.expect("banger can be started");
    until("it asks the server", || is_connected(up.id(), port));
    kill(server, Signal::SIGKILL).expect("it is ours");
    assert!(up.wait().expect("it has ended").success());
    assert_ne!(dev.pid("server"), server);
    assert_eq!((dev.online(), dev.alive()), (vec!["b0".to_owned()], 2));
}

/// Whether a process has a connection to a port: a socket of its own in the kernel's table of them
/// (proc_net(5)).
fn is_connected(pid: u32, port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("readable");
    let (to, established) = (format!(":{port:04X}"), "01");
    let sockets = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_one = fields[2].ends_with(&to) && fields[3] == established;
        is_one.then(|| format!("socket:[{}]", fields[9]))
    });
    let sockets: Vec<String> = sockets.collect();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut links = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    links.any(|link| sockets.iter().any(|socket| Path::new(socket) == link))
}

/// Waits until something is so.
fn until(what: &str, is: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_dev_up_that_is_killed_at_any_point_is_followed_by_one_that_comes_up() {
    for point in ["logs/server.log", "dev.json", "agents/b0/identity/agent.key", "logs/b0.log"] {
        let dev = Dev::new();
        let first = ["up", "--simulate", "--listen", "127.0.0.1:0"];
        let mut up = dev.dev_command(&first).spawn().expect("banger can be started");
        until(point, || dev.state().join("dev").join(point).exists());
        up.kill().expect("it is ours");
        up.wait().expect("it has ended");
        let said = dev.up("1");
        assert_eq!(dev.online(), ["b0"], "{point}: {said}");
        assert_eq!(dev.alive(), 2, "one server and one agent, {point}: {said}");
    }
}

#[test]
fn what_was_started_and_never_written_down_is_ended_before_another_is_started() {
    let dev = Dev::new();
    dev.up("1");
    let before = [dev.pid("server"), dev.pid("b0")];
    dev.record(|record| {
        record["server"]["process"] = serde_json::Value::Null;
        record["agents"][0]["process"] = serde_json::Value::Null;
    });
    dev.up("1");
    assert_eq!((dev.online(), dev.alive()), (vec!["b0".to_owned()], 2));
    assert!(!before.contains(&dev.pid("server")) && !before.contains(&dev.pid("b0")));
    dev.record(|record| record["agents"][0]["process"] = serde_json::Value::Null);
    dev.dev(&["down", "--yes"]);
    assert_eq!(dev.alive(), 0);
}

#[test]
fn what_a_killed_dev_down_was_stopping_is_waited_for_and_started_again() {
    let dev = Dev::new();
    dev.up("1");
    let agent = dev.pid("b0");
    // So that it is asked to end, and does not.
    kill(agent, Signal::SIGSTOP).expect("it is ours");
    let mut down = dev.dev_command(&["down", "--keep"]).spawn().expect("banger can be started");
    let record = dev.state().join("dev/dev.json");
    let is_told = || std::fs::read_to_string(&record).is_ok_and(|text| text.contains("stopping"));
    until("it says that it is stopping", is_told);
    down.kill().expect("it is ours");
    down.wait().expect("it has ended");
    kill(agent, Signal::SIGTERM).expect("it is ours");
    kill(agent, Signal::SIGCONT).expect("it is ours");
    dev.up("1");
    assert_ne!(dev.pid("b0"), agent);
    assert_eq!((dev.online(), dev.alive()), (vec!["b0".to_owned()], 2));
}

#[test]
fn a_join_that_was_cut_off_after_the_server_took_the_host_is_made_again() {
    let dev = Dev::new();
    dev.up("1");
    dev.dev(&["down", "--keep"]);
    std::fs::remove_file(dev.state().join("dev/agents/b0/identity/host.json")).expect("removed");
    dev.record(|record| record["agents"][0]["joined"] = false.into());
    let said = dev.up("1");
    assert!(said.contains("joins anew"), "{said}");
    assert_eq!(dev.online(), ["b0"]);
}

#[test]
fn two_dev_fleets_run_beside_each_other_and_one_goes_without_the_other() {
    let (one, two) = (Dev::new(), Dev::new());
    one.up("1");
    two.up("1");
    one.dev(&["down", "--yes"]);
    assert_eq!(two.online(), ["b0"]);
}

#[test]
fn the_first_command_makes_a_vm_on_a_set_up_that_was_only_just_begun() {
    let dev = Dev::new();
    let said = dev.up("1");
    let server = dev.server();
    let made = dev.command(&["--server", &server, "vm", "create", "other", "--wait"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    // The tips, as they are printed: they need no more than a person's shell has.
    let tips = said.lines().map(str::trim).filter(|line| line.starts_with("banger "));
    let tips: Vec<_> = tips.filter(|tip| !tip.ends_with("vm watch")).collect();
    let create = format!("banger --server {server} vm create web --image demo --wait");
    assert!(tips.first() == Some(&&*create) && tips.len() >= 4, "{said}");
    for tip in tips {
        let words: Vec<_> = tip.split(' ').skip(1).collect();
        let done = dev.command(&words);
        assert!(done.status.success(), "{tip}: {}", String::from_utf8_lossy(&done.stderr));
    }
    let simulated = "Simulated: no guests will run, because --simulate was given.";
    assert!(said.contains(simulated), "{said}");
}
