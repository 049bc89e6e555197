//! Bridge and taps in a network namespace of the test's own. Need root.

use super::*;
use crate::host::linux::network::test_net::in_namespace;

fn bridge() -> BridgeSpec {
    BridgeSpec {
        name: LinkName::new("bgbr0").unwrap(),
        address: "10.64.0.1".parse().unwrap(),
        prefix: 20,
    }
}

fn tap(name: &str) -> TapSpec {
    TapSpec { name: TapName::new(name).unwrap(), bridge: bridge().name, owner_uid: 200_002 }
}

#[test]
fn priv_the_bridge_is_made_once_and_moves_with_its_subnet() {
    in_namespace(|| async {
        let taps = LinuxTaps;
        assert_eq!(taps.ensure_bridge(&bridge()).await.unwrap(), Change::Made);
        assert_eq!(taps.ensure_bridge(&bridge()).await.unwrap(), Change::AlreadySo);
        let moved = BridgeSpec { address: "10.64.16.1".parse().unwrap(), ..bridge() };
        assert_eq!(taps.ensure_bridge(&moved).await.unwrap(), Change::Made);
        assert_eq!(taps.ensure_bridge(&moved).await.unwrap(), Change::AlreadySo);
        let ipv6 = std::fs::read_to_string("/proc/sys/net/ipv6/conf/bgbr0/disable_ipv6");
        assert!(ipv6.is_err() || ipv6.unwrap().trim() == "1");
        assert_eq!(taps.remove_bridge(&bridge().name).await.unwrap(), Change::Made);
        assert_eq!(taps.remove_bridge(&bridge().name).await.unwrap(), Change::AlreadySo);
    });
}

#[test]
fn priv_a_tap_is_an_isolated_port_that_stays() {
    in_namespace(|| async {
        let taps = LinuxTaps;
        let spec = tap("bg-aaaaaaaaaaaa");
        assert_eq!(taps.observe(&spec.name).await.unwrap(), None);
        taps.ensure_bridge(&bridge()).await.unwrap();
        assert_eq!(taps.ensure(&spec).await.unwrap(), Change::Made);
        assert_eq!(taps.ensure(&spec).await.unwrap(), Change::AlreadySo);
        let facts = taps.observe(&spec.name).await.unwrap().unwrap();
        let links = Links::open().unwrap();
        let bridge = links.get("bgbr0").await.unwrap().unwrap();
        assert_eq!((facts.master, facts.up), (Some(bridge.index), true));
        assert!(links.get("bg-aaaaaaaaaaaa").await.unwrap().unwrap().isolated);
        assert_eq!(taps.list("bg-").await.unwrap(), [facts]);
        assert_eq!(taps.list("xx-").await.unwrap(), []);
        assert_eq!(taps.remove(std::slice::from_ref(&spec.name)).await.unwrap(), Change::Made);
        assert_eq!(taps.remove(&[spec.name]).await.unwrap(), Change::AlreadySo);
    });
}

#[test]
fn priv_a_half_made_tap_is_finished() {
    in_namespace(|| async {
        let taps = LinuxTaps;
        taps.ensure_bridge(&bridge()).await.unwrap();
        // An agent that died after the first step.
        ioctl::make_persistent("bg-aaaaaaaaaaaa", 0).unwrap();
        assert_eq!(taps.ensure(&tap("bg-aaaaaaaaaaaa")).await.unwrap(), Change::Made);
        assert_eq!(taps.ensure(&tap("bg-aaaaaaaaaaaa")).await.unwrap(), Change::AlreadySo);
    });
}

#[test]
fn priv_a_name_taken_by_another_kind_of_interface_is_left_alone() {
    in_namespace(|| async {
        let taps = LinuxTaps;
        let links = Links::open().unwrap();
        links.add_bridge("bg-aaaaaaaaaaaa", [2, 0, 0, 0, 0, 1]).await.unwrap();
        taps.ensure_bridge(&bridge()).await.unwrap();
        let spec = tap("bg-aaaaaaaaaaaa");
        assert_eq!(taps.ensure(&spec).await.unwrap_err().kind, HostErrorKind::NameTaken);
        assert_eq!(taps.observe(&spec.name).await.unwrap_err().kind, HostErrorKind::NameTaken);
        let refused = taps.remove(&[spec.name]).await.unwrap_err();
        assert_eq!(refused.kind, HostErrorKind::NameTaken);
        assert!(links.get("bg-aaaaaaaaaaaa").await.unwrap().is_some());
        assert_eq!(taps.list("bg-").await.unwrap(), []);
        // And a tap by the bridge's name.
        ioctl::make_persistent("xxbr0", 0).unwrap();
        let spec = BridgeSpec { name: LinkName::new("xxbr0").unwrap(), ..bridge() };
        assert_eq!(taps.ensure_bridge(&spec).await.unwrap_err().kind, HostErrorKind::NameTaken);
    });
}

#[test]
fn priv_a_tap_without_its_bridge_is_not_made() {
    in_namespace(|| async {
        let spec = tap("bg-aaaaaaaaaaaa");
        assert_eq!(LinuxTaps.ensure(&spec).await.unwrap_err().kind, HostErrorKind::NotFound);
        assert_eq!(LinuxTaps.observe(&spec.name).await.unwrap(), None);
    });
}

