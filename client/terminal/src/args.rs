//! Flags that mean the same in every command.

use std::time::Duration;

use clap::{Args, ValueEnum};

/// How to print a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// Protobuf JSON; streams print one object a line.
    Json,
    /// The same as YAML; streams print one document each.
    Yaml,
    /// Names only, one a line.
    Name,
}

/// The confirmation of what destroys.
#[derive(Debug, Clone, Copy, Args)]
pub struct Yes {
    /// Do not ask. Needed where there is no terminal to ask on.
    #[arg(short, long)]
    pub yes: bool,
}

/// `30s`, `5m`, `1h30m`; a bare number is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    humantime::parse_duration(text)
        .map_err(|_| "not a time; write it like 30s, 5m or 1h30m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_is_seconds() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert!(duration("soon").is_err());
    }
}
