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
    let release = Some("0.1.0".to_owned());
    said(&Status { command: "0.1.0", release, services, vms: Some(vms) })
}

fn said(status: &Status) -> String {
    let text = text(status);
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
    assert!(!well.contains("root"), "{well}");
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

#[test]
fn what_only_root_can_see_is_said_to_be_that_and_no_fault() {
    let unseen = Service { runs_installed: None, ..service("banger-agent") };
    let status = Status { command: "0.1.0", release: None, services: vec![unseen], vms: None };
    let text = said(&status);
    for words in ["pid 812 ", "How many VMs run is not known.", "only root can see"] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    for untrue in ["ANOTHER", "No VM runs"] {
        assert!(!text.contains(untrue), "{untrue}\n{text}");
    }
    let value = serde_json::to_value(&status).unwrap();
    for key in ["release", "vms"] {
        assert_eq!(value[key], serde_json::Value::Null, "{key}");
    }
    let other = anyhow::Error::from(io::Error::from(io::ErrorKind::InvalidData));
    assert!(seen(Err::<(), _>(other)).is_err(), "every other error is one");
}
