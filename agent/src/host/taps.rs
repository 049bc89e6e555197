//! The seam to the bridge and the taps on it.
//!
//! Driven by the VM tasks and the start of the agent. What can go wrong: a name is taken by an
//! interface that is not ours, or the bridge is missing.

use std::net::Ipv4Addr;

use async_trait::async_trait;

use super::{Change, HostResult, LinkName, TapName};

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
}

/// The bridge and the taps on it. Every tap is an isolated port: it reaches the bridge, never
/// another tap.
#[async_trait]
pub trait Taps: Send + Sync {
    /// Makes the bridge with its address, switched on.
    ///
    /// # Errors
    /// [`NameTaken`](super::HostErrorKind::NameTaken) when an interface of that name is no bridge.
    async fn ensure_bridge(&self, spec: &BridgeSpec) -> HostResult<Change>;

    /// Removes the bridge.
    async fn remove_bridge(&self, name: &LinkName) -> HostResult<Change>;

    /// Our taps: those whose name begins with `prefix`.
    async fn list(&self, prefix: &str) -> HostResult<Vec<TapFacts>>;

    /// One tap, `None` when there is none of that name.
    ///
    /// # Errors
    /// [`NameTaken`](super::HostErrorKind::NameTaken) when an interface of that name is no tap.
    async fn observe(&self, name: &TapName) -> HostResult<Option<TapFacts>>;

    /// Makes a tap: persistent, owned, isolated port of the bridge, switched on.
    ///
    /// # Errors
    /// [`NameTaken`](super::HostErrorKind::NameTaken) when an interface of that name is no tap;
    /// [`NotFound`](super::HostErrorKind::NotFound) without the bridge.
    async fn ensure(&self, spec: &TapSpec) -> HostResult<Change>;

    /// Removes taps. Many at once cost little more than one: the kernel waits for all of them
    /// together.
    ///
    /// # Errors
    /// [`NameTaken`](super::HostErrorKind::NameTaken) when an interface of that name is no tap: it is left alone.
    async fn remove(&self, names: &[TapName]) -> HostResult<Change>;
}
