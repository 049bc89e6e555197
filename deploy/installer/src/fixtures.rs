//! A machine whose services do as their programs say: a program is a text, and its words are what
//! it does when it is started. Files are real, below a directory of the test.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::guests::{Fleet, Guest, Known};
use crate::machine::{Call, Machine, Said};
use crate::settings::Settings;

/// The VM that runs on it.
pub(super) const VM: &str = "01890000-0000-7000-8000-000000000001";

#[derive(Debug, Default)]
pub(super) struct State {
    /// Every call, as somebody would type it.
    pub(super) calls: Vec<String>,
    /// Pid and program of each unit that is active.
    units: BTreeMap<String, (u32, String)>,
    /// Units that end again and again.
    failing: Vec<String>,
    pub(super) guests: Vec<Guest>,
    /// The server can be asked with what this machine knows.
    pub(super) api: bool,
    epoch: u64,
    /// What the agent has told of its VMs.
    reported: bool,
    pids: u32,
    /// Something else runs the machine.
    pub(super) without_systemd: bool,
}

#[derive(Debug)]
pub(super) struct Fake {
    pub(super) dir: tempfile::TempDir,
    pub(super) state: RefCell<State>,
}

impl Fake {
    /// A machine with both services of release 1 and one VM.
    pub(super) fn new() -> Self {
        let fake = Self { dir: tempfile::tempdir().unwrap(), state: RefCell::default() };
        for program in ["banger", "banger-server", "banger-agent"] {
            fake.put(&format!("usr/local/bin/{program}"), "release 1");
        }
        fake.put("var/lib/banger-server/banger.db", "format 1");
        fake.put("var/lib/banger-agent/identity/host.json", r#"{"host_id": "h"}"#);
        fake.put("etc/banger/server.toml", "# mine\n");
        {
            let mut state = fake.state.borrow_mut();
            state.guests = vec![Guest { vm: VM.to_owned(), pid: 77, start_ticks: 1234 }];
            state.api = true;
            state.pids = 100;
        }
        for unit in ["banger-server.service", "banger-agent.service"] {
            assert!(fake.start(unit).good);
        }
        fake.state.borrow_mut().calls.clear();
        fake
    }

    /// A machine that banger never was on.
    pub(super) fn bare() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("usr/local/bin")).unwrap();
        Self { dir, state: RefCell::default() }
    }

    pub(super) fn disk(&self) -> Disk {
        Disk::pretended(self.dir.path().to_owned())
    }

    pub(super) fn put(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(super) fn text(&self, path: &str) -> String {
        fs::read_to_string(self.dir.path().join(path)).unwrap_or_default()
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.dir.path().join(path).exists()
    }

    /// A directory with another release.
    pub(super) fn release(&self, server: &str, agent: &str) -> PathBuf {
        self.put("new/banger", "release 2");
        self.put("new/banger-server", server);
        self.put("new/banger-agent", agent);
        self.dir.path().join("new")
    }

    /// Whether a unit runs, or is started again and again.
    pub(super) fn starts(&self, unit: &str) -> bool {
        let state = self.state.borrow();
        state.units.contains_key(unit) || state.failing.iter().any(|failing| failing == unit)
    }

    pub(super) fn stop(&self, unit: &str) {
        let mut state = self.state.borrow_mut();
        state.units.remove(unit);
        state.failing.retain(|failing| failing != unit);
    }

    fn start(&self, unit: &str) -> Said {
        self.stop(unit);
        let program = unit.trim_end_matches(".service");
        let does = self.text(&format!("usr/local/bin/{program}"));
        let database = "var/lib/banger-server/banger.db";
        let reads = program != "banger-server"
            || self.text(database) == "format 1"
            || does.contains("release 2");
        if does.contains("crashes") || !reads {
            self.state.borrow_mut().failing.push(unit.to_owned());
            return Said { err: format!("Job for {unit} failed."), ..Said::default() };
        }
        if does.contains("migrates") {
            self.put(database, "format 2");
        }
        let mut state = self.state.borrow_mut();
        state.pids += 1;
        let pid = state.pids;
        if program == "banger-agent" {
            state.epoch += 1;
            state.reported = !does.contains("tells nothing");
            if does.contains("ends VMs") {
                state.guests.clear();
            }
        }
        state.units.insert(unit.to_owned(), (pid, does));
        Said { good: true, ..Said::default() }
    }

    fn show(&self, unit: &str) -> String {
        let state = self.state.borrow();
        let (active, sub, pid) = match state.units.get(unit) {
            Some((pid, _)) => ("active", "running", *pid),
            None if state.failing.iter().any(|f| f == unit) => ("activating", "auto-restart", 0),
            None => ("inactive", "dead", 0),
        };
        format!("LoadState=loaded\nActiveState={active}\nSubState={sub}\nMainPID={pid}\n")
    }
}

