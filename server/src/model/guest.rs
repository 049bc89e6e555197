//! What a program in a guest is asked and answers, on its way from a client to the agent of a host.
//!
//! Pure values. What goes into a guest is checked here, once: the guest's own agent is not to be
//! trusted with it, and what is wrong is said before anything runs.

use std::collections::BTreeMap;

use super::spec::SpecProblem;

/// The longest command with its arguments, in bytes.
pub const MAX_COMMAND_BYTES: usize = 128 * 1024;

/// The most words of a command.
pub const MAX_COMMAND_WORDS: usize = 4096;

/// The most variables of an environment, and its bytes.
pub const MAX_ENVIRONMENT: (usize, usize) = (1024, 64 * 1024);

/// The longest path, in bytes: `PATH_MAX` of Linux.
pub const MAX_PATH_BYTES: usize = 4095;

/// The longest name of a file, in bytes: `NAME_MAX` of Linux.
const MAX_NAME_BYTES: usize = 255;

/// The longest user name, in bytes.
const MAX_USER_BYTES: usize = 256;

/// How much of a command's name the history keeps, in characters.
const SHOWN: usize = 64;

/// Something for a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecIn {
    /// Run it; first and once.
    Start(ExecStart),
    /// For its standard input.
    Stdin(Vec<u8>),
    /// The end of its standard input.
    StdinClosed,
    /// Its terminal has another size.
    Resize(TerminalSize),
    /// A signal for it, 1 to 64.
    Signal(u32),
}

/// A program to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecStart {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Beside what the guest's agent gives.
    pub environment: BTreeMap<String, String>,
    /// Absolute; empty: the user's home.
    pub directory: String,
    /// Name or number; empty: root.
    pub user: String,
    /// The program gets a terminal of this size.
    pub terminal: Option<TerminalSize>,
}

/// In characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u32,
    /// Characters in a line.
    pub columns: u32,
}

/// Something from a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecOut {
    /// It runs.
    Started {
        /// In the guest.
        pid: u32,
    },
    /// It wrote this.
    Stdout(Vec<u8>),
    /// It complained so.
    Stderr(Vec<u8>),
    /// It ended with this code.
    Exited(i32),
    /// This signal ended it.
    Killed(i32),
}

/// What was unpacked in a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Files, directories and links.
    pub entries: u64,
    /// Of file content.
    pub bytes: u64,
}

impl ExecStart {
    /// All that is wrong with it. `field` is where it lies in the request.
    pub fn problems(&self, field: &str) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        let mut wrong = |name: &str, why: String| {
            problems.push(SpecProblem::new(format!("{field}.{name}"), why));
        };
        let bytes: usize = self.command.iter().map(String::len).sum();
        if self.command.first().is_none_or(String::is_empty) {
            wrong("command", "needs a program".to_owned());
        } else if self.command.len() > MAX_COMMAND_WORDS || bytes > MAX_COMMAND_BYTES {
            wrong(
                "command",
                format!("is more than {MAX_COMMAND_WORDS} words or {MAX_COMMAND_BYTES} bytes"),
            );
        } else if self.command.iter().any(|word| word.contains('\0')) {
            wrong("command", "has a NUL".to_owned());
        }
        let (most, most_bytes) = MAX_ENVIRONMENT;
        let bytes: usize =
            self.environment.iter().map(|(key, value)| key.len() + value.len()).sum();
        if self.environment.len() > most || bytes > most_bytes {
            wrong("environment", format!("is more than {most} variables or {most_bytes} bytes"));
        }
        let bad = |(key, value): (&String, &String)| {
            key.is_empty() || key.contains(['=', '\0']) || value.contains('\0')
        };
        if self.environment.iter().any(bad) {
            // Not which: a value may be a secret, and so may a key that is no name.
            wrong("environment", "has a name that is empty or has '=', or a NUL".to_owned());
        }
        if !self.directory.is_empty()
            && let Err(why) = check_path(&self.directory)
        {
            wrong("directory", why);
        }
        if self.user.len() > MAX_USER_BYTES || self.user.contains(['\0', ':', '\n']) {
            wrong("user", format!("is no user, or longer than {MAX_USER_BYTES} bytes"));
        }
        if let Some(size) = self.terminal
            && let Err(why) = size.check()
        {
            wrong("terminal", why);
        }
        problems
    }

    /// What the history shows of it: the program's name, without arguments or environment, which
    /// may hold secrets, also where somebody has put a whole command line into one word. So it ends
    /// where a name of a program rarely goes on.
    pub fn shown(&self) -> String {
        let command = self.command.first().map(String::as_str).unwrap_or_default();
        let program = command.split_whitespace().next().unwrap_or_default();
        let name = program.rsplit('/').next().unwrap_or_default();
        let of_a_name = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-');
        let shown: String = name.chars().take_while(of_a_name).take(SHOWN).collect();
        if shown.is_empty() { "a program".to_owned() } else { shown }
    }
}

impl TerminalSize {
    /// What is wrong with it.
    ///
    /// # Errors
    /// A sentence.
    pub fn check(self) -> Result<(), String> {
        let good = |number| (1..=u32::from(u16::MAX)).contains(&number);
        if good(self.rows) && good(self.columns) {
            return Ok(());
        }
        Err("has rows or columns that are not 1 to 65535".to_owned())
    }
}

/// Whether this can be a path in a guest.
///
/// # Errors
/// A sentence.
pub fn check_path(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err("must begin with /".to_owned());
    }
    if path.len() > MAX_PATH_BYTES || path.contains('\0') {
        return Err(format!("is longer than {MAX_PATH_BYTES} bytes or has a NUL"));
    }
    Ok(())
}

/// Where a copy into a guest goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyTo {
    /// The directory it goes into.
    pub directory: String,
    /// Its name where it goes into a directory of the wanted name; empty where it never does.
    pub own_name: String,
}

/// Checks the name that something to be copied has by itself.
///
/// # Errors
/// A sentence.
pub fn check_own_name(name: &str) -> Result<(), String> {
    match name {
        "." | ".." => Err("is no name of a file".to_owned()),
        name if name.len() > MAX_NAME_BYTES || name.contains(['/', '\0']) => {
            Err(format!("is longer than {MAX_NAME_BYTES} bytes or has a / or NUL"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
