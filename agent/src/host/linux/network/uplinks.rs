//! By which devices packets leave for the world, from `ip route`.
//!
//! Driven by the facts, the doctor and the firewall, which translates towards each of them. What can go
//! wrong: there is no default route, in no table.

use std::collections::BTreeSet;

use crate::host::exec::{Exec, Tool, ToolCall, run_ok};
use crate::host::{HostError, HostErrorKind, HostResult, LinkName};

/// Reads `ip -4 route show default`: all devices of the default routes with the lowest metric. A
/// route over several has packets leave by each of them.
///
/// ```text
/// default via 192.0.2.1 dev enp5s0 proto dhcp src 192.0.2.2 metric 100
/// ```
fn parse_default_routes(text: &str) -> Vec<LinkName> {
    let mut best = u32::MAX;
    let mut devices = Vec::new();
    let mut metric = None;
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let after = |name: &str| {
            words.iter().position(|word| *word == name).and_then(|at| words.get(at + 1))
        };
        match words.first() {
            Some(&"default") => {
                metric = Some(after("metric").and_then(|text| text.parse().ok()).unwrap_or(0));
            }
            Some(&"nexthop") => {}
            Some(_) | None => metric = None,
        }
        let device = after("dev").and_then(|name| LinkName::new(name).ok());
        let (Some(metric), Some(device)) = (metric, device) else { continue };
        // The kernel uses neither of them.
        if words.iter().any(|word| matches!(*word, "dead" | "linkdown")) {
            continue;
        }
        if metric < best {
            best = metric;
            devices.clear();
        }
        if metric == best {
            devices.push(device);
        }
    }
    devices
}

/// What `ip route get` says of one address.
#[derive(Debug, PartialEq, Eq)]
struct Chosen {
    device: LinkName,
    /// The routing table, where it is not the main one.
    table: Option<String>,
}

/// Reads `ip -4 route get ADDRESS`.
///
/// ```text
/// 1.1.1.1 via 192.0.2.1 dev wg0 table 51820 src 192.0.2.2 uid 0
///     cache
/// ```
fn parse_route_get(text: &str) -> Option<Chosen> {
    let words: Vec<_> = text.lines().next()?.split_whitespace().collect();
    // Others begin with "local", "broadcast", "unreachable".
    words.first()?.parse::<std::net::Ipv4Addr>().ok()?;
    let after =
        |name: &str| words.iter().position(|word| *word == name).and_then(|at| words.get(at + 1));
    let device = LinkName::new(*after("dev")?).ok()?;
    let fits = |table: &&str| table.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let table = after("table").copied().filter(fits).map(str::to_owned);
    (device.as_str() != "lo").then_some(Chosen { device, table })
}

/// One address of each half of the world, because two routes of half a world each are what a VPN
/// has instead of a default route. Nothing is sent there: the kernel looks into its tables.
const FAR_AWAY: [&str; 2] = ["1.1.1.1", "193.0.14.129"];

/// The devices by which packets leave for the world. The main table has the word first; then the
/// kernel is asked, because a routing rule may send everything to another table.
pub(crate) async fn observe_uplinks(exec: &dyn Exec) -> HostResult<Vec<LinkName>> {
    let call = ToolCall::new(Tool::Ip, ["-4", "route", "show", "default"]);
    let text = run_ok(exec, "read", "the default route", &call).await?;
    let mut uplinks: BTreeSet<LinkName> = parse_default_routes(&text).into_iter().collect();
    let mut tables = BTreeSet::new();
    for address in FAR_AWAY {
        let call = ToolCall::new(Tool::Ip, ["-4", "route", "get", address]);
        // "Network is unreachable" is an answer, too.
        let Ok(text) = run_ok(exec, "ask for", "the route to the world", &call).await else {
            continue;
        };
        if let Some(Chosen { device, table }) = parse_route_get(&text) {
            uplinks.insert(device);
            tables.extend(table);
        }
    }
    for table in tables {
        let call =
            ToolCall::new(Tool::Ip, ["-4", "route", "show", "default", "table", table.as_str()]);
        if let Ok(text) = run_ok(exec, "read", "the default route", &call).await {
            uplinks.extend(parse_default_routes(&text));
        }
    }
    if uplinks.is_empty() {
        return Err(HostError::new(HostErrorKind::NoUplink, "find", "the uplink")
            .detail("the host has no default route, in no table that the kernel would use"));
    }
    Ok(uplinks.into_iter().collect())
}

#[cfg(test)]
mod tests;
