//! Pins with the real `nft` in a network namespace, which needs root; and without one.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;
use crate::host::exec::{RealExec, search_dirs};
use crate::host::linux::network::taps::LinuxTaps;
use crate::host::linux::network::test_net::in_namespace;
use crate::host::{BridgeSpec, LinkName, TapName, TapSpec, Taps as _};

mod bounds;
mod errors;
mod fragments;
mod frames;
mod heirs;
mod hostile;

/// Every guest's subnet, the gateway in it, and the addresses no guest reaches.
fn layout() -> PinLayout {
    let closed = ["169.254.0.0/16", "169.254.169.254", "100.100.100.200"];
    let closed = closed.iter().map(|text| text.parse().unwrap()).collect();
    PinLayout {
        subnet: crate::host::Subnet::containing(bridge().address, bridge().prefix),
        closed,
        connections: 10,
        fragments: 300,
        fragments_of_one: 64,
        ..PinLayout::of_tag("bg", bridge().name)
    }
}

fn bridge() -> BridgeSpec {
    BridgeSpec {
        name: LinkName::new("bgbr0").unwrap(),
        address: Ipv4Addr::new(10, 64, 0, 1),
        prefix: 20,
    }
}

fn pin(n: u8) -> Pin {
    Pin {
        key: GuestKey::new(format!("vm-{n}")).unwrap(),
        tap: TapName::new(format!("bg-{n:012}")).unwrap(),
        mac: crate::host::MacAddress([0x02, 0xfc, 10, 64, 0, n]),
        address: Ipv4Addr::new(10, 64, 0, n),
        uid: 200_000 + u32::from(n),
    }
}

fn exec() -> Arc<dyn Exec> {
    Arc::new(RealExec::find(&BTreeMap::new(), &search_dirs(), Duration::from_secs(20)))
}

fn real() -> NftPins {
    NftPins::new(exec(), layout())
}

async fn tool(tool: Tool, args: &[&str]) -> String {
    run_ok(&*exec(), "run", "a tool", &ToolCall::new(tool, args.iter().copied())).await.unwrap()
}

async fn tap(pin: &Pin) {
    let spec = TapSpec { name: pin.tap.clone(), bridge: bridge().name, owner_uid: pin.uid };
    LinuxTaps.ensure(&spec).await.unwrap();
}

/// A bridge with the taps of these guests, unpinned.
async fn host_with(pins: &[Pin]) {
    tool(Tool::Ip, &["link", "set", "lo", "up"]).await;
    LinuxTaps.ensure_bridge(&bridge()).await.unwrap();
    for pin in pins {
        tap(pin).await;
    }
}

async fn neighbours() -> Vec<String> {
    let text = tool(Tool::Ip, &["neigh", "show", "dev", "bgbr0", "nud", "permanent"]).await;
    let mut lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    lines.sort();
    lines
}

/// All pins as they are in the kernel.
async fn whole() -> Vec<Pin> {
    real().list().await.unwrap().into_values().flatten().collect()
}

#[test]
fn priv_pins_are_read_back_by_another_life_and_nothing_is_left_after_the_last() {
    in_namespace(|| async {
        host_with(&[pin(2), pin(3)]).await;
        let before = tool(Tool::Nft, &["list", "ruleset"]).await;
        let pins = real();
        assert_eq!(pins.ensure(&pin(2)).await.unwrap(), Change::Made);
        assert_eq!(pins.ensure(&pin(2)).await.unwrap(), Change::AlreadySo);
        assert_eq!(pins.observe(&pin(2).key).await.unwrap(), Some(pin(2)));
        assert_eq!(pins.ensure(&pin(3)).await.unwrap(), Change::Made);
        assert_eq!(
            neighbours().await,
            [
                "10.64.0.2 lladdr 02:fc:0a:40:00:02 PERMANENT",
                "10.64.0.3 lladdr 02:fc:0a:40:00:03 PERMANENT"
            ]
        );
        assert_eq!(whole().await, [pin(2), pin(3)]);

        // Another life reads them back, changes one and removes all; each change touches no other.
        let fresh = real();
        assert_eq!(fresh.observe(&pin(3).key).await.unwrap(), Some(pin(3)));
        let moved = Pin { address: Ipv4Addr::new(10, 64, 0, 9), ..pin(3) };
        assert_eq!(fresh.ensure(&moved).await.unwrap(), Change::Made);
        assert_eq!(whole().await, [pin(2), moved.clone()]);
        assert_eq!(neighbours().await.len(), 2);
        assert_eq!(fresh.remove(&pin(2).key).await.unwrap(), Change::Made);
        assert_eq!(fresh.remove(&pin(2).key).await.unwrap(), Change::AlreadySo);
        assert_eq!(whole().await, [moved]);
        assert_eq!(fresh.remove(&pin(3).key).await.unwrap(), Change::Made);
        assert_eq!(neighbours().await, Vec::<String>::new());
        assert_eq!(tool(Tool::Nft, &["list", "ruleset"]).await, before);
    });
}

