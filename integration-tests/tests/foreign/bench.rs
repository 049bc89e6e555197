//! The benchmark runs, and what it needs is installed by the command that it is started by.

use std::collections::BTreeSet;
use std::process::Command;

use banger_integration_tests::programs::ours;

/// The smallest run of every line. What it measures is not looked at.
#[test]
fn bench_every_line_runs_and_is_kept_in_a_report() {
    let dir = tempfile::tempdir().expect("a directory");
    let report = dir.path().join("bench/report.json");
    let run = || {
        #[expect(clippy::disallowed_methods, reason = "a test starts a program of this workspace")]
        let output = Command::new(ours("banger-bench"))
            .args(["--ours-only", "--pairs=1", "--creates=50", "--watchers=3", "--events=10"])
            .args(["--starts=2", "--adopted=5", "--placed=500", "--disk"])
            .arg(dir.path())
            .arg("--out")
            .arg(&report)
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {said}", output.status);
        String::from_utf8(output.stdout).expect("a table is text")
    };
    let table = run();
    for line in ["a. durable creates", "a. one in flight", "b. intent", "c. watch", "d. start"] {
        assert!(table.contains(&format!("| {line}")), "no line {line:?} in {table}");
    }
    assert_eq!(table.lines().count(), run().lines().count(), "a second run adds to the same lines");
    let kept = std::fs::read_to_string(&report).expect("the report is kept");
    let kept: serde_json::Value = serde_json::from_str(&kept).expect("it is JSON");
    let samples = kept[0]["ours"].as_array().expect("samples").len();
    assert_eq!(samples, 2, "{kept}");
}

/// The first strings of `Command::new` and of [`Path::new`] in the benchmark, and its constants of
/// programs.
fn programs_of_the_benchmark() -> BTreeSet<String> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bin/banger-bench");
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(dir).expect("the benchmark is there") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("is text");
        for opening in ["Command::new(\"", "Path::new(\"", "const BUSYBOX: &str = \""] {
            let names = text.split(opening).skip(1).filter_map(|rest| rest.split('"').next());
            found.extend(names.map(str::to_owned));
        }
    }
    found
}

#[test]
fn bench_everything_it_starts_is_brought_by_its_setup() {
    let setup = concat!(env!("CARGO_MANIFEST_DIR"), "/../.ci/tools.sh");
    let setup = std::fs::read_to_string(setup).expect("the set-up is there");
    let packages = setup.lines().find(|line| line.starts_with("BENCH=(")).expect("its packages");
    let unpacked = setup.lines().find(|line| line.contains("ln -sf ../peers/")).expect("peers");
    let programs = programs_of_the_benchmark();
    assert!(programs.len() > 2, "{programs:?}");
    for program in programs {
        let brought = packages.contains(&format!("{program}:"))
            || unpacked.split_whitespace().any(|path| path.ends_with(&format!("/{program}")));
        assert!(brought, "nothing brings {program}: a machine without it can't run make bench");
    }
    assert!(
        setup.contains("mkdir -p \"$TOOLS/peers\" \"$TOOLS/bin\""),
        "links need their directory"
    );
}
