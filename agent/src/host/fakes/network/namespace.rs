//! The network of the fake machine as a whole: the seam of `host/network.rs`.
//!
//! Like the kernel it tells of every change, the agent's own included. What can go wrong is what
//! `stage` does to links, rules and routes.

use async_trait::async_trait;

use crate::host::fakes::kernel::gate::Seam;
use crate::host::fakes::kernel::state::{LinkKind, State};
use crate::host::{HostResult, Network, UsedNetwork};

impl State {
    pub(crate) fn used_networks(&self) -> Vec<UsedNetwork> {
        let bridges = self.links.iter().filter_map(|(name, link)| match link.kind {
            LinkKind::Bridge { address: Some(address), prefix, .. } => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                let network = (u32::from(address) & mask).into();
                Some(UsedNetwork { network, prefix, device: name.clone() })
            }
            LinkKind::Bridge { .. } | LinkKind::Tap { .. } | LinkKind::Other => None,
        });
        let others = self.networks.iter().map(|(network, prefix, device)| UsedNetwork {
            network: *network,
            prefix: *prefix,
            device: device.clone(),
        });
        bridges.chain(others).collect()
    }
}

#[async_trait]
impl Network for Seam {
    async fn changed(&self) -> HostResult<()> {
        loop {
            // Made before the look, so that no change is missed between the two.
            let changed = self.kernel.inner.changed.notified();
            let news = self.read("network.changed", |state| {
                let news = state.net_changes != state.net_heard;
                state.net_heard = state.net_changes;
                Ok(news)
            });
            if news.await? {
                return Ok(());
            }
            changed.await;
        }
    }

    async fn addresses(&self) -> HostResult<Vec<UsedNetwork>> {
        self.read("network.addresses", |state| Ok(state.used_networks())).await
    }

    async fn networks(&self) -> HostResult<Vec<UsedNetwork>> {
        self.read("network.networks", |state| Ok(state.used_networks())).await
    }
}
