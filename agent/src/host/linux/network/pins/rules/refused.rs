//! Refused packets of each guest: by its tap on the bridge, by its address past it, where that is
//! known to be its own.
//!
//! A rule that can't count, because a set is full or memory is short, ends without a verdict. So
//! the drop is a rule of its own behind it, in a chain that every refusal jumps to: whatever
//! becomes of the count, nothing gets through.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::Value;

use super::BadList;

/// The chain, one in each family.
pub(super) const REFUSED: &str = "refused";

/// The sets, each with its family.
pub(in super::super) const REFUSED_OF: [(&str, &str); 2] =
    [("bridge", "refused_taps"), ("inet", "refused_addresses")];

/// What is counted by, in each.
const BY: [(&str, &str); 2] = [("ifname", "iifname"), ("ipv4_addr", "ip saddr")];

/// Family and name of each set, and the type of its elements.
pub(super) fn sets() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    REFUSED_OF.into_iter().zip(BY).map(|((family, name), (of, _))| (family, name, of))
}

/// The family of each chain, with its rules.
pub(super) fn rules() -> impl Iterator<Item = (&'static str, Vec<String>)> {
    REFUSED_OF.into_iter().zip(BY).map(|((family, set), (_, by))| {
        (family, vec![format!("update @{set} {{ {by} counter }}"), "drop".to_owned()])
    })
}

/// The commands that count anew in one of the sets, whether it has the element or not.
fn anew(which: usize, table: &str, element: &str) -> String {
    let (family, set) = REFUSED_OF[which];
    format!(
        "add element {family} {table} {set} {{ {element} counter packets 0 bytes 0 }}\n\
         delete element {family} {table} {set} {{ {element} }}\n"
    )
}

/// The same for an address.
pub(super) fn none_of_address(table: &str, address: Ipv4Addr) -> String {
    anew(1, table, &address.to_string())
}

/// The same for a tap.
pub(super) fn none_of_tap(table: &str, tap: &str) -> String {
    anew(0, table, &format!("\"{tap}\""))
}

/// Packets by tap or address, of what `nft -j list set` says.
pub(in super::super) fn read_refused_of(text: &str) -> Result<BTreeMap<String, u64>, BadList> {
    let list: Value = serde_json::from_str(text)?;
    let objects = list.get("nftables").and_then(Value::as_array).into_iter().flatten();
    let elements = objects
        .filter_map(|object| object.get("set")?.get("elem")?.as_array())
        .flatten()
        .filter_map(|element| element.get("elem"));
    let counted = elements.filter_map(|element| {
        let name = element.get("val")?.as_str()?.to_owned();
        Some((name, element.get("counter")?.get("packets")?.as_u64()?))
    });
    Ok(counted.collect())
}

#[cfg(test)]
mod tests;
