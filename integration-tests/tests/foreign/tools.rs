//! Where the clients are that `make tools` installs, and what documents take for granted.

use std::env;
use std::path::PathBuf;

use banger_integration_tests::fleet::Fleet;
use banger_integration_tests::programs::{command, ours, programs_dir};

/// A tool below `target/tools`, or else on PATH.
pub(super) fn tool(name: &str) -> PathBuf {
    let target = programs_dir().parent().expect("a profile's directory is in target").to_owned();
    let installed = target.join("tools/venv/bin").join(name);
    if installed.exists() {
        return installed;
    }
    env::var_os("PATH")
        .into_iter()
        .flat_map(|path| env::split_paths(&path).collect::<Vec<_>>())
        .map(|dir| dir.join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is missing: make tools"))
}

/// The image `demo`, as `make up` and `banger dev up` leave one on a server of simulated hosts.
pub(super) fn demo(fleet: &Fleet) {
    let tree = tempfile::tempdir().expect("a directory");
    std::fs::write(tree.path().join("README"), "never booted\n").expect("a file");
    let output = command(&ours("banger"))
        .args(["image", "import", "demo", "--kernel", "demo-kernel"])
        .arg(tree.path())
        .env("HOME", tree.path())
        .env("BANGER_SERVER", format!("http://{}", fleet.api()))
        .output()
        .expect("banger can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the image demo was not made: {said}");
}
