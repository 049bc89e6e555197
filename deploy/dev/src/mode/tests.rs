//! Claims about what doctor's words lead to.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// An agent whose `doctor --json` prints this.
fn agent(says: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("says"), says).unwrap();
    let path = dir.path().join("banger-agent");
    fs::write(&path, "#!/bin/sh\ncat \"${0%/*}/says\"\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    (dir, path)
}

fn decide(agent: &Path, simulate: bool, real: bool) -> Result<Mode, Failure> {
    super::decide(agent, Path::new("/dev/null"), Path::new("/nonexistent"), simulate, real)
}

#[test]
fn a_usable_machine_runs_real_guests_unless_told_otherwise() {
    let (_dir, agent) = agent(r#"{"usable": true, "checks": []}"#);
    assert!(!decide(&agent, false, false).unwrap().simulated);
    assert!(!decide(&agent, false, true).unwrap().simulated);
    assert!(decide(&agent, true, false).unwrap().simulated);
}

#[test]
fn a_machine_that_cannot_is_simulated_with_the_reason_or_refused_when_real_was_wanted() {
    let (_dir, agent) = agent(
        r#"{"usable": false, "checks": [
            {"name": "swap", "ok": false, "required": false, "message": "swap is on"},
            {"name": "kvm", "ok": false, "required": true, "message": "/dev/kvm cannot be opened"},
            {"name": "root", "ok": true, "required": true, "message": "runs as root"},
            {"name": "jailer", "ok": false, "required": true, "message": "no jailer on PATH"}]}"#,
    );
    let mode = decide(&agent, false, false).unwrap();
    assert!(mode.simulated);
    assert_eq!(mode.why, "/dev/kvm cannot be opened (and 1 more)");
    let refused = format!("{:?}", decide(&agent, false, true).unwrap_err());
    assert!(refused.contains("/dev/kvm cannot be opened"), "{refused}");
    // "No guests will run, because …".
    let (_dir, agent) = self::agent(
        r#"{"usable": false, "checks": [
            {"name": "root", "ok": false, "required": true, "message": "does not run as root"}]}"#,
    );
    assert_eq!(decide(&agent, false, false).unwrap().why, "you are not root");
}

#[test]
fn a_doctor_that_makes_no_sense_is_no_proof_that_the_machine_can() {
    for says in ["", "usage: ...", "[]", "{\"usable\": \"yes\"}"] {
        let (_dir, agent) = agent(says);
        assert!(decide(&agent, false, false).unwrap().simulated, "{says:?}");
    }
}
