//! `make up` and `make down`, by the block of docs/DEVELOPING.md, from the first line to the end.
//!
//! What differs: nothing is built, because the programs are here already; the state lies in a
//! directory of this test; the address is one that is free; and whoever is root is a user without
//! rights here, so that the host is simulated on every machine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use banger_integration_tests::pages::{block, top};
use banger_integration_tests::ports::free_addresses;
use banger_integration_tests::programs::{command, ours, programs_dir};

/// As who has no rights, the first that may run the programs: nobody; or, where nobody else may
/// look into the tree, root in a user namespace, which has no rights outside of it.
const WITHOUT_RIGHTS: [&[&str]; 2] =
    [&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"], &["unshare", "--user"]];

/// A command that is run without rights.
fn without_rights(program: &str) -> Command {
    if !nix::unistd::geteuid().is_root() {
        return command(Path::new(program));
    }
    let as_one = |words: &[&str], program: &Path| {
        let mut as_one = command(Path::new(words[0]));
        as_one.args(&words[1..]).arg(program);
        as_one
    };
    let may = |words: &&&[&str]| {
        let output = as_one(words, &ours("banger")).arg("--version").current_dir(top()).output();
        output.is_ok_and(|output| output.status.success())
    };
    let words = WITHOUT_RIGHTS.iter().find(may).expect("one of them may run banger");
    as_one(words, Path::new(program))
}

/// Pids of the programs whose command line has this.
fn alive(state: &Path) -> Vec<String> {
    let state = state.to_str().expect("paths here are text");
    let entries = fs::read_dir("/proc").expect("readable").flatten();
    let has = |entry: &fs::DirEntry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(state)
    };
    entries.filter(has).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Takes down what is left when the test fails.
struct Down(tempfile::TempDir);

impl Drop for Down {
    fn drop(&mut self) {
        let state = self.0.path().join("banger/dev");
        if state.exists() {
            let mut down = command(&ours("banger"));
            let _ =
                down.args(["dev", "down", "--yes", "--force", "--state-dir"]).arg(state).output();
        }
    }
}

#[test]
fn make_up_ends_with_a_vm_that_runs_and_make_down_leaves_nothing() {
    let page = "docs/DEVELOPING.md";
    let home = tempfile::tempdir().expect("a directory");
    let state = Down(tempfile::tempdir().expect("a directory"));
    for dir in [home.path(), state.0.path()] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).expect("set");
    }
    let cargo = home.path().join("cargo");
    fs::write(&cargo, "#!/bin/sh\necho \"$@\" >>\"$HOME/asked\"\n").expect("written");
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("set");
    // The API's, with room for metrics and the agent after it.
    let [listen] = free_addresses();
    let path = [home.path(), &programs_dir(), Path::new("/usr/sbin:/usr/bin:/sbin:/bin")];
    let typed = |lines: &str| {
        let output = without_rights("bash")
            .args(["-euo", "pipefail", "-c", lines])
            .env("PATH", path.map(|dir| dir.display().to_string()).join(":"))
            .env("HOME", home.path())
            .env("XDG_STATE_HOME", state.0.path())
            .env("CARGO_TARGET_DIR", programs_dir().parent().expect("a profile's directory"))
            .env("LISTEN", listen.to_string())
            .env("BANGER_SERVER", format!("http://{listen}"))
            .current_dir(top())
            .output()
            .expect("bash can be started");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.success(), "{page}: {}\n{lines}\n{said}", output.status);
        said
    };
    let block = block(page, "make up");
    let (up, down) = block.split_once("make down").expect("both are there");
    let said = typed(up);
    assert!(said.contains("VM first is RUNNING."), "{said}");
    assert!(said.contains(&format!("BANGER_SERVER=http://{listen})")), "what to type: {said}");
    assert!(said.contains("This host is SIMULATED"), "{said}");
    let why = "Simulated: no guests will run, because you are not root";
    assert!(said.contains(why), "in plain words: {said}");
    let shown = said.lines().rev().find(|line| line.starts_with("first"));
    assert!(shown.is_some_and(|line| line.contains("RUNNING")), "banger vm ls: {said}");
    let asked = fs::read_to_string(home.path().join("asked")).expect("it was to be built");
    assert!(asked.contains("build --bins"), "{asked}");
    // Repeated, it finds what is there.
    let again = typed("make up");
    assert!(again.contains("VM first is there already."), "{again}");
    assert_eq!(alive(state.0.path()).len(), 2, "a server and an agent");

    typed(&format!("make down{down}"));
    assert_eq!(alive(state.0.path()), Vec::<String>::new());
    assert!(!state.0.path().join("banger").exists(), "its state is still there");
    assert!(typed("make down").contains("Nothing to take down."));
}
