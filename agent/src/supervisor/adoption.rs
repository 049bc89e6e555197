//! The start of the agent: every VM directory becomes a VM again.
//!
//! For each: load record and hints, find the process, then keep it or take it for stopped; the
//! VM's own task does the last two, with one reading of all processes shared by all. Bounded and
//! in parallel; a VM that hangs is reported as unclear and delays no other. Nothing is signalled
//! and nothing removed here: a task acts only on positive evidence.

use std::sync::Arc;
use std::time::Duration;

use banger_proto::ids::VmId;
use banger_wire::causes::with_causes;
use futures_util::StreamExt as _;

use super::sweep::{SweepObserver, Sweeps};
use super::{Supervisor, SupervisorError};
use crate::assignment::Record;
use crate::clock::Clock;
use crate::host::{Host, PathPart};
use crate::inventory::sweep::SweepSettings;
use crate::jail::process::{Liveness, ProcessTable, Search, vm_alive};
use crate::naming::{self, Naming};
use crate::report::Reporter;
use crate::report::phase::{Fault, Phase, Reason};
use crate::vm::addresses::AddressHolders;
use crate::vm::bases::BaseUsers;
use crate::vm::record;
use crate::vm::shared::{EffectObserver, HostNetwork, RefusedObserver, Settings, Shared};
use crate::vm::stale::StaleGuard;
use crate::vm::task::Looked;

/// Directories read at the same time.
const READERS: usize = 64;

/// What the supervisor is made of.
pub struct Parts {
    /// The machine.
    pub host: Host,
    /// Names.
    pub naming: Naming,
    /// Time.
    pub clock: Clock,
    /// Settings.
    pub settings: Settings,
    /// Told of every effect, before and after it.
    pub on_effect: Option<Box<EffectObserver>>,
    /// Told how many packets of guests were refused, at every look.
    pub on_refused: Option<Box<RefusedObserver>>,
    /// What refuses assignments that no record refuses.
    pub stale: StaleGuard,
    /// How long the start waits for VMs to be looked at.
    pub first_look_limit: Duration,
    /// What the sweep goes by.
    pub sweep: SweepSettings,
    /// Told of every look and every removal of the sweep.
    pub on_sweep: Option<Box<SweepObserver>>,
}

impl Parts {
    /// With the usual settings.
    #[must_use]
    pub fn new(host: Host, naming: Naming, clock: Clock) -> Self {
        Self {
            host,
            naming,
            clock,
            settings: Settings::default(),
            on_effect: None,
            on_refused: None,
            stale: StaleGuard::default(),
            first_look_limit: Duration::from_secs(20),
            sweep: SweepSettings::default(),
            on_sweep: None,
        }
    }
}

impl Supervisor {
    /// Takes over what is on the host. Answers when every VM was looked at and reported, or when
    /// the limit is past: then the rest is reported as unclear until it has been.
    ///
    /// # Errors
    /// Boot id, boot time, directories or processes of the host cannot be read: with any of them
    /// missing a live VM could be taken for dead.
    pub async fn start(parts: Parts) -> Result<Self, SupervisorError> {
        let host = parts.host;
        let (boot_id, boot_time, dirs, table) = futures_util::try_join!(
            host.facts.boot_id(),
            host.facts.boot_time(),
            host.files.list_dirs(),
            ProcessTable::read(&*host.processes),
        )
        .map_err(SupervisorError::Host)?;
        // One look at the rules for all VMs; without it each would be told from a look of its own.
        if let Err(error) = host.firewall.list().await {
            tracing::warn!(error = error.chain(), "the firewall rules cannot be read");
        }
        if let Err(error) = host.pins.list().await {
            tracing::warn!(error = error.chain(), "the pins of guests cannot be read");
        }
        let sweeps = Sweeps {
            settings: parts.sweep,
            ledger: parking_lot::Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            on_seen: parts.on_sweep,
        };
        let shared = Arc::new(Shared {
            host,
            naming: parts.naming,
            clock: parts.clock,
            boot_id,
            boot_time,
            settings: parts.settings,
            bases: BaseUsers::default(),
            addresses: AddressHolders::default(),
            network: HostNetwork::default(),
            stale: parts.stale,
            reporter: Reporter::new(),
            on_effect: parts.on_effect,
            on_refused: parts.on_refused,
        });
        let supervisor = Self::new(shared, sweeps);
        let table = Arc::new(table);
        let (looked, mut all_looked) = tokio::sync::mpsc::channel(1);
        futures_util::stream::iter(dirs)
            .for_each_concurrent(READERS, |dir| supervisor.adopt(dir, &table, &looked))
            .await;
        drop(looked);
        supervisor.find_strays(&table).await;
        supervisor.note_lost(&table).await;
        supervisor.spawn_fill_watch();
        supervisor.spawn_network_watch();
        // Nobody sends: it ends when the last task has dropped its end.
        if tokio::time::timeout(parts.first_look_limit, all_looked.recv()).await.is_err() {
            supervisor.report_unlooked();
        }
        Ok(supervisor)
    }

