use super::*;

#[test]
fn addresses_of_this_machine_and_its_neighbours_are_no_registry() {
    for address in [
        "127.0.0.1",
        "127.8.9.1",
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "100.96.0.96",
        "100.80.80.80",
        "::1",
        "::",
        "fe80::1",
        "ff02::1",
        "fec0::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fd00:c1::a9fe:a9fe",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "::ffff:0:127.0.0.1",
        "::ffff:0:169.254.169.254",
        "64:ff9b:1::7f00:1",
        "64:ff9b:1:a9fe:a9:fe00::",
        "2001:0:102:304:0:0:80ff:fffe",
        "2001:db8::5efe:127.0.0.1",
        "fd12::200:5efe:169.254.169.254",
    ] {
        assert!(local(address.parse().expect("an address")).is_some(), "{address}");
    }
    for address in [
        "10.0.0.5",
        "192.168.1.2",
        "93.184.216.34",
        "2606:2800:220:1::1",
        "2001:4860::1",
        "fd12::5",
        "64:ff9b::5db8:d822",
        "2002:5db8:d822::1",
    ] {
        assert_eq!(local(address.parse().expect("an address")), None, "{address}");
    }
}

#[test]
fn only_what_an_operator_named_is_local() {
    let named = ["localhost".to_owned(), "127.0.0.1:5000".to_owned(), "[::1]".to_owned()];
    for good in ["localhost", "localhost:5005", "LOCALHOST:1", "127.0.0.1:5000", "[::1]:99"] {
        assert!(is_named(&named, good), "{good}");
    }
    for bad in ["127.0.0.1", "127.0.0.1:5001", "other", "localhost.evil.example", "::1", ""] {
        assert!(!is_named(&named, bad), "{bad}");
    }
    for text in ["localhost", "LOCALHOST.", "x.localhost:80", "127.0.0.1:5000", "[::1]"] {
        let authority: http::uri::Authority = text.parse().expect("an authority");
        let may = May::of(&Registries::default(), authority.as_str());
        let error = check_literal(&authority, may).expect_err("it is refused").to_string();
        assert!(error.contains("images.local_registries"), "{error}");
    }
    let other: http::uri::Authority = "registry.example:5000".parse().expect("an authority");
    let may = May::of(&Registries::default(), other.as_str());
    assert!(check_literal(&other, may).is_ok());
}

/// Behind a proxy nothing is looked up here, and the proxy may read more as addresses than this.
#[test]
fn addresses_in_older_forms_are_refused_before_a_proxy_reads_them() {
    let old = [
        "2852039166:443",
        "127.1:8443",
        "0x7f.1",
        "0177.0.0.1",
        "0xA9FEA9FE",
        "127.1.",
        "[fe80::1%eth0]:443",
        "[::1%lo]",
    ];
    for text in old {
        let Ok(authority) = text.parse::<http::uri::Authority>() else { continue };
        let may = May::of(&Registries::default(), authority.as_str());
        let refused = check_literal(&authority, may).expect_err(text).to_string();
        assert!(refused.contains("images.local_registries"), "{refused}");
        // Whoever runs the server may insist.
        let named = Registries { local: vec![text.to_owned()], ..Registries::default() };
        assert!(check_literal(&authority, May::of(&named, text)).is_ok(), "{text}");
    }
    let parsed = old.iter().filter(|text| text.parse::<http::uri::Authority>().is_ok()).count();
    assert!(parsed >= 6, "{parsed} of them are authorities at all");
}

#[test]
fn in_private_networks_only_what_an_operator_named_is_asked_for_a_project() {
    let named = vec!["10.0.0.5:5000".to_owned(), "registry.corp".to_owned()];
    let of_project =
        Registries { private: PrivateRegistries::Named(named), ..Registries::default() };
    let check = |settings: &Registries, text: &str| {
        let authority: http::uri::Authority = text.parse().expect("an authority");
        check_literal(&authority, May::of(settings, text)).map_err(|error| error.to_string())
    };
    for address in [
        "10.0.0.5:443",
        "10.255.1.1",
        "172.16.0.1",
        "172.31.255.1:80",
        "192.168.1.2",
        "100.64.0.1",
        "100.127.0.1",
        "192.0.0.8",
        "198.18.0.1",
        "240.0.0.1",
        "[fd12::5]",
        "[fc00::1]:5000",
        "[::ffff:10.0.0.5]",
        "[64:ff9b::a00:5]",
        "[2002:c0a8:102::1]",
    ] {
        let refused = check(&of_project, address).expect_err(address);
        assert!(refused.contains("images.private_registries"), "{refused}");
        assert_eq!(check(&Registries::default(), address), Ok(()), "{address}");
    }
    for address in ["10.0.0.5:5000", "93.184.216.34", "172.32.0.1", "100.128.0.1", "[2606:2800::1]"]
    {
        assert_eq!(check(&of_project, address), Ok(()), "{address}");
    }
    // A name that leads there, too: the addresses that it has are looked at.
    let within = "10.1.2.3".parse().expect("an address");
    assert!(May::of(&of_project, "rebound.example").refusal("rebound.example", within).is_some());
    assert!(May::of(&of_project, "registry.corp").refusal("registry.corp", within).is_none());
    // What is named there is not let onto this machine by it.
    let here = "127.0.0.1".parse().expect("an address");
    assert!(May::of(&of_project, "registry.corp").refusal("registry.corp", here).is_some());
}

#[test]
fn both_families_are_tried_in_turn() {
    let all = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"];
    let all = all.map(|address| address.parse().expect("an address"));
    let turns: Vec<_> = alternating(all.to_vec()).iter().map(ToString::to_string).collect();
    assert_eq!(turns, ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
}

#[tokio::test]
async fn an_address_that_never_answers_does_not_keep_from_the_next() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let good = listener.local_addr().expect("it has one");
    // A listener whose queue is full answers nobody, as an address that leads nowhere does.
    let full = tokio::net::TcpSocket::new_v4().expect("a socket");
    full.bind("127.0.0.1:0".parse().expect("an address")).expect("a port is free");
    let silent = full.local_addr().expect("it has one");
    let _queue = full.listen(1).expect("it listens");
    let mut queued = Vec::new();
    while let Ok(connected) = tokio::time::timeout(2 * HEAD_START, TcpStream::connect(silent)).await
    {
        queued.push(connected.expect("it is taken while there is room"));
        assert!(queued.len() < 100, "its queue has no end");
    }
    // Long before the kernel gives the silent ones up, which takes two minutes.
    let patience = 20 * HEAD_START;
    let found = tokio::time::timeout(patience, first_of(vec![silent, silent, good])).await;
    let stream =
        found.expect("it does not wait for the silent ones").expect("the good one answers");
    assert_eq!(stream.peer_addr().expect("it is connected"), good);
    let refused = first_of(vec![SocketAddr::from(([127, 0, 0, 1], 1)), good]).await;
    assert_eq!(refused.expect("the second answers").peer_addr().expect("connected"), good);
}
