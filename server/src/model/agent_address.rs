//! Where the server reaches an agent: what may be said of it, and what a name may stand for when
//! the server dials it. Pure.
//!
//! A host says it when it joins, an operator later; the server dials it for as long as the host is
//! in the fleet, and shows what came of it. So it never leads to the server itself, unless the host
//! is the server's machine, nor to where clouds tell machines their secrets. A name is looked at
//! twice: as text here, and as what it stands for each time before it is dialled, which somebody
//! else decides.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use banger_wire::meant_addresses::{Meant, meant};
use banger_wire::{metadata_services, old_addresses};

const RULE: &str = "must be address:port, such as 192.0.2.7:7072 or host.example:7072";
// Metadata services of most clouds are there, and an agent that the server could tell is not.
const LINK_LOCAL: &str = "must not be a link-local address, which is another on every link";
const METADATA: &str = "must not be the address of a cloud's metadata service";
const LOOPBACK: &str = "must not be a loopback address: to the server that is the server itself";
const TUNNEL: &str = "must not be an address of which a tunnel or translator makes another";

/// Whether a text is `address:port` and something that can be dialled from elsewhere.
///
/// # Errors
/// The rule that the text breaks.
pub fn check(text: &str) -> Result<(), &'static str> {
    if text.len() > 255 {
        return Err(RULE);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return if address.port() == 0 { Err(RULE) } else { check_ip(address.ip()) };
    }
    let (name, port) = text.rsplit_once(':').ok_or(RULE)?;
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(RULE);
    }
    if !port.parse::<u16>().is_ok_and(|port| port != 0) {
        return Err("must have a port of 1 to 65535");
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_name = name.split('.').all(is_label) && !old_addresses::may_be_one(name);
    if is_name { Ok(()) } else { Err(RULE) }
}

fn check_ip(ip: IpAddr) -> Result<(), &'static str> {
    let Meant::One(ip) = meant(ip) else { return Err(TUNNEL) };
    match ip {
        _ if ip.is_unspecified() => {
            Err("must not be an unspecified address: the server has to dial it")
        }
        _ if ip.is_multicast() => Err("must not be a multicast address: no host has one"),
        IpAddr::V4(v4) if v4 == Ipv4Addr::BROADCAST || v4.octets()[0] == 0 => {
            Err("must be the address of a host")
        }
        _ if metadata_services::is_one(ip) => Err(METADATA),
        IpAddr::V4(v4) if v4.is_link_local() => Err(LINK_LOCAL),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Err(LINK_LOCAL),
        IpAddr::V4(_) | IpAddr::V6(_) => Ok(()),
    }
}

/// Whether a host that joins from `peer` may say that it is reached at this address: the server's
/// own loopback is a host's only if the host is the server's machine.
///
/// # Errors
/// The rule that the text breaks.
pub fn check_joining(text: &str, peer: Option<SocketAddr>) -> Result<(), &'static str> {
    check(text)?;
    let from_elsewhere = peer.is_some_and(|peer| !peer.ip().to_canonical().is_loopback());
    let leads_here = match text.parse::<SocketAddr>() {
        Ok(address) => is_loopback(address.ip()),
        Err(_) => is_localhost(text),
    };
    if from_elsewhere && leads_here { Err(LOOPBACK) } else { Ok(()) }
}

/// Whether the server may dial what the name in an address stands for at present. An address
/// without a name is what it was when it was stored.
///
/// # Errors
/// The rule that it breaks.
pub fn check_found(text: &str, found: IpAddr) -> Result<(), &'static str> {
    if text.parse::<SocketAddr>().is_ok() {
        return Ok(());
    }
    if is_loopback(found) && !is_localhost(text) {
        return Err(LOOPBACK);
    }
    check_ip(found)
}

fn is_loopback(ip: IpAddr) -> bool {
    matches!(meant(ip), Meant::One(ip) if ip.is_loopback())
}

/// Whether a name stands for the server's own machine whatever a resolver says.
fn is_localhost(text: &str) -> bool {
    let name = text.rsplit_once(':').map_or(text, |(name, _)| name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests;
