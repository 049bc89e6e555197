//! Reading Rust without a parser: comments cut off, `crate::` paths found.
//!
//! Good enough for rules about lines; what it cannot see (a path built by a macro) no file here
//! has.

use std::collections::BTreeSet;

/// The text with comments blanked out, line by line, so that line numbers stay. Text in string
/// literals stays as well, except that a `//` right after a colon is taken for an address.
pub(super) fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut end = line.len();
        let mut from = 0;
        while let Some(at) = line[from..].find("//").map(|at| at + from) {
            if line[..at].ends_with(':') {
                from = at + 2;
            } else {
                end = at;
                break;
            }
        }
        out.push_str(&line[..end]);
        out.push('\n');
    }
    out
}

/// The text up to its inline test module, if it has one.
pub(super) fn without_inline_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests {").map_or(text, |at| &text[..at])
}

/// The modules at the top of the crate that the code names: `crate::a::…` and
/// `use crate::{a, b::c}`.
pub(super) fn crate_modules(code: &str) -> BTreeSet<String> {
    children_of(code, "crate::")
}

/// What the code names directly below a path that ends in `::`, in either form.
pub(super) fn children_of(code: &str, path: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(path) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | ':')) {
            continue;
        }
        let rest = &code[at + path.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(heads(group)),
            None => found.extend(head(rest)),
        }
    }
    found
}

/// The identifier a path begins with.
fn head(path: &str) -> Option<String> {
    let path = path.trim_start();
    let end = path.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(path.len());
    (end > 0).then(|| path[..end].to_owned())
}

/// The identifiers that the paths of a `{…}` group begin with; `group` starts after the brace.
fn heads(group: &str) -> Vec<String> {
    let (mut depth, mut from, mut found) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' => {
                found.extend(head(&group[from..at]));
                break;
            }
            ',' if depth == 0 => {
                found.extend(head(&group[from..at]));
                from = at + 1;
            }
            _ => {}
        }
    }
    found
}

#[test]
fn paths_into_the_crate_are_found_in_every_form() {
    let code =
        "use crate::{a::{x, y}, b,\n c::z};\nlet x = crate::d::f();\n$crate::no::x; pub(crate) y";
    let found: Vec<_> = crate_modules(code).into_iter().collect();
    assert_eq!(found, ["a", "b", "c", "d"]);
}

#[test]
fn comments_are_cut_and_addresses_are_not() {
    let text = "a(); // crate::b\n/// crate::c\n\"http://x\"; // y\n";
    assert_eq!(without_comments(text), "a(); \n\n\"http://x\"; \n");
}
