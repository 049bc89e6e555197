//! What the tasks of all VMs share: the machine, names, time, settings, and where reports go.
//!
//! Made once at the start of the agent; nothing in it changes what a VM is wanted to be.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use parking_lot::Mutex;

use super::addresses::AddressHolders;
use super::bases::BaseUsers;
use super::cow::DiskPolicy;
use super::stale::StaleGuard;
use crate::clock::Clock;
use crate::host::{BootTime, Host, RefusedFor};
use crate::naming::Naming;
use crate::report::Reporter;

/// What the tasks of all VMs share.
pub struct Shared {
    /// The machine.
    pub host: Host,
    /// Names.
    pub naming: Naming,
    /// Time.
    pub clock: Clock,
    /// The present boot.
    pub boot_id: String,
    /// Turns ticks into times.
    pub boot_time: BootTime,
    /// Settings.
    pub settings: Settings,
    /// Users of root images.
    pub bases: BaseUsers,
    /// Who has which address.
    pub addresses: AddressHolders,
    /// What the watch over the host's network saw last.
    pub network: HostNetwork,
    /// What refuses assignments that no record refuses.
    pub stale: StaleGuard,
    /// Where reports go.
    pub reporter: Reporter,
    /// Told of every effect, by name: before it, and after it before anything is noted of it.
    pub on_effect: Option<Box<EffectObserver>>,
    /// Told how many packets of guests were refused, at every look at the network.
    pub on_refused: Option<Box<RefusedObserver>>,
}

/// What the watch over the host's network saw last. It alone writes it.
#[derive(Debug, Default)]
pub struct HostNetwork(Mutex<NetworkSeen>);

/// What was seen of the host's network as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkSeen {
    /// How often it was not what it had been at the look before.
    pub changes: u64,
    /// A network of the machine that shares addresses with the guests'.
    pub clash: Option<String>,
}

impl HostNetwork {
    /// The last look.
    #[must_use]
    pub fn get(&self) -> NetworkSeen {
        self.0.lock().clone()
    }

    /// Notes a look that was not what the one before had been.
    pub fn changed(&self, clash: Option<String>) {
        let mut seen = self.0.lock();
        *seen = NetworkSeen { changes: seen.changes + 1, clash };
    }
}

/// See [`Shared::on_refused`].
pub type RefusedObserver = dyn Fn(&BTreeMap<RefusedFor, u64>) + Send + Sync;

/// See [`Shared::on_effect`].
pub type EffectObserver = dyn Fn(&'static str, EffectEvent) + Send + Sync;

/// What an observer is told of an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EffectEvent {
    /// It is about to be performed.
    Begins,
    /// It was performed, or failed.
    Ended {
        /// Whether it succeeded.
        succeeded: bool,
        /// How long it took.
        took: Duration,
    },
}

/// What the operator or the start of the agent decided for all VMs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The user id of the guest with address 0 of its subnet.
    pub uid_base: u32,
    /// Whether a process may be started before the server has spoken of its VM in this boot of
    /// the host: only on a host that stands alone.
    pub may_start_unasked: bool,
    /// How long a VMM may take to open its API.
    pub vmm_ready_limit: Duration,
    /// How disks are made, and how large they may become.
    pub disks: DiskPolicy,
    /// Name servers that guests are told.
    pub guest_dns: Vec<Ipv4Addr>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            uid_base: 200_000,
            may_start_unasked: false,
            vmm_ready_limit: Duration::from_secs(10),
            disks: DiskPolicy::default(),
            guest_dns: Vec::new(),
        }
    }
}
