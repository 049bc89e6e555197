//! Makes the bridge and the taps, by tun/tap ioctls (`Documentation/networking/tuntap.rst`) and
//! rtnetlink, and refuses a subnet that the machine uses.
//!
//! IPv6 is switched off on the bridge: the firewall's chains are IPv4, and a link-local address of
//! the host would be a way around them.
//!
//! What can go wrong: the tun module is missing, a name is taken by another kind of interface.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rustix::io::Errno;

use super::links::{DeviceKind, Link, Links};
use super::namespace::LinuxNetwork;
use crate::host::linux::blocking;
use crate::host::{
    BridgeFacts, BridgeSpec, Change, HostError, HostErrorKind, HostResult, LinkName, Network as _,
    Subnet, TapFacts, TapName, TapSpec, Taps, Traffic, clash,
};

pub(in crate::host::linux) mod ioctl;

#[cfg(test)]
pub(crate) use ioctl::open as open_tap;

/// Removing this many taps or more goes by group, in one request: the kernel waits for a grace
/// period once for each request.
const GROUP_REMOVAL: usize = 4;

/// Group numbers we try for that, "bang" and "bg00" on.
const GROUPS: std::ops::Range<u32> = 0x6267_3030..0x6267_3040;

/// The interfaces of this network namespace.
pub(crate) struct LinuxTaps;

fn open(verb: &'static str, object: &str) -> HostResult<Links> {
    Links::open().map_err(|error| HostError::io(verb, object, error).detail("no netlink socket"))
}

fn taken(verb: &'static str, name: &str, wanted: &str) -> HostError {
    HostError::new(HostErrorKind::NameTaken, verb, name)
        .detail(format!("an interface of that name is no {wanted}"))
}

fn tap_facts(link: &Link) -> Option<TapFacts> {
    let name = TapName::new(&link.name).ok()?;
    Some(TapFacts {
        name,
        index: link.index,
        master: link.master,
        up: link.up,
        isolated: link.isolated,
        open: link.carrier,
    })
}

/// The bridge's own Ethernet address, `02:fb:` and its IPv4 address: fixed, because a bridge
/// without one takes the lowest of its ports', and changes it under the guests' feet.
fn bridge_mac(spec: &BridgeSpec) -> [u8; 6] {
    let [a, b, c, d] = spec.address.octets();
    [0x02, 0xfb, a, b, c, d]
}

/// Refuses a subnet that the machine uses elsewhere. Asked only when the bridge lacks its address:
/// from then on its own routes are there, and the watch over the network sees what comes later.
async fn free_subnet(verb: &'static str, spec: &BridgeSpec) -> HostResult<()> {
    let Some(subnet) = Subnet::containing(spec.address, spec.prefix) else { return Ok(()) };
    let used = LinuxNetwork::default().networks().await?;
    match clash(subnet, &used, &spec.name) {
        None => Ok(()),
        Some(used) => Err(HostError::new(HostErrorKind::SubnetTaken, verb, &spec.name)
            .detail(format!("the machine uses {used}, which shares addresses with {subnet}"))),
    }
}

/// Switches IPv6 off on an interface; without IPv6 in the kernel there is nothing to do.
async fn no_ipv6(verb: &'static str, name: &str) -> HostResult<()> {
    let path = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    blocking(move || match std::fs::write(&path, "1") {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(HostError::io(verb, &path, error)),
    })
    .await
}

/// Sets a switch of `/proc/sys/net/ipv4/conf`.
async fn set_ipv4(
    verb: &'static str,
    name: &str,
    switch: &'static str,
    value: &'static str,
) -> HostResult<()> {
    let path = format!("/proc/sys/net/ipv4/conf/{name}/{switch}");
    blocking(move || {
        std::fs::write(&path, value).map_err(|error| HostError::io(verb, &path, error))
    })
    .await
}

/// Has the kernel take nothing that comes by the interface itself, past its bridge: nothing is
/// routed to it, so no sender is at home there (`rp_filter` of ip-sysctl; questions by ARP are held
/// to it, unless they name no sender: `arp_ignore` 8 answers none at all).
async fn no_way_past_the_bridge(verb: &'static str, name: &str) -> HostResult<()> {
    set_ipv4(verb, name, "rp_filter", "1").await?;
    set_ipv4(verb, name, "arp_ignore", "8").await
}

/// Has the bridge answer questions by ARP for its own address alone, and not for the others of the
/// host.
async fn only_its_own_address(verb: &'static str, name: &str) -> HostResult<()> {
    set_ipv4(verb, name, "arp_ignore", "1").await
}

