//! What the documents promise to list is listed, and where they point there is something.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::names::type_of;
use super::source::{without_comments, without_inline_tests};
use super::tree;

/// The first cells of the tables of a document, where they are code: `| `VM_NOT_FOUND` | …`.
fn listed(document: &str) -> BTreeSet<String> {
    tree::read(document)
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split_once('`').map(|(word, _)| word.to_owned()))
        .collect()
}

/// The values of a proto enum without the prefix of its name; the one that is never sent left out.
fn values(proto: &str, prefix: &str) -> BTreeSet<String> {
    let found: BTreeSet<_> = tree::read(proto)
        .lines()
        .filter_map(|line| line.trim().strip_prefix(prefix))
        .filter_map(|line| line.split_once(" =").map(|(word, _)| word.to_owned()))
        .filter(|word| word != "UNSPECIFIED")
        .collect();
    assert!(!found.is_empty(), "{proto} has no value {prefix}*");
    found
}

/// `"WORDS_LIKE_THIS"` in string literals of the files' code, tests left out.
fn words_in_code(dirs: &[&str]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for file in tree::files(dirs, |path| path.ends_with(".rs")) {
        if file.is_test() {
            continue;
        }
        let code = without_comments(without_inline_tests(&file.text));
        // A word with a quote on either side, wherever literals begin and end.
        for word in code.split('"').filter(|word| is_code_word(word)) {
            found.insert(word.to_owned(), file.path.clone());
        }
    }
    found
}

fn is_code_word(word: &str) -> bool {
    word.len() > 3
        && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
        && word.as_bytes()[0] != b'_'
}

fn sorted<'a>(words: impl IntoIterator<Item = &'a String>) -> Vec<&'a str> {
    words.into_iter().map(String::as_str).collect()
}

#[test]
fn every_error_reason_is_explained_and_no_other() {
    let sent = values("proto/banger/v1/error.proto", "ERROR_REASON_");
    let explained = listed("docs/ERRORS.md");
    let missing = sorted(sent.difference(&explained));
    let invented = sorted(explained.difference(&sent));
    assert!(missing.is_empty(), "not in docs/ERRORS.md: {missing:?}");
    assert!(invented.is_empty(), "in docs/ERRORS.md, not in error.proto: {invented:?}");
}

#[test]
fn every_service_and_call_of_the_api_has_its_place_on_the_page_about_it() {
    let page = tree::read("docs/API.md");
    let rows: BTreeMap<&str, BTreeSet<&str>> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .filter(|(service, _)| service.ends_with("Service"))
        .map(|(service, calls)| (service, calls.split('`').skip(1).step_by(2).collect()))
        .collect();
    let protos = tree::files(&["proto/banger/v1"], |path| path.ends_with(".proto"));
    let mut described: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in &protos {
        let mut service = "";
        for line in file.text.lines() {
            if let Some(begins) = line.strip_prefix("service ") {
                service = begins.trim_end_matches(" {");
            } else if let Some(call) = line.strip_prefix("  rpc ") {
                let call = call.split('(').next().unwrap_or_default();
                described.entry(service).or_default().insert(call);
            }
        }
    }
    // What is not there yet is said below the table.
    for calls in described.values_mut() {
        calls.remove("DrainHost");
    }
    assert_eq!(rows, described);
    let numbers = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    let counted = format!("`banger.v1`: {} services on one port", numbers[rows.len()]);
    assert!(page.contains(&counted), "docs/API.md does not say: {counted}");
}

#[test]
fn every_state_is_explained() {
    let explained = listed("docs/STATES.md");
    for (proto, prefix) in [
        ("proto/banger/v1/vm.proto", "VM_STATE_"),
        ("proto/banger/v1/vm.proto", "DESIRED_STATE_"),
        ("proto/banger/v1/host.proto", "HOST_STATE_"),
        ("proto/banger/v1/host.proto", "HOST_OBJECT_STATE_"),
        ("proto/banger/v1/host.proto", "KEPT_REASON_"),
        ("proto/banger/v1/vm.proto", "WAIT_OUTCOME_"),
        ("proto/banger/agent/v1/agent.proto", "PHASE_"),
    ] {
        let all = values(proto, prefix);
        let missing = sorted(all.difference(&explained));
        assert!(missing.is_empty(), "{prefix}* not in docs/STATES.md: {missing:?}");
    }
}

/// Where reasons, event kinds and decisions are named, and words there that are none of them.
const REASONS: &[&str] = &[
    "server/src/fleet",
    "server/src/model",
    "server/src/reconcile",
    "server/src/watch",
    "agent/src/report",
    "agent/src/vm",
];
const NO_REASONS: &[&str] = &["INITRD", "KERNEL", "ROOT", "SCREAMING_SNAKE_CASE"];

