//! What the next guest with an address has of the one before: nothing. Need root.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;

use super::frames::{GATEWAY, GATEWAY_MAC, Guest, ethernet, udp};
use super::*;
use crate::host::linux::network::taps::ioctl;

const PEER: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 9), 5000);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OUTSIDE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];
const PEER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x09];
const PORT: u16 = 4711;

/// Whoever guests speak to: the far end of the uplink, which translates their addresses.
struct Peer(OwnedFd);

impl Peer {
    async fn beyond_the_uplink() -> Self {
        let tap = ioctl::open("up0").unwrap();
        rustix::fs::fcntl_setfl(&tap, rustix::fs::OFlags::NONBLOCK).unwrap();
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        for line in [
            "link set up0 address 02:00:00:00:00:0a",
            "address add 192.0.2.1/24 dev up0",
            "link set up0 up",
            "neigh replace 192.0.2.9 lladdr 02:00:00:00:00:09 dev up0 nud permanent",
        ] {
            tool(Tool::Ip, &line.split(' ').collect::<Vec<_>>()).await;
        }
        let rules = "add table ip theirs\n\
                     add chain ip theirs nat { type nat hook postrouting priority 100; }\n\
                     add rule ip theirs nat oifname \"up0\" masquerade\n";
        let call = ToolCall::new(Tool::Nft, ["-f", "-"]).stdin(rules);
        run_ok(&*exec(), "translate", "addresses", &call).await.unwrap();
        Self(tap)
    }

    /// The port that the next packet from the inside seems to come from.
    fn hears(&self) -> Option<u16> {
        let mut buffer = [0; 2048];
        while let Ok(length) = rustix::io::read(&self.0, &mut buffer) {
            let frame = &buffer[10..length];
            // UDP alone: an answer that meets nobody is told to its sender by ICMP.
            let is_udp = frame[12..14] == [8, 0] && frame[23] == 17;
            if is_udp && frame[30..34] == PEER.0.octets() {
                assert_eq!(frame[26..30], OUTSIDE.octets(), "it is translated");
                return Some(u16::from_be_bytes([frame[34], frame[35]]));
            }
        }
        None
    }

    fn answers(&self, port: u16) {
        let packet = udp(PEER, (OUTSIDE, port), b"for who asked");
        let frame = ethernet(OUTSIDE_MAC, PEER_MAC, 0x0800, &packet);
        rustix::io::write(&self.0, &[&[0; 10][..], &frame].concat()).unwrap();
    }
}

fn asks(guest: &Guest, port: u16, to: (Ipv4Addr, u16)) {
    let packet = udp((guest.pin.address, port), to, b"a question");
    guest.send(&ethernet(GATEWAY_MAC, guest.pin.mac.0, 0x0800, &packet));
}

/// Packets that it was sent.
fn packets(guest: &Guest) -> usize {
    guest.received().iter().filter(|frame| frame[12..14] == [8, 0]).count()
}

/// The guest that gets everything that the first had, but its name.
fn heir() -> Pin {
    Pin { key: pin(7).key, tap: pin(7).tap, ..pin(2) }
}

#[derive(Debug, Clone, Copy)]
enum End {
    /// The pin is removed.
    Removed,
    /// Its agent died before that: another life finds the pin.
    Forgotten,
}

/// The first guest goes, and the next one comes.
async fn inherit(pins: &NftPins, first: Guest, end: End) -> Guest {
    let tap_of_first = first.pin.tap.clone();
    drop(first);
    LinuxTaps.remove(&[tap_of_first]).await.unwrap();
    let fresh = real();
    let pins = match end {
        End::Removed => {
            pins.remove(&pin(2).key).await.unwrap();
            pins
        }
        End::Forgotten => &fresh,
    };
    tap(&heir()).await;
    pins.ensure(&heir()).await.unwrap();
    Guest::on(heir()).await
}

#[test]
fn priv_what_a_guests_peers_still_send_never_reaches_the_next_with_its_address() {
    for end in [End::Removed, End::Forgotten] {
        in_namespace(move || async move {
            host_with(&[pin(2), pin(3)]).await;
            let peer = Peer::beyond_the_uplink().await;
            let pins = real();
            for n in [2, 3] {
                pins.ensure(&pin(n)).await.unwrap();
            }
            let (first, other) = (Guest::on(pin(2)).await, Guest::on(pin(3)).await);
            asks(&first, 2002, PEER);
            let port = peer.hears().expect("it is asked");
            peer.answers(port);
            assert_eq!(packets(&first), 1, "it is answered");
            asks(&other, 3003, PEER);
            let port_of_other = peer.hears().expect("it is asked");

            let next = inherit(&pins, first, end).await;
            for _ in 0..18 {
                peer.answers(port);
            }
            assert_eq!(packets(&next), 0, "{end:?}: it has asked nobody");
            asks(&next, 2002, PEER);
            peer.answers(peer.hears().expect("it asks itself"));
            assert_eq!(packets(&next), 1);
            // Whoever stays keeps its own.
            peer.answers(port_of_other);
            assert_eq!(packets(&other), 1, "{end:?}");
        });
    }
}

#[test]
fn priv_the_next_guest_with_an_address_has_all_connections_of_its_bound_for_itself() {
    for end in [End::Removed, End::Forgotten] {
        in_namespace(move || async move {
            host_with(&[pin(2), pin(3)]).await;
            let socket = UdpSocket::bind((GATEWAY, PORT)).unwrap();
            socket.set_nonblocking(true).unwrap();
            let arrived = |guest: &Guest, first: u16| {
                for port in first..first + 50 {
                    asks(guest, port, (GATEWAY, PORT));
                }
                let mut buffer = [0; 64];
                std::iter::from_fn(|| socket.recv_from(&mut buffer).ok()).count()
            };
            let pins = real();
            for n in [2, 3] {
                pins.ensure(&pin(n)).await.unwrap();
            }
            let bound = layout().connections as usize;
            let (first, other) = (Guest::on(pin(2)).await, Guest::on(pin(3)).await);
            assert_eq!((arrived(&first, 1000), arrived(&other, 1000)), (bound, bound));
            // Asked for again it is no other guest.
            pins.ensure(&pin(2)).await.unwrap();
            assert_eq!(arrived(&first, 2000), 0);
            let next = inherit(&pins, first, end).await;
            assert_eq!(arrived(&next, 3000), bound, "{end:?}");
            assert_eq!(arrived(&next, 4000), 0, "{end:?}: and no more");
        });
    }
}
