//! The kernel's table of TCP sockets: `/proc/self/net/tcp` and `tcp6`, a line for each
//! (proc_net(5)).
//!
//! Anybody may have any number of sockets, so the table is read line by line and only what was
//! asked for is kept.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Both tables. By the process and not by `/proc/net`, which a service that sees processes alone
/// has not.
const TABLES: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];

/// The state of a socket that listens (`TCP_LISTEN`).
const LISTENS: u8 = 0x0A;

/// One socket. IPv4 addresses in the form of IPv6 are as IPv4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) listens: bool,
    /// Whose it is, as this process' user namespace counts.
    pub(super) uid: u32,
    /// 0: no process has it open; it waits to be accepted, or is about to go. Then `uid` says
    /// nothing.
    pub(super) inode: u64,
}

impl Row {
    /// Whether it listens where connections to this address arrive.
    pub(super) fn listens_at(&self, address: SocketAddr) -> bool {
        let (its, ip) = (self.local.ip(), address.ip().to_canonical());
        // One of IPv6's "any" takes IPv4, too, unless it was told otherwise, which is not shown.
        let is_any = its.is_unspecified() && (its.is_ipv6() || ip.is_ipv4());
        self.listens && self.local.port() == address.port() && (is_any || its == ip)
    }
}

/// The sockets that are wanted; none where the kernel does not say.
pub(super) fn read(wanted: impl Fn(&Row) -> bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for table in TABLES {
        // One of them is missing where its protocol is switched off.
        let Ok(file) = File::open(table) else { continue };
        let all = BufReader::new(file).lines().map_while(io::Result::ok);
        rows.extend(all.filter_map(|line| row(&line)).filter(&wanted));
    }
    rows
}

/// A line of a table; `None` for its head.
fn row(line: &str) -> Option<Row> {
    let mut words = line.split_ascii_whitespace();
    let (local, remote) = (words.nth(1)?, words.next()?);
    let state = u8::from_str_radix(words.next()?, 16).ok()?;
    Some(Row {
        local: address(local)?,
        remote: address(remote)?,
        listens: state == LISTENS,
        // Past the queues, the timer and how often something was sent again.
        uid: words.nth(3)?.parse().ok()?,
        inode: words.nth(1)?.parse().ok()?,
    })
}

/// `0100007F:1B9E`: words of 32 bits in the machine's order, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for at in (0..ip.len()).step_by(8) {
        let word = u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests;