#[test]
fn every_reason_event_and_decision_is_explained_and_no_other() {
    let explained = listed("docs/STATES.md");
    let errors = listed("docs/ERRORS.md");
    let used = words_in_code(REASONS);
    let missing: Vec<_> = used
        .iter()
        .filter(|(word, _)| {
            !explained.contains(*word)
                && !errors.contains(*word)
                && !NO_REASONS.contains(&word.as_str())
        })
        .map(|(word, path)| format!("{word} ({path})"))
        .collect();
    assert!(missing.is_empty(), "not in docs/STATES.md:\n{}", missing.join("\n"));

    let mut known: BTreeSet<_> = used.into_keys().collect();
    for (proto, prefix) in [
        ("proto/banger/v1/vm.proto", "VM_STATE_"),
        ("proto/banger/v1/vm.proto", "DESIRED_STATE_"),
        ("proto/banger/v1/host.proto", "HOST_STATE_"),
        ("proto/banger/v1/host.proto", "HOST_OBJECT_STATE_"),
        ("proto/banger/v1/host.proto", "KEPT_REASON_"),
        ("proto/banger/v1/vm.proto", "WAIT_OUTCOME_"),
        ("proto/banger/agent/v1/agent.proto", "PHASE_"),
    ] {
        known.extend(values(proto, prefix));
    }
    let invented = sorted(explained.difference(&known));
    assert!(invented.is_empty(), "in docs/STATES.md, in no code: {invented:?}");
}

