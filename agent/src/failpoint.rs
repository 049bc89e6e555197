//! The agent kills itself at a chosen effect: how the tests on a real kernel stop it at every step.
//!
//! Only builds with debug assertions have this module, and only with [`VARIABLE`] set: a released
//! agent can't be told to die, whatever is in its environment. Driven by the observer of effects;
//! the file that the variable names says where, and is read at each effect, so that an agent that
//! runs can be armed and one that is started again is not:
//!
//! - `after 7 WORD`: kill the process after the 7th effect since this text was first seen;
//! - `before 7 WORD`: before it;
//! - `list WORD`: only append the name of each effect to the file's neighbour `.effects`.
//!
//! The WORD tells one arming from the next. The file is removed before the process dies. What can
//! go wrong: the file can't be read or says something else; then nothing happens.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

/// Names the file. Without it nothing here does anything.
pub const VARIABLE: &str = "BANGER_FAILPOINT_FILE";

/// A place at which the agent is told to die.
#[derive(Debug)]
pub struct Failpoint {
    file: PathBuf,
    counted: Mutex<Counted>,
}

/// Effects since the text was first seen.
#[derive(Debug, Default)]
struct Counted {
    text: String,
    effects: u64,
}

/// Where in an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

impl Failpoint {
    /// From the environment.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        let file = PathBuf::from(std::env::var_os(VARIABLE)?);
        tracing::warn!(file = %file.display(), "this agent kills itself when it is told to");
        Some(Self { file, counted: Mutex::default() })
    }

    /// The same for a part of the agent that counts for itself: its file is the neighbour of this
    /// name.
    #[must_use]
    pub fn from_environment_for(part: &str) -> Option<Self> {
        let file = PathBuf::from(std::env::var_os(VARIABLE)?).with_extension(part);
        Some(Self { file, counted: Mutex::default() })
    }

    /// An effect is about to be performed.
    pub fn before(&self, effect: &str) {
        let Ok(text) = std::fs::read_to_string(&self.file) else { return };
        let count = {
            let mut counted = self.counted.lock();
            if counted.text != text {
                *counted = Counted { text: text.clone(), effects: 0 };
            }
            counted.effects += 1;
            counted.effects
        };
        if text.starts_with("list ") {
            let line = || -> std::io::Result<()> {
                let mut list = std::fs::File::options();
                let mut list =
                    list.create(true).append(true).open(self.file.with_extension("effects"))?;
                writeln!(list, "{effect}")
            };
            if let Err(error) = line() {
                tracing::warn!(error = %error, "the effect is not listed");
            }
        }
        if place(&text) == Some((Side::Before, count)) {
            die(&self.file, effect);
        }
    }

    /// An effect was performed, or failed; nothing is noted of it yet.
    pub fn after(&self, effect: &str) {
        let counted = self.counted.lock();
        if place(&counted.text) == Some((Side::After, counted.effects)) && self.file.exists() {
            die(&self.file, effect);
        }
    }
}

/// What the text says: which side of which effect.
fn place(text: &str) -> Option<(Side, u64)> {
    let mut words = text.split_ascii_whitespace();
    let side = match words.next()? {
        "before" => Side::Before,
        "after" => Side::After,
        _ => return None,
    };
    Some((side, words.next()?.parse().ok()?))
}

/// As `kill -9` does: no destructor runs, nothing is flushed, no child is told.
fn die(file: &Path, effect: &str) {
    // Without this the next life would die of it again.
    if std::fs::remove_file(file).is_err() {
        return;
    }
    tracing::warn!(effect, "killed here");
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

#[cfg(test)]
mod tests;
