use super::*;

#[test]
fn only_this_machine_itself_is_loopback() {
    for host in ["localhost", "localhost:5000", "127.0.0.1:80", "127.9.9.9", "[::1]:5000"] {
        assert!(is_loopback(host), "{host}");
    }
    for host in ["example.com", "10.0.0.1", "localhost.example.com", "127.0.0.1.nip.io", "[::2]"] {
        assert!(!is_loopback(host), "{host}");
    }
}

#[test]
fn a_redirect_leads_from_where_it_was_said() {
    let from: Uri = "https://a.example/v2/x?y".parse().expect("an address");
    let to = |location| redirected(&from, location).map(|uri| uri.to_string());
    assert_eq!(to("/other?z").as_deref(), Some("https://a.example/other?z"));
    assert_eq!(to("https://b.example/c").as_deref(), Some("https://b.example/c"));
    for nowhere in ["", "c", "//"] {
        assert_eq!(to(nowhere), None, "{nowhere}");
    }
}
