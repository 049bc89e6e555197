//! By which names the server is reached and from which pages: values that could never match are
//! refused.
//!
//! A browser writes `Origin` and `Host` in one form only (WHATWG URL): in lower case, without the
//! usual port, without a path. What an operator writes is compared with that letter by letter, so
//! that any other form would let nobody in and say nothing.

use url::{Host, Url};

use super::check_domain;

/// Whether a browser would send this text as the origin of a page.
///
/// # Errors
/// Why not, and where it can be told, what it would send.
pub(super) fn check_origin(text: &str) -> Result<(), String> {
    const EXAMPLE: &str = "is no origin such as https://example.org";
    if text.contains("://") && text.contains('*') {
        return Err("has a wildcard; each origin is listed by itself".to_owned());
    }
    let url = Url::parse(text).map_err(|_| EXAMPLE.to_owned())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(EXAMPLE.to_owned());
    }
    let sent = url.origin().ascii_serialization();
    if sent == text {
        Ok(())
    } else {
        Err(format!("is never sent by a browser; it sends {sent:?}"))
    }
}

/// Whether requests can come by this name, which is one beside addresses and `localhost`.
///
/// # Errors
/// Why not.
pub(super) fn check_server_name(text: &str) -> Result<(), String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    check_domain(name)?;
    // Whatever ends in a number is read as an IPv4 address, in one of its odd forms too.
    match Host::parse(name) {
        Ok(Host::Domain(read)) if read == name => Ok(()),
        Ok(Host::Domain(read)) => Err(format!("is called {read:?} by whoever asks for it")),
        Ok(Host::Ipv4(_) | Host::Ipv6(_)) => {
            Err("is an address; requests by addresses are answered without it".to_owned())
        }
        Err(_) => Err("is no name of a host".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_browser_sends_is_an_origin() {
        for good in [
            "https://example.org",
            "http://example.org:8080",
            "https://xn--bcher-kva.example",
            "http://127.0.0.1:3000",
            "http://[::1]:3000",
            "http://localhost",
        ] {
            assert_eq!(check_origin(good), Ok(()), "{good}");
        }
        for (bad, said) in [
            ("https://example.org/", "\"https://example.org\""),
            ("https://Example.org", "\"https://example.org\""),
            ("HTTPS://example.org", "\"https://example.org\""),
            ("https://example.org:443", "\"https://example.org\""),
            ("http://example.org:80", "\"http://example.org\""),
            ("https://example.org/path?query", "\"https://example.org\""),
            ("https://user@example.org", "\"https://example.org\""),
            ("https://b\u{fc}cher.example", "\"https://xn--bcher-kva.example\""),
            ("http://127.1", "\"http://127.0.0.1\""),
            (" https://example.org", "\"https://example.org\""),
            ("https://*.example.org", "wildcard"),
            ("*", "no origin"),
            ("null", "no origin"),
            ("example.org", "no origin"),
            ("ftp://example.org", "no origin"),
            ("file:///etc", "no origin"),
            ("", "no origin"),
        ] {
            let why = check_origin(bad).expect_err(bad);
            assert!(why.contains(said), "{bad}: {why}");
        }
    }

    #[test]
    fn a_name_that_no_request_can_have_is_refused() {
        for good in ["fleet.example.org", "*.hosts.example.org", "fleet", "xn--bcher-kva.example"] {
            assert_eq!(check_server_name(good), Ok(()), "{good}");
        }
        for bad in [
            "fleet.example.org:7070",
            "Fleet.example.org",
            "https://fleet.example.org",
            "192.0.2.1",
            "*.2.1",
            "10.1",
            "2130706433",
            "[::1]",
            "*",
            "*.",
            "a.*.b",
            "fleet.",
            "b\u{fc}cher.example",
            "",
        ] {
            assert!(check_server_name(bad).is_err(), "{bad}");
        }
    }
}
