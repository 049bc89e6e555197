//! The agent API over the supervisor: takes assignments and sweeps, gathers the host's facts and
//! keeps the last where one can't be read.
//!
//! Driven by the RPCs. Adds to the [`Supervisor`] who this host is and whether the agent drains.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use banger_proto::ids::{Epoch, HostId, VmId};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::Supervisor;
use crate::assignment::Assignment;
use crate::guests::{GuestClient, NoGuest};
use crate::host::{
    Announced, Capacity, Change, HostError, HostErrorKind, HostResult, ImageName, Receiving,
};
use crate::inventory::sweep::{Asker, Listed, Policy, Swept};
use crate::report::Reporter;
use crate::rpc::{AgentApi, Assigned, Certificates, HostFacts, NotAssigned, VmConsole};

/// Who this host is.
#[derive(Clone)]
pub struct HostIdentity {
    /// Which host.
    pub host: HostId,
    /// Counts the starts of the agent.
    pub agent_epoch: u64,
    /// The longest silence on an `Observe` stream.
    pub heartbeat_interval: Duration,
    /// Its certificate; `None`: it can't be renewed.
    pub certificates: Option<Arc<dyn Certificates>>,
}

/// The agent API of this host.
pub struct SupervisorApi {
    supervisor: Supervisor,
    identity: HostIdentity,
    draining: CancellationToken,
    last_facts: Mutex<Option<HostFacts>>,
}

impl SupervisorApi {
    /// In front of a supervisor. `draining` fires when the agent shuts down.
    #[must_use]
    pub fn new(
        supervisor: Supervisor,
        identity: HostIdentity,
        draining: CancellationToken,
    ) -> Self {
        Self { supervisor, identity, draining, last_facts: Mutex::new(None) }
    }

    /// The supervisor behind it.
    #[must_use]
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }
}

/// A fact that cannot be read just now is what it was; the host does not lose its capacity
/// because one file could not be opened.
fn fact<T>(what: &'static str, read: HostResult<T>, before: Option<T>, never: T) -> T {
    match read {
        Ok(fact) => fact,
        Err(error) => {
            tracing::warn!(what, error = error.chain(), "a fact of the host cannot be read");
            before.unwrap_or(never)
        }
    }
}

#[async_trait]
impl AgentApi for SupervisorApi {
    async fn assign(&self, offered: Assignment) -> Result<Assigned, NotAssigned> {
        if self.draining.is_cancelled() {
            return Err(NotAssigned::ShuttingDown);
        }
        self.supervisor.accept(offered).await.map_err(|error| match error.kind {
            HostErrorKind::NoSpace => NotAssigned::DiskFull(error.chain()),
            HostErrorKind::Refused => NotAssigned::OtherAddress(error.chain()),
            _ => NotAssigned::NotRecorded(error.chain()),
        })
    }

    async fn host_facts(&self) -> HostFacts {
        let shared = self.supervisor.shared();
        let host = &shared.host;
        let (vmm, root_disks, kernel, capacity, images) = futures_util::join!(
            host.facts.vmm(),
            host.facts.root_disk_kind(),
            host.facts.kernel_release(),
            host.facts.capacity(),
            host.images.list(),
        );
        let before = self.last_facts.lock().clone();
        let before = before.as_ref();
        let nothing = Capacity { vcpus: 0, memory_mib: 0, disk_mib: 0 };
        let facts = HostFacts {
            host: self.identity.host,
            boot_id: shared.boot_id.clone(),
            agent_epoch: self.identity.agent_epoch,
            simulated: host.simulated,
            vmm: fact("vmm", vmm, before.map(|f| f.vmm.clone()), String::new()),
            root_disks: fact(
                "root disks",
                root_disks.map(|kind| kind.as_str().to_owned()),
                before.map(|f| f.root_disks.clone()),
                String::new(),
            ),
            kernel_release: fact(
                "kernel release",
                kernel,
                before.map(|f| f.kernel_release.clone()),
                String::new(),
            ),
            capacity: fact("capacity", capacity, before.map(|f| f.capacity), nothing),
            images: fact("images", images, before.map(|f| f.images.clone()), Vec::new()),
            heartbeat_interval: self.identity.heartbeat_interval,
            certificate: self.identity.certificates.as_ref().map(|held| held.shown()),
        };
        *self.last_facts.lock() = Some(facts.clone());
        facts
    }

    async fn inventory(&self, claimed: BTreeSet<VmId>) -> HostResult<(Vec<Listed>, Policy)> {
        self.supervisor.inventory(&claimed).await
    }

    async fn sweep(&self, asker: Asker, dry_run: bool) -> HostResult<(Vec<Swept>, Policy)> {
        if let Asker::People { actor, claimed } = &asker {
            tracing::info!(actor, dry_run, claimed = claimed.len(), "a sweep was asked for");
        }
        // On a task of its own: a server that goes away must not leave an object half removed.
        let supervisor = self.supervisor.clone();
        let sweeping = tokio::spawn(async move { supervisor.sweep(&asker, dry_run).await });
        sweeping.await.unwrap_or_else(|died| {
            Err(HostError::new(HostErrorKind::Other, "sweep", "the host").because(died))
        })
    }

    async fn receive_image(&self, announced: Announced) -> HostResult<Option<Receiving>> {
        let shared = self.supervisor.shared();
        Receiving::begin(&*shared.host.images, announced, shared.settings.disks.reserve).await
    }

    async fn remove_image(&self, name: &ImageName) -> HostResult<Change> {
        self.supervisor.remove_image(name).await
    }

    fn reporter(&self) -> &Reporter {
        self.supervisor.reporter()
    }

    async fn server_seen(&self, name: &str, epoch: Epoch) {
        tracing::info!(server = name, %epoch, "a server observes this host");
        // If it can't be kept now, it is with the first assignment of that server.
        if let Err(error) = self.supervisor.shared().stale.raise(epoch).await {
            tracing::warn!(%error, %epoch, "the epoch of the server was not kept");
        }
    }

    async fn console(&self, vm: VmId, past: u64) -> HostResult<Option<VmConsole>> {
        let Some(gone) = self.supervisor.gone(vm) else { return Ok(None) };
        let shared = self.supervisor.shared();
        let names = shared.naming.vm(vm);
        let console = shared.host.outputs.console(&names.jail, &names.dir, past).await?;
        Ok(Some(VmConsole { console, gone }))
    }

    async fn type_in(&self, vm: VmId, bytes: &[u8]) -> HostResult<()> {
        let shared = self.supervisor.shared();
        shared.host.outputs.type_in(&shared.naming.vm(vm).jail, bytes).await
    }

    fn guest(&self, vm: VmId) -> Option<Result<GuestClient, NoGuest>> {
        self.supervisor.guest(vm)
    }

    fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }

    fn certificates(&self) -> Option<Arc<dyn Certificates>> {
        self.identity.certificates.clone()
    }
}
