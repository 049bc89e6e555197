//! docs/FILES.md has a line for every file of code: the first sentence of its header.
//!
//! Written by `make files`, which is this test with `BANGER_WRITE=1`.

use super::tree::{self, TextFile};

const PAGE: &str = "docs/FILES.md";

const HEAD: &str = "# Every file of code\n\n\
    The first sentence of each file's header, written by `make files`; a test compares. Tests and generated \
    code are left out. What belongs together, and which way the data goes, is in [ARCHITECTURE.md](ARCHITECTURE.md).\n";

/// Where code of the programs is, in the order of the map.
const DIRS: [&str; 7] =
    ["proto", "server", "agent", "client", "deploy", "integration-tests", ".ci"];

/// How the first lines of a file say what it is, by the end of its name.
const MARKS: [(&str, &str); 7] = [
    (".rs", "//!"),
    (".ts", "//"),
    (".svelte", "//"),
    (".proto", "//"),
    (".sql", "--"),
    (".sh", "#"),
    (".py", ""),
];

/// The paragraph that a file begins with, in one line.
fn header(name: &str, text: &str) -> Option<String> {
    let (_, mark) = MARKS.iter().find(|(end, _)| name.ends_with(end))?;
    if mark.is_empty() {
        let (_, from) = text.split_once("\"\"\"")?;
        let (docs, _) = from.split_once("\"\"\"")?;
        let docs = docs.split("\n\n").next().unwrap_or(docs);
        return Some(docs.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    let is_mark = |line: &&str| line.trim_start().starts_with(mark) && !line.starts_with("#!");
    // Past what has to stand first: a shebang, the syntax of a message, the tag of a script.
    let lines = text.lines().enumerate().skip_while(|(at, line)| *at < 6 && !is_mark(line));
    let lines = lines.map(|(_, line)| line).take_while(is_mark);
    let words = lines.map(|line| line.trim_start()[mark.len()..].trim());
    Some(words.take_while(|words| !words.is_empty()).collect::<Vec<_>>().join(" "))
}

/// The first sentence of a file's header, without links of rustdoc.
fn sentence(name: &str, text: &str) -> Option<String> {
    let header = header(name, text)?;
    let end = header.find(". ").map_or(header.len(), |end| end + 1);
    let words = header[..end].trim_end_matches('.').replace("[`", "`").replace("`]", "`");
    // What is left of a link that says where it leads.
    let mut plain = String::new();
    let mut rest = words.as_str();
    while let Some((before, after)) = rest.split_once("`(") {
        plain.push_str(before);
        plain.push('`');
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    (!plain.is_empty()).then_some(plain)
}

fn is_listed(file: &TextFile) -> bool {
    let tests = ["_tests.rs", "test_net.rs", ".test.ts"];
    !file.is_test()
        && !file.is_generated()
        && !tests.iter().any(|end| file.path.ends_with(end))
        && !file.path.contains("/test/")
        && !file.path.starts_with("integration-tests/clients")
}

fn is_code(path: &str) -> bool {
    MARKS.iter().any(|(end, _)| path.ends_with(end))
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut folder = String::new();
    for file in DIRS.iter().flat_map(|dir| tree::files(&[dir], is_code)).filter(is_listed) {
        let Some(sentence) = sentence(&file.path, &file.text) else { continue };
        let (at, name) = file.path.rsplit_once('/').expect("a file lies in a folder");
        // The folders below a package's sources are part of the name.
        let top = at.find("/src").map_or(at, |end| &at[..end + 4]);
        if top != folder {
            page.push_str(&format!("\n## {top}\n\n"));
            folder = top.to_owned();
        }
        let below = at.strip_prefix(top).unwrap_or(at).trim_start_matches('/');
        let shown = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
        page.push_str(&format!("- `{shown}`: {sentence}\n"));
    }
    page
}

#[test]
fn every_file_of_code_is_in_the_index_with_its_sentence() {
    let page = page();
    let path = tree::top().join(PAGE);
    if std::env::var_os("BANGER_WRITE").is_some() {
        std::fs::write(&path, &page).expect("the page is written");
    }
    let is = std::fs::read_to_string(&path).unwrap_or_default();
    let missing: Vec<_> = page.lines().filter(|line| !is.lines().any(|l| l == *line)).collect();
    let more: Vec<_> = is.lines().filter(|line| !page.lines().any(|l| l == *line)).collect();
    assert!(is == page, "run `make files`; missing: {missing:#?}; no longer so: {more:#?}");
}

#[test]
fn the_places_that_a_reader_is_asked_for_are_in_the_architecture_and_the_index() {
    let architecture = tree::read("docs/ARCHITECTURE.md");
    let testing = tree::read("docs/TESTING.md");
    let (_, places) = testing.split_once("\n## Twelve places\n").expect("the list is there");
    let places = places.split("\n## ").next().unwrap_or_default();
    let files: Vec<_> = places
        .lines()
        .filter_map(|line| line.strip_suffix("` |"))
        .filter_map(|line| line.rsplit_once('`').map(|(_, file)| file))
        .collect();
    assert_eq!(files.len(), 12, "{files:?}");
    let page = page();
    for file in files {
        let (top, name) = file.split_once("/src/").expect("it is of a package's sources");
        let (_, rest) =
            page.split_once(&format!("\n## {top}/src\n")).expect("the package is listed");
        let section = rest.split("\n## ").next().unwrap_or_default();
        assert!(section.contains(&format!("\n- `{name}`: ")), "{file} is not in the index");
        let linked = architecture.contains(&format!("](../{file})"));
        assert!(linked, "{file} is not in docs/ARCHITECTURE.md, \"Where it is decided\"");
    }
}

#[test]
fn a_sentence_ends_at_its_full_stop_or_with_its_paragraph() {
    let of = |name, text| sentence(name, text).unwrap_or_default();
    assert_eq!(of("a.rs", "//! One. Two.\n"), "One");
    assert_eq!(
        of("a.rs", "//! One that\n//! goes on: `a.b`\n//!\n//! Two."),
        "One that goes on: `a.b`"
    );
    assert_eq!(of("a.rs", "// no header\nfn f() {}"), "");
    assert_eq!(
        of("a.rs", "//! See [`there`](super::there) and [`here`]. More."),
        "See `there` and `here`"
    );
    assert_eq!(of("a.py", "\"\"\"One that\ngoes on.\n\nTwo.\"\"\""), "One that goes on");
    assert_eq!(of("a.sh", "#!/usr/bin/env bash\n# One.\nset -e"), "One");
    assert_eq!(of("a.svelte", "<script lang=\"ts\">\n  // One. Two.\n  let a;"), "One");
    assert_eq!(of("a.proto", "syntax = \"proto3\";\n\n// One.\npackage b;"), "One");
}
