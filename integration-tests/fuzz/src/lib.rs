//! Mangled input for the parsers: what a disk, a tool, a VMM or a stranger might give them.
//!
//! Driven by tests named `fuzz_*` beside each parser, in every `cargo nextest run`, so that a
//! target never rots; `make fuzz SECONDS=600` runs the same ones for longer, each from another
//! seed. Input comes from well-formed seeds and from `corpus/<target>/`, cut, flipped, spliced and
//! salted with [`HOSTILE`] texts: bytes without form rarely get past a parser's first line. It is
//! proptest that makes and shrinks it: it runs on stable Rust and is a dependency already; what it
//! lacks, coverage that guides, the seeds make up for.
//!
//! What can go wrong: a target fails. The smallest input is printed and, in a long run, kept in the
//! corpus: mend the parser and commit the file with it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestError, TestRunner};

mod message;

pub use message::{fuzz_message, text_fields};

/// Says how long each target runs; without it each gets [`INPUTS`].
pub const SECONDS: &str = "BANGER_FUZZ_SECONDS";

/// Inputs of a short run.
const INPUTS: u32 = 1000;

/// Largest input, in bytes, so that a run stays short.
const LARGEST: usize = 16 * 1024;

/// Texts that somebody might put where a name belongs.
pub const HOSTILE: &[&str] = &[
    "",
    " ",
    ".",
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "-rf",
    "--help",
    "a b",
    "a\nb",
    "a\r\nb",
    "a\0b",
    "\u{1b}[2J",
    "w\u{435}b",
    "web\u{202e}",
    "\u{feff}web",
    "'; DROP TABLE vms; --",
    "$(reboot)",
    "`reboot`",
    "%00",
    "{\"a\":1}",
    "*",
    "-1",
    "18446744073709551616",
    "4294967296",
    "1e308",
    "NaN",
    "00000000-0000-0000-0000-000000000000",
    "0193A7E2-3F40-7C21-9D5E-000000000001",
    "{0193a7e2-3f40-7c21-9d5e-000000000001}",
    "bg-aaaaaaaaaaaa",
    "banger-bg-",
    "banger-b2-0193a7e2-3f40-7c21-9d5e-000000000001",
];

/// One change of an input.
#[derive(Debug, Clone)]
enum Edit {
    Cut(Index),
    Flip(Index, u8),
    Put(Index, u8),
    Insert(Index, Vec<u8>),
    Salt(Index, Index),
    Remove(Index, Index),
    Double(Index, Index),
    Splice(Index, Index, Index),
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let place = any::<Index>;
    prop_oneof![
        1 => place().prop_map(Edit::Cut),
        3 => (place(), 0..8_u8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        2 => (place(), any::<u8>()).prop_map(|(at, byte)| Edit::Put(at, byte)),
        1 => (place(), prop::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        3 => (place(), place()).prop_map(|(at, which)| Edit::Salt(at, which)),
        2 => (place(), place()).prop_map(|(from, to)| Edit::Remove(from, to)),
        1 => (place(), place()).prop_map(|(from, to)| Edit::Double(from, to)),
        1 => (place(), place(), place()).prop_map(|(seed, from, at)| Edit::Splice(seed, from, at)),
    ]
}

/// A place from the beginning to the very end.
fn at(place: Index, bytes: &[u8]) -> usize {
    place.index(bytes.len() + 1)
}

fn edited(mut bytes: Vec<u8>, edits: &[Edit], seeds: &[Vec<u8>]) -> Vec<u8> {
    for edit in edits {
        match edit {
            Edit::Cut(place) => bytes.truncate(at(*place, &bytes)),
            Edit::Flip(..) | Edit::Put(..) if bytes.is_empty() => {}
            Edit::Flip(place, bit) => {
                let place = place.index(bytes.len());
                bytes[place] ^= 1 << bit;
            }
            Edit::Put(place, byte) => {
                let place = place.index(bytes.len());
                bytes[place] = *byte;
            }
            Edit::Insert(place, more) => insert(&mut bytes, *place, more),
            Edit::Salt(place, which) => insert(&mut bytes, *place, which.get(HOSTILE).as_bytes()),
            Edit::Remove(from, to) => {
                let (from, to) = (at(*from, &bytes), at(*to, &bytes));
                bytes.drain(from.min(to)..from.max(to));
            }
            Edit::Double(from, to) => {
                let (from, to) = (at(*from, &bytes), at(*to, &bytes));
                let part = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.splice(from.max(to)..from.max(to), part);
            }
            Edit::Splice(seed, from, place) => {
                let seed = seed.get(seeds);
                let more = seed[at(*from, seed)..].to_vec();
                insert(&mut bytes, *place, &more);
            }
        }
        bytes.truncate(LARGEST);
    }
    bytes
}

fn insert(bytes: &mut Vec<u8>, place: Index, more: &[u8]) {
    let place = at(place, bytes);
    bytes.splice(place..place, more.iter().copied());
}

/// Gives a parser mangled forms of the seeds and of what is in the target's corpus. `check` panics
/// when the parser does what it must not.
///
/// # Panics
/// With the smallest input found for which `check` panics.
pub fn fuzz(target: &str, seeds: &[&[u8]], check: impl Fn(&[u8])) {
    let mut all: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.to_vec()).collect();
    all.extend(HOSTILE.iter().map(|text| text.as_bytes().to_vec()));
    all.extend(corpus(target));
    for seed in &all {
        check(seed);
    }
    let seeds = all.clone();
    let strategy = (any::<Index>(), prop::collection::vec(any_edit(), 0..6))
        .prop_map(move |(seed, edits)| edited(seed.get(&seeds).clone(), &edits, &seeds));
    run(target, &strategy, all.len(), |input| check(input));
}

/// Runs a strategy for as long as is asked for.
fn run<S>(target: &str, strategy: &S, before: usize, check: impl Fn(&[u8]))
where
    S: Strategy<Value = Vec<u8>>,
{
    let seconds = std::env::var(SECONDS).ok().and_then(|seconds| seconds.parse().ok());
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut inputs = before as u64;
    loop {
        let config = Config { cases: INPUTS, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new(config);
        let result = runner.run(strategy, |input| {
            check(&input);
            Ok(())
        });
        match result {
            Ok(()) => {}
            Err(TestError::Fail(why, input)) => {
                let kept = if until.is_some() { kept(target, &input) } else { String::new() };
                let text = String::from_utf8_lossy(&input);
                panic!("fuzz {target}: {why}\nas text: {text:?}\nas bytes: {input:?}{kept}");
            }
            Err(TestError::Abort(why)) => panic!("fuzz {target} was not run: {why}"),
        }
        inputs += u64::from(INPUTS);
        if until.is_none_or(|until| Instant::now() >= until) {
            break;
        }
    }
    println!("fuzz {target}: {inputs} inputs");
}

fn corpus_dir(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// What was found before, and samples of the real thing.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let Ok(files) = std::fs::read_dir(corpus_dir(target)) else { return Vec::new() };
    files.flatten().filter_map(|file| std::fs::read(file.path()).ok()).collect()
}

fn kept(target: &str, input: &[u8]) -> String {
    let dir = corpus_dir(target);
    let sum = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    let path = dir.join(format!("found-{sum:016x}"));
    match std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&path, input)) {
        Ok(()) => format!("\nkept as {}", path.display()),
        Err(error) => format!("\nnot kept: {error}"),
    }
}

#[cfg(test)]
mod tests;
