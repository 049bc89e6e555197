//! What a guest may use of the host, and what its VMM's user may reach. Need root.
#![expect(clippy::disallowed_methods, reason = "a process of a VMM's user is what is tested")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use super::frames::{GATEWAY, GATEWAY_MAC, Guest, ethernet, udp};
use super::*;
use crate::host::linux::network::taps::ioctl;
use crate::host::linux::network::test_net::port_unreachable;

const PORT: u16 = 4711;

/// Whether a process of this user reaches a listener of the host.
fn reaches(uid: u32, to: SocketAddr) -> bool {
    let (host, port) = (to.ip(), to.port());
    let script = format!("exec 3<>/dev/tcp/{host}/{port} && echo reached >&3");
    // Refused at once, or given up after two tries.
    let status = Command::new("/usr/bin/timeout")
        .args(["2", "/bin/bash", "-c", &script])
        .uid(uid)
        .gid(uid)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    status.success()
}

#[test]
fn priv_a_process_of_a_vmms_user_reaches_nothing_of_the_hosts_network() {
    in_namespace(|| async {
        host_with(&[pin(2), pin(3)]).await;
        let loopback = TcpListener::bind("127.0.0.1:0").unwrap();
        let loopback6 = TcpListener::bind("[::1]:0").unwrap();
        let bridge = TcpListener::bind((GATEWAY, 0)).unwrap();
        let all = [&loopback, &loopback6, &bridge].map(|l| l.local_addr().unwrap());
        for to in all {
            assert!(reaches(pin(2).uid, to), "{to}: nothing is pinned yet");
        }
        let pins = real();
        pins.ensure(&pin(2)).await.unwrap();
        for to in all {
            assert!(!reaches(pin(2).uid, to), "{to}");
            assert!(reaches(pin(3).uid, to), "{to}: another user's process is not concerned");
            assert!(reaches(0, to), "{to}: nor is root's");
        }
        pins.remove(&pin(2).key).await.unwrap();
        assert!(reaches(pin(2).uid, all[0]), "the user is free again");
    });
}

