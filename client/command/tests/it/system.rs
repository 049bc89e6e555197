//! Claims about `banger system` as a command, on a machine that is a directory (`--root`): what is
//! laid down, repeated, kept, replaced and removed. On a machine that runs it is tried in the test
//! host (`integration-tests/testhost`).

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use assert_cmd::Command;

/// A root directory, and beside it directories with releases.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(machine.root()).unwrap();
        machine.release("one", "");
        machine
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Programs with `more` at their end: another release.
    fn release(&self, name: &str, more: &str) -> String {
        let dir = self.dir.path().join(name);
        fs::create_dir(&dir).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_banger"), dir.join("banger")).unwrap();
        for program in ["banger-server", "banger-agent", "banger-guest"] {
            fs::write(dir.join(program), format!("#!/bin/sh\necho {program} 0.1.0\n")).unwrap();
        }
        for program in ["banger", "banger-server", "banger-agent", "banger-guest"] {
            let path = dir.join(program);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
            file.write_all(more.as_bytes()).unwrap();
        }
        dir.display().to_string()
    }

    fn run(&self, args: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_banger"));
        command.env_clear().env("HOME", self.dir.path()).arg("system").args(args);
        let output = command.arg("--root").arg(self.root()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        (
            output.status.code().unwrap_or(-1),
            said.replace(&self.dir.path().display().to_string(), ""),
        )
    }

    fn install(&self, more: &[&str]) -> String {
        let from = self.dir.path().join("one").display().to_string();
        let (code, said) = self.run(&[&["install", "--from", &from], more].concat());
        assert_eq!(code, 0, "{said}");
        said
    }

    /// Every file and link with its mode.
    fn files(&self) -> BTreeMap<String, u32> {
        let mut found = BTreeMap::new();
        walk(&self.root(), &self.root(), &mut found);
        found
    }

    /// Every directory with its mode.
    fn directories(&self) -> BTreeMap<String, u32> {
        let mut found = BTreeMap::new();
        let mut left = vec![self.root()];
        while let Some(dir) = left.pop() {
            let mode = fs::metadata(&dir).unwrap().permissions().mode() & 0o7777;
            found.insert(dir.strip_prefix(self.root()).unwrap().display().to_string(), mode);
            let entries = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap());
            left.extend(entries.filter(|e| e.file_type().unwrap().is_dir()).map(|e| e.path()));
        }
        found
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    fn put(&self, path: &str, text: &str) {
        fs::write(self.root().join(path), text).unwrap();
    }
}

fn walk(root: &Path, dir: &Path, found: &mut BTreeMap<String, u32>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            walk(root, &entry.path(), found);
        } else {
            let path = entry.path().strip_prefix(root).unwrap().display().to_string();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
            found.insert(path, if entry.file_type().unwrap().is_symlink() { 0 } else { mode });
        }
    }
}

