//! How a registry asks who one is: the `WWW-Authenticate` header of its 401 (RFC 9110 §11.6.1, and
//! the distribution project's token authentication). Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Credentials;

/// What a registry wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// The name and the password with each request.
    Basic,
    /// A token, which is had at `realm`.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    /// The first challenge of a header that we can meet.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let value = |wanted: &str| {
            let mut found = parameters(rest).into_iter();
            found.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
        };
        Some(Self::Bearer {
            realm: value("realm")?,
            service: value("service"),
            scope: value("scope"),
        })
    }

    /// Where a token for reading `repository` is had.
    pub(super) fn token_uri(realm: &str, service: Option<&str>, scope: &str) -> String {
        let mut uri = realm.to_owned();
        uri.push(if realm.contains('?') { '&' } else { '?' });
        if let Some(service) = service {
            uri.push_str(&format!("service={}&", escaped(service)));
        }
        uri.push_str(&format!("scope={}", escaped(scope)));
        uri
    }
}

/// `name="value", name=value`; a quoted value may have commas and escapes.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',', '\t']).to_owned();
        let mut value = String::new();
        rest = if let Some(quoted) = after.strip_prefix('"') {
            let mut chars = quoted.char_indices();
            let mut end = quoted.len();
            while let Some((at, c)) = chars.next() {
                match c {
                    '\\' => value.extend(chars.next().map(|(_, c)| c)),
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    c => value.push(c),
                }
            }
            &quoted[end..]
        } else {
            let end = after.find(',').unwrap_or(after.len());
            value.push_str(after[..end].trim());
            &after[end..]
        };
        found.push((name, value));
    }
    found
}

/// For a query: everything but unreserved characters (RFC 3986 §2.3) is escaped.
fn escaped(text: &str) -> String {
    let mut all = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                all.push(char::from(byte));
            }
            other => all.push_str(&format!("%{other:02X}")),
        }
    }
    all
}

/// The header for a name and a password (RFC 7617).
pub(super) fn basic(credentials: &Credentials) -> String {
    let Credentials { username, password } = credentials;
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

#[cfg(test)]
mod tests;
