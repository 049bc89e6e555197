//! Where the clients are that `make tools` installs.

use std::env;
use std::path::PathBuf;

use banger_integration_tests::programs::programs_dir;

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
