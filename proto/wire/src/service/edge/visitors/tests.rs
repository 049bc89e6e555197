use super::*;

fn headers(host: &str, origin: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_bytes(host.as_bytes()).expect("printable"));
    if let Some(origin) = origin {
        headers.insert(ORIGIN, HeaderValue::from_str(origin).expect("printable"));
    }
    headers
}

fn visitors() -> Visitors {
    let names = ["Fleet.example.org".to_owned(), "*.hosts.example.org".to_owned()];
    Visitors::new(names, vec![HeaderValue::from_static("https://board.example.org")])
}

fn by_host(host: &str) -> Result<(), Refusal> {
    visitors().admit(&Uri::from_static("/"), &headers(host, None), false)
}

#[test]
fn addresses_localhost_and_configured_names_are_ours_and_nothing_else() {
    for host in [
        "127.0.0.1",
        "127.0.0.1:7070",
        "192.0.2.1:7070",
        "[::1]:7070",
        "[2001:db8::1]",
        "localhost",
        "LOCALHOST:7070",
        "localhost.:7070",
        "fleet.example.org:7070",
        "FLEET.EXAMPLE.ORG",
        "one.hosts.example.org",
    ] {
        assert_eq!(by_host(host), Ok(()), "{host}");
    }
    for host in [
        "evil.example:7070",
        "localhost.evil.example",
        "fleet.localhost:7070",
        "localhost.localhost",
        "evil.localhost",
        "evil.localhost.example",
        "fleet.example.org.evil.example",
        "evil-fleet.example.org",
        "hosts.example.org",
        "a.b.hosts.example.org",
        "127.0.0.1.evil.example:7070",
        "127.0.0.1@evil.example",
        "user@127.0.0.1",
        "127.1",
        "2130706433",
        "[::1].evil.example",
        "::1",
        "",
        ":7070",
        "localhost:70700",
        "localhost:+70",
        "localhost:evil.example",
    ] {
        assert!(matches!(by_host(host), Err(Refusal::Host { .. })), "{host}: {:?}", by_host(host));
    }
}

#[test]
fn a_request_without_a_host_or_with_a_strange_one_beside_ours_is_refused() {
    let none = HeaderMap::new();
    assert_eq!(visitors().admit(&Uri::from_static("/"), &none, false), Err(Refusal::NoHost));
    // HTTP/2 has it in the URI.
    let ours = Uri::from_static("http://localhost:7070/");
    assert_eq!(visitors().admit(&ours, &none, false), Ok(()));
    let both = visitors().admit(&ours, &headers("evil.example", None), false);
    assert!(matches!(both, Err(Refusal::Host { .. })), "{both:?}");
    let mut two = headers("localhost", None);
    two.append(HOST, HeaderValue::from_static("evil.example"));
    assert!(visitors().admit(&Uri::from_static("/"), &two, false).is_err());
}

#[test]
fn a_page_may_call_from_its_own_service_or_an_origin_that_is_allowed() {
    let from = |host: &str, origin: &str, secure| {
        visitors().admit(&Uri::from_static("/"), &headers(host, Some(origin)), secure)
    };
    for (host, origin, secure) in [
        ("127.0.0.1:7070", "http://127.0.0.1:7070", false),
        ("localhost", "http://localhost", false),
        ("localhost", "http://localhost:80", false),
        ("localhost:80", "http://localhost", false),
        ("fleet.example.org", "https://fleet.example.org", true),
        // Behind a proxy that ends TLS.
        ("fleet.example.org", "https://fleet.example.org", false),
        ("127.0.0.1:7070", "https://board.example.org", false),
    ] {
        assert_eq!(from(host, origin, secure), Ok(()), "{origin} to {host}");
    }
    for (host, origin, secure) in [
        ("127.0.0.1:7070", "http://evil.example", false),
        ("127.0.0.1:7070", "http://127.0.0.1:8080", false),
        ("127.0.0.1:7070", "http://127.0.0.1", false),
        ("127.0.0.1:7070", "null", false),
        ("127.0.0.1:7070", "", false),
        ("127.0.0.1:7070", "127.0.0.1:7070", false),
        ("127.0.0.1:7070", "http://board.example.org", false),
        ("127.0.0.1:7070", "https://board.example.org.evil.example", false),
        ("fleet.example.org", "http://fleet.example.org", true),
    ] {
        let refused = from(host, origin, secure);
        assert!(matches!(refused, Err(Refusal::Origin { .. })), "{origin} to {host}: {refused:?}");
    }
}

#[test]
fn what_a_page_of_others_loads_without_an_origin_is_refused() {
    let come = |origin, fetch: &[(&'static str, &'static str)]| {
        let mut headers = headers("127.0.0.1:7070", origin);
        for (name, value) in fetch {
            headers.append(*name, HeaderValue::from_static(value));
        }
        [visitors(), Visitors::with_certificates()]
            .map(|visitors| visitors.admit(&Uri::from_static("/metrics"), &headers, false))
    };
    let followed = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ];
    let ours = [("sec-fetch-site", "same-origin")];
    let typed = [("sec-fetch-site", "none")];
    for fetch in [&[][..], &ours, &typed, &followed] {
        assert_eq!(come(None, fetch), [Ok(()), Ok(())], "{fetch:?}");
    }
    for site in ["cross-site", "same-site", "Cross-Site", "", "something"] {
        let picture = [("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")];
        let frame = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
        let torn = [("sec-fetch-mode", "navigate"), ("sec-fetch-mode", "cors"), followed[2]];
        for rest in [&[][..], &picture, &frame, &torn, &ours] {
            let fetch = [rest, &[("sec-fetch-site", site)]].concat();
            for come in come(None, &fetch) {
                assert!(matches!(come, Err(Refusal::Site { .. })), "{fetch:?}: {come:?}");
            }
        }
        // Its origin is named, and decides.
        let fetch = [("sec-fetch-site", site)];
        assert_eq!(come(Some("https://board.example.org"), &fetch)[0], Ok(()), "{site}");
        let refused = &come(Some("https://evil.example"), &fetch)[0];
        assert!(matches!(refused, Err(Refusal::Origin { .. })), "{refused:?}");
    }
}

#[test]
fn with_certificates_any_name_will_do_and_no_page_may_call() {
    let visitors = Visitors::with_certificates();
    assert_eq!(visitors.admit(&Uri::from_static("/"), &HeaderMap::new(), true), Ok(()));
    let named = headers("0192f0c1.agent.banger.internal", None);
    assert_eq!(visitors.admit(&Uri::from_static("/"), &named, true), Ok(()));
    let page = headers("host", Some("https://evil.example"));
    assert!(visitors.admit(&Uri::from_static("/"), &page, true).is_err());
}
