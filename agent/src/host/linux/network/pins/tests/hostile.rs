//! A hostile guest against host, gateway and neighbour. Every attack is made twice: from a tap that
//! is not pinned, where it has to work (or the test proves nothing), and from one that is.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, UdpSocket};

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::neighbour::NeighbourState;

use super::entries::mac_of;
use super::frames::{BROADCAST, GATEWAY, GATEWAY_MAC, Guest, arp, ethernet, udp};
use super::*;

const ATTACKER: u8 = 2;
const VICTIM: u8 = 3;
const PORT: u16 = 4711;

/// A frame, what it is, and how it is seen to have got through.
struct Attack {
    what: &'static str,
    frame: Vec<u8>,
    seen: Seen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    /// The bridge hands it to the host.
    ByHost,
    /// The host's neighbour entry of the victim is the attacker's.
    AsNeighbour,
    /// The bridge thinks that the victim is behind the attacker's port.
    AsForwarding,
    /// A program of the host gets it.
    BySocket,
    /// The victim gets it.
    ByVictim,
}

fn attacks() -> Vec<Attack> {
    let (me, you) = (pin(ATTACKER), pin(VICTIM));
    let (mac, address) = (me.mac.0, me.address);
    let (victim_mac, victim) = (you.mac.0, you.address);
    let outside = Ipv4Addr::new(192, 0, 2, 9);
    let broadcast = Ipv4Addr::BROADCAST;
    let ip = |from: [u8; 6], source: Ipv4Addr, to: Ipv4Addr| {
        ethernet(GATEWAY_MAC, from, 0x0800, &udp((source, 9), (to, PORT), b"spoofed"))
    };
    let tagged = |kind: u16, tag: u16| {
        let inner = udp((address, 9), (GATEWAY, PORT), b"tagged");
        let rest = [&tag.to_be_bytes()[..], &[8, 0], &inner].concat();
        ethernet(GATEWAY_MAC, mac, kind, &rest)
    };
    // ICMPv6 134 to all nodes: a default route for everybody.
    let advertisement = {
        let icmp = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut ip6 = vec![0x60, 0, 0, 0, 0, 16, 58, 255];
        ip6.extend("fe80::2".parse::<std::net::Ipv6Addr>().unwrap().octets());
        ip6.extend("ff02::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
        ip6.extend(icmp);
        ethernet([0x33, 0x33, 0, 0, 0, 1], mac, 0x86dd, &ip6)
    };
    let attack = |what, frame, seen| Attack { what, frame, seen };
    vec![
        attack("the victim's address", ip(mac, victim, GATEWAY), Seen::BySocket),
        attack("an address of the world", ip(mac, outside, GATEWAY), Seen::BySocket),
        attack("the gateway's MAC", ip(GATEWAY_MAC, address, GATEWAY), Seen::ByHost),
        attack("the victim's MAC and address", ip(victim_mac, victim, GATEWAY), Seen::BySocket),
        attack("the victim's MAC alone", ip(victim_mac, address, GATEWAY), Seen::AsForwarding),
        attack("another MAC", ip([2, 9, 9, 9, 9, 9], address, GATEWAY), Seen::BySocket),
        attack(
            "a gratuitous ARP for the victim's address",
            arp(BROADCAST, mac, 1, (mac, victim), ([0; 6], victim)),
            Seen::AsNeighbour,
        ),
        attack(
            "an ARP question to the gateway as the victim",
            arp(GATEWAY_MAC, mac, 1, (mac, victim), ([0; 6], GATEWAY)),
            Seen::AsNeighbour,
        ),
        attack(
            "an ARP answer as the gateway, to all",
            arp(BROADCAST, mac, 2, (mac, GATEWAY), (BROADCAST, GATEWAY)),
            Seen::ByHost,
        ),
        attack(
            "an ARP answer whose sender is not the frame's",
            arp(GATEWAY_MAC, mac, 2, (victim_mac, address), (GATEWAY_MAC, GATEWAY)),
            Seen::ByHost,
        ),
        attack(
            "a frame whose ARP sender is its own and the frame another's",
            arp(GATEWAY_MAC, victim_mac, 2, (mac, address), (GATEWAY_MAC, GATEWAY)),
            Seen::AsForwarding,
        ),
        attack("a router advertisement", advertisement, Seen::ByHost),
        attack(
            "a DHCP offer",
            ethernet(BROADCAST, mac, 0x0800, &udp((address, 67), (broadcast, 68), b"offer")),
            Seen::ByHost,
        ),
        attack(
            "a DHCP question",
            ethernet(
                BROADCAST,
                mac,
                0x0800,
                &udp((Ipv4Addr::UNSPECIFIED, 68), (broadcast, 67), b"discover"),
            ),
            Seen::ByHost,
        ),
        attack("a VLAN tag", tagged(0x8100, 5), Seen::ByHost),
        attack("a priority tag", tagged(0x8100, 0), Seen::ByHost),
        attack("a service tag", tagged(0x88a8, 5), Seen::ByHost),
        attack(
            "another protocol",
            ethernet(GATEWAY_MAC, mac, 0x88b5, b"experimental"),
            Seen::ByHost,
        ),
        attack(
            "a frame to LLDP's address, which passes no hook of the bridge",
            ethernet(
                [0x01, 0x80, 0xc2, 0, 0, 0x0e],
                mac,
                0x0800,
                &udp((victim, 9), (GATEWAY, PORT), b"past the bridge"),
            ),
            Seen::BySocket,
        ),
        attack(
            "the same from its own address",
            ethernet(
                [0x01, 0x80, 0xc2, 0, 0, 0x0e],
                mac,
                0x0800,
                &udp((address, 9), (GATEWAY, PORT), b"past the bridge"),
            ),
            Seen::BySocket,
        ),
        attack("the neighbour by the router", ip(mac, address, victim), Seen::ByVictim),
    ]
}

/// What the attacker's tap is called once somebody has renamed it.
const RENAMED: &str = "other0";

/// The host, and how it is seen what got through.
struct Scene {
    attacker: Guest,
    victim: Guest,
    socket: UdpSocket,
}

impl Scene {
    async fn new() -> Self {
        host_with(&[pin(ATTACKER), pin(VICTIM)]).await;
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        // As a host with a default route, for which any source is one that is reached.
        tool(Tool::Ip, &["link", "add", "up0", "type", "veth", "peer", "name", "up1"]).await;
        tool(Tool::Ip, &["addr", "add", "192.0.2.1/24", "dev", "up0"]).await;
        tool(Tool::Ip, &["link", "set", "up0", "up"]).await;
        let socket = UdpSocket::bind((GATEWAY, PORT)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let (attacker, victim) = (Guest::on(pin(ATTACKER)).await, Guest::on(pin(VICTIM)).await);
        Self { attacker, victim, socket }
    }

    /// Frames that the bridge handed to the host.
    fn handed_up() -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let line = text.lines().find_map(|line| line.trim().strip_prefix("bgbr0:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The addresses that the bridge has learned from the attacker.
    async fn learned() -> Vec<[u8; 6]> {
        let entries = Entries::open().unwrap();
        let mut port = entries.index(pin(ATTACKER).tap.as_str()).await.unwrap();
        if port.is_none() {
            port = entries.index(RENAMED).await.unwrap();
        }
        let port = port.expect("its tap is there, by one name or the other");
        let learned = entries.dump(AddressFamily::Bridge).await.unwrap();
        let of_port = learned.iter().filter(|entry| entry.header.ifindex == port);
        let fixed = [NeighbourState::Noarp, NeighbourState::Permanent];
        of_port.filter(|e| !fixed.contains(&e.header.state)).filter_map(mac_of).collect()
    }

    /// Makes an attack and tells how it got through, if at all.
    async fn strike(&self, attack: &Attack) -> BTreeSet<Seen> {
        let (me, victim) = (pin(ATTACKER), pin(VICTIM));
        self.victim.received();
        let before = Self::handed_up();
        self.attacker.send(&attack.frame);
        let mut seen = BTreeSet::new();
        if Self::handed_up() != before {
            seen.insert(Seen::ByHost);
        }
        let mut buffer = [0; 64];
        while self.socket.recv_from(&mut buffer).is_ok() {
            seen.insert(Seen::BySocket);
        }
        let neighbours = tool(Tool::Ip, &["neigh", "show", "dev", "bgbr0"]).await;
        let mine = format!("{} lladdr {} ", victim.address, me.mac);
        if neighbours.lines().any(|line| line.starts_with(&mine)) {
            seen.insert(Seen::AsNeighbour);
        }
        if Self::learned().await.contains(&victim.mac.0) {
            seen.insert(Seen::AsForwarding);
        }
        if self.victim.received().iter().any(|frame| frame[12..14] == [8, 0]) {
            seen.insert(Seen::ByVictim);
        }
        seen
    }
}

#[test]
fn priv_every_attack_works_on_a_tap_that_is_not_pinned() {
    for attack in attacks() {
        // A host of its own for each: what an attack leaves would help the next.
        in_namespace(move || async move {
            let scene = Scene::new().await;
            // What the agent makes every tap with keeps some of them off, too.
            let filter = format!("/proc/sys/net/ipv4/conf/{}/rp_filter", pin(ATTACKER).tap);
            std::fs::write(filter, "0").unwrap();
            assert!(scene.victim.is_answered() && scene.attacker.is_answered());
            let seen = scene.strike(&attack).await;
            assert!(seen.contains(&attack.seen), "{}: {seen:?}", attack.what);
        });
    }
}

#[test]
fn priv_a_hostile_guest_gets_nothing_through_but_what_is_its_own() {
    in_namespace(|| async {
        let scene = Scene::new().await;
        // No rule of iptables is here: the pins hold alone.
        let pins = real();
        for n in [ATTACKER, VICTIM] {
            pins.ensure(&pin(n)).await.unwrap();
        }
        assert!(scene.victim.is_answered() && scene.attacker.is_answered());
        for attack in attacks() {
            // To the router everybody may speak; it is the router that does not pass it on.
            let allowed: &[Seen] = match attack.seen {
                Seen::ByVictim => &[Seen::ByHost],
                _ => &[],
            };
            let seen: Vec<Seen> = scene.strike(&attack).await.into_iter().collect();
            assert_eq!(seen, allowed, "{}", attack.what);
        }
        // One for each, but for the two that pass no hook of the bridge and the one that is its
        // own.
        let refused = pins.refused().await.unwrap().get(&RefusedFor::NotItsOwn).copied();
        assert_eq!(refused, Some(attacks().len() as u64 - 3));
        // All of them its own doing, whatever sender it wrote, and none its neighbour's.
        let of = pins.refused_of_guests().await.unwrap();
        let (own, others) = (of.get(&pin(ATTACKER).key), of.get(&pin(VICTIM).key));
        assert_eq!((own, others), (Some(&(attacks().len() as u64 - 3)), Some(&0)));
        // A flood of addresses of the attacker's invention.
        let before = Entries::open().unwrap().dump(AddressFamily::Bridge).await.unwrap().len();
        for n in 0_u16..4096 {
            let [high, low] = n.to_be_bytes();
            let packet = udp((pin(ATTACKER).address, 9), (GATEWAY, PORT), b"flood");
            scene.attacker.send(&ethernet(GATEWAY_MAC, [2, 7, 7, 7, high, low], 0x0800, &packet));
        }
        let after = Entries::open().unwrap().dump(AddressFamily::Bridge).await.unwrap().len();
        assert_eq!(before, after);
        assert_eq!(Scene::learned().await, Vec::<[u8; 6]>::new());

        assert!(scene.victim.is_answered() && scene.attacker.is_answered(), "they still work");
        let own = udp((pin(ATTACKER).address, 9), (GATEWAY, PORT), b"own");
        scene.attacker.send(&ethernet(GATEWAY_MAC, pin(ATTACKER).mac.0, 0x0800, &own));
        let mut buffer = [0; 64];
        assert_eq!(scene.socket.recv_from(&mut buffer).map(|(length, _)| length).unwrap(), 3);
        assert_eq!(whole().await, [pin(ATTACKER), pin(VICTIM)]);
    });
}

#[test]
fn priv_guests_do_not_meet_on_the_bridge_even_without_isolated_ports() {
    in_namespace(|| async {
        let scene = Scene::new().await;
        for n in [ATTACKER, VICTIM] {
            let tap = pin(n).tap;
            let args = ["link", "set", tap.as_str(), "type", "bridge_slave", "isolated", "off"];
            tool(Tool::Ip, &args).await;
        }
        let (me, you) = (pin(ATTACKER), pin(VICTIM));
        let packet = udp((me.address, 9), (you.address, PORT), b"neighbour");
        let frame = ethernet(you.mac.0, me.mac.0, 0x0800, &packet);
        let attack = Attack { what: "the neighbour itself", frame, seen: Seen::ByVictim };
        assert!(scene.victim.is_answered() && scene.attacker.is_answered());
        assert!(scene.strike(&attack).await.contains(&Seen::ByVictim), "unpinned it works");
        let pins = real();
        for n in [ATTACKER, VICTIM] {
            pins.ensure(&pin(n)).await.unwrap();
        }
        assert_eq!(scene.strike(&attack).await, BTreeSet::new());
    });
}

#[test]
fn priv_a_guest_is_sent_only_what_is_for_it() {
    in_namespace(|| async {
        let scene = Scene::new().await;
        let socket = UdpSocket::bind((GATEWAY, 0)).unwrap();
        socket.set_broadcast(true).unwrap();
        let broadcast = (Ipv4Addr::new(10, 64, 15, 255), PORT);
        assert!(scene.victim.is_answered() && scene.attacker.is_answered());
        socket.send_to(b"to all", broadcast).unwrap();
        assert_ne!(scene.victim.received().len(), 0, "unpinned it is sent to all");
        let pins = real();
        for n in [ATTACKER, VICTIM] {
            pins.ensure(&pin(n)).await.unwrap();
        }
        scene.attacker.received();
        socket.send_to(b"to one", (pin(ATTACKER).address, PORT)).unwrap();
        // The kernel's answer to a broadcast that is dropped is an error, or none.
        let _ = socket.send_to(b"to all", broadcast);
        assert_eq!(scene.victim.received().len(), 0);
        assert_eq!(scene.attacker.received().len(), 1);
    });
}

#[test]
fn priv_addresses_that_are_closed_are_closed_whatever_the_other_rules_say() {
    in_namespace(|| async {
        let scene = Scene::new().await;
        let own = |to: &str| {
            let to: Ipv4Addr = to.parse().unwrap();
            let packet = udp((pin(ATTACKER).address, 9), (to, 80), b"GET");
            let frame = ethernet(GATEWAY_MAC, pin(ATTACKER).mac.0, 0x0800, &packet);
            Attack { what: "metadata", frame, seen: Seen::ByHost }
        };
        real().ensure(&pin(ATTACKER)).await.unwrap();
        for open in ["192.0.2.9", "100.100.100.201", "169.253.0.1"] {
            assert!(scene.strike(&own(open)).await.contains(&Seen::ByHost), "{open}");
        }
        for closed in ["169.254.169.254", "169.254.0.1", "100.100.100.200"] {
            assert_eq!(scene.strike(&own(closed)).await, BTreeSet::new(), "{closed}");
        }
        assert_eq!(real().refused().await.unwrap().get(&RefusedFor::Closed), Some(&3));
    });
}

#[test]
fn priv_a_tap_that_nobody_has_pinned_lets_nothing_through_beside_one_that_is() {
    in_namespace(|| async {
        let scene = Scene::new().await;
        let (me, victim) = (pin(ATTACKER), pin(VICTIM));
        let to_host = udp((me.address, PORT), (GATEWAY, PORT), b"its own");
        let to_victim = udp((me.address, PORT), (victim.address, PORT), b"its own");
        let attacks = || {
            let frame = |to: [u8; 6], packet: &[u8]| ethernet(to, me.mac.0, 0x0800, packet);
            [
                Attack {
                    what: "to host",
                    frame: frame(GATEWAY_MAC, &to_host),
                    seen: Seen::BySocket,
                },
                Attack {
                    what: "to victim",
                    frame: frame(victim.mac.0, &to_victim),
                    seen: Seen::ByVictim,
                },
            ]
        };
        let [host, _] = attacks();
        assert!(scene.strike(&host).await.contains(&host.seen), "nobody is pinned yet");
        real().ensure(&victim).await.unwrap();
        for attack in attacks() {
            assert_eq!(scene.strike(&attack).await, BTreeSet::new(), "{}", attack.what);
        }
        assert!(!scene.attacker.is_answered() && scene.victim.is_answered());
        // As soon as somebody says who it is.
        real().ensure(&me).await.unwrap();
        assert!(scene.strike(&host).await.contains(&host.seen));
    });
}

#[test]
fn priv_a_tap_that_was_renamed_lets_nothing_through() {
    in_namespace(|| async {
        let scene = Scene::new().await;
        let (me, victim) = (pin(ATTACKER), pin(VICTIM));
        let frame = |who: &Pin, to: Ipv4Addr, mac: [u8; 6]| {
            ethernet(mac, who.mac.0, 0x0800, &udp((who.address, PORT), (to, PORT), b"renamed"))
        };
        let attack = |what, frame, seen| Attack { what, frame, seen };
        let attacks = [
            attack("as itself", frame(&me, GATEWAY, GATEWAY_MAC), Seen::BySocket),
            attack("as the victim", frame(&victim, GATEWAY, GATEWAY_MAC), Seen::BySocket),
            attack("routed", frame(&me, victim.address, GATEWAY_MAC), Seen::ByVictim),
            attack("to the victim", frame(&me, victim.address, victim.mac.0), Seen::ByVictim),
        ];
        // Its guest is pinned, by the name that its tap had.
        let pins = real();
        for n in [ATTACKER, VICTIM] {
            pins.ensure(&pin(n)).await.unwrap();
        }
        let socket = UdpSocket::bind((GATEWAY, 0)).unwrap();
        socket.send_to(b"to one", (me.address, PORT)).unwrap();
        assert_eq!(scene.attacker.received().len(), 1);
        rename(&me).await;
        for attack in attacks {
            let seen = scene.strike(&attack).await;
            assert!(!seen.contains(&attack.seen), "{}: {seen:?}", attack.what);
        }
        scene.attacker.received();
        socket.send_to(b"to one", (me.address, PORT)).unwrap();
        assert_eq!(scene.attacker.received().len(), 0, "nothing is sent to it");
        assert!(scene.victim.is_answered());
        // What the seal would let through is what leaves a pinned tap, without it.
        let own = udp((victim.address, 9), (GATEWAY, PORT), b"own");
        scene.victim.send(&ethernet(GATEWAY_MAC, victim.mac.0, 0x0800, &own));
        let mut buffer = [0; 64];
        assert_eq!(scene.socket.recv_from(&mut buffer).unwrap().0, 3);
    });
}

/// Gives the attacker's tap another name, as somebody with root on the host can.
async fn rename(pin: &Pin) {
    for args in [["down", "", ""], ["name", RENAMED, ""], ["up", "", ""]] {
        let name = if args[0] == "up" { RENAMED } else { pin.tap.as_str() };
        let args: Vec<&str> =
            ["link", "set", name].into_iter().chain(args).filter(|w| !w.is_empty()).collect();
        tool(Tool::Ip, &args).await;
    }
    // The bridge may take a moment to see its port up again.
    let forwarding = ["-d", "link", "show", "dev", RENAMED];
    wait_until("the port forwards", async || {
        tool(Tool::Ip, &forwarding).await.contains("state forwarding")
    })
    .await;
}

/// Questions by ARP for the gateway, in every dress in which the host reads one, and what the host
/// may learn from each: an address that is nobody's.
fn questions(mac: [u8; 6]) -> Vec<(&'static str, Ipv4Addr, Vec<u8>)> {
    let nobody = |n| Ipv4Addr::new(10, 64, 7, n);
    let plain = |n| arp(BROADCAST, mac, 1, (mac, nobody(n)), ([0; 6], GATEWAY));
    let tagged = |n, tags: &[[u8; 4]]| {
        let frame = plain(n);
        [&frame[..12], &tags.concat(), &frame[12..]].concat()
    };
    let mut other_hardware = plain(5);
    // IEEE 802, which the kernel takes for Ethernet.
    other_hardware[15] = 6;
    let mut to_one = plain(6);
    to_one[..6].copy_from_slice(&GATEWAY_MAC);
    vec![
        ("plain", nobody(1), plain(1)),
        ("priority tag", nobody(2), tagged(2, &[[0x81, 0, 0xe0, 0]])),
        ("two priority tags", nobody(3), tagged(3, &[[0x81, 0, 0, 0], [0x81, 0, 0, 0]])),
        ("a service tag", nobody(4), tagged(4, &[[0x88, 0xa8, 0, 0], [0x81, 0, 0, 0]])),
        ("other hardware", nobody(5), other_hardware),
        ("to one", nobody(6), to_one),
        (
            "an answer",
            nobody(7),
            arp(GATEWAY_MAC, mac, 2, (mac, nobody(7)), (GATEWAY_MAC, GATEWAY)),
        ),
    ]
}

#[test]
fn priv_no_arp_goes_to_or_from_a_tap_that_was_renamed() {
    in_namespace(|| async {
        let scene = Scene::new().await;
        let me = pin(ATTACKER);
        let is_arp = |frame: &Vec<u8>| frame[12..14] == [8, 6];
        let learns = async |address: Ipv4Addr| {
            let known = tool(Tool::Ip, &["neigh", "show", "dev", "bgbr0"]).await;
            known.lines().any(|line| line.starts_with(&format!("{address} lladdr")))
        };
        // As a host that asks for who is not there.
        let ask = |n| {
            let socket = UdpSocket::bind((GATEWAY, 0)).unwrap();
            socket.send_to(b"who", (Ipv4Addr::new(10, 64, 8, n), PORT)).unwrap();
        };
        for (what, address, frame) in questions(me.mac.0) {
            scene.attacker.received();
            scene.attacker.send(&frame);
            let is_answered = scene.attacker.received().iter().any(is_arp);
            assert!(
                is_answered && learns(address).await || what == "an answer",
                "{what}: unpinned"
            );
        }
        ask(1);
        assert!(scene.attacker.received().iter().any(is_arp), "the host asks all of them");
        tool(Tool::Ip, &["neigh", "flush", "dev", "bgbr0"]).await;
        let pins = real();
        for n in [ATTACKER, VICTIM] {
            pins.ensure(&pin(n)).await.unwrap();
        }
        rename(&me).await;
        for (what, address, frame) in questions(me.mac.0) {
            scene.attacker.received();
            scene.attacker.send(&frame);
            assert!(!scene.attacker.received().iter().any(is_arp), "{what} is not answered");
            assert!(!learns(address).await, "{what} teaches the host nothing");
        }
        assert!(!scene.attacker.is_answered(), "nor under its own name");
        scene.attacker.received();
        ask(2);
        assert!(!scene.attacker.received().iter().any(is_arp), "it is asked nothing");
        assert!(scene.victim.is_answered(), "whoever is pinned is answered as ever");
    });
}

async fn wait_until(what: &str, so: impl AsyncFn() -> bool) {
    let waited = async {
        while !so().await {
            tokio::task::yield_now().await;
        }
    };
    let limit = Duration::from_secs(20);
    assert!(tokio::time::timeout(limit, waited).await.is_ok(), "{what}: never");
}

#[test]
fn priv_a_question_by_arp_without_a_sender_is_not_answered_past_the_bridge() {
    in_namespace(|| async {
        let scene = Scene::new().await;
        let me = pin(ATTACKER);
        // An address of the host: the gateway's, and that of the uplink.
        let answered = |target: Ipv4Addr| {
            scene.attacker.received();
            let nobody = (me.mac.0, Ipv4Addr::UNSPECIFIED);
            let past = [0x01, 0x80, 0xc2, 0, 0, 0x0e];
            scene.attacker.send(&arp(past, me.mac.0, 1, nobody, ([0; 6], target)));
            scene.attacker.received().iter().any(|frame| frame[12..14] == [8, 6])
        };
        let both = [GATEWAY, Ipv4Addr::new(192, 0, 2, 1)];
        let ignore = format!("/proc/sys/net/ipv4/conf/{}/arp_ignore", me.tap);
        assert_eq!(std::fs::read_to_string(&ignore).unwrap().trim(), "8");
        std::fs::write(&ignore, "0").unwrap();
        assert_eq!(both.map(answered), [true, true], "without it this gets through");
        std::fs::write(&ignore, "8").unwrap();
        assert_eq!(both.map(answered), [false, false]);
        real().ensure(&me).await.unwrap();
        assert_eq!(both.map(answered), [false, false]);
        // By the bridge it learns the gateway and no other address of the host.
        assert!(scene.attacker.is_answered());
        scene.attacker.send(&arp(
            BROADCAST,
            me.mac.0,
            1,
            (me.mac.0, me.address),
            ([0; 6], both[1]),
        ));
        assert_eq!(scene.attacker.received().len(), 0);
    });
}
