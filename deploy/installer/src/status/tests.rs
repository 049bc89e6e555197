//! What people read of a machine.

use super::*;

fn service(name: &'static str) -> Service {
    Service {
        name,
        installed: "0.1.0".to_owned(),
        unit: "active".to_owned(),
        enabled: "enabled".to_owned(),
        pid: 812,
        runs_installed: Some(true),
        unit_file: "same",
        needs_reload: false,
    }
}

fn shown(services: Vec<Service>, vms: usize) -> String {
    let text = text(&Status { command: "0.1.0", release: "0.1.0".to_owned(), services, vms });
    anstream::adapter::strip_str(&text).to_string()
}

#[test]
fn what_is_well_and_what_is_not_is_said_of_each_service() {
    let well = shown(vec![service("banger-server"), service("banger-agent")], 12);
    for words in
        ["active, enabled", "pid 812, the installed program", "of this release", "12 VMs run."]
    {
        assert!(well.contains(words), "{words}\n{well}");
    }
    let server = Service {
        runs_installed: Some(false),
        unit_file: "other",
        needs_reload: true,
        ..service("banger-server")
    };
    let agent = Service {
        installed: "broken: it says no".to_owned(),
        unit: "failed".to_owned(),
        pid: 0,
        runs_installed: None,
        unit_file: "other",
        ..service("banger-agent")
    };
    let bad = shown(vec![server, agent], 1);
    for words in [
        "pid 812, ANOTHER program: restart it",
        "changed: systemctl daemon-reload",
        "broken: it says no",
        "failed, enabled",
        "of another release",
        "1 VM runs.",
    ] {
        assert!(bad.contains(words), "{words}\n{bad}");
    }
}

#[test]
fn a_machine_without_banger_says_how_to_get_it() {
    let nothing = shown(Vec::new(), 0);
    assert!(nothing.contains("`banger system install`"), "{nothing}");
}
