//! The bridge and the taps by tun/tap ioctls (`Documentation/networking/tuntap.rst`) and rtnetlink.
//!
//! IPv6 is switched off on the bridge: the firewall's chains are IPv4, and a link-local address of
//! the host would be a way around them.
//!
//! What can go wrong: the tun module is missing, a name is taken by another kind of interface.

use async_trait::async_trait;
use rustix::io::Errno;

use super::blocking;
use super::links::{Kind, Link, Links};
use crate::host::{
    BridgeSpec, Change, HostError, HostErrorKind, HostResult, LinkName, TapFacts, TapName, TapSpec,
    Taps,
};

mod ioctl;

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
    Some(TapFacts { name, index: link.index, master: link.master, up: link.up })
}

/// The bridge's own Ethernet address, `02:fb:` and its IPv4 address: fixed, because a bridge
/// without one takes the lowest of its ports', and changes it under the guests' feet.
fn bridge_mac(spec: &BridgeSpec) -> [u8; 6] {
    let [a, b, c, d] = spec.address.octets();
    [0x02, 0xfb, a, b, c, d]
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

#[async_trait]
impl Taps for LinuxTaps {
    async fn ensure_bridge(&self, spec: &BridgeSpec) -> HostResult<Change> {
        let verb = "make bridge";
        let name = spec.name.as_str();
        let failed = |error| HostError::io(verb, name, error);
        let links = open(verb, name)?;
        let mut change = Change::AlreadySo;
        let link = match links.get(name).await.map_err(failed)? {
            Some(link) => link,
            None => {
                change = Change::Made;
                match links.add_bridge(name, bridge_mac(spec)).await {
                    // Another task of ours made it meanwhile.
                    Err(error) if error.raw_os_error() == Some(nix::libc::EEXIST) => {}
                    other => other.map_err(failed)?,
                }
                links.get(name).await.map_err(failed)?.ok_or_else(|| {
                    HostError::new(HostErrorKind::NotFound, verb, name)
                        .detail("it was removed at once by somebody else")
                })?
            }
        };
        if link.kind != Kind::Bridge {
            return Err(taken(verb, name, "bridge"));
        }
        let moved =
            links.set_address(link.index, spec.address, spec.prefix).await.map_err(failed)?;
        if !link.up {
            no_ipv6(verb, name).await?;
            links.set_up(link.index).await.map_err(failed)?;
        }
        Ok(change.and(Change::from_bool(moved || !link.up)))
    }

    async fn remove_bridge(&self, name: &LinkName) -> HostResult<Change> {
        let verb = "remove bridge";
        let failed = |error| HostError::io(verb, name, error);
        let links = open(verb, name.as_str())?;
        match links.get(name.as_str()).await.map_err(failed)? {
            None => Ok(Change::AlreadySo),
            Some(link) if link.kind == Kind::Bridge => {
                links.delete(link.index).await.map_err(failed)?;
                Ok(Change::Made)
            }
            Some(_) => Err(taken(verb, name.as_str(), "bridge")),
        }
    }

    async fn list(&self, prefix: &str) -> HostResult<Vec<TapFacts>> {
        let links = open("list", "taps")?;
        let all = links.list().await.map_err(|error| HostError::io("list", "taps", error))?;
        Ok(all
            .iter()
            .filter(|link| link.kind == Kind::Tun && link.name.starts_with(prefix))
            .filter_map(tap_facts)
            .collect())
    }

    async fn observe(&self, name: &TapName) -> HostResult<Option<TapFacts>> {
        let verb = "look at tap";
        let links = open(verb, name.as_str())?;
        match links.get(name.as_str()).await {
            Ok(None) => Ok(None),
            Ok(Some(link)) if link.kind == Kind::Tun => Ok(tap_facts(&link)),
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
            if link.kind != Kind::Tun {
                return Err(taken(verb, name, "tap"));
            }
            if link.master == Some(bridge.index) && link.isolated && link.up {
                return Ok(Change::AlreadySo);
            }
        }
        // Also for one that is there: an earlier attempt may have died before it had an owner.
        let (tap, owner) = (spec.name.clone(), spec.owner_uid);
        blocking(move || {
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
        links.set_port(link.index, bridge.index).await.map_err(failed)?;
        links.set_up(link.index).await.map_err(failed)?;
        Ok(Change::Made)
    }

    async fn remove(&self, names: &[TapName]) -> HostResult<Change> {
        let verb = "remove tap";
        let links = open(verb, "taps")?;
        let mut ours = Vec::new();
        let mut refused = None;
        for name in names {
            match links.get(name.as_str()).await {
                Ok(Some(link)) if link.kind == Kind::Tun => ours.push(link),
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
