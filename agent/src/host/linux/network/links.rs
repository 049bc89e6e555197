//! Network interfaces by way of rtnetlink(7): what the taps stand on.
//!
//! A connection is opened for each verb and closed after it: an idle agent holds none, and one that
//! broke breaks one verb.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage, Stats64,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, RouteMessageBuilder};

/// An open connection; closes when dropped.
pub(super) struct Links {
    handle: Handle,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Links {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What sort of interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeviceKind {
    Bridge,
    /// Tun or tap: netlink does not tell them apart.
    Tun,
    Other,
}

/// An interface.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) kind: DeviceKind,
    pub(super) master: Option<u32>,
    pub(super) isolated: bool,
    pub(super) up: bool,
    /// Of a tap: a process has it open.
    pub(super) carrier: bool,
    pub(super) group: u32,
    /// Of a bridge: it learns from IGMP who wants which multicast.
    pub(super) snooping: bool,
    pub(super) mac: Vec<u8>,
    /// What the host took from it and handed to it.
    pub(super) stats: Stats64,
}

fn to_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

fn read(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        kind: DeviceKind::Other,
        master: None,
        isolated: false,
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: false,
        group: 0,
        snooping: false,
        mac: Vec::new(),
        stats: Stats64::default(),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Stats64(stats) => link.stats = *stats,
            LinkAttribute::Controller(index) => link.master = Some(*index),
            LinkAttribute::Group(group) => link.group = *group,
            LinkAttribute::Carrier(on) => link.carrier = *on != 0,
            LinkAttribute::Address(address) => link.mac.clone_from(address),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(InfoKind::Bridge) => link.kind = DeviceKind::Bridge,
                        LinkInfo::Kind(InfoKind::Tun) => link.kind = DeviceKind::Tun,
                        LinkInfo::Data(InfoData::Bridge(bridge)) => {
                            link.snooping = bridge.contains(&InfoBridge::MulticastSnooping(true));
                        }
                        LinkInfo::PortData(InfoPortData::BridgePort(port)) => {
                            link.isolated = port.contains(&InfoBridgePort::Isolated(true));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    link
}

impl Links {
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Self { handle, driver: tokio::spawn(connection) })
    }

