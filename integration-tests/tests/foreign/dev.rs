//! `banger dev` as people have it, with the real programs on simulated hosts.

use std::path::Path;
use std::process::Output;

use banger_integration_tests::programs::{command, ours};

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

    /// `banger dev …` in this set-up; what it printed.
    fn dev(&self, args: &[&str]) -> String {
        let state = self.state().join("dev");
        let state = state.to_str().expect("paths here are text");
        let output = self.command(&[&["dev"], args, &["--state-dir", state]].concat());
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

    /// Names of the hosts that the status shows as online.
    fn online(&self) -> Vec<String> {
        let status: serde_json::Value =
            serde_json::from_str(&self.dev(&["status", "-o", "json"])).expect("it is JSON");
        let processes = status["processes"].as_array().expect("a list").iter();
        let online = processes.filter(|process| process["hostState"] == "ONLINE");
        online.map(|process| process["name"].as_str().expect("a name").to_owned()).collect()
    }

    fn server(&self) -> String {
        let status: serde_json::Value =
            serde_json::from_str(&self.dev(&["status", "-o", "json"])).expect("it is JSON");
        status["server"].as_str().expect("an address").to_owned()
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
    assert!(said.contains("vm create web --image demo --wait"), "{said}");
    let server = dev.server();
    for words in [&["web", "--image", "demo", "--wait"][..], &["other", "--wait"]] {
        let made = dev.command(&[&["--server", &server, "vm", "create"], words].concat());
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{words:?}: {said}");
    }
}
