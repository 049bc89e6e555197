//! Where an image comes from: a path, or the reference of a registry, parsed.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file or a directory on this machine.
    Path(PathBuf),
    /// A container image in a registry.
    Registry(Reference),
}

/// A container image in a registry: `registry/repository[:tag][@sha256:digest]`. A name without
/// a registry is Docker Hub's, one without a tag or digest is `latest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub(crate) registry: String,
    pub(crate) repository: String,
    pub(crate) tag: Option<String>,
    pub(crate) digest: Option<String>,
}

/// A reference that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no image reference: {what}")]
pub struct ReferenceError {
    text: String,
    what: &'static str,
}

impl Reference {
    /// Host and port of the registry, `docker.io` for Docker Hub.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// What is asked for of the repository: the digest, or else the tag.
    #[must_use]
    pub fn version(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
    }
}

const MOST_BYTES: usize = 512;

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let wrong = |what| ReferenceError { text: text.chars().take(80).collect(), what };
        if text.len() > MOST_BYTES {
            return Err(wrong("it is longer than 512 bytes"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return Err(wrong("a digest is sha256: and 64 lower-case hexadecimal digits"));
        }
        // A colon after the last slash parts the tag; one before it is a port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("a tag is at most 128 letters, digits and _ . -"));
        }
        let (registry, repository) = match name.split_once('/') {
            Some((host, path)) if is_host(host) => {
                // One registry has one name, however it is written.
                (host.to_ascii_lowercase(), path.to_owned())
            }
            Some(_) => ("docker.io".to_owned(), name.to_owned()),
            None => ("docker.io".to_owned(), format!("library/{name}")),
        };
        if !is_registry(&registry) {
            return Err(wrong("the registry is no host name with an optional port"));
        }
        if !repository.split('/').all(is_part) {
            return Err(wrong(
                "the parts of a repository are lower-case letters, digits and _ . -",
            ));
        }
        Ok(Self {
            registry,
            repository,
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

pub(crate) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

fn is_part(part: &str) -> bool {
    part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b))
        && !part.contains("..")
}

/// Whether what stands before the first slash is a registry, and not the first part of a
/// repository.
fn is_host(text: &str) -> bool {
    text.contains(['.', ':']) || text.eq_ignore_ascii_case("localhost")
}

fn is_registry(registry: &str) -> bool {
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') => (host, Some(port)),
        _ => (registry, None),
    };
    let name = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).map_or_else(
        || {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b))
        },
        |address| address.parse::<std::net::Ipv6Addr>().is_ok(),
    );
    name && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests;
