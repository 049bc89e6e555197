//! The table of fault classes in docs/TESTING.md names tests that there are, and says what is
//! missing; the promises of docs/WATCH.md do, too.

use std::collections::BTreeSet;

use super::tree;

/// The rows below "## Fault classes" and "## Attackers": class and tests.
fn rows() -> Vec<(String, String)> {
    let text = tree::read("docs/TESTING.md");
    let section = |heading| {
        let (_, rest) = text.split_once(heading).expect("the table has a heading");
        rest.split("\n## ").next().unwrap_or_default()
    };
    [section("\n## Fault classes"), section("\n## Attackers")]
        .iter()
        .flat_map(|section| section.lines())
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "))
        .map(|(class, tests)| (class.to_owned(), tests.to_owned()))
        .filter(|(class, _)| class != "class" && class != "attacker and border")
        .collect()
}

/// Every function of the tree: names that are claims are those of tests, and nothing else is looked
/// at.
fn tests() -> BTreeSet<String> {
    tree::rust()
        .iter()
        .flat_map(|file| file.text.lines())
        .filter_map(|line| {
            let line = line.trim_start();
            let rest = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "))?;
            rest.split_once('(').map(|(name, _)| name.to_owned())
        })
        .collect()
}

#[test]
fn every_test_that_the_fault_table_names_exists() {
    let tests = tests();
    let rows = rows();
    assert!(rows.len() > 20, "the table has become {} rows", rows.len());
    let mut wrong = Vec::new();
    for (class, named) in rows {
        let names: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
        if names.is_empty() && !named.contains("*missing*") {
            wrong.push(format!("{class}: neither a test nor *missing*"));
        }
        let unknown = names.into_iter().filter(|name| !tests.contains(*name));
        wrong.extend(unknown.map(|name| format!("{class}: there is no test {name}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What watches promise is worth what its tests are.
#[test]
fn every_promise_of_a_watch_has_tests_that_exist() {
    let (tests, page) = (tests(), tree::read("docs/WATCH.md"));
    let (_, promises) = page.split_once("\n## What is promised").expect("the section is there");
    let promises = promises.split("\n## Beside").next().unwrap_or_default();
    let is_test = |name: &&str| {
        name.matches('_').count() > 2 && name.bytes().all(|b| b == b'_' || b.is_ascii_lowercase())
    };
    let mut wrong = Vec::new();
    let paragraphs: Vec<&str> =
        promises.split("\n**").skip(1).map(|text| text.trim_end()).collect();
    assert_eq!(paragraphs.len(), 6, "ordered, unique, reliable, atomic, resumable, bookmarkable");
    for text in paragraphs {
        let names: Vec<&str> = text.split('`').filter(is_test).collect();
        let promise = text.split('.').next().unwrap_or_default();
        if names.is_empty() {
            wrong.push(format!("{promise}: no test"));
        }
        let unknown = names.into_iter().filter(|name| !tests.contains(*name));
        wrong.extend(unknown.map(|name| format!("{promise}: there is no test {name}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
