//! Words that comments and documents do without: whose something is, is said by name.

use super::tree;

/// What is not written, and why.
const AVOIDED: [(&str, &str); 1] =
    [(concat!("of ", "ours"), "say whose: of banger, of the agent, of this process …")];

const ENDS: [&str; 12] = [
    ".rs", ".md", ".proto", ".svelte", ".ts", ".py", ".pyi", ".sh", ".sql", ".toml", ".yml", ".css",
];

/// Where a phrase begins that stands in a text as words of their own, be it over the end of a line
/// of comment.
fn places(text: &str, phrase: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let mut line_before = String::new();
    for (at, line) in text.lines().enumerate() {
        let words = line.trim_start_matches([' ', '/', '!', '#', '*', '-', '|']);
        let joined = format!("{line_before} {}", words.to_lowercase());
        let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let here = joined.match_indices(phrase).any(|(from, _)| {
            let end = from + phrase.len();
            end > line_before.len()
                && !is_word(joined[..from].chars().next_back())
                && !is_word(joined[end..].chars().next())
        });
        if here {
            found.push(at + 1);
        }
        line_before = words.trim_end().to_lowercase();
    }
    found
}

#[test]
fn whose_something_is_is_said_by_name() {
    let mut wrong = Vec::new();
    for file in tree::files(&[""], |path| ENDS.iter().any(|end| path.ends_with(end))) {
        // What is made from a .proto file says what that says.
        if file.is_generated() {
            continue;
        }
        for (phrase, instead) in AVOIDED {
            for line in places(&file.text, phrase) {
                wrong.push(format!("{}:{line}: {phrase:?}; {instead}", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "phrases that are not written here:\n{}", wrong.join("\n"));
}

#[test]
fn a_phrase_is_found_in_any_case_and_over_the_end_of_a_line() {
    let text = "/// A b c.\n//! x of\n//! theirs y\nOf Theirs\nsoft theirs of theirsome\n";
    assert_eq!(places(text, "of theirs"), [3, 4]);
}
