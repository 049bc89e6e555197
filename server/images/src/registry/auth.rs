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
    /// The best of all challenges that a registry offers, in however many headers: a token before a
    /// password, because who offers both gives the token to strangers too.
    pub(super) fn best<'h>(headers: impl Iterator<Item = &'h str>) -> Option<Self> {
        let all: Vec<_> = headers.flat_map(challenges).filter_map(|one| one.known()).collect();
        let bearer = all.iter().find(|one| matches!(one, Self::Bearer { .. }));
        bearer.or(all.first()).cloned()
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

/// A scheme and its parameters, as they stand in a header.
struct Offer {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Offer {
    fn known(self) -> Option<Challenge> {
        let value = |wanted: &str| {
            let mut all = self.parameters.iter();
            all.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.clone())
        };
        if self.scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        if !self.scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        Some(Challenge::Bearer {
            realm: value("realm")?,
            service: value("service"),
            scope: value("scope"),
        })
    }
}

/// Offers in one header; more is nothing that anybody sends.
const MOST_OFFERS: usize = 16;

/// `Scheme name="value", name=value, Other, …`: a comma parts parameters and challenges alike
/// (RFC 9110 §11.6.1), and what has a word before its first `=` begins a challenge.
fn challenges(header: &str) -> Vec<Offer> {
    let mut all: Vec<Offer> = Vec::new();
    for item in items(header) {
        let item = item.trim();
        let before = item.split('=').next().unwrap_or_default().trim_end();
        let (scheme, rest) = match before.split_once([' ', '\t']) {
            Some((scheme, _)) => (Some(scheme), item[scheme.len()..].trim_start()),
            None if !item.contains('=') => (Some(item), ""),
            None => (None, item),
        };
        if let Some(scheme) = scheme.filter(|scheme| !scheme.is_empty()) {
            if all.len() == MOST_OFFERS {
                break;
            }
            all.push(Offer { scheme: scheme.to_owned(), parameters: Vec::new() });
        }
        if let (Some(offer), Some((name, value))) = (all.last_mut(), rest.split_once('=')) {
            offer.parameters.push((name.trim().to_owned(), unquoted(value.trim())));
        }
    }
    all
}

/// What lies between the commas that are in no quotes.
fn items(header: &str) -> Vec<&str> {
    let (mut all, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in header.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                all.push(&header[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    all.push(&header[start..]);
    all
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"') else { return value.to_owned() };
    let mut all = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => all.extend(chars.next()),
            '"' => break,
            c => all.push(c),
        }
    }
    all
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
