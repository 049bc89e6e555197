//! What the network of guests is bounded by.

use std::ops::RangeInclusive;

use banger_wire::metadata_services;

use super::GuestsConfig;
use crate::host::AddressRange;

/// Where most clouds have their metadata services: link-local, RFC 3927. 169.254.169.254 of AWS,
/// Google, Azure, Oracle, IBM, OpenStack and most others, 169.254.170.2 and .23 of containers on
/// AWS, 169.254.42.42 of Scaleway, 169.254.0.23 of Tencent.
const LINK_LOCAL: &str = "169.254.0.0/16";

/// The most `guests.closed_addresses`: each packet of a guest is compared with them.
const MAX_CLOSED: usize = 256;

/// The most `guests.max_connections`: more than any host tracks.
const MAX_CONNECTIONS: u32 = 1 << 20;

/// `guests.max_neighbours`: a guest's share, an eighth, is at least two, and the most is a table of
/// neighbours that a host may well have.
const NEIGHBOURS: RangeInclusive<u32> = 16..=1 << 16;

/// `guests.max_fragments` and that of one guest: in a second a tenth and an eighth are one and
/// more, and the most is 600 MiB of fragments that wait for others.
const FRAGMENTS: RangeInclusive<u32> = 16..=1 << 16;

/// The ranges that are closed unless the operator says otherwise.
pub(super) fn known_metadata_services() -> Vec<AddressRange> {
    let others = metadata_services::IPV4.iter().map(ToString::to_string);
    let all = [LINK_LOCAL.to_owned()].into_iter().chain(others);
    all.filter_map(|text| text.parse().ok()).collect()
}

/// The known metadata services that these ranges leave open.
pub(crate) fn open_metadata(closed: &[AddressRange]) -> Vec<AddressRange> {
    let mut services = known_metadata_services();
    services.retain(|service| !closed.iter().any(|range| range.covers(*service)));
    services
}

/// What does not fit.
pub(super) fn problems(guests: &GuestsConfig) -> Vec<String> {
    let mut problems = Vec::new();
    let connections = guests.max_connections;
    if connections > MAX_CONNECTIONS {
        problems.push(format!(
            "guests.max_connections is {connections}; must be 0 to {MAX_CONNECTIONS}"
        ));
    }
    let neighbours = guests.max_neighbours;
    if neighbours != 0 && !NEIGHBOURS.contains(&neighbours) {
        let (least, most) = (NEIGHBOURS.start(), NEIGHBOURS.end());
        problems.push(format!(
            "guests.max_neighbours is {neighbours}; must be 0, or {least} to {most}"
        ));
    }
    let (all, one) = (guests.max_fragments, guests.max_fragments_per_guest);
    for (key, fragments) in [("max_fragments", all), ("max_fragments_per_guest", one)] {
        if fragments != 0 && !FRAGMENTS.contains(&fragments) {
            let (least, most) = (FRAGMENTS.start(), FRAGMENTS.end());
            problems.push(format!("guests.{key} is {fragments}; must be 0, or {least} to {most}"));
        }
    }
    if all != 0 && one > all {
        problems.push(format!(
            "guests.max_fragments_per_guest is {one}; must be at most max_fragments, {all}"
        ));
    }
    let closed = guests.closed_addresses.len();
    if closed > MAX_CLOSED {
        problems.push(format!(
            "guests.closed_addresses has {closed} ranges; must be at most {MAX_CLOSED}"
        ));
    }
    problems
}

#[cfg(test)]
mod tests;
