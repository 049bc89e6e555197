//! The seam to the bridge and the taps on it.
//!
//! Driven by the VM tasks and the start of the agent. What can go wrong: a name is taken by an
//! interface that is not ours, or the bridge is missing.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use async_trait::async_trait;

use super::{Change, HostResult, LinkName, TapName, Traffic};

/// How many ports a bridge can have: BR_MAX_PORTS of net/bridge/br_private.h is 1,024, and 0 is no
/// port's number.
pub const BRIDGE_PORTS: u32 = 1023;

/// The bridge of the guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeSpec {
    /// Its name.
    pub name: LinkName,
    /// Its address, the guests' gateway.
    pub address: Ipv4Addr,
    /// Of the guests' subnet.
    pub prefix: u8,
}

/// A tap device to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapSpec {
    /// Its name.
    pub name: TapName,
    /// The bridge that it is a port of.
    pub bridge: LinkName,
    /// The only user that may open it, besides root.
    pub owner_uid: u32,
}

/// A tap device that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapFacts {
    /// Its name.
    pub name: TapName,
    /// The kernel's number of the interface.
    pub index: u32,
    /// The number of the bridge that it is a port of.
    pub master: Option<u32>,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether it reaches no other isolated port of its bridge.
    pub isolated: bool,
    /// Whether a process has it open: a tap without one leads nowhere.
    pub open: bool,
}

/// The bridge as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeFacts {
    /// The kernel's number of the interface.
    pub index: u32,
    /// Its IPv4 addresses with the lengths of their prefixes.
    pub addresses: Vec<(Ipv4Addr, u8)>,
    /// Whether it is switched on.
    pub up: bool,
}

impl BridgeFacts {
    /// Whether nothing of it has to be made or changed.
    #[must_use]
    pub fn fits(&self, spec: &BridgeSpec) -> bool {
        self.up && self.addresses == [(spec.address, spec.prefix)]
    }
}

impl TapFacts {
    /// Whether it is a port of this bridge as every tap of the agent is to be.
    #[must_use]
    pub fn is_port_of(&self, bridge: &BridgeFacts) -> bool {
        self.up && self.isolated && self.master == Some(bridge.index)
    }
}

/// The bridge and the taps on it. Every tap is an isolated port: it reaches the bridge, never
/// another tap.
#[async_trait]
pub trait Taps: Send + Sync {
    /// Makes the bridge with its address, switched on.
    ///
    /// # Errors
    /// [`NameTaken`](super::HostErrorKind::NameTaken) when an interface of that name is no bridge;
    /// [`SubnetTaken`](super::HostErrorKind::SubnetTaken) when the address is not there yet and the
    /// machine uses the subnet elsewhere: nothing was done.
    async fn ensure_bridge(&self, spec: &BridgeSpec) -> HostResult<Change>;

    /// Removes the bridge.
    async fn remove_bridge(&self, name: &LinkName) -> HostResult<Change>;

    /// The bridge, `None` when there is none of that name.
    ///
    /// # Errors
    /// [`NameTaken`](super::HostErrorKind::NameTaken) when an interface of that name is no bridge.
    async fn observe_bridge(&self, name: &LinkName) -> HostResult<Option<BridgeFacts>>;

    /// Our taps: those whose name begins with `prefix`.
    async fn list(&self, prefix: &str) -> HostResult<Vec<TapFacts>>;

    /// One tap, `None` when there is none of that name.
    ///
    /// # Errors
    /// [`NameTaken`](super::HostErrorKind::NameTaken) when an interface of that name is no tap.
    async fn observe(&self, name: &TapName) -> HostResult<Option<TapFacts>>;

    /// What went over each of our taps, refused packets left out.
    async fn traffic(&self, prefix: &str) -> HostResult<BTreeMap<TapName, Traffic>>;

    /// Makes a tap: persistent, owned, isolated port of the bridge, switched on. One that a VMM has
    /// open is put back onto the bridge and left open.
    ///
    /// # Errors
    /// [`NameTaken`](super::HostErrorKind::NameTaken) when an interface of that name is no tap;
    /// [`NotFound`](super::HostErrorKind::NotFound) without the bridge.
    async fn ensure(&self, spec: &TapSpec) -> HostResult<Change>;

    /// Removes taps. Many at once cost little more than one: the kernel waits for all of them
    /// together.
    ///
    /// # Errors
    /// [`NameTaken`](super::HostErrorKind::NameTaken) when an interface of that name is no tap: it
    /// is left alone.
    async fn remove(&self, names: &[TapName]) -> HostResult<Change>;
}
