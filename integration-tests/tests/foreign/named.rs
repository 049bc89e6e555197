//! Every command and flag of banger that a document names is one that the programs have.
//!
//! Asked of the programs themselves, by `--help`, so that no page outlives what it tells of. What a
//! command does is tried elsewhere; here a page that says `banger vm boot` fails.

use std::collections::BTreeMap;
use std::fs;

use banger_integration_tests::pages::{documents, top};
use banger_integration_tests::programs::{command, ours};

const PROGRAMS: [&str; 3] = ["banger", "banger-server", "banger-agent"];

/// What may stand before the name of a program that is run.
const BEFORE: [&str; 7] = ["$", "|", "&&", "do", "sudo", "then", "exec"];

/// Where the words of a command end.
const AFTER: [&str; 9] = ["|", "&&", "||", ";", ">", ">>", "<", "--", "done"];

/// What is written as code: each line between fences, and what is between backticks.
fn code(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (at, piece) in text.split("\n```").enumerate() {
        if at % 2 == 1 {
            let joined = piece.replace("\\\n", " ");
            all.extend(joined.lines().skip(1).map(str::to_owned));
        } else {
            all.extend(piece.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    all
}

/// Banger's commands in a line: the program, and its words up to where they end.
fn commands(line: &str) -> Vec<(&'static str, Vec<String>)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let inside = word.rsplit("$(").next().unwrap_or(word);
        let name = inside.rsplit('/').next().unwrap_or(inside);
        let Some(program) = PROGRAMS.into_iter().find(|program| *program == name) else { continue };
        let is_run = at == 0
            || inside.len() < word.len()
            || BEFORE.contains(&words[at - 1])
            || words[at - 1].ends_with(';');
        if !is_run {
            continue;
        }
        let mut own = Vec::new();
        for word in &words[at + 1..] {
            if AFTER.contains(word) || word.starts_with('#') {
                break;
            }
            own.push(word.trim_end_matches([';', ')', '"']).to_owned());
            if word.ends_with([';', ')']) {
                break;
            }
        }
        found.push((program, own));
    }
    found
}

/// What the programs say of themselves, each asked once.
#[derive(Default)]
struct Programs(BTreeMap<Vec<String>, Option<String>>);

impl Programs {
    /// The help of a command; `None` where there is no such command.
    fn help(&mut self, path: &[String]) -> Option<String> {
        let ask = || {
            let mut program = command(&ours(&path[0]));
            let output = program.args(&path[1..]).arg("--help").output().expect("it starts");
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        self.0.entry(path.to_vec()).or_insert_with(ask).clone()
    }

    /// What is not there of a command as it is written.
    fn missing(&mut self, program: &str, words: &[String]) -> Option<String> {
        let mut path = vec![program.to_owned()];
        let mut helps = vec![self.help(&path)?];
        let mut before = "";
        for word in words {
            let takes_words = helps.last().is_some_and(|help| help.contains("\nCommands:\n"));
            let flag = word.split('=').next().unwrap_or(word).trim_end_matches([',', '.']);
            if flag.starts_with('-') && flag.len() > 1 {
                if let Some(flag) = unknown(flag, &helps) {
                    return Some(format!("{} has no {flag}", path.join(" ")));
                }
            } else if takes_words && !before.starts_with('-') && is_word(word) {
                let mut deeper = Vec::new();
                for one in word.split('|') {
                    deeper = [&path[..], &[one.to_owned()]].concat();
                    let Some(help) = self.help(&deeper) else {
                        return Some(format!("{} has no {one}", path.join(" ")));
                    };
                    helps.push(help);
                }
                path = deeper;
            }
            before = word;
        }
        None
    }
}

/// Of a flag, or of several short ones in one word, the first that no help knows.
fn unknown(flag: &str, helps: &[String]) -> Option<String> {
    let known = |flag: &str| {
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-');
        helps
            .iter()
            .any(|help| help.match_indices(flag).any(|(at, _)| ends(&help[at + flag.len()..])))
    };
    if flag.starts_with("--") {
        return (!known(flag)).then(|| flag.to_owned());
    }
    flag.chars().skip(1).map(|c| format!("-{c}")).find(|short| !known(short))
}

/// Whether it is meant as it stands, and not in place of something.
fn is_word(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '-' | '|'))
}

#[test]
fn documents_name_no_command_and_no_flag_that_the_programs_have_not() {
    let mut programs = Programs::default();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for document in documents() {
        let text = fs::read_to_string(top().join(&document)).expect("it is there");
        for (program, words) in code(&text).iter().flat_map(|line| commands(line)) {
            seen += 1;
            if let Some(missing) = programs.missing(program, &words) {
                wrong.push(format!("{document}: {program} {}: {missing}", words.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 150, "only {seen} commands were found");
}

#[test]
fn a_command_is_found_wherever_it_is_written_and_its_mistakes_are_named() {
    let line = "for h in $(banger host ls -o name); do banger vm create \"on-$h\" --wat; done";
    let found = commands(line);
    let words = |at: usize| found[at].1.join(" ");
    assert_eq!(
        (found.len(), words(0), words(1)),
        (2, "host ls -o name".into(), "vm create \"on-$h --wat".into())
    );
    assert!(commands("journalctl -u banger-server").is_empty(), "it is no command there");
    let mut programs = Programs::default();
    let missing = |programs: &mut Programs, line: &str| {
        let (program, words) = commands(line).remove(0);
        programs.missing(program, &words)
    };
    for (line, what) in [
        ("banger vm boot web", "banger vm has no boot"),
        ("banger vm start|halt web", "banger vm has no halt"),
        ("banger vm create web --disc 1G", "banger vm create has no --disc"),
        ("banger vm exec -ix web", "banger vm exec has no -x"),
        ("banger-server restore --drop x", "banger-server restore has no --drop"),
    ] {
        assert_eq!(missing(&mut programs, line).as_deref(), Some(what), "{line}");
    }
    assert_eq!(missing(&mut programs, "banger -o json vm ls -l app=web --state failed"), None);
}
