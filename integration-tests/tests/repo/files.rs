//! The shape of files: their length, their opening words, and no word that belongs elsewhere.

use super::source::without_inline_tests;
use super::tree;

/// A file longer than this is more than one thing.
const MOST_LINES: usize = 500;

/// A file shorter than this explains itself.
const NEEDS_HEADER: usize = 15;

#[test]
fn no_file_is_longer_than_500_lines_without_its_tests() {
    let long: Vec<_> = tree::rust()
        .iter()
        .filter(|file| !file.is_test())
        .map(|file| (without_inline_tests(&file.text).lines().count(), &file.path))
        .filter(|(lines, _)| *lines > MOST_LINES)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn every_file_opens_by_saying_what_it_is() {
    let silent: Vec<_> = tree::rust()
        .into_iter()
        .filter(|file| {
            !file.path.ends_with("/tests.rs")
                && file.text.lines().count() > NEEDS_HEADER
                && !file.text.starts_with("//!")
        })
        .map(|file| file.path)
        .collect();
    assert!(silent.is_empty(), "no //! header:\n{}", silent.join("\n"));
}

#[test]
fn files_of_clients_in_other_languages_are_short_and_say_what_they_are() {
    let mut wrong = Vec::new();
    for file in tree::clients() {
        let lines = file.text.lines().count();
        if lines > MOST_LINES {
            wrong.push(format!("{}: {lines} lines", file.path));
        }
        let opening = file.text.trim_start_matches("#!/usr/bin/env python3\n");
        let says = if file.path.ends_with(".py") {
            opening.starts_with("\"\"\"")
        } else {
            opening.starts_with("// ")
        };
        if lines > NEEDS_HEADER && !says {
            wrong.push(format!("{}: does not open by saying what it is", file.path));
        }
        for word in ["@ts-ignore", ": any", "as any", "type: ignore\n", "# noqa\n"] {
            if file.text.contains(word) {
                wrong.push(format!("{}: {:?} hides what it is about", file.path, word.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_lock_file_of_npm_names_no_registry() {
    for file in tree::files(&["client"], |path| path.ends_with("package-lock.json")) {
        assert!(
            !file.text.contains("\"resolved\": \"http"),
            "{}: run npm with omit-lockfile-registry-resolved, as .npmrc says",
            file.path
        );
    }
}

#[test]
fn allow_is_never_written_where_expect_would_do() {
    let found: Vec<_> = tree::rust()
        .into_iter()
        .filter(|file| {
            file.text.contains(concat!("#[", "allow("))
                || file.text.contains(concat!("#![", "allow("))
        })
        .map(|file| file.path)
        .collect();
    assert!(found.is_empty(), "use #[expect(.., reason = \"..\")]:\n{}", found.join("\n"));
}

#[test]
fn no_file_names_a_place_on_the_machine_it_was_written_on() {
    let places = [concat!("/wo", "rk/"), concat!("/ro", "ot/.")];
    let mut found = Vec::new();
    for file in tree::files(&[""], |_| true) {
        for (at, line) in file.text.lines().enumerate() {
            for place in places {
                if names_absolute(line, place) {
                    found.push(format!("{}:{}: {}", file.path, at + 1, line.trim()));
                }
            }
        }
    }
    assert!(found.is_empty(), "local paths:\n{}", found.join("\n"));
}

/// Whether `place` stands in the line as the beginning of a path, not as a later part of one.
fn names_absolute(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '(' | '=' | ':'))
    })
}

#[test]
fn a_later_part_of_a_path_is_no_local_path() {
    assert!(names_absolute(concat!("see /wo", "rk/x"), concat!("/wo", "rk/")));
    assert!(!names_absolute(concat!("<jail>/ro", "ot/run"), concat!("/ro", "ot/")));
}

#[test]
fn the_changelog_has_one_line_per_change_under_known_headings() {
    let text = tree::read("CHANGELOG.md");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("# Changelog"));
    let mut released = false;
    for line in lines {
        if let Some(version) = line.strip_prefix("## ") {
            released = true;
            let (number, date) = version.split_once(" - ").unwrap_or((version, ""));
            assert!(
                version == "Unreleased"
                    || (number.split('.').count() == 3 && date.split('-').count() == 3),
                "a heading is `## Unreleased` or `## 1.2.3 - 2027-01-31`: {line}"
            );
        } else if let Some(section) = line.strip_prefix("### ") {
            assert!(
                ["Added", "Changed", "Fixed", "Removed", "Security"].contains(&section),
                "an unknown section: {line}"
            );
        } else if line.starts_with("- ") {
            assert!(released, "a change before the first version: {line}");
            assert!(line.ends_with('.'), "a change is a sentence: {line}");
        } else {
            assert!(
                line.is_empty() || line.starts_with("  ") || !released,
                "neither a heading nor a change: {line}"
            );
        }
    }
}

/// How wide a line of a comment may be, as rustfmt keeps code.
const WIDTH: usize = 100;

#[test]
fn comments_are_no_wider_than_code() {
    // What can't be broken, an address, a table, a drawing, may stand out.
    let breaks = |line: &str| {
        let mut words = line.trim_start().split(' ').skip(1);
        !words.next().is_some_and(|first| first.starts_with('|')) && words.next().is_some()
    };
    let mut wide = Vec::new();
    for file in tree::rust() {
        let mut drawn = false;
        let lines = file.text.lines().enumerate();
        for (at, line) in lines.filter(|(_, line)| line.trim_start().starts_with("//")) {
            drawn ^= line.contains("```");
            if !drawn && breaks(line) && line.chars().count() > WIDTH {
                wide.push(format!("{}:{}", file.path, at + 1));
            }
        }
    }
    assert!(wide.is_empty(), "comments wider than {WIDTH}:\n{}", wide.join("\n"));
}
