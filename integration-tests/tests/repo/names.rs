//! One name for one type, in each crate.
//!
//! Two types of one name are told apart by their paths, which a reader of a line does not see.
//! Types that only their own file knows may share a name with each other, and not with one that
//! others see.

use std::collections::BTreeMap;

use super::source::without_inline_tests;
use super::tree;

/// The crates that keep to it. Not those whose types are made from the protocol.
const CRATES: &[&str] = &[
    "server/src",
    "server/images/src",
    "agent/guest/src",
    "agent/src",
    "client/src",
    "client/command/src",
    "client/terminal/src",
    "deploy/dev/src",
    "deploy/installer/src",
    "integration-tests/src",
    "integration-tests/testhost/src",
    "integration-tests/fuzz/src",
    "proto/src",
    "proto/wire/src",
];

/// A type that a file defines at its top, and whether other files can name it.
pub(super) fn type_of(line: &str) -> Option<(&str, bool)> {
    let (rest, seen) = match line.strip_prefix("pub(") {
        Some(rest) => (rest.split_once(") ")?.1, true),
        None => match line.strip_prefix("pub ") {
            Some(rest) => (rest, true),
            None => (line, false),
        },
    };
    let rest = rest.strip_prefix("unsafe ").unwrap_or(rest);
    let kinds = ["struct ", "enum ", "trait ", "union ", "type "];
    let name = kinds.iter().find_map(|kind| rest.strip_prefix(kind))?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    Some((&name[..end], seen))
}

#[test]
fn no_two_types_of_a_crate_have_one_name() {
    let mut twice = Vec::new();
    for dir in CRATES {
        let mut found: BTreeMap<String, Vec<(String, bool)>> = BTreeMap::new();
        for file in tree::files(&[dir], |path| path.ends_with(".rs")) {
            if file.is_test() || file.is_generated() {
                continue;
            }
            for (name, seen) in without_inline_tests(&file.text).lines().filter_map(type_of) {
                found.entry(name.to_owned()).or_default().push((file.path.clone(), seen));
            }
        }
        for (name, places) in found {
            let seen = places.iter().filter(|(_, seen)| *seen).count();
            if seen > 0 && places.len() > 1 {
                let places: Vec<_> = places.into_iter().map(|(path, _)| path).collect();
                twice.push(format!("{name}: {}", places.join(", ")));
            }
        }
    }
    assert!(twice.is_empty(), "one name for several types:\n{}", twice.join("\n"));
}

#[test]
fn types_are_found_with_every_visibility() {
    let found = |line| type_of(line);
    assert_eq!(found("pub struct Vm<'a> {"), Some(("Vm", true)));
    assert_eq!(found("pub(super) enum Step {"), Some(("Step", true)));
    assert_eq!(found("pub(in crate::watch) trait A: B {"), Some(("A", true)));
    assert_eq!(found("type Reply = u8;"), Some(("Reply", false)));
    assert_eq!(found("    struct Inner;"), None, "inside of something");
    assert_eq!(found("let structure = 1;"), None);
}
