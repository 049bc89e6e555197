//! The seam to what is true of the machine's network as a whole, and the word that it changed.
//!
//! Driven by the watch over the network (`supervisor/network.rs`), by a join and by the bridge's
//! verb. What can go wrong: the kernel's words can't be heard; then a periodic look has to do.

use std::fmt;
use std::net::Ipv4Addr;

use async_trait::async_trait;

use super::{HostResult, LinkName, Subnet};

/// A network that the machine has addresses in, or a route to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsedNetwork {
    /// Its first address.
    pub network: Ipv4Addr,
    /// The length of its prefix in bits.
    pub prefix: u8,
    /// The interface; empty where the kernel names none.
    pub device: String,
}

/// Routes over a gateway to networks larger than a /9 are no use of every address in them: they
/// are what a site has instead of a default route, and a guest subnet inside one is more specific.
pub const WIDEST_ROUTED: u8 = 9;

impl UsedNetwork {
    /// Whether it shares an address with a subnet.
    #[must_use]
    pub fn overlaps(&self, subnet: Subnet) -> bool {
        let prefix = u32::from(self.prefix.min(subnet.prefix()).min(32));
        let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
        u32::from(self.network) & mask == u32::from(subnet.network()) & mask
    }
}

impl fmt::Display for UsedNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)?;
        if !self.device.is_empty() {
            write!(f, " on {}", self.device)?;
        }
        Ok(())
    }
}

/// The first of these networks, other than those of our own bridge, that a guest subnet may not
/// share addresses with.
#[must_use]
pub fn clash<'a>(
    subnet: Subnet,
    used: &'a [UsedNetwork],
    bridge: &LinkName,
) -> Option<&'a UsedNetwork> {
    used.iter().find(|used| used.device != bridge.as_str() && used.overlaps(subnet))
}

/// The machine's network as a whole.
#[async_trait]
pub trait Network: Send + Sync {
    /// Resolves once something has changed since the call before, whoever did it: an interface, an
    /// address, a route, a routing rule, a firewall rule. Many changes may come as one.
    ///
    /// # Errors
    /// The kernel does not tell.
    async fn changed(&self) -> HostResult<()>;

    /// The networks that the machine has addresses in: a small list, looked at often.
    async fn addresses(&self) -> HostResult<Vec<UsedNetwork>>;

    /// Those, and the networks that it has routes to: may be a long list, looked at when a subnet
    /// is about to be taken.
    async fn networks(&self) -> HostResult<Vec<UsedNetwork>>;
}

#[cfg(test)]
mod tests;
