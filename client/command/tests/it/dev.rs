//! Claims about `banger dev` when what it starts does not work. The whole of it, with the real
//! server and agents, is tried in `integration-tests`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use assert_cmd::Command;

/// A directory with `banger` and stand-ins for the programs it starts.
struct Bin {
    dir: tempfile::TempDir,
}

impl Bin {
    fn with(programs: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::copy(env!("CARGO_BIN_EXE_banger"), dir.path().join("banger")).unwrap();
        for (name, script) in programs {
            let path = dir.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { dir }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn run(&self, args: &[&str]) -> (i32, String) {
        let mut command = Command::new(self.dir.path().join("banger"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.dir.path());
        command.arg("dev").args(args).arg("--state-dir").arg(self.state());
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap_or(-1), said)
    }
}

#[test]
fn a_missing_program_is_said_by_name() {
    let bin = Bin::with(&[]);
    let (code, said) = bin.run(&["up", "--simulate"]);
    assert_eq!(code, 1);
    assert_eq!(
        said,
        "error: cannot find banger-server: it is neither beside `banger` nor on PATH\n"
    );
}

#[test]
fn a_server_that_ends_at_once_is_told_with_the_end_of_its_log_and_nothing_is_left() {
    let bin = Bin::with(&[
        ("banger-server", "echo the moon is full >&2; exit 3"),
        ("banger-agent", "exit 0"),
    ]);
    let (code, said) = bin.run(&["up", "--simulate", "--listen", "127.0.0.1:0"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the moon is full"), "{said}");
    assert!(said.contains("server ended on its own; its log is"), "{said}");
    let (code, said) = bin.run(&["down"]);
    assert_eq!(code, 0, "{said}");
    assert!(!bin.state().exists());
}

#[test]
fn a_port_in_use_is_told_before_anything_is_started() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let bin =
        Bin::with(&[("banger-server", "touch \"$HOME/started\""), ("banger-agent", "exit 0")]);
    let (code, said) = bin.run(&["up", "--simulate", "--listen", &address]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("another program uses it; give other ports with --listen"), "{said}");
    assert!(!bin.dir.path().join("started").exists());
}

#[test]
fn a_stale_record_of_a_reused_pid_ends_no_stranger() {
    let bin = Bin::with(&[]);
    fs::create_dir_all(bin.state()).unwrap();
    let me = std::process::id();
    let service = |name: &str, port: u16| {
        serde_json::json!({
            "name": name, "listen": format!("127.0.0.1:{port}"),
            "metrics": format!("127.0.0.1:{}", port + 1), "joined": true,
            "process": {"pid": me, "start_ticks": 1, "boot_id": "another boot"},
        })
    };
    let record = serde_json::json!({
        "version": 1, "simulated": true, "why": "a test",
        "server": service("server", 9), "agents": [service("b0", 11)],
    });
    fs::write(bin.state().join("dev.json"), record.to_string()).unwrap();
    let (code, said) = bin.run(&["status", "-o", "json"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = bin.run(&["down"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("without being asked on a terminal; add --yes"), "{said}");
    let (code, said) = bin.run(&["down", "--yes"]);
    // That this test still runs is the claim.
    assert_eq!(code, 0, "{said}");
    assert!(!bin.state().exists());
}

#[test]
fn what_is_left_on_the_machine_keeps_the_state_that_it_can_be_removed_by() {
    let bin = Bin::with(&[
        ("banger-server", "exit 3"),
        ("banger-agent", "echo 'error: 3 objects of VMs are here' >&2; exit 1"),
    ]);
    fs::create_dir_all(bin.state().join("config")).unwrap();
    let service = |name: &str, port: u16| {
        serde_json::json!({
            "name": name, "listen": format!("127.0.0.1:{port}"),
            "metrics": format!("127.0.0.1:{}", port + 1), "joined": true,
        })
    };
    let record = serde_json::json!({
        "version": 1, "simulated": false, "why": "a test",
        "server": service("server", 9), "agents": [service("b0", 11)],
    });
    fs::write(bin.state().join("dev.json"), record.to_string()).unwrap();
    let (code, said) = bin.run(&["down", "--yes", "--force"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("host b0 stays as it is: error: 3 objects of VMs are here"), "{said}");
    assert!(said.contains("then `banger dev down` again"), "{said}");
    assert!(!said.contains("Everything is down"), "{said}");
    assert!(bin.state().join("dev.json").exists());
}

#[test]
fn a_start_that_is_refused_leaves_what_was_in_the_directory() {
    let somebodys = ["config/server.toml", "logs/old", "images/x", "server/ca/ca.key"];
    let doctor = r#"echo '{"usable": false, "checks": []}'"#;
    let refusals: [(&[&str], &str); 3] = [
        (&["up", "--real", "--detach"], "this machine cannot run real guests"),
        (&["up", "--simulate", "--listen", "192.0.2.1:99"], "not a loopback address"),
        (&["down", "--yes"], "Nothing to take down."),
    ];
    for (args, why) in refusals {
        let bin = Bin::with(&[("banger-server", "exit 3"), ("banger-agent", doctor)]);
        let (_, said) = bin.run(args);
        assert!(said.contains(why), "{said}");
        assert!(!bin.state().exists(), "{args:?} made it: {said}");
        for file in somebodys {
            let path = bin.state().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        let (_, said) = bin.run(args);
        assert!(said.contains(why), "{said}");
        for file in somebodys {
            assert_eq!(fs::read_to_string(bin.state().join(file)).unwrap(), file, "{args:?}");
        }
        let count = |dir: PathBuf| fs::read_dir(dir).unwrap().count();
        assert_eq!(count(bin.state()), 4, "{args:?}");
        assert_eq!(count(bin.state().join("config")), 1, "{args:?}");
    }
}
