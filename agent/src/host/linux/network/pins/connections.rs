//! The kernel's table of connections (conntrack), by ctnetlink
//! (`linux/netfilter/nfnetlink_conntrack.h`).
//!
//! An entry outlives the guest that it is of: to the next guest with the address the kernel hands
//! what the peers of the last one still send. So who is pinned begins with none, and who goes
//! leaves none.
//!
//! The table is read once for many guests, and looked through here: kernels before 6.10 delete by
//! whole entries only. What can go wrong: a kernel without ctnetlink, which is said and no failure.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;

use rtnetlink::sys::{Socket, SocketAddr, protocols};

use crate::host::linux::blocking;
use crate::host::{HostError, HostResult};

/// There where the kernel tracks connections at all; asking ctnetlink would load it.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// `NFNL_SUBSYS_CTNETLINK`, in the upper byte of a message's type.
const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;

// linux/netlink.h
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;

/// `struct nfgenmsg`, for IPv4.
const IPV4: [u8; 4] = [nix::libc::AF_INET as u8, 0, 0, 0];

/// Attributes of an entry (`enum ctattr_type`), of a tuple, and of its addresses.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const ADDRESSES: u16 = 1;
const SOURCE: u16 = 1;
const DESTINATION: u16 = 2;

/// More than the kernel puts into one datagram of a dump (32 KiB).
const ENOUGH: usize = 1 << 16;

/// Removes every entry with one of these addresses at either end, in either direction.
pub(super) async fn forget(addresses: BTreeSet<Ipv4Addr>) -> HostResult<()> {
    if addresses.is_empty() {
        return Ok(());
    }
    blocking(move || match forget_all(&addresses) {
        Ok(()) => Ok(()),
        Err(error) if lacks_ctnetlink(&error) => {
            tracing::warn!("the kernel has no ctnetlink: connections of guests that go are kept");
            Ok(())
        }
        Err(error) => Err(HostError::io("forget", "the connections of a guest that went", error)),
    })
    .await
}

fn lacks_ctnetlink(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(nix::libc::EINVAL | nix::libc::EOPNOTSUPP | nix::libc::EPROTONOSUPPORT)
    )
}

fn forget_all(addresses: &BTreeSet<Ipv4Addr>) -> io::Result<()> {
    match std::fs::read_to_string(COUNT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(count) if count.trim() == "0" => return Ok(()),
        _ => {}
    }
    let mut socket = Socket::new(protocols::NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&message(GET, REQUEST | DUMP, &[]), 0)?;
    let mut entries = Vec::new();
    answers(&socket, |body| entries.extend(entry_of(body, addresses)))?;
    for entry in entries {
        socket.send(&message(DELETE, REQUEST | ACK, &entry), 0)?;
        match answers(&socket, |_| {}) {
            // It ended by itself meanwhile.
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOENT) => {}
            other => other?,
        }
    }
    Ok(())
}

fn message(kind: u16, flags: u16, attributes: &[u8]) -> Vec<u8> {
    let length = (HEADER + IPV4.len() + attributes.len()) as u32;
    let (sequence, port) = (0_u32, 0_u32);
    [
        &length.to_ne_bytes()[..],
        &kind.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &sequence.to_ne_bytes(),
        &port.to_ne_bytes(),
        &IPV4,
        attributes,
    ]
    .concat()
}

/// Hears all answers to one request. The kernel has each ready when it is asked for: netlink
/// answers while it is sent to, and goes on with a dump while it is read from.
fn answers(socket: &Socket, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(ENOUGH);
    loop {
        buffer.clear();
        socket.recv(&mut buffer, nix::libc::MSG_DONTWAIT)?;
        let mut rest = buffer.as_slice();
        while let Some((kind, body, after)) = next_message(rest) {
            match kind {
                DONE | ERROR => return status_of(body),
                _ => each(body.get(IPV4.len()..).unwrap_or_default()),
            }
            rest = after;
        }
    }
}

/// The status of an acknowledgement or of the end of a dump: 0, or a negative error.
fn status_of(body: &[u8]) -> io::Result<()> {
    match body.first_chunk().map(|status| i32::from_ne_bytes(*status)) {
        Some(0) | None => Ok(()),
        Some(status) => Err(io::Error::from_raw_os_error(status.saturating_neg())),
    }
}

/// The first message: its type and body, and what comes after it.
fn next_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(HEADER..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// An attribute: its type, what is in it, and the whole of it.
type Attribute<'a> = (u16, &'a [u8], &'a [u8]);

fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        // Without the flags for nesting and byte order.
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?) & 0x3fff;
        let inner = bytes.get(4..length)?;
        let padded = length.next_multiple_of(4).min(bytes.len());
        let (whole, rest) = bytes.split_at(padded);
        bytes = rest;
        Some((kind, inner, whole))
    })
}

/// What names an entry to the kernel, if one of the addresses is in it.
fn entry_of(body: &[u8], addresses: &BTreeSet<Ipv4Addr>) -> Option<Vec<u8>> {
    let theirs = |tuple: &[u8]| {
        attributes(tuple)
            .filter(|(kind, ..)| *kind == ADDRESSES)
            .flat_map(|(_, inner, _)| attributes(inner))
            .filter(|(kind, ..)| matches!(*kind, SOURCE | DESTINATION))
            .filter_map(|(_, inner, _)| <[u8; 4]>::try_from(inner).ok())
            .any(|address| addresses.contains(&Ipv4Addr::from(address)))
    };
    let tuples = |kind| matches!(kind, ORIGINAL | REPLY);
    if !attributes(body).any(|(kind, inner, _)| tuples(kind) && theirs(inner)) {
        return None;
    }
    let named = attributes(body).filter(|(kind, ..)| matches!(*kind, ORIGINAL | ID | ZONE));
    Some(named.flat_map(|(_, _, whole)| whole.iter().copied()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, inner: &[u8]) -> Vec<u8> {
        let length = (4 + inner.len()) as u16;
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), inner].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn tuple(kind: u16, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let addresses = [attribute(SOURCE, &source), attribute(DESTINATION, &destination)].concat();
        attribute(0x8000 | kind, &attribute(0x8000 | ADDRESSES, &addresses))
    }

    #[test]
    fn an_entry_is_a_guests_by_any_of_its_ends_and_is_named_as_the_kernel_wants_it() {
        let (guest, host, peer) = ([10, 64, 0, 2], [192, 0, 2, 2], [192, 0, 2, 9]);
        let translated = [
            tuple(ORIGINAL, guest, peer),
            tuple(REPLY, peer, host),
            attribute(3, &[0, 0, 0, 8]),
            attribute(ID, &[1, 2, 3, 4]),
            attribute(ZONE, &[0, 7]),
        ]
        .concat();
        let of = |address: [u8; 4]| BTreeSet::from([Ipv4Addr::from(address)]);
        let named =
            [tuple(ORIGINAL, guest, peer), attribute(ID, &[1, 2, 3, 4]), attribute(ZONE, &[0, 7])]
                .concat();
        assert_eq!(entry_of(&translated, &of(guest)), Some(named));
        assert_eq!(entry_of(&translated, &of([10, 64, 0, 3])), None);
        let to_guest = [tuple(ORIGINAL, peer, host), tuple(REPLY, guest, peer)].concat();
        assert!(entry_of(&to_guest, &of(guest)).is_some());
        // Cut off anywhere it is another entry or none, and never a panic.
        for end in 0..translated.len() {
            let _ = entry_of(&translated[..end], &of(guest));
            let _ = next_message(&translated[..end]);
        }
    }
}
