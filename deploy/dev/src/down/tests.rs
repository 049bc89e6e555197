//! What is said at the end is what is there.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::*;
use crate::args::StateDir;
use crate::record::Service;
use crate::share::Share;

/// An agent that writes its arguments beside itself and ends with this code.
fn agent(dir: &std::path::Path, code: i32) -> Programs {
    let path = dir.join("banger-agent");
    let body = format!("#!/bin/sh\necho \"$@\" >> {}/asked\nexit {code}\n", dir.display());
    std::fs::write(&path, body).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    Programs { server: PathBuf::from("/nowhere"), agent: path }
}

fn record() -> Record {
    let address = "127.0.0.1:1".parse().unwrap();
    let service = |name: &str| Service::new(name.to_owned(), address, address);
    let mut record = Record::new(false, String::new(), Share::of_a_simulation(), service("server"));
    for name in ["b0", "b1"] {
        let mut agent = service(name);
        agent.joined = true;
        record.agents.push(agent);
    }
    record
}

#[test]
fn an_agent_is_asked_to_leave_its_own_network_and_what_stays_is_said() {
    let temp = tempfile::tempdir().unwrap();
    let state_dir = Some(temp.path().join("dev"));
    let layout = Layout::of(&StateDir { state_dir }).unwrap();
    layout.begin().unwrap();
    assert_eq!(networks_left(&layout, &agent(temp.path(), 0), &record()), Vec::<String>::new());
    let asked = std::fs::read_to_string(temp.path().join("asked")).unwrap();
    let run = layout.root.join("agents/b1/run");
    assert_eq!(asked.lines().count(), 2, "{asked}");
    assert!(asked.lines().all(|line| line.starts_with("dismantle ")), "{asked}");
    assert!(asked.contains(&format!("--runtime-dir {}", run.display())), "{asked}");

    let left = networks_left(&layout, &agent(temp.path(), 1), &record());
    assert_eq!(left.len(), 2, "{left:?}");
    let words = kept(&layout, &left).message();
    assert!(words.contains("host b0 stays") && words.contains("host b1 stays"), "{words}");
}

#[test]
fn what_is_left_is_named_by_whoever_removes_last() {
    let root = Path::new("/state/dev");
    for rest_follows in [false, true] {
        assert!(ending(root, true, rest_follows).ends_with("/state/dev is removed."));
    }
    assert!(ending(root, false, false).contains("What else is in /state/dev stays"));
    assert!(!ending(root, false, true).contains("stays"));
    // `make down` has a file of its own there, and says the rest once that is gone.
    let script = include_str!("../../down.sh");
    let (before, after) = script.split_once("--rest-follows").expect("it says that it goes on");
    assert!(!before.contains("What else is in") && after.contains("What else is in"));
}
