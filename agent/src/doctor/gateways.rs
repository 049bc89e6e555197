//! Whether the bound on neighbours knows the way to the world: it always lets guests through to a
//! gateway that has an IPv4 address, and without one counts every address of the world. Pure but
//! for the look at what kind of interface there is.

use std::path::Path;

use super::{Check, check};
use crate::host::linux::network::pins::WITH_NEIGHBOURS;
use crate::host::linux::network::uplinks::WayOut;

/// How packets leave for the world.
#[derive(Debug, Clone)]
pub(super) struct WaySeen {
    pub(super) way: WayOut,
    /// Next hops are looked for on its interface, so that the bound holds there.
    pub(super) bounded: bool,
}

impl WaySeen {
    /// Looks at the interface, below a root directory. What can't be told counts as bounded.
    pub(super) fn of(way: WayOut, root: &Path) -> Self {
        let kind = root.join("sys/class/net").join(way.device.as_str()).join("type");
        let kind: Option<u32> =
            std::fs::read_to_string(kind).ok().and_then(|text| text.trim().parse().ok());
        Self { way, bounded: kind.is_none_or(|kind| WITH_NEIGHBOURS.contains(&kind)) }
    }
}

/// `None` where nothing hangs on it: there is no way out, or nothing is bounded.
pub(super) fn gateway_check(ways: &[WaySeen], max_neighbours: u32) -> Option<Check> {
    if ways.is_empty() || max_neighbours == 0 {
        return None;
    }
    let without = |bounded: bool| {
        let ways = ways.iter().filter(move |seen| seen.way.gateway.is_none());
        let devices = ways.filter(move |seen| seen.bounded == bounded);
        devices.map(|seen| seen.way.device.as_str()).collect::<Vec<_>>()
    };
    let (counted, free) = (without(true), without(false));
    if let [device, ..] = counted[..] {
        let found = format!(
            "the default route by {} names no gateway by an IPv4 address: every address of the world \
             counts as a neighbour, and guests get to {max_neighbours} new ones within ten seconds, one \
             guest to {} that do not answer",
            counted.join(", "),
            max_neighbours / 8
        );
        let mend = format!(
            "ip route replace default via GATEWAY dev {device}; or raise guests.max_neighbours in \
             /etc/banger/agent.toml"
        );
        return Some(check("gateway", false, false, &found, &mend));
    }
    let gateways: Vec<String> =
        ways.iter().filter_map(|seen| Some(seen.way.gateway?.to_string())).collect();
    let mut found = Vec::new();
    if !gateways.is_empty() {
        found.push(format!("guests are always let through to {}", gateways.join(", ")));
    }
    if !free.is_empty() {
        found.push(format!("{} has no gateway, and no neighbours to bound", free.join(", ")));
    }
    Some(check("gateway", true, false, &found.join("; "), ""))
}

#[cfg(test)]
mod tests;
