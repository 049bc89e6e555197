//! The project's documents and the blocks in them that somebody types or runs, for tests that do.

use std::fs;
use std::path::{Path, PathBuf};

/// What a line of a block begins with that is to be typed.
const COMMANDS: [&str; 12] = [
    "banger ",
    "banger-",
    "buf curl ",
    "grpcurl ",
    "systemctl ",
    "make ",
    "cargo ",
    "openssl ",
    "mkdir ",
    "deploy/",
    "target/",
    "NEW/banger ",
];

/// The text between two fences.
#[derive(Debug, Clone)]
pub struct Block {
    /// The heading above it.
    pub heading: String,
    /// Its lines.
    pub text: String,
}

/// The top of the tree.
///
/// # Panics
/// Never: this crate is below it.
#[must_use]
pub fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("is below the top").to_owned()
}

/// Every document that tells people what to type, by its path from the top.
///
/// # Panics
/// When `docs/` cannot be read.
#[must_use]
pub fn documents() -> Vec<String> {
    let test_host = "integration-tests/testhost/README.md";
    let others = ["README.md", "CONTRIBUTING.md", "deploy/README.md", test_host];
    let clients = ["client/python/README.md", "client/typescript/README.md"];
    let mut all: Vec<_> = others.into_iter().chain(clients).map(str::to_owned).collect();
    for entry in fs::read_dir(top().join("docs")).expect("there are documents") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            all.push(format!("docs/{name}"));
        }
    }
    all.sort();
    all
}

/// The blocks of a document that have a command of banger or of one of its clients, or are a
/// program.
///
/// # Panics
/// When there is no such document.
#[must_use]
pub fn blocks(document: &str) -> Vec<Block> {
    let text = fs::read_to_string(top().join(document)).expect("the document is there");
    let (mut heading, mut found) = (String::new(), Vec::new());
    for (at, piece) in text.split("\n```").enumerate() {
        if at % 2 == 0 {
            let last = piece.lines().rev().find(|line| line.starts_with('#'));
            heading = last.map_or(heading, |line| line.trim_start_matches(['#', ' ']).to_owned());
        } else if let Some((language, lines)) = piece.split_once('\n') {
            let typed = |line: &str| {
                let line = line.trim_start_matches("$ ");
                COMMANDS.iter().any(|word| line.starts_with(word))
            };
            if !language.is_empty() || lines.lines().any(typed) {
                found.push(Block { heading: heading.clone(), text: format!("{lines}\n") });
            }
        }
    }
    found
}

/// The block of a document that begins with this.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn block(document: &str, begins: &str) -> String {
    let found = blocks(document).into_iter().find(|block| block.text.starts_with(begins));
    found.unwrap_or_else(|| panic!("{document} has no block that begins with {begins:?}")).text
}
