//! The file with what an operator has set: TOML, and every key has a default.
//!
//! Driven by every start and by `check-config`, which root runs for others. What can go wrong: the
//! file is none that ends (a FIFO, a device), or has no end worth reading; then it is not opened to
//! wait, nor read into memory, but refused.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::secrets::{self, SecretError};

/// The configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("could not read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no TOML, or has an unknown key or a value of a wrong kind.
    #[error("{} is not a configuration of the {service}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Whose configuration it was to be.
        service: &'static str,
        /// Why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Values do not fit.
    #[error("the configuration has problems: {}", .0.join("; "))]
    Invalid(Vec<String>),
}

/// Reads the file at `path`, which must be there; without a path the one at `usual` if it is there,
/// else the defaults.
///
/// # Errors
/// When the file can't be read or understood.
pub fn load<T: DeserializeOwned + Default>(
    service: &'static str,
    path: Option<&Path>,
    usual: &str,
) -> Result<T, ConfigError> {
    let usual = Path::new(usual);
    let Some(path) = path.or_else(|| usual.exists().then_some(usual)) else {
        return Ok(T::default());
    };
    let read = |source| ConfigError::Read { path: path.to_owned(), source };
    let content = secrets::read_public(path).map_err(|error| match error {
        SecretError::Read { source, .. } => read(source),
        other => read(io::Error::new(ErrorKind::InvalidInput, other)),
    })?;
    let text = String::from_utf8(content)
        .map_err(|error| read(io::Error::new(ErrorKind::InvalidData, error)))?;
    let parse = |source| ConfigError::Parse { path: path.to_owned(), service, source };
    toml::from_str(&text).map_err(|source| parse(Box::new(source)))
}

#[cfg(test)]
mod tests;