impl Machine for Fake {
    fn has_systemd(&self) -> bool {
        !self.state.borrow().without_systemd
    }

    async fn run(&self, call: &Call) -> anyhow::Result<Said> {
        let root = self.dir.path().display().to_string();
        let text = call.text().replace(&root, "");
        let good = Said { good: true, ..Said::default() };
        if call.args.first().is_some_and(|arg| arg == "show") {
            let unit = call.args.last().unwrap();
            return Ok(Said { out: self.show(unit), ..good });
        }
        self.state.borrow_mut().calls.push(text);
        let name = call.program.rsplit('/').next().unwrap();
        let words: Vec<&str> = call.args.iter().map(String::as_str).collect();
        Ok(match (name, &words[..]) {
            ("banger", ["system", "payload"]) => {
                Said { out: serde_json::to_string(&crate::payload::own()).unwrap(), ..good }
            }
            ("banger-agent", ["doctor", ..]) => {
                Said { out: r#"{"usable": true, "checks": []}"#.to_owned(), ..good }
            }
            ("banger-server" | "banger-agent" | "banger", words) => {
                let does = fs::read_to_string(&call.program).unwrap();
                let refuses = does.contains("does not run")
                    || (words[0] == "check-config" && does.contains("is picky"));
                let err = if refuses { "it says no\n".to_owned() } else { String::new() };
                Said { good: !refuses, out: format!("{name} 0.2.0\n"), err }
            }
            ("systemctl" | "systemd-sysusers" | "systemd-tmpfiles" | "systemd-sysctl", _)
                if self.state.borrow().without_systemd =>
            {
                Said {
                    err: "System has not been booted with systemd.".to_owned(),
                    ..Said::default()
                }
            }
            ("systemctl", ["start" | "restart", unit]) => self.start(unit),
            ("systemctl", ["stop", unit]) => {
                self.stop(unit);
                good
            }
            _ => good,
        })
    }

    fn guests(&self, _: &Settings) -> anyhow::Result<Vec<Guest>> {
        Ok(self.state.borrow().guests.clone())
    }

    fn runs(&self, pid: u32, program: &Path) -> Option<bool> {
        let path = program.strip_prefix("/").unwrap();
        let there = self.text(&path.to_string_lossy());
        let state = self.state.borrow();
        state.units.values().find(|(other, _)| *other == pid).map(|(_, does)| *does == there)
    }

    async fn page(&self, address: SocketAddr, path: &str) -> Result<String, String> {
        let unit = match address.port() {
            7071 => "banger-server.service",
            _ => "banger-agent.service",
        };
        let state = self.state.borrow();
        match state.units.get(unit) {
            Some((_, does)) if !does.contains("never ready") => {
                let vms = if state.reported { state.guests.len() } else { 0 };
                Ok(format!(
                    "{path}\nbanger_agent_vms{{phase=\"running\"}} {vms}\nbanger_agent_epoch {}\n",
                    state.epoch
                ))
            }
            _ => Err("connection refused".to_owned()),
        }
    }

    async fn fleet(&self, host_id: &str) -> Result<Fleet, String> {
        assert_eq!(host_id, "h");
        let state = self.state.borrow();
        if !state.api || !state.units.contains_key("banger-server.service") {
            return Err("no token".to_owned());
        }
        let online = state.units.contains_key("banger-agent.service");
        let known = |guest: &Guest| Known {
            name: "web".to_owned(),
            generation: 1,
            state: if state.reported { "RUNNING" } else { "UNKNOWN" }.to_owned(),
            process: state.reported.then_some((guest.pid, guest.start_ticks)),
            exit: None,
        };
        let mut vms: BTreeMap<_, _> =
            state.guests.iter().map(|guest| (guest.vm.clone(), known(guest))).collect();
        vms.entry(VM.to_owned()).or_insert_with(|| Known { generation: 1, ..Known::default() });
        let words = if online { "ONLINE" } else { "OFFLINE" };
        Ok(Fleet { online, state: words.to_owned(), epoch: state.epoch, vms })
    }

    async fn pause(&self) {}
}
