//! The name servers that this machine asks, for guests that are to ask the same.
//!
//! `/etc/resolv.conf` names them (resolv.conf(5)). A stub that listens on loopback
//! (systemd-resolved, dnsmasq) is of no use to a guest; behind systemd-resolved the real ones are
//! in a file of its own. A file that is missing or cannot be read names none.

use std::fs::File;
use std::io::Read;
use std::net::Ipv4Addr;

#[cfg(test)]
mod tests;

/// In this order; the first that names a server a guest can ask is believed.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
/// What is read of a file: real ones have a few lines.
const MOST_BYTES: u64 = 64 * 1024;
/// resolv.conf(5), MAXNS.
const MOST_SERVERS: usize = 3;

/// The IPv4 name servers of this machine that a guest can ask, three at most.
#[must_use]
pub fn name_servers() -> Vec<Ipv4Addr> {
    FILES
        .iter()
        .map(|file| parse_resolv_conf(&read(file).unwrap_or_default()))
        .find(|found| !found.is_empty())
        .unwrap_or_default()
}

fn read(path: &str) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The servers named by a `resolv.conf` that another machine can ask.
pub(crate) fn parse_resolv_conf(text: &str) -> Vec<Ipv4Addr> {
    let mut found: Vec<Ipv4Addr> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        let Some(address) = words.next().and_then(|word| word.parse::<Ipv4Addr>().ok()) else {
            continue;
        };
        let elsewhere = !address.is_loopback()
            && !address.is_unspecified()
            && !address.is_link_local()
            && !address.is_multicast()
            && !address.is_broadcast();
        if elsewhere && !found.contains(&address) && found.len() < MOST_SERVERS {
            found.push(address);
        }
    }
    found
}
