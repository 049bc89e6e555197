//! docs/FILES.md has a line for every file of code: the first sentence of its header.
//!
//! Written by `make files`, which is this test with `BANGER_WRITE=1`.

use super::tree::{self, TextFile};

const PAGE: &str = "docs/FILES.md";

const HEAD: &str = "# Every file of code\n\n\
    The first sentence of each file's header, written by `make files`; a test compares. Tests and generated \
    code are left out. What belongs together, and which way the data goes, is in [ARCHITECTURE.md](ARCHITECTURE.md).\n";

/// Where code of the programs is, in the order of the map.
const DIRS: [&str; 6] = ["proto", "server", "agent", "client", "deploy", "integration-tests"];

/// The first sentence of a file's header, in one line and without links of rustdoc.
fn sentence(text: &str) -> Option<String> {
    let header: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.starts_with("//!"))
        .map_while(|line| line.strip_prefix("//!"))
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    let header = header.join(" ");
    let end = header.find(". ").map_or(header.len(), |end| end + 1);
    let words = header[..end].trim_end_matches('.').replace("[`", "`").replace("`]", "`");
    // What is left of a link that says where it leads.
    let words = words.replace("(self)", "").replace("(super)", "");
    (!words.is_empty()).then(|| words.replace('|', "\\|").replace('<', "\\<"))
}

fn is_listed(file: &TextFile) -> bool {
    !file.is_test() && !file.is_generated() && !file.path.starts_with("integration-tests/clients")
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut folder = String::new();
    for dir in DIRS {
        for file in tree::files(&[dir], |path| path.ends_with(".rs")) {
            let Some(sentence) = sentence(&file.text).filter(|_| is_listed(&file)) else {
                continue;
            };
            let (at, name) = file.path.rsplit_once('/').expect("a file lies in a folder");
            // A folder of one file's parts is listed with that file.
            let top = at.split_inclusive("/src").next().unwrap_or(at);
            if top != folder {
                page.push_str(&format!("\n## {top}\n\n"));
                folder = top.to_owned();
            }
            let below = at.strip_prefix(top).unwrap_or(at).trim_start_matches('/');
            let shown = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
            page.push_str(&format!("- `{shown}`: {sentence}\n"));
        }
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
fn a_sentence_ends_at_its_full_stop_or_with_its_paragraph() {
    let of = |text| sentence(text).unwrap_or_default();
    assert_eq!(of("//! One. Two.\n"), "One");
    assert_eq!(of("//! One that\n//! goes on: `a.b`\n//!\n//! Two."), "One that goes on: `a.b`");
    assert_eq!(of("// no header\nfn f() {}"), "");
    assert_eq!(of("//! See [`there`](super), a | b."), "See `there`, a \\| b");
}
