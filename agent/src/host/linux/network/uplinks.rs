//! By which devices packets leave for the world, and over which gateways, from `ip route`.
//!
//! Driven by the facts, the doctor, the firewall, which translates towards each device, and the
//! pins, which always let guests' packets go on to a gateway. What can go wrong: there is no
//! default route, in no table; or one that names no gateway by an IPv4 address.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::host::exec::{Exec, Tool, ToolCall, run_ok};
use crate::host::{HostError, HostErrorKind, HostResult, LinkName};

/// How packets leave for the world: a default route, or one of its paths.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WayOut {
    pub(crate) device: LinkName,
    /// The machine that sends them on, by its IPv4 address. `None`: it has another kind of address
    /// (`via inet6`), or there is none, as over PPP, and every address is its own next hop.
    pub(crate) gateway: Option<Ipv4Addr>,
}

/// A way out, and whether the kernel takes it.
#[derive(Debug, PartialEq, Eq)]
struct Path {
    way: WayOut,
    metric: u32,
    alive: bool,
}

fn word_after<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    words.iter().position(|word| *word == name).and_then(|at| words.get(at + 1)).copied()
}

/// Reads `ip -4 route show default`: each path of each default route.
///
/// ```text
/// default via 192.0.2.1 dev enp5s0 proto dhcp src 192.0.2.2 metric 100
/// ```
fn parse_paths(text: &str) -> Vec<Path> {
    let mut paths = Vec::new();
    let mut metric = None;
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.first() {
            Some(&"default") => {
                let said = word_after(&words, "metric").and_then(|text| text.parse().ok());
                metric = Some(said.unwrap_or(0));
            }
            Some(&"nexthop") => {}
            Some(_) | None => metric = None,
        }
        let device = word_after(&words, "dev").and_then(|name| LinkName::new(name).ok());
        let (Some(metric), Some(device)) = (metric, device) else { continue };
        let way = WayOut { device, gateway: gateway(&words) };
        let alive = !words.iter().any(|word| matches!(*word, "dead" | "linkdown"));
        paths.push(Path { way, metric, alive });
    }
    paths
}

fn gateway(words: &[&str]) -> Option<Ipv4Addr> {
    word_after(words, "via")?.parse().ok()
}

/// All ways out by the default routes with the lowest metric. A route over several devices has
/// packets leave by each of them.
fn parse_ways_out(text: &str) -> Vec<WayOut> {
    let alive: Vec<Path> = parse_paths(text).into_iter().filter(|path| path.alive).collect();
    let best = alive.iter().map(|path| path.metric).min();
    alive.into_iter().filter(|path| Some(path.metric) == best).map(|path| path.way).collect()
}

/// What `ip route get` says of one address.
#[derive(Debug, PartialEq, Eq)]
struct Chosen {
    way: WayOut,
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
    words.first()?.parse::<Ipv4Addr>().ok()?;
    let device = LinkName::new(word_after(&words, "dev")?).ok()?;
    let fits = |table: &&str| table.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let table = word_after(&words, "table").filter(fits).map(str::to_owned);
    let gateway = gateway(&words);
    (device.as_str() != "lo").then_some(Chosen { way: WayOut { device, gateway }, table })
}

/// One address of each half of the world, because two routes of half a world each are what a VPN
/// has instead of a default route. Nothing is sent there: the kernel looks into its tables.
const FAR_AWAY: [&str; 2] = ["1.1.1.1", "193.0.14.129"];

/// What the kernel would do with a packet to each half of the world.
async fn observe_choices(exec: &dyn Exec) -> Vec<Chosen> {
    let mut choices = Vec::new();
    for address in FAR_AWAY {
        let call = ToolCall::new(Tool::Ip, ["-4", "route", "get", address]);
        // "Network is unreachable" is an answer, too.
        let text = run_ok(exec, "ask for", "the route to the world", &call).await;
        choices.extend(text.ok().and_then(|text| parse_route_get(&text)));
    }
    choices
}

async fn show_default(exec: &dyn Exec, table: Option<&str>) -> HostResult<String> {
    let of_table = table.map(|table| ["table", table]);
    let args = ["-4", "route", "show", "default"].into_iter().chain(of_table.into_iter().flatten());
    run_ok(exec, "read", "the default route", &ToolCall::new(Tool::Ip, args)).await
}

/// How packets leave for the world. The main table has the word first; then the kernel is asked,
/// because a routing rule may send everything to another table.
pub(crate) async fn observe_ways_out(exec: &dyn Exec) -> HostResult<BTreeSet<WayOut>> {
    let main = show_default(exec, None).await?;
    let mut ways: BTreeSet<WayOut> = parse_ways_out(&main).into_iter().collect();
    let choices = observe_choices(exec).await;
    let tables: BTreeSet<String> = choices.iter().filter_map(|c| c.table.clone()).collect();
    ways.extend(choices.into_iter().map(|chosen| chosen.way));
    for table in tables {
        if let Ok(text) = show_default(exec, Some(&table)).await {
            ways.extend(parse_ways_out(&text));
        }
    }
    if ways.is_empty() {
        return Err(HostError::new(HostErrorKind::NoUplink, "find", "the uplink")
            .detail("the host has no default route, in no table that the kernel would use"));
    }
    Ok(ways)
}

/// The devices of [`observe_ways_out`].
pub(crate) async fn observe_uplinks(exec: &dyn Exec) -> HostResult<Vec<LinkName>> {
    let ways = observe_ways_out(exec).await?;
    let devices: BTreeSet<LinkName> = ways.into_iter().map(|way| way.device).collect();
    Ok(devices.into_iter().collect())
}

/// Every gateway of a default route in any table, and those of the kernel's choice. Also the ones
/// that are not taken now: another route may go the next moment, and guests' packets may have rules
/// of their own. None is an answer.
pub(crate) async fn observe_gateways(exec: &dyn Exec) -> HostResult<BTreeSet<Ipv4Addr>> {
    let all = parse_paths(&show_default(exec, Some("all")).await?);
    let choices = observe_choices(exec).await;
    let ways = all.iter().map(|path| &path.way).chain(choices.iter().map(|chosen| &chosen.way));
    Ok(ways.filter_map(|way| way.gateway).collect())
}

#[cfg(test)]
mod tests;