#[test]
fn priv_whatever_is_flushed_by_hand_is_seen_and_put_back_for_all() {
    in_namespace(|| async {
        host_with(&[pin(2), pin(3)]).await;
        let pins = real();
        pins.ensure(&pin(2)).await.unwrap();
        pins.ensure(&pin(3)).await.unwrap();
        let deeds: [(Tool, &[&str]); 9] = [
            (Tool::Nft, &["flush", "ruleset"]),
            (Tool::Nft, &["delete", "table", "bridge", "banger-bg"]),
            (Tool::Nft, &["flush", "chain", "bridge", "banger-bg", "from_guest"]),
            (Tool::Nft, &["insert", "rule", "bridge", "banger-bg", "from_guest", "accept"]),
            (Tool::Nft, &["flush", "set", "bridge", "banger-bg", "taps"]),
            (Tool::Nft, &["flush", "set", "inet", "banger-bg", "users"]),
            (Tool::Ip, &["neigh", "flush", "dev", "bgbr0", "nud", "permanent"]),
            (
                Tool::Ip,
                &["link", "set", "bg-000000000003", "type", "bridge_slave", "learning", "on"],
            ),
            (Tool::Ip, &["link", "set", "bg-000000000003", "nomaster"]),
        ];
        for (program, args) in deeds {
            tool(program, args).await;
            let seen = pins.list().await.unwrap();
            assert_ne!(seen.get(&pin(3).key), Some(&Some(pin(3))), "{args:?} is seen");
            assert_eq!(pins.observe(&pin(3).key).await.unwrap(), None, "{args:?}");
            // The port is the tap's to put back.
            tap(&pin(3)).await;
            assert_eq!(pins.ensure(&pin(3)).await.unwrap(), Change::Made, "{args:?}");
            assert_eq!(whole().await, [pin(2), pin(3)], "{args:?}");
            assert_eq!(neighbours().await.len(), 2, "{args:?}");
        }
        // Another configuration is another set of chains.
        let other = NftPins::new(exec(), PinLayout { connections: 0, ..layout() });
        assert_eq!(other.list().await.unwrap().get(&pin(3).key), Some(&None));
        assert_eq!(other.ensure(&pin(3)).await.unwrap(), Change::Made);
        assert_eq!(other.list().await.unwrap().into_values().flatten().count(), 2);
    });
}

#[test]
fn priv_a_pin_that_nobody_knows_is_listed_and_removed_by_name_with_its_neighbour() {
    in_namespace(|| async {
        host_with(&[pin(2)]).await;
        let pins = real();
        pins.ensure(&pin(2)).await.unwrap();
        // As an agent leaves it that died in the middle: some of it is there.
        let element = "{ \"bg-000000000009\" . 02:fc:0a:40:00:09 . 10.64.0.9 \
                       comment \"banger:bg:vm-9:200009\" }";
        tool(Tool::Nft, &["add", "element", "bridge", "banger-bg", "pins", element]).await;
        let neighbour = ["10.64.0.9", "lladdr", "02:fc:0a:40:00:09", "dev", "bgbr0"];
        tool(Tool::Ip, &[&["neigh", "replace"][..], &neighbour, &["nud", "permanent"]].concat())
            .await;
        assert_eq!(pins.list().await.unwrap().get(&pin(9).key), Some(&None));
        assert_eq!(pins.remove(&pin(9).key).await.unwrap(), Change::Made);
        assert_eq!(pins.remove(&pin(9).key).await.unwrap(), Change::AlreadySo);
        assert_eq!(pins.list().await.unwrap().get(&pin(9).key), None);
        assert_eq!(neighbours().await, ["10.64.0.2 lladdr 02:fc:0a:40:00:02 PERMANENT"]);
        assert_eq!(whole().await, [pin(2)]);
    });
}

#[test]
fn priv_a_tap_that_is_no_port_fails_its_own_guest_alone() {
    in_namespace(|| async {
        host_with(&[pin(2), pin(3)]).await;
        tool(Tool::Ip, &["link", "set", pin(3).tap.as_str(), "nomaster"]).await;
        let pins = real();
        let (two, three) = (pin(2), pin(3));
        let (well, broken) = tokio::join!(pins.ensure(&two), pins.ensure(&three));
        assert_eq!(well.unwrap(), Change::Made);
        let error = broken.unwrap_err();
        assert!(error.chain().contains("is no port of bgbr0"), "{}", error.chain());
        assert_eq!(whole().await, [pin(2)]);
        tap(&pin(3)).await;
        assert_eq!(pins.ensure(&pin(3)).await.unwrap(), Change::Made);
        assert_eq!(whole().await, [pin(2), pin(3)]);
    });
}

