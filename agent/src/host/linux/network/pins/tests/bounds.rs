//! What a guest may use of the host, and what its VMM's user may reach. Need root.
#![expect(clippy::disallowed_methods, reason = "a process of a VMM's user is what is tested")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use super::frames::{GATEWAY, GATEWAY_MAC, Guest, ethernet, udp};
use super::*;

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
