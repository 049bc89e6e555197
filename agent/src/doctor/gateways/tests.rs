//! What is said of default routes.

use super::*;
use crate::host::LinkName;

fn way(device: &str, gateway: Option<[u8; 4]>, bounded: bool) -> WaySeen {
    let device = LinkName::new(device).unwrap();
    WaySeen { way: WayOut { device, gateway: gateway.map(Into::into) }, bounded }
}

#[test]
fn a_default_route_whose_gateway_has_no_ipv4_address_is_said_where_neighbours_are_bounded() {
    let gateway = Some([192, 0, 2, 1]);
    let said = |ways: &[WaySeen]| gateway_check(ways, 512).unwrap();
    let well = said(&[way("eth0", gateway, true)]);
    assert!(well.ok, "{well:?}");
    assert_eq!(well.message, "guests are always let through to 192.0.2.1");
    // As `default dev ppp0`: there is nobody to look for.
    let ppp = said(&[way("ppp0", None, false), way("eth0", gateway, true)]);
    assert!(ppp.ok, "{ppp:?}");
    assert!(ppp.message.contains("ppp0 has no gateway, and no neighbours"), "{ppp:?}");
    // As `default via inet6 fe80::1 dev eth1`, or `default dev eth1`.
    let bad =
        said(&[way("eth1", None, true), way("eth0", gateway, true), way("ppp0", None, false)]);
    assert!(!bad.ok && !bad.required, "{bad:?}");
    assert_eq!(
        bad.message,
        "the default route by eth1 names no gateway by an IPv4 address: every address of the world \
         counts as a neighbour, and guests get to 512 new ones within ten seconds, one guest to 64 \
         that do not answer"
    );
    assert!(bad.mend.contains("via GATEWAY dev eth1"), "{bad:?}");
}

#[test]
fn where_nothing_hangs_on_it_nothing_is_said() {
    assert_eq!(gateway_check(&[], 512), None);
    assert_eq!(gateway_check(&[way("eth1", None, true)], 0), None);
}

#[test]
fn an_interface_has_neighbours_by_its_kind_and_one_that_cannot_be_told_too() {
    let root = tempfile::tempdir().unwrap();
    for (device, kind) in [("eth0", "1\n"), ("ib0", "32\n"), ("ppp0", "512\n"), ("odd0", "x")] {
        let dir = root.path().join("sys/class/net").join(device);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("type"), kind).unwrap();
    }
    let bounded = |device: &str| {
        let way = WayOut { device: LinkName::new(device).unwrap(), gateway: None };
        WaySeen::of(way, root.path()).bounded
    };
    assert_eq!(
        ["eth0", "ib0", "ppp0", "odd0", "gone0"].map(bounded),
        [true, true, false, true, true]
    );
}
