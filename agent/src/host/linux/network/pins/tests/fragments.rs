//! How much of the host's buffer for fragments guests take. Needs root.

use std::net::UdpSocket;

use super::bounds::route;
use super::frames::{GATEWAY, Guest, udp};
use super::*;
use crate::host::linux::network::test_net::fragment;

const PORT: u16 = 4711;

/// How many packets of this namespace wait for more of their fragments.
fn waiting() -> usize {
    let text = std::fs::read_to_string("/proc/thread-self/net/sockstat").unwrap();
    let (_, rest) = text.split_once("FRAG: inuse ").expect("the kernel counts them");
    rest.split(' ').next().unwrap().parse().unwrap()
}

/// Beginnings of packets that never go on.
fn begin(guest: &Guest, ids: std::ops::Range<u16>) {
    let packet = udp((guest.pin.address, 9), (GATEWAY, PORT), &[7; 2800]);
    for id in ids {
        route(guest, &fragment(&packet, id, 0..1400));
    }
}

#[test]
fn priv_guests_that_complete_nothing_leave_the_host_room_for_its_own_fragments() {
    in_namespace(|| async {
        let guests: Vec<Pin> = (2..10).map(pin).collect();
        host_with(&guests).await;
        let pins = real();
        let mut taps = Vec::new();
        for pin in &guests {
            taps.push(Guest::on(pin.clone()).await);
        }
        begin(&taps[0], 0..300);
        assert_eq!(waiting(), 300, "nothing is pinned yet");
        for pin in &guests {
            pins.ensure(pin).await.unwrap();
        }
        let before = waiting();
        begin(&taps[1], 0..3000);
        let one = waiting() - before;
        assert!((64..200).contains(&one), "{one}");
        let of = |seen: &BTreeMap<RefusedFor, u64>, why| seen.get(&why).copied().unwrap_or(0);
        let refused = pins.refused().await.unwrap();
        assert!(of(&refused, RefusedFor::FragmentsOfGuest) >= 2800, "{refused:?}");
        assert_eq!(of(&refused, RefusedFor::FragmentsOfAll), 0, "{refused:?}");
        for guest in &taps[1..] {
            begin(guest, 3000..6000);
        }
        let all = waiting() - before;
        assert!((one..600).contains(&all), "{all}");
        let refused = pins.refused().await.unwrap();
        assert!(of(&refused, RefusedFor::FragmentsOfAll) > 0, "{refused:?}");
    });
}

#[test]
fn priv_a_packet_in_fragments_arrives_whole() {
    in_namespace(|| async {
        host_with(&[pin(2)]).await;
        real().ensure(&pin(2)).await.unwrap();
        let guest = Guest::on(pin(2)).await;
        let socket = UdpSocket::bind((GATEWAY, PORT)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let packet = udp((guest.pin.address, 9), (GATEWAY, PORT), &[7; 2800]);
        for part in [0..1400, 1400..2800, 2800..4200] {
            route(&guest, &fragment(&packet, 1, part));
        }
        let mut buffer = [0; 4096];
        assert_eq!(socket.recv(&mut buffer).unwrap(), 2800);
    });
}
