use super::*;

fn subnet(text: &str) -> Subnet {
    text.parse().expect("a network")
}

#[test]
fn a_network_round_trips_through_text() {
    for text in ["10.64.0.0/10", "10.64.16.0/20", "0.0.0.0/0", "192.0.2.1/32"] {
        assert_eq!(subnet(text).to_string(), text);
    }
    for text in [
        "",
        "10.0.0.0",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.1/20",
        "10.0.0.0/+8",
        "::/0",
        "10.0.0.0/008",
    ] {
        assert_eq!(text.parse::<Subnet>(), Err(ParseSubnetError), "{text:?}");
    }
}

#[test]
fn gateway_and_slots_lie_inside_the_subnet() {
    let subnet = subnet("10.64.16.0/20");
    assert_eq!(subnet.gateway().to_string(), "10.64.16.1");
    assert_eq!(subnet.address(0), None);
    assert_eq!(subnet.address(1), None);
    assert_eq!(subnet.address(2).map(|a| a.to_string()).as_deref(), Some("10.64.16.2"));
    assert_eq!(subnet.last_slot(), 4094);
    assert_eq!(subnet.address(4094).map(|a| a.to_string()).as_deref(), Some("10.64.31.254"));
    assert_eq!(subnet.address(4095), None, "the broadcast address");
}

#[test]
fn the_pool_splits_into_subnets_that_do_not_overlap() {
    let pool = subnet("10.64.0.0/10");
    let parts: Vec<Subnet> = pool.split(20).collect();
    assert_eq!(parts.len(), 1024);
    assert_eq!(parts[0].to_string(), "10.64.0.0/20");
    assert_eq!(parts[1023].to_string(), "10.127.240.0/20");
    assert!(parts.windows(2).all(|pair| !pair[0].overlaps(pair[1])));
    assert!(parts.iter().all(|part| part.overlaps(pool)));
    assert_eq!(subnet("10.0.0.0/24").split(20).count(), 0);
    assert_eq!(subnet("0.0.0.0/0").split(0).count(), 1);
}

#[test]
fn the_mac_is_local_unicast_and_holds_the_address() {
    let mac = MacAddr::of(Ipv4Addr::new(10, 64, 0, 2));
    assert_eq!(mac.to_string(), "02:fc:0a:40:00:02");
}
