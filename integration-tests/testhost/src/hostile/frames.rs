//! Ethernet frames and what is in them, as bytes: RFC 791, 792, 826 and 768, 9293. No I/O.

use std::net::{Ipv4Addr, Ipv6Addr};

/// An Ethernet address.
pub type MacBytes = [u8; 6];

/// To everybody.
pub const BROADCAST: MacBytes = [0xff; 6];

/// The least length of a frame, without its checksum.
const LEAST: usize = 60;

/// A frame of this type; as long as frames must be.
#[must_use]
pub fn ethernet(to: MacBytes, from: MacBytes, kind: u16, rest: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &from[..], &kind.to_be_bytes()[..], rest].concat();
    frame.resize(frame.len().max(LEAST), 0);
    frame
}

/// A frame with an IPv4 packet.
#[must_use]
pub fn ip_frame(to: MacBytes, from: MacBytes, packet: &[u8]) -> Vec<u8> {
    ethernet(to, from, 0x0800, packet)
}

/// Question (1) or answer (2) of ARP, with something in the room behind it.
#[must_use]
pub fn arp(
    [to, from]: [MacBytes; 2],
    operation: u16,
    sender: (MacBytes, Ipv4Addr),
    target: (MacBytes, Ipv4Addr),
    behind: &[u8],
) -> Vec<u8> {
    let body = [
        &[0, 1, 8, 0, 6, 4][..],
        &operation.to_be_bytes(),
        &sender.0,
        &sender.1.octets(),
        &target.0,
        &target.1.octets(),
        behind,
    ];
    ethernet(to, from, 0x0806, &body.concat())
}

fn sum(bytes: &[u8]) -> u32 {
    let word = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    bytes.chunks(2).map(word).sum()
}

fn checksum(mut sum: u32) -> [u8; 2] {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap_or(0)).to_be_bytes()
}

/// Lengths of what is made here fit.
fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// An IPv4 packet.
#[must_use]
pub fn ipv4(protocol: u8, from: Ipv4Addr, to: Ipv4Addr, body: &[u8]) -> Vec<u8> {
    ipv4_with(&[], protocol, from, to, body)
}

/// The same with options, of a length that four divides.
#[must_use]
pub fn ipv4_with(
    options: &[u8],
    protocol: u8,
    from: Ipv4Addr,
    to: Ipv4Addr,
    body: &[u8],
) -> Vec<u8> {
    let words = u8::try_from(5 + options.len() / 4).unwrap_or(15);
    let total = short(20 + options.len() + body.len()).to_be_bytes();
    let mut header = [
        &[0x40 | words, 0][..],
        &total,
        &[0, 0, 0, 0, 64, protocol, 0, 0],
        &from.octets(),
        &to.octets(),
        options,
    ]
    .concat();
    let sum = checksum(sum(&header));
    header[10..12].copy_from_slice(&sum);
    [&header, body].concat()
}

/// A datagram of UDP; without a checksum, which it may be.
#[must_use]
pub fn udp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), text: &[u8]) -> Vec<u8> {
    let ports = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    let body = [&ports[..], &short(8 + text.len()).to_be_bytes(), &[0, 0], text].concat();
    ipv4(17, from.0, to.0, &body)
}

/// `SYN` of TCP.
pub const BEGINS: u8 = 0x02;
/// `RST` of TCP.
pub const ENDS: u8 = 0x04;

/// A segment of TCP with these flags.
#[must_use]
pub fn tcp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), flags: u8, text: &[u8]) -> Vec<u8> {
    let mut segment = [
        &from.1.to_be_bytes()[..],
        &to.1.to_be_bytes(),
        &[0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0],
        text,
    ]
    .concat();
    let pseudo =
        [&from.0.octets()[..], &to.0.octets(), &[0, 6], &short(segment.len()).to_be_bytes()];
    let sum = checksum(sum(&pseudo.concat()) + sum(&segment));
    segment[16..18].copy_from_slice(&sum);
    ipv4(6, from.0, to.0, &segment)
}

/// A message of ICMP: type, code, the four bytes after the checksum, and the rest.
#[must_use]
pub fn icmp([kind, code]: [u8; 2], field: [u8; 4], rest: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0][..], &field, rest].concat();
    let sum = checksum(sum(&message));
    message[2..4].copy_from_slice(&sum);
    message
}

/// The question of a ping, by its number and that of the message.
#[must_use]
pub fn echo(from: Ipv4Addr, to: Ipv4Addr, id: u16, number: u16, text: &[u8]) -> Vec<u8> {
    let ([a, b], [c, d]) = (id.to_be_bytes(), number.to_be_bytes());
    ipv4(1, from, to, &icmp([8, 0], [a, b, c, d], text))
}

/// An IPv6 packet with a message of ICMPv6 to nodes of the link, and their Ethernet address.
#[must_use]
pub fn icmpv6(from: Ipv6Addr, to: Ipv6Addr, kind: u8, rest: &[u8]) -> (MacBytes, Vec<u8>) {
    let mut message = [&[kind, 0, 0, 0][..], rest].concat();
    let length = short(message.len()).to_be_bytes();
    let pseudo = [&from.octets()[..], &to.octets(), &[0, 0], &length, &[0, 0, 0, 58]];
    let sum = checksum(sum(&pseudo.concat()) + sum(&message));
    message[2..4].copy_from_slice(&sum);
    let header = [&[0x60, 0, 0, 0][..], &length, &[58, 255], &from.octets(), &to.octets()];
    let [.., a, b, c, d] = to.octets();
    ([0x33, 0x33, a, b, c, d], [&header.concat()[..], &message].concat())
}

/// What is read of a frame: who sent it, and of what kind it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// A question by ARP, for an address.
    Asked(Ipv4Addr),
    /// The question of a ping, to an address.
    Pinged(Ipv4Addr),
    /// The answer to a ping: its number and that of the message.
    Answered(u16, u16),
    /// Anything else.
    Other,
}

/// What a frame is.
#[must_use]
pub fn read(frame: &[u8]) -> Read {
    let number = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    let address = |at: usize| {
        let octets: [u8; 4] = frame.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets))
    };
    let seen = || match number(12)? {
        0x0806 if number(20)? == 1 => Some(Read::Asked(address(38)?)),
        // Without options, as all that is asked here is answered.
        0x0800 if frame.get(14) == Some(&0x45) && frame.get(23) == Some(&1) => {
            match frame.get(34)? {
                0 => Some(Read::Answered(number(38)?, number(40)?)),
                8 => Some(Read::Pinged(address(30)?)),
                _ => None,
            }
        }
        _ => None,
    };
    seen().unwrap_or(Read::Other)
}

#[cfg(test)]
mod tests;