#[async_trait]
impl Taps for LinuxTaps {
    async fn ensure_bridge(&self, spec: &BridgeSpec) -> HostResult<Change> {
        let verb = "make bridge";
        let name = spec.name.as_str();
        let failed = |error| HostError::io(verb, name, error);
        let links = open(verb, name)?;
        let mut change = Change::AlreadySo;
        let found = links.get(name).await.map_err(failed)?;
        if let Some(link) = &found
            && link.kind != DeviceKind::Bridge
        {
            return Err(taken(verb, name, "bridge"));
        }
        let has = match &found {
            Some(link) => links.addresses(Some(link.index)).await.map_err(failed)?,
            None => Vec::new(),
        };
        if !has
            .iter()
            .any(|(_, address, prefix)| (*address, *prefix) == (spec.address, spec.prefix))
        {
            free_subnet(verb, spec).await?;
        }
        let link = match found {
            Some(link) => link,
            None => {
                change = Change::Made;
                match links.add_bridge(name, bridge_mac(spec)).await {
                    // Another task of this agent made it meanwhile.
                    Err(error) if error.raw_os_error() == Some(nix::libc::EEXIST) => {}
                    other => other.map_err(failed)?,
                }
                links.get(name).await.map_err(failed)?.ok_or_else(|| {
                    HostError::new(HostErrorKind::NotFound, verb, name)
                        .detail("it was removed at once by somebody else")
                })?
            }
        };
        if link.kind != DeviceKind::Bridge {
            return Err(taken(verb, name, "bridge"));
        }
        only_its_own_address(verb, name).await?;
        // Guests get no multicast, so there is nothing to learn of who wants which, and no table of
        // the host that a guest could fill.
        if link.snooping {
            links.ignore_joins(link.index).await.map_err(failed)?;
        }
        let renamed = link.mac != bridge_mac(spec);
        if renamed {
            links.set_mac(link.index, bridge_mac(spec)).await.map_err(failed)?;
        }
        let moved =
            links.set_address(link.index, spec.address, spec.prefix).await.map_err(failed)?;
        if !link.up {
            no_ipv6(verb, name).await?;
            links.set_up(link.index).await.map_err(failed)?;
        }
        Ok(change.and(Change::from_bool(moved || renamed || link.snooping || !link.up)))
    }

    async fn remove_bridge(&self, name: &LinkName) -> HostResult<Change> {
        let verb = "remove bridge";
        let failed = |error| HostError::io(verb, name, error);
        let links = open(verb, name.as_str())?;
        match links.get(name.as_str()).await.map_err(failed)? {
            None => Ok(Change::AlreadySo),
            Some(link) if link.kind == DeviceKind::Bridge => {
                links.delete(link.index).await.map_err(failed)?;
                Ok(Change::Made)
            }
            Some(_) => Err(taken(verb, name.as_str(), "bridge")),
        }
    }

    async fn observe_bridge(&self, name: &LinkName) -> HostResult<Option<BridgeFacts>> {
        let verb = "look at bridge";
        let failed = |error| HostError::io(verb, name, error);
        let links = open(verb, name.as_str())?;
        let link = match links.get(name.as_str()).await.map_err(failed)? {
            None => return Ok(None),
            Some(link) if link.kind == DeviceKind::Bridge => link,
            Some(_) => return Err(taken(verb, name.as_str(), "bridge")),
        };
        let addresses = links.addresses(Some(link.index)).await.map_err(failed)?;
        let addresses = addresses.into_iter().map(|(_, address, prefix)| (address, prefix));
        Ok(Some(BridgeFacts { index: link.index, addresses: addresses.collect(), up: link.up }))
    }

    async fn list(&self, prefix: &str) -> HostResult<Vec<TapFacts>> {
        let links = open("list", "taps")?;
        let all = links.list().await.map_err(|error| HostError::io("list", "taps", error))?;
        Ok(all
            .iter()
            .filter(|link| link.kind == DeviceKind::Tun && link.name.starts_with(prefix))
            .filter_map(tap_facts)
            .collect())
    }

    async fn observe(&self, name: &TapName) -> HostResult<Option<TapFacts>> {
        let verb = "look at tap";
        let links = open(verb, name.as_str())?;
        match links.get(name.as_str()).await {
            Ok(None) => Ok(None),
            Ok(Some(link)) if link.kind == DeviceKind::Tun => Ok(tap_facts(&link)),
            Ok(Some(_)) => Err(taken(verb, name.as_str(), "tap")),
            Err(error) => Err(HostError::io(verb, name, error)),
        }
    }

