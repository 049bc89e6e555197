//! What a guest may say of packets that did not arrive: of its own alone. Needs root.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use super::bounds::{Uplink, host_in_a_large_network, ip, nft, route, scan};
use super::frames::{GATEWAY, Guest, udp};
use super::*;
use crate::host::linux::network::test_net::{icmp, port_unreachable, stray_tcp, too_long};

const PORT: u16 = 4711;
const HOST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(198, 18, 4, 1);

/// A host with a peer that is known on its uplink.
async fn host_with_a_peer() -> (Uplink, NftPins) {
    let uplink = Uplink::new();
    let pins = host_in_a_large_network(0).await;
    ip(&format!("neigh add {PEER} lladdr 02:00:00:00:00:0a dev up0")).await;
    (uplink, pins)
}

/// A socket of the host's in a conversation, and what its packets are.
fn conversation(from: Ipv4Addr, to: Ipv4Addr) -> (UdpSocket, Vec<u8>) {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.connect((to, PORT)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.send(b"how are you?").unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, udp((from, port), (to, PORT), b"how are you?"))
}

/// Whether the host has been told that nobody has the port.
fn is_refused(socket: &UdpSocket) -> bool {
    match socket.recv(&mut [0; 64]) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => true,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn priv_a_guest_ends_no_conversation_of_the_hosts_with_others() {
    in_namespace(|| async {
        let (_uplink, pins) = host_with_a_peer().await;
        let guest = Guest::on(pin(2)).await;
        let me = guest.pin.address;
        let (socket, asked) = conversation(HOST, PEER);
        for to in [HOST, GATEWAY] {
            route(&guest, &port_unreachable(me, to, &asked));
            assert!(is_refused(&socket), "{to}: nothing is pinned yet, and the host believes it");
        }
        pins.ensure(&pin(2)).await.unwrap();
        for to in [HOST, GATEWAY] {
            route(&guest, &port_unreachable(me, to, &asked));
            assert!(!is_refused(&socket), "{to}");
        }
        // Of its own the guest may speak.
        let (socket, asked) = conversation(GATEWAY, me);
        route(&guest, &port_unreachable(me, GATEWAY, &asked));
        assert!(is_refused(&socket));
    });
}

/// How many packets a rule of the test's own has seen pass to the uplink.
async fn passed(what: &str) -> u64 {
    let listed = tool(Tool::Nft, &["list", "chain", "inet", "seen", what]).await;
    let (_, counted) = listed.split_once("packets ").expect("it counts");
    counted.split(' ').next().unwrap().parse().unwrap()
}

async fn count(what: &str, matches: &str) {
    let hook = "type filter hook forward priority 500;";
    nft(&format!("table inet seen {{ chain {what} {{ {hook} {matches} counter; }}; }}")).await;
}

#[test]
fn priv_a_guest_ends_no_conversation_of_its_neighbour_and_may_end_its_own() {
    in_namespace(|| async {
        let (_uplink, pins) = host_with_a_peer().await;
        for n in [2, 3] {
            pins.ensure(&pin(n)).await.unwrap();
        }
        let (victim, other) = (Guest::on(pin(2)).await, Guest::on(pin(3)).await);
        count("errors", "icmp type destination-unreachable").await;
        scan(&victim, [PEER]);
        // The answer to it, which the peer may send.
        let about = |to: Ipv4Addr| udp((PEER, PORT), (to, 9), b"I am here.");
        let (me, neighbour) = (victim.pin.address, other.pin.address);
        for inner in [about(me), about(HOST), about(neighbour)] {
            route(&other, &port_unreachable(neighbour, PEER, &inner));
        }
        assert_eq!(passed("errors").await, 0);
        route(&victim, &port_unreachable(me, PEER, &about(me)));
        assert_eq!(passed("errors").await, 1);
    });
}

/// Its peer believes it of the host's address, and so for everybody behind it.
#[test]
fn priv_a_guest_makes_nobodys_path_narrower_than_any_path_of_today() {
    in_namespace(|| async {
        let (_uplink, pins) = host_with_a_peer().await;
        pins.ensure(&pin(2)).await.unwrap();
        let guest = Guest::on(pin(2)).await;
        let me = guest.pin.address;
        count("errors", "icmp type destination-unreachable icmp code frag-needed").await;
        scan(&guest, [PEER]);
        let answer = udp((PEER, PORT), (me, 9), &[7; 1400]);
        let narrow = [0, 1, 68, 552, 576, 1279];
        for path in narrow {
            route(&guest, &too_long(me, PEER, path, &answer));
            assert_eq!(passed("errors").await, 0, "{path}");
        }
        let refused = pins.refused().await.unwrap();
        assert_eq!(refused.get(&RefusedFor::Icmp), Some(&(narrow.len() as u64)));
        // Past the bridge they are counted by the address, which is its own by then.
        let of = pins.refused_of_guests().await.unwrap();
        assert_eq!(of.get(&pin(2).key), Some(&(narrow.len() as u64)));
        for (n, path) in [(1, 1280), (2, 1400)] {
            route(&guest, &too_long(me, PEER, path, &answer));
            assert_eq!(passed("errors").await, n, "{path}");
        }
        // Of others' it says nothing, however wide.
        route(&guest, &too_long(me, PEER, 1400, &udp((PEER, PORT), (HOST, 9), &[7; 1400])));
        assert_eq!(passed("errors").await, 2);
    });
}

/// A guest is no router, and its host believes none on the guests' network.
#[test]
fn priv_a_guest_asks_and_answers_by_icmp_and_says_nothing_of_routes() {
    in_namespace(|| async {
        let (_uplink, pins) = host_with_a_peer().await;
        pins.ensure(&pin(2)).await.unwrap();
        let guest = Guest::on(pin(2)).await;
        let me = guest.pin.address;
        let hook = "type filter hook prerouting priority -140;";
        let heard = "iifname \"bgbr0\" meta l4proto icmp counter";
        nft(&format!("table inet seen {{ chain heard {{ {hook} {heard}; }}; }}")).await;
        let mut through = Vec::new();
        for kind in 0..=255 {
            let before = passed("heard").await;
            route(&guest, &icmp(me, GATEWAY, [kind, 0], 0, &[0; 64]));
            if passed("heard").await > before {
                through.push(kind);
            }
        }
        // Echo and timestamp. An error about nothing is none about its own.
        assert_eq!(through, [0, 8, 13, 14]);
    });
}

#[test]
fn priv_what_is_of_no_connection_does_not_leave_the_host_untranslated() {
    in_namespace(|| async {
        let (_uplink, pins) = host_with_a_peer().await;
        count("strays", "meta l4proto tcp").await;
        let guest = Guest::on(pin(2)).await;
        let stray = stray_tcp(guest.pin.address, PEER);
        route(&guest, &stray);
        assert_eq!(passed("strays").await, 1, "nothing is pinned yet");
        pins.ensure(&pin(2)).await.unwrap();
        route(&guest, &stray);
        assert_eq!(passed("strays").await, 1);
        scan(&guest, [PEER]);
    });
}
