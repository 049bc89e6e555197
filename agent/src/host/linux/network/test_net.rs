//! A network namespace for one test, and what is sent in it. Needs root.

use std::net::Ipv4Addr;

use nix::sched::CloneFlags;

/// Runs a test in a network namespace of its own. The thread, the runtime and the runtime's
/// threads are made inside it, so that all of it goes away when the test ends.
pub(crate) fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    std::thread::spawn(move || {
        nix::sched::unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(test());
    })
    .join()
    .unwrap();
}

pub(crate) fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16, rest: &[u8]) -> Vec<u8> {
    [&to[..], &from[..], &kind.to_be_bytes()[..], rest].concat()
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    (!(folded as u16)).to_be_bytes()
}

/// An IPv4 packet with a UDP datagram in it; without a checksum, which UDP allows.
pub(crate) fn udp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), text: &[u8]) -> Vec<u8> {
    let length = 8 + text.len() as u16;
    let datagram =
        [&from.1.to_be_bytes()[..], &to.1.to_be_bytes(), &length.to_be_bytes(), &[0, 0], text]
            .concat();
    ipv4(17, from.0, to.0, &datagram)
}

/// An IPv4 packet with an ICMP error in it: nobody has the port that this packet was for. Of an
/// even length.
pub(crate) fn port_unreachable(from: Ipv4Addr, to: Ipv4Addr, about: &[u8]) -> Vec<u8> {
    icmp(from, to, [3, 3], 0, about)
}

/// As [`port_unreachable`]: the packet was longer than the path takes.
pub(crate) fn too_long(from: Ipv4Addr, to: Ipv4Addr, path: u16, about: &[u8]) -> Vec<u8> {
    icmp(from, to, [3, 4], path, about)
}

/// An IPv4 packet with a message of ICMP in it, of a type and code. Of an even length.
pub(crate) fn icmp(
    from: Ipv4Addr,
    to: Ipv4Addr,
    [kind, code]: [u8; 2],
    number: u16,
    rest: &[u8],
) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0, 0, 0][..], &number.to_be_bytes(), rest].concat();
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum);
    ipv4(1, from, to, &message)
}

fn ipv4(protocol: u8, from: Ipv4Addr, to: Ipv4Addr, body: &[u8]) -> Vec<u8> {
    let mut header = [
        &[0x45, 0][..],
        &(20 + body.len() as u16).to_be_bytes(),
        &[0, 0, 0, 0, 64, protocol, 0, 0],
        &from.octets(),
        &to.octets(),
    ]
    .concat();
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum);
    [&header, body].concat()
}

/// A part of an IPv4 packet without options: what it carries from one byte to another, which are
/// multiples of eight, or its end. Packets are told apart by `id`.
pub(crate) fn fragment(packet: &[u8], id: u16, part: std::ops::Range<usize>) -> Vec<u8> {
    let (header, body) = packet.split_at(20);
    let more = if part.end < body.len() { 0x2000 } else { 0 };
    let carried = &body[part.start..part.end.min(body.len())];
    let mut header = header.to_vec();
    header[2..4].copy_from_slice(&(20 + carried.len() as u16).to_be_bytes());
    header[4..6].copy_from_slice(&id.to_be_bytes());
    header[6..8].copy_from_slice(&(more | (part.start / 8) as u16).to_be_bytes());
    header[10..12].fill(0);
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum);
    [&header, carried].concat()
}

/// An IPv4 packet of TCP that is of no connection and begins none: without a flag.
pub(crate) fn stray_tcp(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    ipv4(6, from, to, &[0; 20])
}
