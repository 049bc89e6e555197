//! The seam to the firewall: chains of our own, rendered as a whole from a set of guests.
//!
//! Driven by the VM tasks. What can go wrong: no uplink, the lock of the tables is held by
//! somebody else, somebody flushed our rules by hand.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use async_trait::async_trait;

use super::{Change, GuestKey, HostResult, LinkName, TapName};

/// The rules of one guest. Address and tap are optional because hints may lack them; a guest that
/// is asked for without one is refused before any command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestNet {
    /// Marks the rules as this guest's.
    pub key: GuestKey,
    /// Its tap.
    pub tap: Option<TapName>,
    /// Its address.
    pub address: Option<Ipv4Addr>,
    /// Whether its packets leave by the uplink, translated. Without it only the rules that keep
    /// it from the host and from other addresses are there.
    pub nat: bool,
    /// Only ever seen, never asked for: these rules are there and are not what would be made now.
    /// The uplink has moved, forwarding is off, or somebody has touched the rest of our chains.
    pub stale: bool,
}

/// Our chains: rendered from a set of guests as a whole, applied in one command.
///
/// Changes asked for at the same time are applied together.
#[async_trait]
pub trait Firewall: Send + Sync {
    /// The guests that have rules in the kernel now, by key.
    async fn list(&self) -> HostResult<BTreeMap<GuestKey, GuestNet>>;

    /// How many rules in our chains carry each guest's mark, complete sets or not. As
    /// [`Firewall::list`] it looks into the kernel, so that [`Firewall::observe`] knows afterwards
    /// when somebody has flushed them.
    async fn count_rules(&self) -> HostResult<BTreeMap<GuestKey, usize>>;

    /// Whether the guest's rules are in the kernel, as far as was seen at the last look: after
    /// every change that the agent makes, and at every [`Firewall::list`], which also looks for the
    /// uplinks. Costs nothing.
    async fn observe(&self, key: &GuestKey) -> HostResult<Option<GuestNet>>;

    /// The uplinks, as far as guests leave by any, by the last look. Costs nothing.
    fn uplinks(&self) -> Vec<LinkName>;

    /// Puts the guest's rules in place, and switches forwarding on when it has address
    /// translation.
    ///
    /// # Errors
    /// [`Invalid`](super::HostErrorKind::Invalid) without tap or address,
    /// [`NoUplink`](super::HostErrorKind::NoUplink) without a default route; no command was run.
    async fn ensure(&self, guest: &GuestNet) -> HostResult<Change>;

    /// Has nothing forwarded that no rule accepts, on a host where forwarding is on because of
    /// guests alone: where [`Firewall::ensure`] found it off in this boot. Elsewhere nothing is
    /// changed.
    async fn ensure_closed(&self) -> HostResult<Change>;

    /// Removes the guest's rules. Forwarding stays as it is.
    async fn remove(&self, key: &GuestKey) -> HostResult<Change>;

    /// Removes our chains and the jumps to them.
    async fn remove_all(&self) -> HostResult<Change>;
}