#[test]
fn what_troubleshooting_names_is_a_state_a_reason_or_an_error() {
    let mut known = listed("docs/STATES.md");
    known.extend(listed("docs/ERRORS.md"));
    known.extend(values("proto/banger/v1/vm.proto", "RESTART_POLICY_"));
    let page = tree::read("docs/TROUBLESHOOTING.md");
    let code = page.split('`').skip(1).step_by(2);
    let is_word =
        |word: &&str| word.len() > 4 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let named: BTreeSet<String> = code.filter(is_word).map(str::to_owned).collect();
    assert!(named.len() > 15, "only {named:?}");
    let invented = sorted(named.difference(&known));
    assert!(invented.is_empty(), "in docs/TROUBLESHOOTING.md, explained nowhere: {invented:?}");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut dead = Vec::new();
    for file in tree::files(&[""], |path| path.ends_with(".md")) {
        let dir = Path::new(&file.path).parent().unwrap_or(Path::new(""));
        for link in links(&file.text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if path.is_empty() { PathBuf::from(&file.path) } else { normal(&dir.join(path)) };
            if !tree::top().join(&target).exists() {
                dead.push(format!("{}: {link}", file.path));
            } else if !anchor.is_empty()
                && !headings(&tree::read(&target.to_string_lossy())).contains(anchor)
            {
                dead.push(format!("{}: {link}: no such heading", file.path));
            }
        }
    }
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

/// What stands in the parentheses of `[text](link)`, code blocks left out.
fn links(text: &str) -> Vec<&str> {
    text.split("```")
        .step_by(2)
        .flat_map(|prose| prose.split("](").skip(1))
        .filter_map(|rest| rest.split_once(')').map(|(link, _)| link))
        .collect()
}

/// The anchors that GitHub makes of a document's headings.
fn headings(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

/// The path with `..` taken back.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

#[test]
fn every_document_of_the_design_is_there() {
    for document in
        ["ARCHITECTURE", "STATES", "ERRORS", "TESTING", "OPERATIONS", "API", "BENCHMARKS"]
    {
        let text = tree::read(&format!("docs/{document}.md"));
        assert!(text.starts_with("# "), "docs/{document}.md has no title");
    }
}

/// The numbers of the pages that a page's status says it was superseded by.
fn superseded_by(status: &str) -> Vec<usize> {
    let Some((_, by)) = status.split_once("superseded ") else { return Vec::new() };
    let links = by.split('[').skip(1).filter_map(|link| link.split_once(']'));
    links.filter_map(|(number, _)| number.parse().ok()).collect()
}

#[test]
fn decisions_are_numbered_without_a_gap_and_say_what_lost() {
    let index = tree::read("docs/adr/README.md");
    let decisions =
        tree::files(&["docs/adr"], |path| path.ends_with(".md") && !path.ends_with("/README.md"));
    assert!(!decisions.is_empty());
    for (at, file) in decisions.iter().enumerate() {
        let number = format!("docs/adr/{:04}-", at + 1);
        assert!(file.path.starts_with(&number), "{} should begin with {number}", file.path);
        for heading in ["## Context", "## Decision", "## Alternatives", "## Consequences"] {
            assert!(file.text.contains(heading), "{} has no {heading}", file.path);
        }
        let status = file.text.lines().nth(2).unwrap_or_default();
        assert!(
            ["Status: accepted, 20", "Status: superseded by "]
                .iter()
                .any(|known| status.starts_with(known)),
            "the third line of {} should be \"Status: accepted, DATE.\", not {status:?}",
            file.path
        );
        let by = superseded_by(status);
        let later = by.iter().all(|number| (at + 2..=decisions.len()).contains(number));
        assert_eq!(status.contains("superseded"), !by.is_empty(), "{}: by which?", file.path);
        assert!(later, "{} is superseded by {by:?}: no later page", file.path);
        let name = file.path.trim_start_matches("docs/adr/");
        assert!(index.contains(&format!("({name})")), "{name} is not in docs/adr/README.md");
    }
}

/// The modules that a crate's `lib.rs` declares, those for tests alone left out.
fn modules(lib: &str) -> Vec<String> {
    let text = tree::read(lib);
    let lines: Vec<_> = text.lines().collect();
    lines
        .iter()
        .enumerate()
        .filter(|(at, _)| *at == 0 || lines[at - 1] != "#[cfg(test)]")
        .filter_map(|(_, line)| line.trim_start_matches("pub ").strip_prefix("mod "))
        .filter_map(|rest| rest.strip_suffix(';'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_top_module_has_a_place_in_the_map() {
    let map = tree::read("docs/ARCHITECTURE.md");
    let mut missing = Vec::new();
    for (lib, dir) in [("server/src/lib.rs", "server/src"), ("agent/src/lib.rs", "agent/src")] {
        let modules = modules(lib);
        assert!(modules.len() > 5, "{lib} declares {modules:?} only");
        let named = |module: &String| {
            [format!("`{dir}/{module}`"), format!("`{dir}/{module}.rs`")]
                .iter()
                .any(|place| map.contains(place))
        };
        missing.extend(
            modules.iter().filter(|module| !named(module)).map(|module| format!("{dir}/{module}")),
        );
    }
    assert!(missing.is_empty(), "not in the map of docs/ARCHITECTURE.md: {missing:?}");
}

/// The words of a text in small letters, each between spaces: `ImageDelivery` and `image_delivery`
/// are " image delivery ".
fn words_of(text: &str) -> String {
    let mut words = " ".to_owned();
    let mut small = false;
    for c in text.chars() {
        let is_end = !c.is_alphanumeric() || small && c.is_uppercase();
        if is_end && !words.ends_with(' ') {
            words.push(' ');
        }
        if c.is_alphanumeric() {
            words.extend(c.to_lowercase());
        }
        small = c.is_lowercase();
    }
    if !words.ends_with(' ') {
        words.push(' ');
    }
    words
}

#[test]
fn words_are_found_whole_in_names_and_sentences() {
    let words = words_of("A copy-on-write store: fn image_delivery(_: ImageDelivery, VMMs)");
    assert_eq!(words, " a copy on write store fn image delivery image delivery vmms ");
}

#[test]
fn every_word_of_the_glossary_is_a_word_of_the_code() {
    let code: String = tree::rust().iter().map(|file| words_of(&file.text)).collect();
    let glossary = tree::read("docs/GLOSSARY.md");
    let words: Vec<_> = glossary
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .filter_map(|row| row.split_once(" |").map(|(word, _)| word))
        .filter(|word| *word != "word" && *word != "not" && !word.starts_with('`'))
        .collect();
    assert!(words.len() > 30, "only {words:?} are explained");
    let once: BTreeSet<_> = words.iter().collect();
    assert_eq!(once.len(), words.len(), "a word is explained twice");
    let unused: Vec<_> = words.iter().filter(|word| !code.contains(&words_of(word))).collect();
    assert!(unused.is_empty(), "in docs/GLOSSARY.md and nowhere in the code: {unused:?}");
}

#[test]
fn no_type_is_called_what_the_glossary_rules_out() {
    let glossary = tree::read("docs/GLOSSARY.md");
    let rows = glossary.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let ruled_out: BTreeSet<_> = rows.flat_map(|(words, _)| words.split("`, `")).collect();
    assert!(ruled_out.contains("Spread"), "only {ruled_out:?}");
    let mut found = Vec::new();
    for file in tree::rust() {
        let types = file.text.lines().filter_map(|line| type_of(line.trim_start()));
        let wrong = types.map(|(name, _)| name).filter(|name| ruled_out.contains(name));
        found.extend(wrong.map(|name| format!("{}: {name}", file.path)));
    }
    assert!(found.is_empty(), "types with a word that is not used:\n{}", found.join("\n"));
}
