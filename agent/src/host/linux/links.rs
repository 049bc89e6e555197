//! Network interfaces by way of rtnetlink(7): what the taps stand on.
//!
//! A connection is opened for each verb and closed after it: an idle agent holds none, and one that
//! broke breaks one verb.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{
    InfoBridgePort, InfoKind, InfoPortData, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage,
};
use rtnetlink::{Handle, LinkBridge, LinkUnspec};

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
pub(super) enum Kind {
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
    pub(super) kind: Kind,
    pub(super) master: Option<u32>,
    pub(super) isolated: bool,
    pub(super) up: bool,
    pub(super) group: u32,
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
        kind: Kind::Other,
        master: None,
        isolated: false,
        up: message.header.flags.contains(LinkFlags::Up),
        group: 0,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Controller(index) => link.master = Some(*index),
            LinkAttribute::Group(group) => link.group = *group,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(InfoKind::Bridge) => link.kind = Kind::Bridge,
                        LinkInfo::Kind(InfoKind::Tun) => link.kind = Kind::Tun,
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
        let message = LinkBridge::new(name).down().address(mac.to_vec()).build();
        self.handle.link().add(message).execute().await.map_err(to_io)
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
            let local = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(IpAddr::V4(local)) => Some(*local),
                _ => None,
            });
            match local {
                Some(local) if local == address && message.header.prefix_len == prefix => {
                    present = true;
                }
                // An older gateway of ours: the subnet was changed.
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

fn gone_is_fine(result: Result<(), rtnetlink::Error>) -> io::Result<()> {
    match result.map_err(to_io) {
        Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Ok(()),
        other => other,
    }
}