    async fn adopt(
        &self,
        dir: PathPart,
        table: &Arc<ProcessTable>,
        looked: &tokio::sync::mpsc::Sender<()>,
    ) {
        let Some(vm) = naming::vm_of_dir(&dir) else {
            tracing::warn!(%dir, "a directory that is no VM's is left alone");
            return;
        };
        let names = self.0.shared.naming.vm(vm);
        match record::load(&*self.0.shared.host.files, vm, &names).await {
            Ok(record) => self.take_over(vm, record, table, looked).await,
            Err(why) => {
                let step = "read the VM's record";
                let pinned = self.0.shared.host.pins.observe(&names.rules).await;
                let network = match pinned {
                    Ok(Some(_)) => "",
                    Ok(None) | Err(_) => {
                        ", and its guest is pinned to no address: its tap lets nothing through \
                         beside guests that are"
                    }
                };
                let why = with_causes(&why);
                let message = format!("{why}; the VM is kept as it is{network}");
                let fault = Fault::new(Reason::RecordUnreadable, step, message);
                self.strand(vm, Phase::Failed, fault);
            }
        }
    }

    async fn take_over(
        &self,
        vm: VmId,
        record: Record,
        table: &Arc<ProcessTable>,
        looked: &tokio::sync::mpsc::Sender<()>,
    ) {
        let entry = self.new_entry(vm, Some(record));
        self.0.vms.lock().insert(vm, Arc::clone(&entry));
        let (table, looked) = (Some(Arc::clone(table)), Some(Looked(looked.clone())));
        self.spawn_once(vm, &entry, true, table, looked).await;
    }

    /// Processes in the agent's jails whose VM has no directory: somebody removed it. They are kept
    /// and reported; the server will say what it wants of them.
    async fn find_strays(&self, table: &ProcessTable) {
        let owners = self.owners();
        for jail in table.jails() {
            let Some(vm) = naming::vm_of_jail(&jail).filter(|vm| !owners.contains(vm)) else {
                continue;
            };
            if let Some(fault) = self.stray(vm, table).await {
                self.strand(vm, Phase::Unclear, fault);
            }
        }
    }

    /// Whether a VM has a process, of which no record says anything.
    pub(super) async fn alive_without_record(&self, vm: VmId, table: &ProcessTable) -> Liveness {
        let shared = &self.0.shared;
        let search = Search {
            jail: &shared.naming.vm(vm).jail,
            user: None,
            boot_id: &shared.boot_id,
            remembered: None,
            table: Some(table),
        };
        vm_alive(&shared.host, search).await
    }

    /// The fault of a VM without a record, if it has a process or may have one. A process of
    /// another instance of the agent is not this agent's.
    pub(super) async fn stray(&self, vm: VmId, table: &ProcessTable) -> Option<Fault> {
        let shared = &self.0.shared;
        let names = shared.naming.vm(vm);
        let step = "find the VM's record";
        match self.alive_without_record(vm, table).await {
            Liveness::Dead(_) | Liveness::SomebodyElses { .. } => None,
            Liveness::Alive(identity) => Some(Fault::new(
                Reason::RecordUnreadable,
                step,
                format!("process {} runs and there is no directory for it", identity.pid),
            )),
            // Without a jail to compare with, a process that says the VM's id is taken for
            // another's.
            Liveness::CannotTell(_)
                if matches!(shared.host.jails.observe(&names.jail).await, Ok(None)) =>
            {
                None
            }
            Liveness::CannotTell(why) => {
                Some(Fault::new(Reason::ProcessUnclear, step, why.to_string()))
            }
        }
    }

    fn report_unlooked(&self) {
        let waiting: Vec<VmId> = self.0.vms.lock().keys().copied().collect();
        for vm in waiting {
            if self.reporter().get(vm).is_none() {
                let fault = Fault::new(
                    Reason::ProcessUnclear,
                    "look at the VM",
                    "the first look has not come to an end yet",
                );
                self.strand(vm, Phase::Unclear, fault);
                self.0.stranded.lock().remove(&vm);
            }
        }
    }
}
