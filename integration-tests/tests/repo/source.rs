//! Reading Rust without a parser: comments cut off, `crate::` paths and re-exports found.
//!
//! Good enough for rules about lines; what it cannot see (a path built by a macro) no file here
//! has.

use std::collections::{BTreeMap, BTreeSet};

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

/// The names that a module takes from its own children and so passes on to all below it, each with
/// the child: `pub use child::Name`, `use self::child::{Name, deeper::Other as Another}`. The name
/// of a child itself is not among them.
pub(super) fn passed_on(code: &str) -> BTreeMap<String, String> {
    let children: BTreeSet<&str> = code
        .lines()
        .filter_map(|line| line.split_once("mod ").map(|(_, name)| name))
        .filter_map(|name| name.strip_suffix(';'))
        .collect();
    let mut found = BTreeMap::new();
    for item in code.split(';').filter_map(|item| item.rsplit_once("use ").map(|(_, path)| path)) {
        let path = item.strip_prefix("self::").unwrap_or(item);
        let Some((child, names)) = path.split_once("::") else { continue };
        if children.contains(child) {
            let names = names.split([',', '{', '}']).filter_map(tail);
            found.extend(names.map(|name| (name, child.to_owned())));
        }
    }
    found
}

/// The name that a path of a `use` makes known: its last part, or what that is renamed to.
fn tail(path: &str) -> Option<String> {
    if path.trim_end().ends_with("::") {
        return None;
    }
    let name = path.rsplit([' ', ':', '\n']).find(|part| !part.is_empty())?;
    (!matches!(name, "self" | "*" | "_")).then(|| name.to_owned())
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
fn names_of_children_that_are_passed_on_are_found_in_every_form() {
    let code = "mod a;\npub mod b;\nuse std::a::No;\nuse self::a::X;\n\
                pub(crate) use b::{\n    Y,\n    c::{Z, W as V},\n};\nuse crate::a::N;";
    let found: Vec<_> = passed_on(code).into_iter().collect();
    let expected = [("V", "b"), ("X", "a"), ("Y", "b"), ("Z", "b")];
    assert_eq!(found, expected.map(|(name, child)| (name.to_owned(), child.to_owned())));
}

#[test]
fn comments_are_cut_and_addresses_are_not() {
    let text = "a(); // crate::b\n/// crate::c\n\"http://x\"; // y\n";
    assert_eq!(without_comments(text), "a(); \n\n\"http://x\"; \n");
}