    async fn ensure(&self, spec: &TapSpec) -> HostResult<Change> {
        let verb = "make tap";
        let name = spec.name.as_str();
        let failed = |error| HostError::io(verb, name, error);
        let links = open(verb, name)?;
        let bridge = links.get(spec.bridge.as_str()).await.map_err(failed)?.ok_or_else(|| {
            HostError::new(HostErrorKind::NotFound, verb, name)
                .detail(format!("there is no bridge {}", spec.bridge))
        })?;
        let found = links.get(name).await.map_err(failed)?;
        if let Some(link) = &found {
            if link.kind != DeviceKind::Tun {
                return Err(taken(verb, name, "tap"));
            }
            if link.master == Some(bridge.index) && link.isolated && link.up {
                return Ok(Change::AlreadySo);
            }
        }
        // Also for one that is there: an earlier attempt may have died before it had an owner. One
        // that is open has had its owner since before its VMM was started.
        let is_open = found.is_some_and(|link| link.carrier);
        let (tap, owner) = (spec.name.clone(), spec.owner_uid);
        blocking(move || {
            if is_open {
                return Ok(());
            }
            ioctl::make_persistent(tap.as_str(), owner).map_err(|error| match error {
                // The name belongs to a tun of another mode, or somebody has the tap open.
                Errno::INVAL => taken(verb, tap.as_str(), "tap"),
                error => HostError::io(verb, &tap, error),
            })
        })
        .await?;
        let link = links.get(name).await.map_err(failed)?.ok_or_else(|| {
            HostError::new(HostErrorKind::NotFound, verb, name)
                .detail("it was removed at once by somebody else")
        })?;
        no_ipv6(verb, name).await?;
        no_way_past_the_bridge(verb, name).await?;
        links.set_port(link.index, bridge.index).await.map_err(|error| {
            // BR_MAX_PORTS of net/bridge/br_private.h: 1,024, of which 0 is no port.
            let full = error.raw_os_error() == Some(nix::libc::EXFULL);
            let error = failed(error);
            if full { error.detail("the bridge has no free port") } else { error }
        })?;
        links.set_up(link.index).await.map_err(failed)?;
        Ok(Change::Made)
    }

    async fn traffic(&self, prefix: &str) -> HostResult<BTreeMap<TapName, Traffic>> {
        let verb = "count traffic of";
        let links = open(verb, prefix)?;
        let all = links.list().await.map_err(|error| HostError::io(verb, prefix, error))?;
        let ours = all
            .into_iter()
            .filter(|link| link.kind == DeviceKind::Tun && link.name.starts_with(prefix));
        Ok(ours
            .filter_map(|link| {
                // What the host receives by the tap, the guest has sent.
                let traffic = Traffic {
                    sent_packets: link.stats.rx_packets,
                    sent_bytes: link.stats.rx_bytes,
                    received_packets: link.stats.tx_packets,
                    received_bytes: link.stats.tx_bytes,
                    refused_packets: 0,
                };
                Some((TapName::new(&link.name).ok()?, traffic))
            })
            .collect())
    }

    async fn remove(&self, names: &[TapName]) -> HostResult<Change> {
        let verb = "remove tap";
        let links = open(verb, "taps")?;
        let mut ours = Vec::new();
        let mut refused = None;
        for name in names {
            match links.get(name.as_str()).await {
                Ok(Some(link)) if link.kind == DeviceKind::Tun => ours.push(link),
                Ok(Some(_)) => refused = Some(taken(verb, name.as_str(), "tap")),
                Ok(None) => {}
                Err(error) => return Err(HostError::io(verb, name, error)),
            }
        }
        if ours.len() < GROUP_REMOVAL {
            for link in &ours {
                let failed = |error| HostError::io(verb, &link.name, error);
                links.delete(link.index).await.map_err(failed)?;
            }
        } else {
            remove_together(&links, &ours)
                .await
                .map_err(|error| HostError::io(verb, format!("{} taps", ours.len()), error))?;
        }
        match refused {
            Some(error) => Err(error),
            None => Ok(Change::from_bool(!ours.is_empty())),
        }
    }
}

/// Puts interfaces into a group nobody else uses and removes the group.
async fn remove_together(links: &Links, ours: &[Link]) -> std::io::Result<()> {
    let all = links.list().await?;
    let free = GROUPS.into_iter().find(|group| all.iter().all(|link| link.group != *group));
    let Some(group) = free else {
        for link in ours {
            links.delete(link.index).await?;
        }
        return Ok(());
    };
    for link in ours {
        match links.set_group(link.index, group).await {
            Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => {}
            other => other?,
        }
    }
    links.delete_group(group).await
}

#[cfg(test)]
mod tests;
