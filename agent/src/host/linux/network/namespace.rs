//! The network as a whole: rtnetlink(7) tells of interfaces, addresses, routes and routing rules,
//! nfnetlink of firewall rules that `nft` and the newer `iptables` change.
//!
//! What is told is not read: every word means "look again". What can go wrong: more is told than
//! the socket holds (`ENOBUFS`), which is a change like any other; the older `iptables` tells
//! nobody, so that its changes are found by the periodic look alone.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;

use async_trait::async_trait;
use rtnetlink::MulticastGroup;
use rtnetlink::sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket, protocols};

use super::links::Links;
use crate::host::{HostError, HostResult, Network, UsedNetwork, WIDEST_ROUTED};

/// `NFNLGRP_NFTABLES` of `linux/netfilter/nfnetlink.h`.
const NFTABLES_GROUP: u32 = 7;

/// Longer than the header of a message; the rest is cut off unread.
const ENOUGH: usize = 64;

/// This network namespace.
#[derive(Default)]
pub(crate) struct LinuxNetwork {
    // Open from the first call on: what comes between two calls waits in the sockets.
    ears: tokio::sync::Mutex<Option<Ears>>,
}

struct Ears {
    routes: TokioSocket,
    /// `None` where the kernel has no nftables.
    rules: Option<TokioSocket>,
}

const fn mask(group: u32) -> u32 {
    1 << (group - 1)
}

fn listen(protocol: isize, groups: u32) -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(protocol)?;
    socket.socket_mut().bind(&SocketAddr::new(0, groups))?;
    Ok(socket)
}

impl Ears {
    fn open() -> io::Result<Self> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv4Rule,
        ];
        let groups = groups.into_iter().fold(0, |all, group| all | mask(group as u32));
        Ok(Self {
            routes: listen(protocols::NETLINK_ROUTE, groups)?,
            rules: listen(protocols::NETLINK_NETFILTER, mask(NFTABLES_GROUP)).ok(),
        })
    }

    async fn hear(&self) -> io::Result<()> {
        let rules = async {
            match &self.rules {
                Some(socket) => hear(socket).await,
                None => std::future::pending().await,
            }
        };
        // Cancel-safe: a message that was not received waits in its socket.
        tokio::select! {
            heard = hear(&self.routes) => heard?,
            heard = rules => heard?,
        }
        // Whatever waits is told by this one answer.
        drain(&self.routes);
        self.rules.iter().for_each(drain);
        Ok(())
    }
}

/// Waits for one message and drops it.
async fn hear(socket: &TokioSocket) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(ENOUGH);
    match socket.recv_from(&mut buffer).await {
        Ok(_) => Ok(()),
        // Some were lost: something has changed all the same.
        Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => Ok(()),
        Err(error) => Err(error),
    }
}

fn drain(socket: &TokioSocket) {
    // Bounded, lest a flood keep us here; what is left is one more wake-up.
    for _ in 0..4096 {
        let mut buffer = Vec::with_capacity(ENOUGH);
        if socket.socket_ref().recv(&mut buffer, nix::libc::MSG_DONTWAIT).is_err() {
            return;
        }
    }
}

fn failed(error: impl Into<io::Error>) -> HostError {
    HostError::io("look at", "the networks of the machine", error.into())
}

async fn names(links: &Links) -> HostResult<HashMap<u32, String>> {
    let all = links.list().await.map_err(failed)?;
    Ok(all.into_iter().map(|link| (link.index, link.name)).collect())
}

async fn addresses(links: &Links, names: &HashMap<u32, String>) -> HostResult<Vec<UsedNetwork>> {
    let found = links.addresses(None).await.map_err(failed)?;
    let used = found.into_iter().map(|(index, address, prefix)| {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
        UsedNetwork {
            network: Ipv4Addr::from(u32::from(address) & mask),
            prefix,
            device: names.get(&index).cloned().unwrap_or_default(),
        }
    });
    Ok(used.collect())
}

#[async_trait]
impl Network for LinuxNetwork {
    async fn changed(&self) -> HostResult<()> {
        let mut ears = self.ears.lock().await;
        let heard = match &mut *ears {
            Some(ears) => ears.hear().await,
            None => match Ears::open() {
                Ok(open) => ears.insert(open).hear().await,
                Err(error) => Err(error),
            },
        };
        heard.map_err(|error| {
            // Opened anew the next time.
            *ears = None;
            HostError::io("listen to", "changes of the network", error)
        })
    }

    async fn addresses(&self) -> HostResult<Vec<UsedNetwork>> {
        let links = Links::open().map_err(failed)?;
        addresses(&links, &names(&links).await?).await
    }

    async fn networks(&self) -> HostResult<Vec<UsedNetwork>> {
        let links = Links::open().map_err(failed)?;
        let names = names(&links).await?;
        let mut used = addresses(&links, &names).await?;
        for route in links.routed().await.map_err(failed)? {
            if route.by_gateway && route.prefix < WIDEST_ROUTED {
                continue;
            }
            let device = route.index.and_then(|index| names.get(&index)).cloned();
            used.push(UsedNetwork {
                network: route.network,
                prefix: route.prefix,
                device: device.unwrap_or_default(),
            });
        }
        used.sort();
        used.dedup();
        Ok(used)
    }
}

#[cfg(test)]
mod tests;
