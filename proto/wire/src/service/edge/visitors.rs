//! By which names a service may be reached, and from which pages it may be called.
//!
//! A browser runs programs of strangers. Such a program reaches a service on its reader's machine
//! or network in two ways: from a page of its own, which the browser names in `Origin`; or by a
//! name of its own that was made to point at the service after the page was loaded (DNS rebinding),
//! which the browser names in `Host`. So both have to be ours. An address is always ours: nobody
//! can make it point elsewhere. `localhost` is, since browsers resolve it themselves; a name below
//! it is not: whoever has a port of this machine has a page there.
//!
//! For what a page loads without a preflight (pictures, scripts, frames) a browser names no origin
//! and says in `Sec-Fetch-Site` only how the page is related to us. `same-site` is a stranger
//! there, as it is by its `Origin`: any port of this machine, any name beside ours. A link that
//! somebody follows is let in: the page it is on can't read what opens, nor frame it, and opening
//! changes nothing. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Uri};

use super::refusal::{Refusal, shown};

/// How the page that a request is from is related to us (W3C, Fetch Metadata Request Headers).
const SITE: &str = "sec-fetch-site";

/// Who may reach a service from where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Visitors {
    names: Vec<String>,
    origins: Vec<HeaderValue>,
    any_name: bool,
}

impl Visitors {
    /// Reached by addresses, as localhost, and by these names (`*.` before one stands for one
    /// label); called from its own pages and from those of these origins.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = String>, origins: Vec<HeaderValue>) -> Self {
        let names = names.into_iter().map(|name| plain(&name)).collect();
        Self { names, origins, any_name: false }
    }

    /// Reached by any name, and called from no page: where the peer has shown a certificate
    /// that the service knows.
    #[must_use]
    pub const fn with_certificates() -> Self {
        Self { names: Vec::new(), origins: Vec::new(), any_name: true }
    }

    /// Whether a request may come in.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, uri: &Uri, headers: &HeaderMap, secure: bool) -> Result<(), Refusal> {
        let named = uri.authority().map(|authority| authority.as_str().as_bytes());
        let hosts: Vec<&[u8]> = named
            .into_iter()
            .chain(headers.get_all(HOST).iter().map(HeaderValue::as_bytes))
            .collect();
        if hosts.is_empty() && !self.any_name {
            return Err(Refusal::NoHost);
        }
        if let Some(stranger) = hosts.iter().find(|host| !self.is_ours(host)) {
            return Err(Refusal::Host { given: shown(stranger) });
        }
        for origin in headers.get_all(ORIGIN) {
            let own = hosts.iter().any(|host| is_of(origin.as_bytes(), host, secure));
            if !own && !self.origins.contains(origin) {
                return Err(Refusal::Origin { given: shown(origin.as_bytes()) });
            }
        }
        let strange = |site: &&HeaderValue| !matches!(site.as_bytes(), b"same-origin" | b"none");
        match headers.get_all(SITE).iter().find(strange) {
            Some(site) if !headers.contains_key(ORIGIN) && !is_a_followed_link(headers) => {
                Err(Refusal::Site { given: shown(site.as_bytes()) })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn is_ours(&self, authority: &[u8]) -> bool {
        if self.any_name {
            return true;
        }
        let Some(host) = std::str::from_utf8(authority).ok().and_then(host) else { return false };
        if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            return address.parse::<Ipv6Addr>().is_ok();
        }
        let host = plain(host);
        host.parse::<Ipv4Addr>().is_ok()
            || host == "localhost"
            || self.names.iter().any(|name| fits(name, &host))
    }
}

/// Whether a whole window goes there. A form that is sent has an origin.
fn is_a_followed_link(headers: &HeaderMap) -> bool {
    let only = |name, value: &str| {
        let mut given = headers.get_all(name).iter();
        given.next().is_some_and(|given| given == value) && given.next().is_none()
    };
    only("sec-fetch-mode", "navigate") && only("sec-fetch-dest", "document")
}

/// The host of an authority, without its port. One with a user is none.
fn host(authority: &str) -> Option<&str> {
    let (host, port) = match authority.rsplit_once(':') {
        // The last colon of an IPv6 address is within its brackets.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port_is_one =
        port.is_none_or(|port| port.is_empty() || port.parse::<u16>().is_ok_and(|_| digits(port)));
    (port_is_one && !host.is_empty() && !host.contains('@')).then_some(host)
}

fn digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn fits(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        None => name == host,
        Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
    }
}

/// Whether an origin is the page of this authority itself. Over TLS the page was, too.
fn is_of(origin: &[u8], authority: &[u8], secure: bool) -> bool {
    let (Ok(origin), Ok(authority)) = (std::str::from_utf8(origin), std::str::from_utf8(authority))
    else {
        return false;
    };
    let (page, usual) = match (origin.strip_prefix("https://"), origin.strip_prefix("http://")) {
        (Some(page), _) => (page, ":443"),
        (None, Some(page)) if !secure => (page, ":80"),
        (None, _) => return false,
    };
    let without = |authority: &str| {
        let authority = authority.to_ascii_lowercase();
        authority.strip_suffix(usual).map_or(authority.clone(), str::to_owned)
    };
    without(page) == without(authority)
}

#[cfg(test)]
mod tests;
