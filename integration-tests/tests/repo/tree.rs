//! The files of the work tree, found by walking it.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the repository.
#[derive(Debug)]
pub(super) struct TextFile {
    /// Relative to the top, with `/` between.
    pub(super) path: String,
    pub(super) text: String,
}

impl TextFile {
    /// Whether the file holds tests only.
    pub(super) fn is_test(&self) -> bool {
        // The last three are what tests of several files share, behind `cfg(test)`.
        ["/tests.rs", "/fixtures.rs", "/testing.rs", "/harness.rs"]
            .iter()
            .any(|name| self.path.ends_with(name))
            || self.path.contains("/tests/")
            || self.path.contains("/benches/")
            || self.path.starts_with("client/fake/")
    }

    /// Whether the file was written by a program.
    pub(super) fn is_generated(&self) -> bool {
        GENERATED.iter().any(|dir| self.path.starts_with(dir))
    }
}

/// Where programs write code that is committed.
const GENERATED: [&str; 3] =
    ["proto/src/gen/", "client/typescript/src/gen/", "client/python/src/banger_client/_gen/"];

/// What is built or installed inside the tree: no rule here is about it.
const NOT_OURS: [&str; 4] = ["target", ".git", "node_modules", "dist"];

/// The top of the work tree.
pub(super) fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies one directory below the top")
        .to_owned()
}

/// One file, which must be there.
pub(super) fn read(path: &str) -> String {
    fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every text file below `dirs` (relative to the top; "" is the top) for which `wanted` answers
/// yes, in order of its path. Build output, git's own files (a linked work tree
/// has one at its top) and binary files are left out.
pub(super) fn files(dirs: &[&str], wanted: impl Fn(&str) -> bool) -> Vec<TextFile> {
    let mut found = Vec::new();
    for dir in dirs {
        walk(&top(), &top().join(dir), &wanted, &mut found);
    }
    found.sort_by(|a: &TextFile, b| a.path.cmp(&b.path));
    found
}

/// Every Rust file of the workspace that a person wrote.
pub(super) fn rust() -> Vec<TextFile> {
    let mut all =
        files(&["proto", "server", "agent", "client", "deploy", "integration-tests"], |path| {
            path.ends_with(".rs")
        });
    all.retain(|file| !file.is_generated());
    assert!(all.len() > 50, "only {} Rust files found: the walk is wrong", all.len());
    all
}

/// Every file of a client in another language that a person wrote: TypeScript and Python.
pub(super) fn clients() -> Vec<TextFile> {
    let mut all = files(&["client", "integration-tests/clients"], |path| {
        path.ends_with(".ts") || path.ends_with(".py")
    });
    all.retain(|file| !file.is_generated());
    assert!(all.len() > 10, "only {} files of clients found: the walk is wrong", all.len());
    all
}

fn walk(top: &Path, dir: &Path, wanted: &impl Fn(&str) -> bool, found: &mut Vec<TextFile>) {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    for entry in entries {
        let entry = entry.expect("a directory entry can be read");
        let path = entry.path();
        let name = entry.file_name();
        let kind = entry.file_type().expect("a directory entry has a type");
        if kind.is_dir() {
            if !NOT_OURS.iter().any(|not_ours| name == *not_ours) {
                walk(top, &path, wanted, found);
            }
        } else if kind.is_file() && name != ".git" {
            let relative = path.strip_prefix(top).expect("below the top").to_string_lossy();
            if !wanted(&relative) {
                continue;
            }
            let path = relative.into_owned();
            // Not UTF-8: a binary file, which no rule here is about.
            if let Ok(text) = fs::read_to_string(top.join(&path)) {
                found.push(TextFile { path, text });
            }
        }
    }
}