#[test]
fn priv_a_guest_has_so_many_connections_and_no_more_and_its_neighbour_has_its_own() {
    in_namespace(|| async {
        host_with(&[pin(2), pin(3)]).await;
        let socket = UdpSocket::bind((GATEWAY, PORT)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let pins = real();
        pins.ensure(&pin(2)).await.unwrap();
        pins.ensure(&pin(3)).await.unwrap();
        let arrived = |guest: &Guest, ports: std::ops::Range<u16>| {
            for port in ports {
                let packet = udp((guest.pin.address, port), (GATEWAY, PORT), b"new");
                guest.send(&ethernet(GATEWAY_MAC, guest.pin.mac.0, 0x0800, &packet));
            }
            let mut from = Vec::<Ipv4Addr>::new();
            let mut buffer = [0; 64];
            while let Ok((_, SocketAddr::V4(address))) = socket.recv_from(&mut buffer) {
                from.push(*address.ip());
            }
            from.len()
        };
        let (greedy, neighbour) = (Guest::on(pin(2)).await, Guest::on(pin(3)).await);
        let bound = layout().connections as usize;
        assert_eq!(arrived(&greedy, 1000..1000 + 5 * layout().connections as u16), bound);
        assert_eq!(arrived(&greedy, 1000..1001), 1, "what it has goes on");
        assert_eq!(arrived(&neighbour, 1000..1005), 5);
    });
}

/// The neighbours of the uplink that the host has looked for.
async fn met() -> Vec<String> {
    let text = tool(Tool::Ip, &["-4", "neigh", "show", "dev", "up0"]).await;
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

pub(super) async fn ip(line: &str) {
    tool(Tool::Ip, &line.split(' ').collect::<Vec<_>>()).await;
}

/// The other end of the uplink's cable. The uplink goes with it.
pub(super) struct Uplink(OwnedFd);

const UPLINK_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];

impl Uplink {
    /// Of a kind of `linux/if_arp.h`.
    fn of_kind(kind: u32) -> Self {
        let tap = ioctl::open("up0").expect("root may make a tap");
        ioctl::set_kind(&tap, kind).expect("it is not up yet");
        Self(tap)
    }

    pub(super) fn new() -> Self {
        Self::of_kind(ETHERNET)
    }

    /// A packet to the host.
    fn send(&self, packet: &[u8]) {
        let frame = ethernet(UPLINK_MAC, [2, 0, 0, 0, 0, 0x0b], 0x0800, packet);
        rustix::io::write(&self.0, &[&[0; 10][..], &frame].concat()).expect("the tap takes it");
    }
}

const ETHERNET: u32 = 1;
const INFINIBAND: u32 = 32;

/// A host whose uplink is in a large network, and pins that bound what guests have it look for
/// there.
pub(super) async fn host_in_a_large_network(neighbours: u32) -> NftPins {
    host_with(&[pin(2), pin(3)]).await;
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    ip("addr add 198.18.0.1/15 dev up0").await;
    ip("link set up0 up").await;
    NftPins::new(exec(), PinLayout { connections: 0, neighbours, ..layout() })
}

/// A packet of a guest's to each of these addresses.
pub(super) fn scan(guest: &Guest, addresses: impl IntoIterator<Item = Ipv4Addr>) {
    for to in addresses {
        route(guest, &udp((guest.pin.address, 9), (to, PORT), b"who is there"));
    }
}

/// A guest has the host send a packet on.
pub(super) fn route(guest: &Guest, packet: &[u8]) {
    guest.send(&ethernet(GATEWAY_MAC, guest.pin.mac.0, 0x0800, packet));
}

#[test]
fn priv_a_guest_that_scans_takes_few_of_the_hosts_neighbours_and_its_neighbour_has_its_own() {
    const ALL: u32 = 160;
    in_namespace(|| async {
        let _uplink = Uplink::new();
        let pins = host_in_a_large_network(ALL).await;
        let (scanner, neighbour) = (Guest::on(pin(2)).await, Guest::on(pin(3)).await);
        let network = |net: u8| (1..=250).map(move |n| Ipv4Addr::new(198, 18, net, n));
        scan(&scanner, network(1));
        assert_eq!(met().await.len(), 250, "without a bound the host looks for all");
        tool(Tool::Ip, &["neigh", "flush", "dev", "up0"]).await;
        for n in [2, 3] {
            pins.ensure(&pin(n)).await.unwrap();
        }
        // It knows the gateway's address by now, and so does not ask again.
        scan(&scanner, network(2).chain(network(3)));
        let seen = met().await;
        assert!(seen.contains(&"198.18.2.1".to_owned()), "{seen:?}");
        assert!(seen.len() < ALL as usize, "{}", seen.len());
        scan(&neighbour, [Ipv4Addr::new(198, 18, 4, 1)]);
        assert!(met().await.contains(&"198.18.4.1".to_owned()));
    });
}

/// As many guests would have filled the neighbours, for longer than a test takes.
async fn fill(all: u32) {
    let others: Vec<String> = (1..=all).map(|n| format!("198.19.0.{n} timeout 1h")).collect();
    nft(&format!("add element inet banger-bg neighbours {{ {} }}", others.join(", "))).await;
}

pub(super) async fn nft(line: &str) {
    let call = ToolCall::new(Tool::Nft, ["-f", "-"]).stdin(line);
    run_ok(&*exec(), "run", "nft", &call).await.unwrap();
}

#[test]
fn priv_neighbours_are_bounded_on_every_kind_of_interface_that_has_any() {
    const ALL: u32 = 32;
    for kind in [ETHERNET, INFINIBAND] {
        in_namespace(move || async move {
            let _uplink = Uplink::of_kind(kind);
            let pins = host_in_a_large_network(ALL).await;
            pins.ensure(&pin(2)).await.unwrap();
            let guest = Guest::on(pin(2)).await;
            let network = || (1..=250).map(|n| Ipv4Addr::new(198, 18, 1, n));
            scan(&guest, network());
            let seen = met().await.len();
            assert!((1..ALL as usize).contains(&seen), "kind {kind}: {seen}");
            fill(ALL - seen as u32).await;
            ip("neigh flush dev up0").await;
            scan(&guest, network());
            assert!(met().await.len() <= seen, "kind {kind}: {:?}", met().await);
        });
    }
}

#[test]
fn priv_guests_together_have_the_host_look_for_so_many_neighbours_and_no_more() {
    const ALL: u32 = 32;
    in_namespace(|| async {
        let _uplink = Uplink::new();
        let pins = host_in_a_large_network(ALL).await;
        pins.ensure(&pin(2)).await.unwrap();
        let guest = Guest::on(pin(2)).await;
        fill(ALL).await;
        let [new, known] = [Ipv4Addr::new(198, 18, 4, 1), Ipv4Addr::new(198, 19, 0, 7)];
        scan(&guest, [new, known]);
        assert_eq!(met().await, ["198.19.0.7"], "what is known goes on");
        nft("delete element inet banger-bg neighbours { 198.19.0.1 }").await;
        // Once there is room. A guest may look for few at a time, and waits for its next turn.
        let looked_for = async {
            while !met().await.contains(&new.to_string()) {
                scan(&guest, [new]);
                tokio::task::yield_now().await;
            }
        };
        let limit = Duration::from_secs(20);
        assert!(tokio::time::timeout(limit, looked_for).await.is_ok(), "{:?}", met().await);
        assert_eq!(whole_of(&pins).await, [pin(2)], "what the kernel fills is no drift");
    });
}

async fn whole_of(pins: &NftPins) -> Vec<Pin> {
    pins.list().await.unwrap().into_values().flatten().collect()
}

#[test]
fn priv_the_hosts_gateways_are_reached_however_many_neighbours_guests_have_looked_for() {
    const ALL: u32 = 32;
    in_namespace(|| async {
        let _uplink = Uplink::new();
        let pins = host_in_a_large_network(ALL).await;
        let outside = Ipv4Addr::new(203, 0, 113, 9);
        ip("route add default via 198.18.0.254 dev up0").await;
        pins.ensure(&pin(2)).await.unwrap();
        let guest = Guest::on(pin(2)).await;
        fill(ALL).await;
        // Its own share is used up, too.
        scan(&guest, (1..=250).map(|n| Ipv4Addr::new(198, 18, 1, n)));
        assert_eq!(met().await, Vec::<String>::new());
        scan(&guest, [outside]);
        assert_eq!(met().await, ["198.18.0.254"]);
        assert_eq!(pins.ensure_gateways().await.unwrap(), Change::AlreadySo);

        // Another takes its place, and one that has to wait for its turn has a metric.
        ip("route replace default via 198.18.0.253 dev up0").await;
        ip("route add default via 198.18.0.252 dev up0 metric 600").await;
        ip("neigh flush dev up0").await;
        scan(&guest, [outside]);
        assert_eq!(met().await, Vec::<String>::new(), "nobody has heard of it yet");
        assert_eq!(pins.ensure_gateways().await.unwrap(), Change::Made);
        assert_eq!(pins.ensure_gateways().await.unwrap(), Change::AlreadySo);
        scan(&guest, [outside]);
        assert_eq!(met().await, ["198.18.0.253"]);
        ip("route delete default via 198.18.0.253 dev up0").await;
        scan(&guest, [outside]);
        assert!(met().await.contains(&"198.18.0.252".to_owned()));
        // What is a gateway no more is a neighbour like others.
        ip("neigh flush dev up0").await;
        assert_eq!(pins.ensure_gateways().await.unwrap(), Change::Made);
        scan(&guest, [Ipv4Addr::new(198, 18, 0, 253)]);
        assert_eq!(met().await, Vec::<String>::new());
        // It is no drift of a guest's, and comes back with the tables.
        assert_eq!(whole_of(&pins).await, [pin(2)]);
        nft("flush ruleset").await;
        assert_eq!(pins.ensure_gateways().await.unwrap(), Change::AlreadySo, "there is no set");
        pins.list().await.unwrap();
        pins.ensure(&pin(2)).await.unwrap();
        fill(ALL).await;
        scan(&guest, [outside]);
        assert_eq!(met().await, ["198.18.0.252"]);
    });
}

/// For how many seconds a neighbour keeps its place from now on.
async fn keeps_its_place(neighbour: Ipv4Addr) -> u64 {
    let text = tool(Tool::Nft, &["-j", "list", "set", "inet", "banger-bg", "neighbours"]).await;
    let list: serde_json::Value = serde_json::from_str(&text).unwrap();
    let sets = list["nftables"].as_array().unwrap().iter();
    let mut elements = sets.filter_map(|object| object["set"]["elem"].as_array()).flatten();
    let expires = elements.find_map(|element| {
        let element = &element["elem"];
        (element["val"] == neighbour.to_string()).then(|| element["expires"].as_u64())?
    });
    expires.unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn priv_a_guest_keeps_no_neighbours_place_by_errors_of_its_own_and_by_answers_it_does() {
    in_namespace(|| async {
        let uplink = Uplink::new();
        let pins = host_in_a_large_network(32).await;
        ip("link set up0 address 02:00:00:00:00:0a").await;
        pins.ensure(&pin(2)).await.unwrap();
        let guest = Guest::on(pin(2)).await;
        let (me, neighbour) = (guest.pin.address, Ipv4Addr::new(198, 18, 4, 1));
        scan(&guest, [neighbour]);
        assert_eq!(met().await, [neighbour.to_string()]);
        // A place that nothing but being met anew makes shorter.
        let place = async |verb: &str, rest: &str| {
            let element = format!("{{ {neighbour}{rest} }}");
            nft(&format!("{verb} element inet banger-bg neighbours {element}")).await;
        };
        place("delete", "").await;
        place("add", " timeout 1h").await;
        let count = "table inet seen { chain seen { type filter hook forward priority 300; \
                     ct state related counter; }; }";
        nft(count).await;
        let related = async || {
            let listed = tool(Tool::Nft, &["list", "table", "inet", "seen"]).await;
            let (_, counted) = listed.split_once("packets ").expect("it counts");
            counted.split(' ').next().unwrap().parse::<u64>().unwrap()
        };
        // An error about an answer that nobody ever gave.
        let answer = udp((neighbour, PORT), (me, 9), b"I am here.");
        let error = port_unreachable(me, neighbour, &answer);
        for _ in 0..100 {
            route(&guest, &error);
        }
        assert_eq!(related().await, 100, "the kernel takes them for the connection's");
        let kept = keeps_its_place(neighbour).await;
        assert!(kept > 60, "{kept} s");
        // Whoever is still looked for keeps nothing by being asked again either.
        scan(&guest, [neighbour]);
        assert!(keeps_its_place(neighbour).await > 60);
        // Once it has answered.
        guest.received();
        uplink.send(&answer);
        assert!(guest.received().iter().any(|frame| frame.ends_with(b"I am here.")));
        scan(&guest, [neighbour]);
        let kept = keeps_its_place(neighbour).await;
        assert!(kept <= 10, "it is met anew: {kept} s");
    });
}
