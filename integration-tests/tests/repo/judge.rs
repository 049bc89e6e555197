//! What the scripts of the checks make of what they ran.
//!
//! A test that failed while the emulator died is tried again with a new host only where the
//! emulator died under every test that failed, so that no failure of banger hides behind it. A
//! check that could not be made is none that passed.

use std::fs;
use std::path::Path;

use banger_integration_tests::programs::command;

use super::tree;

/// The tests that are tried again after a run of nextest that said this.
fn tried_again(log: &str) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("log");
    fs::write(&path, log).expect("written");
    let script = "source .ci/lib.sh; emulator_died \"$1\"";
    let mut bash = command(Path::new("/bin/bash"));
    bash.args(["-c", script, "bash"]).arg(&path).current_dir(tree::top());
    let output = bash.output().expect("it runs");
    String::from_utf8_lossy(&output.stdout).trim().replace('\n', " ")
}

const DIED: &str = "the emulator died under";

#[test]
fn a_failed_test_is_tried_again_only_where_the_emulator_died_under_all_that_failed() {
    let failed = |name: &str| {
        format!(
            "\x1b[31;1m        FAIL\x1b[0m [  12.3s] (1/9) banger-testhost::testhost {name}\r\n"
        )
    };
    let died = |name: &str| format!("    {DIED} {name}: the machine was reset\r\n");
    let (one, two) = ("disks::one", "disks::two");
    let both = failed(one) + &failed(two) + &died(one);
    assert_eq!(tried_again(&both), "", "the other is banger's");
    assert_eq!(tried_again(&(both + &died(two))), format!("{one} {two}"));
    assert_eq!(tried_again(&(failed(one) + &died(one) + &died(two))), one);
    assert_eq!(tried_again(&failed(one)), "");
    assert_eq!(tried_again(&died(one)), "", "none has failed");
    let timed_out = failed(one).replace("FAIL", "TIMEOUT") + &died(one);
    assert_eq!(tried_again(&timed_out), one);
}

#[test]
fn the_words_of_the_verdict_are_those_that_are_looked_for() {
    let said = tree::read("integration-tests/testhost/src/host/emulator.rs");
    assert!(said.contains(&format!("pub const DIED: &str = \"{DIED}\";")), "emulator.rs");
    assert!(tree::read(".ci/lib.sh").contains(&format!("DIED='{DIED}'")), "lib.sh");
}

/// A run of steps to its closing table, with this as cargo's home.
fn table_of(steps: &str, cargo_home: &Path) -> (Option<i32>, String) {
    let script = format!("source .ci/lib.sh; {steps}; finish");
    let mut bash = command(Path::new("/bin/bash"));
    bash.args(["-c", &script]).current_dir(tree::top()).env("CARGO_HOME", cargo_home);
    let output = bash.output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_check_that_could_not_be_made_is_not_said_to_have_passed() {
    let empty = tempfile::tempdir().expect("a directory");
    let (code, said) = table_of("step good true; step db .ci/advisories.sh", empty.path());
    let has = |start: &str, end: &str| {
        said.lines().any(|line| line.starts_with(start) && line.ends_with(&format!("  {end}")))
    };
    assert!(has("ok ", "good") && has("not checked ", "db") && !has("ok ", "db"), "{said}");
    assert!(said.ends_with("\n1 of 2 steps passed; not checked here: db.\n"), "{said}");
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = table_of("step bad false; step db .ci/advisories.sh", empty.path());
    assert!(code == Some(1) && said.contains("\n1 of 2 steps failed: bad.\n"), "{said}");
    let (code, said) = table_of("step one true; step two true", empty.path());
    assert!(code == Some(0) && said.ends_with("\nAll 2 steps passed.\n"), "{said}");
}
