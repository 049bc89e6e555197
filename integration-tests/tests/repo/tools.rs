//! What `make check` installs: every tool of the machine that a test of the images asks.

use std::collections::BTreeSet;

use super::tree;

/// How a tool is asked, up to its name.
const ASKS: [&str; 4] = ["pack_with(&[\"", "packed(&[\"", "run(\"", "command(\""];

/// The tools of one file.
fn asked(source: &str) -> BTreeSet<String> {
    let source: String = source.chars().filter(|c| !c.is_whitespace()).collect();
    let names = ASKS.iter().flat_map(|ask| source.split(ask).skip(1));
    names.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

/// The commands of one list of `.ci/tools.sh`.
fn listed(script: &str, list: &str) -> BTreeSet<String> {
    let begin = format!("\n{list}=(");
    let (_, rest) = script.split_once(&begin).expect("the list is there");
    let (list, _) = rest.split_once(')').expect("the list ends");
    let commands = list.split_whitespace().filter_map(|entry| entry.split_once(':'));
    commands.map(|(command, _)| command.to_owned()).collect()
}

#[test]
fn make_check_installs_what_the_tests_of_images_ask() {
    let installed = listed(&tree::read(".ci/tools.sh"), "CHECK");
    let mut asked_for = BTreeSet::new();
    for file in tree::files(&["server/images/src"], |path| path.ends_with(".rs")) {
        asked_for.extend(asked(&file.text));
    }
    assert!(asked_for.contains("cpio"), "the tests of images ask no cpio: look at `ASKS`");
    // Every system has a shell.
    asked_for.remove("sh");
    let missing: Vec<_> = asked_for.difference(&installed).collect();
    assert!(missing.is_empty(), "not in CHECK of .ci/tools.sh: {missing:?}");
}