#[test]
fn an_installation_is_these_files_and_no_other() {
    let machine = Machine::new();
    insta::assert_snapshot!(machine.install(&[]), @r"
    ok      new       /usr/local/bin/banger
    ok      new       /usr/local/bin/banger-server
    ok      new       /usr/local/bin/banger-agent
    ok      new       /usr/lib/banger/banger-guest
    ok      new       /etc/systemd/system/banger-server.service
    ok      new       /usr/lib/sysusers.d/banger.conf
    ok      new       /etc/banger/server.toml
    ok      new       /etc/systemd/system/banger-agent.service
    ok      new       /etc/systemd/system/banger-guests.slice
    ok      new       /usr/lib/tmpfiles.d/banger.conf
    ok      new       /etc/sysctl.d/60-banger.conf
    ok      new       /usr/lib/udev/rules.d/09-banger.rules
    ok      new       /etc/banger/agent.toml
    ok      enabled banger-server.service, banger-agent.service
    ");
    let files: String =
        machine.files().iter().map(|(path, mode)| format!("{mode:04o} {path}\n")).collect();
    insta::assert_snapshot!(files, @r"
    0644 etc/banger/agent.toml
    0644 etc/banger/server.toml
    0644 etc/sysctl.d/60-banger.conf
    0644 etc/systemd/system/banger-agent.service
    0644 etc/systemd/system/banger-guests.slice
    0644 etc/systemd/system/banger-server.service
    0000 etc/systemd/system/multi-user.target.wants/banger-agent.service
    0000 etc/systemd/system/multi-user.target.wants/banger-server.service
    0755 usr/lib/banger/banger-guest
    0644 usr/lib/sysusers.d/banger.conf
    0644 usr/lib/tmpfiles.d/banger.conf
    0644 usr/lib/udev/rules.d/09-banger.rules
    0755 usr/local/bin/banger
    0755 usr/local/bin/banger-agent
    0755 usr/local/bin/banger-server
    0600 var/lib/banger-system/installed.json
    0600 var/lib/banger-system/lock
    ");
    let shipped = include_str!("../../../../deploy/systemd/banger-agent.service");
    assert_eq!(machine.text("etc/systemd/system/banger-agent.service"), shipped);
}

#[test]
fn installing_again_finds_everything_the_same() {
    let machine = Machine::new();
    machine.install(&[]);
    let files = machine.files();
    let said = machine.install(&[]);
    assert!(!said.contains("new  ") && !said.contains("replace  "), "{said}");
    assert_eq!(machine.files(), files);
}

#[test]
fn a_dry_run_tells_the_plan_and_makes_nothing() {
    let machine = Machine::new();
    let said = machine.install(&["--dry-run", "--only", "server"]);
    insta::assert_snapshot!(said, @r"
    new       /usr/local/bin/banger
    new       /usr/local/bin/banger-server
    new       /usr/lib/banger/banger-guest
    new       /etc/systemd/system/banger-server.service
    new       /usr/lib/sysusers.d/banger.conf
    new       /etc/banger/server.toml
    ");
    assert!(machine.files().is_empty());
}

#[test]
fn one_part_at_a_time_makes_both() {
    let machine = Machine::new();
    machine.install(&["--only", "server"]);
    assert!(!machine.root().join("etc/systemd/system/banger-agent.service").exists());
    machine.install(&["--only", "agent"]);
    let both = machine.files();
    let other = Machine::new();
    other.install(&[]);
    assert_eq!(both, other.files());
}

#[test]
fn changed_configuration_survives_install_update_and_uninstall() {
    let machine = Machine::new();
    machine.install(&[]);
    machine.put("etc/banger/agent.toml", "autonomous = true\n");
    let said = machine.install(&[]);
    assert!(said.contains("keep      /etc/banger/agent.toml (it was changed)"), "{said}");
    let (code, said) = machine.run(&["uninstall", "--yes"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("kept /etc/banger/agent.toml: it was changed"), "{said}");
    let left: Vec<_> = machine.files().into_keys().collect();
    assert_eq!(left, ["etc/banger/agent.toml"]);
    assert_eq!(machine.text("etc/banger/agent.toml"), "autonomous = true\n");
}

#[test]
fn an_uninstall_leaves_the_tree_as_it_was_before_the_install() {
    for there in [&[][..], &["usr/lib", "var/lib", "etc/systemd/system/multi-user.target.wants"]] {
        for purge in [&[][..], &["--purge"]] {
            let machine = Machine::new();
            there.iter().for_each(|dir| fs::create_dir_all(machine.root().join(dir)).unwrap());
            let before = machine.directories();
            machine.install(&["--only", "server"]);
            machine.install(&[]);
            let (code, said) = machine.run(&[&["uninstall", "--yes"], purge].concat());
            assert_eq!((code, machine.files().len()), (0, 0), "{said}");
            assert_eq!(machine.directories(), before);
        }
    }
    // What somebody has put into a directory keeps it.
    let machine = Machine::new();
    machine.install(&[]);
    machine.put("usr/local/bin/mine", "");
    let (code, said) = machine.run(&["uninstall", "--yes"]);
    assert_eq!(code, 0, "{said}");
    let left: Vec<_> = machine.directories().into_keys().collect();
    assert_eq!(left, ["", "usr", "usr/local", "usr/local/bin"]);
}

#[test]
fn a_command_that_is_refused_makes_no_directory() {
    let machine = Machine::new();
    let nothing = machine.directories();
    let empty = machine.dir.path().display().to_string();
    for args in
        [&["install", "--from", &empty][..], &["update", "--from", &empty], &["uninstall", "--yes"]]
    {
        let (code, said) = machine.run(args);
        assert_ne!(code, 0, "{said}");
        assert_eq!(machine.directories(), nothing, "{said}");
    }
}

#[test]
fn another_release_tells_its_own_files_and_replaces_programs() {
    let machine = Machine::new();
    machine.install(&[]);
    machine.put("etc/systemd/system/banger-server.service", "[Unit]\nDescription=mine\n");
    let two = machine.release("two", "# two\n");
    let (code, said) = machine.run(&["update", "--from", &two]);
    assert_eq!(code, 0, "{said}");
    for line in [
        "replace   /usr/local/bin/banger\n",
        "replace   /usr/local/bin/banger-agent\n",
        "replace   /etc/systemd/system/banger-server.service (it was changed: kept as \
         /etc/systemd/system/banger-server.service.old)",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    assert!(machine.text("usr/local/bin/banger-agent").ends_with("# two\n"));
    assert!(machine.text("etc/systemd/system/banger-server.service.old").contains("mine"));
}

#[test]
fn what_was_not_installed_is_neither_updated_nor_uninstalled() {
    let machine = Machine::new();
    let two = machine.release("two", "# two\n");
    let (code, said) = machine.run(&["update", "--from", &two]);
    assert_eq!((code, said.contains("`banger system install` comes first")), (2, true), "{said}");
    let (code, said) = machine.run(&["uninstall", "--yes"]);
    assert_eq!((code, said.contains("has laid down nothing here")), (2, true), "{said}");
}

#[test]
fn vms_that_are_kept_forbid_a_purge() {
    let machine = Machine::new();
    machine.install(&[]);
    let vm = "var/lib/banger-agent/vms/01890000-0000-7000-8000-000000000001";
    fs::create_dir_all(machine.root().join(vm)).unwrap();
    let before = machine.files();
    let (code, said) = machine.run(&["uninstall", "--purge", "--yes"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("/var/lib/banger-agent has the disks of 1 VM"), "{said}");
    assert_eq!(machine.files(), before);
    fs::remove_dir(machine.root().join(vm)).unwrap();
    let (code, said) = machine.run(&["uninstall", "--purge", "--yes"]);
    assert_eq!(code, 0, "{said}");
    assert!(machine.files().is_empty(), "{:?}", machine.files());
    assert!(!machine.root().join("var/lib/banger-agent").exists());
}

#[test]
fn a_release_with_a_program_missing_is_refused_before_anything_is_done() {
    let machine = Machine::new();
    let two = machine.release("two", "");
    fs::remove_file(Path::new(&two).join("banger-agent")).unwrap();
    let (code, said) = machine.run(&["install", "--from", &two]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("/two has no program banger-agent: give --from"), "{said}");
    assert!(!machine.root().join("usr").exists());
}

#[test]
fn programs_read_one_object() {
    let machine = Machine::new();
    let said = machine.install(&["-o", "json"]);
    let value: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&value["action"], &value["ok"]), (&"install".into(), &true.into()));
    assert!(value["steps"].as_array().unwrap().len() > 10, "{value:#}");
}

#[test]
fn a_release_without_a_guest_agent_is_taken_and_leaves_one_that_is_there() {
    let machine = Machine::new();
    machine.install(&[]);
    let two = PathBuf::from(machine.release("two", "# two\n"));
    fs::remove_file(two.join("banger-guest")).unwrap();
    let (code, said) = machine.run(&["install", "--from", &two.display().to_string()]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("same      /usr/lib/banger/banger-guest"), "{said}");
    let other = Machine::new();
    let from = other.dir.path().join("one");
    fs::remove_file(from.join("banger-guest")).unwrap();
    let said = other.install(&[]);
    assert!(said.contains("has no banger-guest, the guest agent"), "{said}");
}

#[test]
fn how_things_stand_is_told_to_anybody_with_what_only_root_can_see() {
    use std::os::unix::process::CommandExt as _;
    let machine = Machine::new();
    machine.install(&[]);
    let is_root = rustix::process::geteuid().is_root();
    let set = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    set(machine.dir.path(), 0o755);
    // Root's alone, as it is laid down. Whoever made it is kept out of it by another mode.
    let record = machine.root().join("var/lib/banger-system");
    set(&record, if is_root { 0o700 } else { 0 });
    let root = machine.root().display().to_string();
    for (args, words) in [(&["--root", &root][..], "only root can see"), (&[], "")] {
        #[expect(clippy::disallowed_methods, reason = "assert_cmd becomes nobody else")]
        let mut command = std::process::Command::new(machine.dir.path().join("one/banger"));
        command.env_clear().args(["system", "status"]).args(args);
        if is_root {
            command.uid(65_534).gid(65_534);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {said}");
        assert!(said.contains(words) && !said.contains("changes the machine"), "{args:?}: {said}");
    }
    set(&record, 0o700);
    let (code, said) = machine.run(&["status"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("banger-server") && !said.contains("only root"), "{said}");
}
