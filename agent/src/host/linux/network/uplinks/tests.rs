//! Routes as `ip` prints them, and those of a real network.

use super::*;
use crate::host::exec::recording::RecordingExec;

fn uplink(text: &str) -> Option<String> {
    parse_ways_out(text).first().map(|way| way.device.to_string())
}

#[test]
fn the_uplink_is_the_device_of_the_default_route() {
    let text = "default via 192.0.2.1 dev enp5s0 proto dhcp src 192.0.2.2 metric 100 \n";
    assert_eq!(uplink(text).as_deref(), Some("enp5s0"));
    assert_eq!(uplink("default dev ppp0 scope link\n").as_deref(), Some("ppp0"));
    assert_eq!(uplink("default via 192.0.2.1 dev eth0.100 onlink\n").as_deref(), Some("eth0.100"));
}

#[test]
fn of_several_default_routes_the_lowest_metric_wins() {
    let text =
        "default via 1.1.1.1 dev wlan0 metric 600\ndefault via 2.2.2.2 dev eth0 metric 100\n";
    assert_eq!(uplink(text).as_deref(), Some("eth0"));
    // No metric is metric 0.
    let text = "default via 1.1.1.1 dev wlan0 metric 600\ndefault via 2.2.2.2 dev eth1\n";
    assert_eq!(uplink(text).as_deref(), Some("eth1"));
}

#[test]
fn a_route_over_several_devices_gives_its_first_first() {
    let text = "default proto static metric 10 \n\tnexthop via 1.1.1.1 dev eth0 weight 1 \n\tnexthop via 2.2.2.2 dev eth1 weight 1 \n";
    assert_eq!(uplink(text).as_deref(), Some("eth0"));
}

#[test]
fn without_a_default_route_there_is_no_uplink() {
    assert_eq!(uplink(""), None);
    assert_eq!(uplink("192.0.2.0/24 dev eth0 proto kernel scope link\n"), None);
    assert_eq!(uplink("default via 192.0.2.1\n"), None);
    assert_eq!(uplink("default via 192.0.2.1 dev\n"), None);
    assert_eq!(uplink("default via 192.0.2.1 dev -x\n"), None);
    assert_eq!(uplink("unreachable default dev lo metric 4294967295\n"), None);
}