    /// The interface of this name.
    pub(super) async fn get(&self, name: &str) -> io::Result<Option<Link>> {
        let mut answers = Box::pin(self.handle.link().get().match_name(name).execute());
        match answers.try_next().await.map_err(to_io) {
            Ok(message) => Ok(message.as_ref().map(read)),
            Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All interfaces.
    pub(super) async fn list(&self) -> io::Result<Vec<Link>> {
        let messages: Vec<_> =
            self.handle.link().get().execute().try_collect().await.map_err(to_io)?;
        Ok(messages.iter().map(read).collect())
    }

    pub(super) async fn add_bridge(&self, name: &str, mac: [u8; 6]) -> io::Result<()> {
        // Switched on later, when IPv6 is off.
        let message =
            LinkBridge::new(name).mcast_snooping(false).down().address(mac.to_vec()).build();
        self.handle.link().add(message).execute().await.map_err(to_io)
    }

    /// Has a bridge learn nothing from IGMP, and forget what it has learned.
    pub(super) async fn ignore_joins(&self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let off = vec![InfoBridge::MulticastSnooping(false)];
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(off)),
        ]));
        self.handle.link().change(message).execute().await.map_err(to_io)
    }

    /// Gives an interface this Ethernet address.
    pub(super) async fn set_mac(&self, index: u32, mac: [u8; 6]) -> io::Result<()> {
        let message = LinkUnspec::new_with_index(index).address(mac.to_vec()).build();
        self.handle.link().change(message).execute().await.map_err(to_io)
    }

    /// The IPv4 addresses of one interface, or of all: its number, address and prefix.
    pub(super) async fn addresses(
        &self,
        index: Option<u32>,
    ) -> io::Result<Vec<(u32, Ipv4Addr, u8)>> {
        let mut query = self.handle.address().get();
        if let Some(index) = index {
            query = query.set_link_index_filter(index);
        }
        let found: Vec<_> = query.execute().try_collect().await.map_err(to_io)?;
        let address = |message: &AddressMessage| {
            Some((message.header.index, local_of(message)?, message.header.prefix_len))
        };
        Ok(found.iter().filter_map(address).collect())
    }

    /// The IPv4 networks that the machine has routes to, each with the number of its interface
    /// and whether a gateway leads there; no default route.
    pub(super) async fn routed(&self) -> io::Result<Vec<Routed>> {
        let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let found: Vec<_> =
            self.handle.route().get(all).execute().try_collect().await.map_err(to_io)?;
        Ok(found.iter().filter_map(routed).collect())
    }

    pub(super) async fn set_up(&self, index: u32) -> io::Result<()> {
        let message = LinkUnspec::new_with_index(index).up().build();
        self.handle.link().change(message).execute().await.map_err(to_io)
    }

    /// Makes an interface an isolated port of a bridge. Isolated before it can be switched on, so
    /// that no frame passes between guests meanwhile.
    pub(super) async fn set_port(&self, index: u32, bridge: u32) -> io::Result<()> {
        let join = LinkUnspec::new_with_index(index).controller(bridge).build();
        self.handle.link().change(join).execute().await.map_err(to_io)?;
        let isolate = LinkUnspec::new_with_index(index)
            .set_port_kind(InfoPortKind::Bridge)
            .set_port_data(InfoPortData::BridgePort(vec![InfoBridgePort::Isolated(true)]))
            .build();
        self.handle.link().set_port(isolate).execute().await.map_err(to_io)
    }

    pub(super) async fn set_group(&self, index: u32, group: u32) -> io::Result<()> {
        let message = LinkUnspec::new_with_index(index).link_group(group).build();
        self.handle.link().change(message).execute().await.map_err(to_io)
    }

    /// Removes an interface; gone already is fine.
    pub(super) async fn delete(&self, index: u32) -> io::Result<()> {
        gone_is_fine(self.handle.link().del(index).execute().await)
    }

    /// Removes all interfaces of a group in one request; none is fine.
    pub(super) async fn delete_group(&self, group: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::Group(group));
        gone_is_fine(self.handle.link().del_with_message(message).execute().await)
    }

    /// Makes this the one IPv4 address of an interface; whether that changed anything.
    pub(super) async fn set_address(
        &self,
        index: u32,
        address: Ipv4Addr,
        prefix: u8,
    ) -> io::Result<bool> {
        let query = self.handle.address().get().set_link_index_filter(index);
        let found: Vec<_> = query.execute().try_collect().await.map_err(to_io)?;
        let (mut present, mut changed) = (false, false);
        for message in found {
            match local_of(&message) {
                Some(local) if local == address && message.header.prefix_len == prefix => {
                    present = true;
                }
                // The agent's gateway of before: the subnet was changed.
                Some(_) => {
                    self.handle.address().del(message).execute().await.map_err(to_io)?;
                    changed = true;
                }
                None => {}
            }
        }
        if !present {
            let add = self.handle.address().add(index, IpAddr::V4(address), prefix);
            add.execute().await.map_err(to_io)?;
            changed = true;
        }
        Ok(changed)
    }
}

fn local_of(message: &AddressMessage) -> Option<Ipv4Addr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(local)) => Some(*local),
        _ => None,
    })
}

/// A network that a route leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Routed {
    pub(super) network: Ipv4Addr,
    pub(super) prefix: u8,
    pub(super) index: Option<u32>,
    pub(super) by_gateway: bool,
}

fn routed(message: &RouteMessage) -> Option<Routed> {
    // Broadcast and local routes are those of the addresses, which are looked at as such.
    match message.header.kind {
        RouteType::Unicast | RouteType::BlackHole | RouteType::Unreachable => {}
        _ => return None,
    }
    let mut route = Routed {
        network: Ipv4Addr::UNSPECIFIED,
        prefix: message.header.destination_prefix_length,
        index: None,
        by_gateway: false,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(network)) => route.network = *network,
            RouteAttribute::Oif(index) => route.index = Some(*index),
            RouteAttribute::Gateway(_) | RouteAttribute::MultiPath(_) | RouteAttribute::Via(_) => {
                route.by_gateway = true;
            }
            _ => {}
        }
    }
    (route.prefix > 0).then_some(route)
}

fn gone_is_fine(result: Result<(), rtnetlink::Error>) -> io::Result<()> {
    match result.map_err(to_io) {
        Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Ok(()),
        other => other,
    }
}
