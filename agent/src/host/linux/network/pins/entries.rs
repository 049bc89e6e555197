//! What pins a guest below the rules: its port of the bridge, its forwarding entry, its neighbour
//! entry. By rtnetlink(7).
//!
//! A port of a guest learns nothing (`learning off`) and takes frames only from the address of a
//! static forwarding entry (`locked on`, from Linux 5.18; an older kernel ignores it, and the rules
//! do the same). The host's neighbour entry is permanent: nobody who answers first changes it.
//! Every permanent neighbour on the guests' bridge is ours.
//!
//! What can go wrong: bridge or tap are not there, which is an answer and no error.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{
    InfoBridgePort, InfoPortData, InfoPortKind, LinkAttribute, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::{Handle, LinkUnspec};

use super::rules::Pinned;
use crate::host::{LinkName, Pin, TapName};

/// An open connection; closes when dropped.
pub(super) struct Entries {
    handle: Handle,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Entries {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A port of a bridge.
#[derive(Debug, Clone, Copy)]
struct Port {
    index: u32,
    learning: bool,
    /// `None` where the kernel knows no such thing.
    locked: Option<bool>,
}

/// What there is.
#[derive(Debug, Default)]
pub(super) struct HeldEntries {
    bridge: Option<u32>,
    /// Every interface; `None` for one that is no port of a bridge.
    ports: HashMap<String, Option<Port>>,
    forwarding: HashSet<(u32, [u8; 6])>,
    neighbours: HashMap<Ipv4Addr, [u8; 6]>,
}

impl HeldEntries {
    /// Whether all that belongs to a pin is there. Without a bridge or a tap nothing is
    /// lacking yet.
    pub(super) fn is_whole(&self, pin: &Pin) -> bool {
        let port = self.ports.get(pin.tap.as_str()).is_none_or(|port| {
            port.is_some_and(|port| {
                !port.learning
                    && port.locked != Some(false)
                    && self.forwarding.contains(&(port.index, pin.mac.0))
            })
        });
        let neighbour =
            self.bridge.is_none() || self.neighbours.get(&pin.address) == Some(&pin.mac.0);
        port && neighbour
    }

    /// Permanent neighbours of no guest.
    fn strays(&self, wanted: &Pinned) -> Vec<Ipv4Addr> {
        let wanted: HashSet<Ipv4Addr> = wanted.values().map(|pin| pin.address).collect();
        self.neighbours.keys().filter(|address| !wanted.contains(address)).copied().collect()
    }
}

fn to_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

/// Gone already is fine.
fn unless_gone(result: Result<(), rtnetlink::Error>) -> io::Result<()> {
    match result.map_err(to_io) {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(nix::libc::ENODEV | nix::libc::ENOENT | nix::libc::ENXIO)
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

fn port_of(message: &LinkMessage) -> Option<(String, Option<Port>)> {
    let (mut name, mut port) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    let LinkInfo::PortData(InfoPortData::BridgePort(flags)) = info else {
                        continue;
                    };
                    let locked = flags.iter().find_map(|flag| match flag {
                        InfoBridgePort::Locked(locked) => Some(*locked),
                        _ => None,
                    });
                    let learning = !flags.contains(&InfoBridgePort::Learning(false));
                    port = Some(Port { index: message.header.index, learning, locked });
                }
            }
            _ => {}
        }
    }
    Some((name?, port))
}

fn index_of(message: &LinkMessage, name: &str) -> Option<u32> {
    let named =
        message.attributes.iter().any(|a| matches!(a, LinkAttribute::IfName(text) if text == name));
    named.then_some(message.header.index)
}

pub(super) fn mac_of(message: &NeighbourMessage) -> Option<[u8; 6]> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(mac) => mac.as_slice().try_into().ok(),
        _ => None,
    })
}

fn address_of(message: &NeighbourMessage) -> Option<Ipv4Addr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(*address),
        _ => None,
    })
}