#[tokio::test]
async fn no_default_route_is_an_error_of_its_own_kind() {
    let exec = RecordingExec::answering([(0, "", "")]);
    assert_eq!(observe_uplinks(&exec).await.unwrap_err().kind, HostErrorKind::NoUplink);
    insta::assert_snapshot!(exec.transcript(), @r"
    ip -4 route show default
    ip -4 route get 1.1.1.1
    ip -4 route get 193.0.14.129
    ");
}

#[test]
fn fuzz_ip_route_gives_a_device_that_it_names_or_none() {
    let seeds: [&[u8]; 3] = [
        b"default via 192.0.2.1 dev enp5s0 proto dhcp src 192.0.2.2 metric 100 \n",
        b"default via 1.1.1.1 dev wlan0 metric 600\ndefault via 2.2.2.2 dev eth0\n",
        b"default proto static metric 10 \n\tnexthop via 1.1.1.1 dev eth0 weight 1 \n",
    ];
    banger_fuzz::fuzz("ip_route", &seeds, |input| {
        let text = String::from_utf8_lossy(input);
        let Some(device) = uplink(&text) else { return };
        assert!(device.len() <= 15 && !device.starts_with('-'), "{device:?}");
        assert!(!device.contains(['/', ' ', '\0', '\n']), "{device:?}");
        let named = text.split_whitespace().any(|word| word == device);
        assert!(named && text.contains("default"), "{device:?} from {text:?}");
    });
}

fn names(ways: &[WayOut]) -> Vec<&str> {
    ways.iter().map(|way| way.device.as_str()).collect()
}

#[test]
fn every_device_of_the_best_default_route_is_an_uplink() {
    let text = "default proto static metric 10 \n\tnexthop via 1.1.1.1 dev eth0 weight 1 \n\tnexthop via 2.2.2.2 dev eth1 weight 1 \ndefault via 3.3.3.3 dev wlan0 metric 600\n";
    assert_eq!(names(&parse_ways_out(text)), ["eth0", "eth1"]);
    let text = "default via 1.1.1.1 dev eth0 metric 100 linkdown \ndefault via 2.2.2.2 dev wlan0 metric 600\n";
    assert_eq!(names(&parse_ways_out(text)), ["wlan0"]);
    assert_eq!(parse_ways_out("unreachable default dev lo metric 4294967295\n"), []);
}

#[test]
fn the_kernels_choice_is_read_with_its_table() {
    let chosen = |text| parse_route_get(text).map(|c| (c.way.device.to_string(), c.table));
    let text = "1.1.1.1 via 192.0.2.1 dev enp5s0 src 192.0.2.2 uid 0 \n    cache \n";
    assert_eq!(chosen(text), Some(("enp5s0".to_owned(), None)));
    let text = "1.1.1.1 dev wg0 table 51820 src 192.0.2.2 uid 0 \n    cache \n";
    assert_eq!(chosen(text), Some(("wg0".to_owned(), Some("51820".to_owned()))));
    assert_eq!(chosen("local 1.1.1.1 dev lo table local src 1.1.1.1 uid 0\n"), None);
    assert_eq!(chosen(""), None);
    let odd = chosen("1.1.1.1 dev wg0 table ../x src 1.2.3.4\n");
    assert_eq!(odd, Some(("wg0".to_owned(), None)), "no odd word becomes an argument");
}

#[test]
fn the_gateway_of_each_path_is_read_and_what_has_no_ipv4_address_of_one_is_none() {
    let text = "default via 192.0.2.3 dev up0 table 100 onlink \ndefault table 101 \n\tnexthop via 192.0.2.4 dev up0 weight 1 \n\tnexthop via inet6 fe80::1 dev up1 weight 1 \ndefault nhid 10 via 192.0.2.9 dev up0 metric 20 linkdown \ndefault dev ppp0 scope link metric 30 \nunreachable default metric 4000 \n";
    let read: Vec<_> = parse_paths(text)
        .into_iter()
        .map(|path| (path.way.device.to_string(), path.way.gateway.map(|g| g.to_string())))
        .collect();
    let via = |device: &str, gateway: &str| (device.to_owned(), Some(gateway.to_owned()));
    let without = |device: &str| (device.to_owned(), None);
    assert_eq!(
        read,
        [
            via("up0", "192.0.2.3"),
            via("up0", "192.0.2.4"),
            without("up1"),
            via("up0", "192.0.2.9"),
            without("ppp0")
        ]
    );
    let chosen = parse_route_get("1.1.1.1 via 192.0.2.8 dev up0 src 192.0.2.2 uid 0 \n").unwrap();
    assert_eq!(chosen.way.gateway, Some(Ipv4Addr::new(192, 0, 2, 8)));
}

#[test]
fn priv_every_gateway_of_the_host_is_found_also_one_that_is_not_taken_now() {
    crate::host::linux::network::test_net::in_namespace(|| async {
        let exec = real_exec();
        assert_eq!(observe_gateways(&exec).await.unwrap(), BTreeSet::new());
        ip("link add up0 type bridge").await;
        ip("link set up0 up").await;
        ip("address add 192.0.2.2/24 dev up0").await;
        for route in [
            "default via 192.0.2.1 dev up0 onlink",
            "default via 192.0.2.3 dev up0 onlink metric 600",
            "default via 192.0.2.4 dev up0 onlink table 100",
            "default table 101 nexthop via 192.0.2.5 dev up0 onlink nexthop via 192.0.2.6 dev up0 onlink",
            "0.0.0.0/1 via 192.0.2.7 dev up0 onlink",
            "198.18.0.0/15 via 192.0.2.8 dev up0 onlink",
        ] {
            ip(&format!("route add {route}")).await;
        }
        let wanted = [1, 3, 4, 5, 6, 7].map(|n| Ipv4Addr::new(192, 0, 2, n));
        assert_eq!(observe_gateways(&exec).await.unwrap(), BTreeSet::from(wanted));
    });
}

async fn real_uplinks() -> Vec<String> {
    let exec = real_exec();
    observe_uplinks(&exec).await.unwrap().iter().map(ToString::to_string).collect()
}

fn real_exec() -> crate::host::exec::RealExec {
    use crate::host::exec::{RealExec, search_dirs};
    RealExec::find(&Default::default(), &search_dirs(), std::time::Duration::from_secs(20))
}

async fn ip(arguments: &str) {
    let call = ToolCall::new(Tool::Ip, arguments.split_whitespace());
    run_ok(&real_exec(), "run", "ip", &call).await.unwrap();
}

#[test]
fn priv_an_uplink_is_found_in_a_policy_table_over_several_paths_and_in_two_halves() {
    crate::host::linux::network::test_net::in_namespace(|| async {
        for (n, device) in ["up0", "up1", "up2"].into_iter().enumerate() {
            ip(&format!("link add {device} type bridge")).await;
            ip(&format!("link set {device} up")).await;
            ip(&format!("address add 192.0.{n}.2/24 dev {device}")).await;
        }
        let none = observe_uplinks(&real_exec()).await.unwrap_err();
        assert_eq!(none.kind, HostErrorKind::NoUplink);
        // In a table of its own, reached by a rule.
        ip("route add default via 192.0.1.1 dev up1 onlink table 100").await;
        ip("rule add from all lookup 100").await;
        assert_eq!(real_uplinks().await, ["up1"]);
        // Over several paths there.
        ip("route replace default table 100 nexthop via 192.0.1.1 dev up1 onlink nexthop via 192.0.2.1 dev up2 onlink").await;
        assert_eq!(real_uplinks().await, ["up1", "up2"]);
        ip("rule delete from all lookup 100").await;
        // Over several paths in the main table.
        ip("route add default nexthop via 192.0.0.1 dev up0 onlink nexthop via 192.0.2.1 dev up2 onlink").await;
        assert_eq!(real_uplinks().await, ["up0", "up2"]);
        ip("route delete default").await;
        // Two halves of the world instead of a default route.
        ip("route add 0.0.0.0/1 via 192.0.0.1 dev up0 onlink").await;
        ip("route add 128.0.0.0/1 via 192.0.1.1 dev up1 onlink").await;
        assert_eq!(real_uplinks().await, ["up0", "up1"]);
    });
}
