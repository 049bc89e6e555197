//! Reads a server address as people write it.

use std::net::IpAddr;

use http::uri::Authority;

use crate::error::EndpointError;

/// The port of the public API.
const DEFAULT_PORT: u16 = 7070;

/// A server address that can be dialled.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// `scheme://host:port`.
    pub(super) url: String,
    pub(super) tls: bool,
    /// Whether it is this machine itself.
    pub(super) loopback: bool,
}

pub(super) fn parse(text: &str) -> Result<Address, EndpointError> {
    let wrong = |why| EndpointError::Server { text: text.to_owned(), why };
    let bare = text.trim();
    if bare.is_empty() {
        return Err(wrong("it is empty"));
    }
    let (scheme, rest) = match bare.split_once("://") {
        Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
        None => (None, bare),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) {
        return Err(wrong("a server address has no path"));
    }
    if rest.contains('@') {
        return Err(wrong("a server address has no user name"));
    }
    let authority: Authority =
        rest.parse().map_err(|_| wrong("it does not parse as host and port"))?;
    let host = authority.host();
    if host.is_empty() {
        return Err(wrong("it names no host"));
    }
    let after_host = &authority.as_str()[host.len()..];
    let port = match after_host.strip_prefix(':') {
        None => DEFAULT_PORT,
        Some(digits) => match digits.parse() {
            Ok(port) if port > 0 => port,
            Ok(_) | Err(_) => return Err(wrong("the port is not a number from 1 to 65535")),
        },
    };
    let loopback = is_loopback(host);
    let tls = match scheme.as_deref() {
        Some("http") => false,
        Some("https") => true,
        None => !loopback,
        Some(_) => return Err(wrong("only http and https are known")),
    };
    let scheme = if tls { "https" } else { "http" };
    Ok(Address { url: format!("{scheme}://{host}:{port}"), tls, loopback })
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