impl Entries {
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Self { handle, driver: tokio::spawn(connection) })
    }

    /// Reads everything in three dumps, however many guests there are.
    pub(super) async fn look(&self, bridge: &LinkName) -> io::Result<HeldEntries> {
        let links: Vec<LinkMessage> =
            self.handle.link().get().execute().try_collect().await.map_err(to_io)?;
        let bridge = links.iter().find_map(|link| index_of(link, bridge.as_str()));
        let mut held = HeldEntries {
            bridge,
            ports: links.iter().filter_map(port_of).collect(),
            ..HeldEntries::default()
        };
        for entry in self.dump(AddressFamily::Bridge).await? {
            let fixed = entry.header.state == NeighbourState::Noarp;
            if let (true, Some(mac)) = (fixed, mac_of(&entry)) {
                held.forwarding.insert((entry.header.ifindex, mac));
            }
        }
        for entry in self.dump(AddressFamily::Inet).await? {
            let ours = Some(entry.header.ifindex) == held.bridge
                && entry.header.state == NeighbourState::Permanent;
            if let (true, Some(address), Some(mac)) = (ours, address_of(&entry), mac_of(&entry)) {
                held.neighbours.insert(address, mac);
            }
        }
        Ok(held)
    }

    pub(super) async fn dump(&self, family: AddressFamily) -> io::Result<Vec<NeighbourMessage>> {
        let request = self.handle.neighbours().get().set_address_family(family);
        request.execute().try_collect().await.map_err(to_io)
    }

    pub(super) async fn index(&self, name: &str) -> io::Result<Option<u32>> {
        let mut answers = Box::pin(self.handle.link().get().match_name(name.to_owned()).execute());
        match answers.try_next().await.map_err(to_io) {
            Ok(message) => Ok(message.map(|message| message.header.index)),
            Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts in place what belongs to a pin, as far as bridge and tap are there.
    pub(super) async fn ensure(&self, bridge: &LinkName, pin: &Pin) -> io::Result<()> {
        if let Some(tap) = self.index(pin.tap.as_str()).await? {
            self.lock_port(tap, &pin.tap, bridge).await?;
            let entry = self.handle.neighbours().add_bridge(tap, &pin.mac.0);
            // "static": not the bridge's own address, and never forgotten.
            let entry = entry.state(NeighbourState::Noarp).flags(NeighbourFlags::Controller);
            entry.replace().execute().await.map_err(to_io)?;
        }
        if let Some(bridge) = self.index(bridge.as_str()).await? {
            let entry = self.handle.neighbours().add(bridge, IpAddr::V4(pin.address));
            let entry = entry.link_layer_address(&pin.mac.0).state(NeighbourState::Permanent);
            entry.replace().execute().await.map_err(to_io)?;
        }
        Ok(())
    }

    async fn lock_port(&self, index: u32, tap: &TapName, bridge: &LinkName) -> io::Result<()> {
        let flags = vec![InfoBridgePort::Learning(false), InfoBridgePort::Locked(true)];
        let message = LinkUnspec::new_with_index(index)
            .set_port_kind(InfoPortKind::Bridge)
            .set_port_data(InfoPortData::BridgePort(flags))
            .build();
        self.handle.link().set_port(message).execute().await.map_err(to_io).map_err(|error| {
            io::Error::new(error.kind(), format!("{tap} is no port of {bridge}: {error}"))
        })
    }

    /// Removes the neighbour entry of a guest, unless another guest has the address now. The rest
    /// goes with the tap.
    pub(super) async fn remove(
        &self,
        bridge: &LinkName,
        address: Ipv4Addr,
        wanted: &Pinned,
    ) -> io::Result<()> {
        if wanted.values().any(|pin| pin.address == address) {
            return Ok(());
        }
        match self.index(bridge.as_str()).await? {
            Some(bridge) => self.remove_neighbour(bridge, address).await,
            None => Ok(()),
        }
    }

    async fn remove_neighbour(&self, bridge: u32, address: Ipv4Addr) -> io::Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = bridge;
        let address = NeighbourAddress::Inet(address);
        message.attributes.push(NeighbourAttribute::Destination(address));
        unless_gone(self.handle.neighbours().del(message).execute().await)
    }

    /// Removes permanent neighbours that no guest has.
    pub(super) async fn remove_strays(
        &self,
        held: &HeldEntries,
        wanted: &Pinned,
    ) -> io::Result<()> {
        let Some(bridge) = held.bridge else { return Ok(()) };
        for address in held.strays(wanted) {
            self.remove_neighbour(bridge, address).await?;
        }
        Ok(())
    }
}