#[test]
fn priv_two_instances_on_one_machine_do_not_touch_each_others_pins() {
    in_namespace(|| async {
        host_with(&[pin(2)]).await;
        let pins = real();
        pins.ensure(&pin(2)).await.unwrap();
        let bridge = LinkName::new("zzbr0").unwrap();
        let other = NftPins::new(exec(), PinLayout::of_tag("zz", bridge));
        assert_eq!(other.list().await.unwrap(), BTreeMap::new());
        let theirs = Pin { tap: TapName::new("zz-000000000004").unwrap(), ..pin(4) };
        other.ensure(&theirs).await.unwrap();
        assert_eq!(other.remove(&theirs.key).await.unwrap(), Change::Made);
        assert_eq!(whole().await, [pin(2)]);
    });
}

#[test]
fn priv_an_address_that_is_another_guests_already_stays_with_it_when_the_first_one_goes() {
    in_namespace(|| async {
        let heir = Pin { address: pin(2).address, uid: pin(2).uid, mac: pin(2).mac, ..pin(3) };
        // The tap of the first is gone, and nobody has come to remove its pin yet.
        host_with(std::slice::from_ref(&heir)).await;
        let pins = real();
        pins.ensure(&pin(2)).await.unwrap();
        pins.ensure(&heir).await.unwrap();
        assert_eq!(pins.remove(&pin(2).key).await.unwrap(), Change::Made);
        assert_eq!(whole().await, [heir]);
    });
}

#[test]
fn priv_no_guest_is_pinned_with_the_address_or_user_of_one_that_lives() {
    in_namespace(|| async {
        host_with(&[pin(2), pin(3), pin(4)]).await;
        real().ensure(&pin(2)).await.unwrap();
        // Another life, which knows of the first by what the kernel holds.
        let pins = real();
        let address = Pin { address: pin(2).address, mac: pin(2).mac, ..pin(3) };
        let user = Pin { uid: pin(2).uid, ..pin(3) };
        let (four, again) = (pin(4), pin(2));
        let (refused, other, well, same) = tokio::join!(
            pins.ensure(&address),
            pins.ensure(&user),
            pins.ensure(&four),
            pins.ensure(&again)
        );
        for refused in [refused, other] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind, HostErrorKind::AddressTaken);
            assert!(error.chain().contains("vm-2"), "{}", error.chain());
        }
        assert_eq!((well.unwrap(), same.unwrap()), (Change::Made, Change::AlreadySo));
        assert_eq!(whole().await, [pin(2), pin(4)]);
        assert_eq!(pins.observe(&pin(3).key).await.unwrap(), None);
        // Once it is gone.
        pins.remove(&pin(2).key).await.unwrap();
        assert_eq!(pins.ensure(&address).await.unwrap(), Change::Made);
        assert_eq!(whole().await, [address, pin(4)]);
    });
}

#[test]
fn priv_many_guests_are_pinned_at_once_with_few_calls() {
    in_namespace(|| async {
        LinuxTaps.ensure_bridge(&bridge()).await.unwrap();
        let pins = Arc::new(real());
        let all: Vec<Pin> = (2..200).map(pin).collect();
        let asked = all.iter().map(|pin| pins.ensure(pin));
        for change in futures_util::future::join_all(asked).await {
            assert_eq!(change.unwrap(), Change::Made);
        }
        assert_eq!(pins.list().await.unwrap().into_values().flatten().count(), all.len());
        let gone = all.iter().map(|pin| pins.remove(&pin.key));
        for change in futures_util::future::join_all(gone).await {
            assert_eq!(change.unwrap(), Change::Made);
        }
        assert_eq!(pins.list().await.unwrap(), BTreeMap::new());
    });
}

#[tokio::test]
async fn where_nft_is_not_installed_there_are_no_pins_vms_can_go_and_none_is_pinned() {
    let exec = RealExec::find(&BTreeMap::new(), &[], Duration::from_secs(1));
    let pins = NftPins::new(Arc::new(exec), layout());
    assert_eq!(pins.list().await.unwrap(), BTreeMap::new());
    assert_eq!(pins.observe(&pin(2).key).await.unwrap(), None);
    assert_eq!(pins.remove(&pin(2).key).await.unwrap(), Change::AlreadySo);
    let refused = pins.ensure(&pin(2)).await.expect_err("nothing can pin it");
    assert_eq!(refused.kind, HostErrorKind::MissingTool);
}
