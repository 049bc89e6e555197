//! The network of a host: the bridge and the taps on it, what pins a guest to its tap, our rules
//! (both changed in [`batches`]), by what it reaches the world ([`uplinks`]), and what else uses
//! this network namespace.

mod batches;
pub(crate) mod firewall;
mod links;
pub(crate) mod namespace;
pub(crate) mod pins;
pub(super) mod resolvers;
pub(crate) mod taps;
#[cfg(test)]
pub(crate) mod test_net;
pub(crate) mod uplinks;
