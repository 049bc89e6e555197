//! Command lines by the rules of Firecracker and its jailer.
//!
//! Driven by both stand-ins. The rules: only `--name`, `--name value`, and `--` before arguments
//! for the program in the jail; no `--name=value`; nothing twice unless it may be; `--version` and
//! `--help` end the parsing wherever they stand. A command line the real programs refuse must be
//! refused here too, else a test would pass on a command that never works.

use std::collections::BTreeMap;

/// What one argument takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// No value.
    Nothing,
    /// One value, once.
    One,
    /// One value each time it is given.
    Many,
}

/// One argument a program knows.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Without the dashes.
    pub name: &'static str,
    /// What follows it.
    pub takes: Takes,
    /// Whether the program needs it.
    pub required: bool,
    /// Its value where it is not given.
    pub default: Option<&'static str>,
    /// Another argument without which it is refused.
    pub requires: Option<&'static str>,
    /// Another argument beside which it is refused.
    pub forbids: Option<&'static str>,
}

impl Known {
    /// An optional argument.
    pub const fn new(name: &'static str, takes: Takes) -> Self {
        Self { name, takes, required: false, default: None, requires: None, forbids: None }
    }

    /// An argument that must be given.
    pub const fn required(name: &'static str) -> Self {
        Self { required: true, ..Self::new(name, Takes::One) }
    }

    /// An optional argument with a default.
    pub const fn defaulted(name: &'static str, default: &'static str) -> Self {
        Self { default: Some(default), ..Self::new(name, Takes::One) }
    }
}

/// A command line that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// Two arguments that exclude each other.
    #[error("Argument '{other}' cannot be used together with argument '{name}'.")]
    Forbidden {
        /// The one that excludes.
        name: String,
        /// The one excluded.
        other: String,
    },
    /// A required one is not there.
    #[error("Argument '{0}' required, but not found.")]
    Missing(String),
    /// One is there without its value.
    #[error("The argument '{0}' requires a value, but none was supplied.")]
    MissingValue(String),
    /// Not an argument of the program.
    #[error("Found argument '{0}' which wasn't expected, or isn't valid in this context.")]
    Unexpected(String),
    /// Given twice.
    #[error("The argument '{0}' was provided more than once.")]
    Duplicate(String),
}

/// What a command line said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// `--help` or `-h`.
    Help,
    /// `--version`.
    Version,
    /// Everything else.
    Run(Given),
}

/// The arguments given, with defaults filled in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    values: BTreeMap<&'static str, Vec<String>>,
    /// Everything after `--`.
    pub extra: Vec<String>,
}

impl Given {
    /// The value of an argument that takes one.
    pub fn one(&self, name: &str) -> Option<&str> {
        self.values.get(name).and_then(|values| values.first()).map(String::as_str)
    }

    /// The values of an argument that may be repeated.
    pub fn many(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether a flag was given.
    pub fn flag(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }
}

/// Parses a command line without its first element, the program's own name.
pub fn parse(known: &[Known], line: &[String]) -> Result<Parsed, ArgumentError> {
    let end = line.iter().position(|word| word == "--");
    let (own, extra) = match end {
        Some(end) => (&line[..end], &line[end + 1..]),
        None => (line, &[][..]),
    };
    if own.iter().any(|word| word == "--help" || word == "-h") {
        return Ok(Parsed::Help);
    }
    if own.iter().any(|word| word == "--version") {
        return Ok(Parsed::Version);
    }

    let mut given = Given { values: BTreeMap::new(), extra: extra.to_vec() };
    let mut words = own.iter();
    while let Some(word) = words.next() {
        let argument = word
            .strip_prefix("--")
            .and_then(|name| known.iter().find(|argument| argument.name == name));
        let Some(argument) = argument else {
            // The real programs name the argument without its dashes where it has them.
            let name = word.strip_prefix("--").unwrap_or(word);
            return Err(ArgumentError::Unexpected(name.to_owned()));
        };
        let name = argument.name;
        let values = given.values.entry(name).or_default();
        match argument.takes {
            Takes::Nothing | Takes::One if !values.is_empty() => {
                return Err(ArgumentError::Duplicate(name.to_owned()));
            }
            Takes::Nothing => values.push(String::new()),
            Takes::One | Takes::Many => match words.next() {
                Some(value) if !value.starts_with("--") => values.push(value.clone()),
                Some(_) | None => return Err(ArgumentError::MissingValue(name.to_owned())),
            },
        }
    }

    for argument in known {
        if given.values.contains_key(argument.name) {
            if let Some(other) = argument.requires.filter(|other| !given.flag(other)) {
                return Err(ArgumentError::Missing(other.to_owned()));
            }
            if let Some(other) = argument.forbids.filter(|other| given.flag(other)) {
                return Err(ArgumentError::Forbidden {
                    name: argument.name.to_owned(),
                    other: other.to_owned(),
                });
            }
        } else if argument.required {
            return Err(ArgumentError::Missing(argument.name.to_owned()));
        }
    }
    for argument in known {
        if let Some(default) = argument.default {
            let values = given.values.entry(argument.name).or_default();
            if values.is_empty() {
                values.push(default.to_owned());
            }
        }
    }
    Ok(Parsed::Run(given))
}

/// The id rule of both programs: 1 to 64 letters, digits and hyphens.
///
/// # Errors
///
/// The sentence the real programs print.
pub fn check_instance_id(id: &str) -> Result<(), String> {
    if id.is_empty() || id.len() > 64 {
        let length = id.len();
        return Err(format!("Invalid len ({length});  the length must be between 1 and 64"));
    }
    match id.chars().enumerate().find(|(_, c)| *c != '-' && !c.is_alphanumeric()) {
        Some((at, c)) => Err(format!("Invalid char ({c}) at position {at}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