#[test]
fn priv_many_taps_are_removed_together_and_no_other_interface() {
    in_namespace(|| async {
        let taps = LinuxTaps;
        taps.ensure_bridge(&bridge()).await.unwrap();
        let specs: Vec<_> = (0..12).map(|n| tap(&format!("bg-{n:012}"))).collect();
        for spec in &specs {
            taps.ensure(spec).await.unwrap();
        }
        let (gone, kept) = specs.split_at(8);
        let mut names: Vec<_> = gone.iter().map(|spec| spec.name.clone()).collect();
        names.push(TapName::new("bg-notthere").unwrap());
        assert_eq!(taps.remove(&names).await.unwrap(), Change::Made);
        let mut left: Vec<_> =
            taps.list("bg-").await.unwrap().into_iter().map(|facts| facts.name).collect();
        left.sort_unstable();
        assert_eq!(left, kept.iter().map(|spec| spec.name.clone()).collect::<Vec<_>>());
        assert_eq!(taps.remove(&names).await.unwrap(), Change::AlreadySo);
    });
}

#[test]
fn priv_a_tap_that_a_vmm_has_open_is_put_back_and_stays_open() {
    in_namespace(|| async {
        let taps = LinuxTaps;
        taps.ensure_bridge(&bridge()).await.unwrap();
        let spec = tap("bg-aaaaaaaaaaaa");
        taps.ensure(&spec).await.unwrap();
        assert!(!taps.observe(&spec.name).await.unwrap().unwrap().open, "nobody has it open yet");
        let vmm = ioctl::open("bg-aaaaaaaaaaaa").unwrap();
        assert!(taps.observe(&spec.name).await.unwrap().unwrap().open);
        taps.remove_bridge(&bridge().name).await.unwrap();
        assert_eq!(taps.observe(&spec.name).await.unwrap().unwrap().master, None);
        taps.ensure_bridge(&bridge()).await.unwrap();
        assert_eq!(taps.ensure(&spec).await.unwrap(), Change::Made);
        let seen = taps.observe_bridge(&bridge().name).await.unwrap().unwrap();
        let facts = taps.observe(&spec.name).await.unwrap().unwrap();
        assert!(facts.is_port_of(&seen) && facts.open, "{facts:?}");
        assert_eq!(taps.ensure(&spec).await.unwrap(), Change::AlreadySo);
        drop(vmm);
        assert!(!taps.observe(&spec.name).await.unwrap().unwrap().open);
    });
}

#[test]
fn priv_no_bridge_gets_an_address_in_a_network_that_the_machine_uses() {
    in_namespace(|| async {
        let taps = LinuxTaps;
        let uplink = BridgeSpec {
            name: LinkName::new("up0").unwrap(),
            address: "10.64.0.9".parse().unwrap(),
            prefix: 24,
        };
        taps.ensure_bridge(&uplink).await.unwrap();
        let refused = taps.ensure_bridge(&bridge()).await.unwrap_err();
        assert_eq!(refused.kind, HostErrorKind::SubnetTaken);
        assert!(refused.chain().contains("10.64.0.0/24 on up0"), "{}", refused.chain());
        assert_eq!(taps.observe_bridge(&bridge().name).await.unwrap(), None);
        taps.remove_bridge(&uplink.name).await.unwrap();
        assert_eq!(taps.ensure_bridge(&bridge()).await.unwrap(), Change::Made);
        let seen = taps.observe_bridge(&bridge().name).await.unwrap().unwrap();
        assert!(seen.fits(&bridge()), "{seen:?}");
        // What comes later is another's to see: the address that is there stays.
        taps.ensure_bridge(&uplink).await.unwrap_err();
        assert_eq!(taps.ensure_bridge(&bridge()).await.unwrap(), Change::AlreadySo);
    });
}

#[test]
fn priv_a_bridge_has_as_many_ports_as_placement_is_told_and_the_next_tap_says_so() {
    in_namespace(|| async {
        let taps = LinuxTaps;
        taps.ensure_bridge(&bridge()).await.unwrap();
        let ports = crate::host::taps::BRIDGE_PORTS;
        for n in 0..ports {
            taps.ensure(&tap(&format!("bg-{n:012}"))).await.unwrap();
        }
        let one_more = taps.ensure(&tap("bg-zzzzzzzzzzzz")).await.unwrap_err();
        assert!(one_more.chain().contains("no free port"), "{}", one_more.chain());
    });
}

#[test]
fn priv_a_bridge_learns_nothing_from_joins_also_one_of_an_earlier_version() {
    in_namespace(|| async {
        let taps = LinuxTaps;
        taps.ensure_bridge(&bridge()).await.unwrap();
        let links = Links::open().unwrap();
        let snoops = async || links.get("bgbr0").await.unwrap().unwrap().snooping;
        assert!(!snoops().await);
        let exec = crate::host::exec::RealExec::find(
            &std::collections::BTreeMap::new(),
            &crate::host::exec::search_dirs(),
            std::time::Duration::from_secs(20),
        );
        let on = ["link", "set", "bgbr0", "type", "bridge", "mcast_snooping", "1"];
        let call = crate::host::exec::ToolCall::new(crate::host::exec::Tool::Ip, on);
        crate::host::exec::run_ok(&exec, "set", "bgbr0", &call).await.unwrap();
        assert!(snoops().await);
        assert_eq!(taps.ensure_bridge(&bridge()).await.unwrap(), Change::Made);
        assert!(!snoops().await);
        assert_eq!(taps.ensure_bridge(&bridge()).await.unwrap(), Change::AlreadySo);
    });
}
