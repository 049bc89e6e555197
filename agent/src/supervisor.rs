//! All VMs of the host: who they are, and one task for each.
//!
//! Driven by the RPCs (through [`api`]) and by the start of the agent. Owns the map
//! from VM to task; nothing else starts or ends one. What can go wrong: an assignment cannot be
//! written (refused, nothing changed), or a VM's record cannot be read (the VM is kept as it is
//! and reported, until the server says again what it should be).
//!
//! - [`adoption`]: the start of the agent.
//! - [`api`]: what the RPCs see.
//! - [`fill`]: how full the root disks are.
//! - [`network`]: whether the network of running guests is what was made.
//! - [`look`]: everything of banger's on the host, and whose it is.
//! - [`sweep`]: removes what no VM owns.
//! - [`life`]: which life of the agent this is, and whether the host was rebooted before it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use banger_proto::ids::{Version, VmId};
use banger_wire::causes::with_causes;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::assignment::{Assignment, Power};
use crate::guests::{GuestChannel, GuestClient, NoGuest};
use crate::handles::{VmHandles, file};
use crate::host::{Change, HostError, HostErrorKind, HostResult, ImageName};
use crate::jail::process::ProcessTable;
use crate::report::phase::{Fault, Phase};
use crate::report::{Devices, Reporter, VmReport};
use crate::rpc::Assigned;
use crate::vm::machine::Vm;
use crate::vm::record::{Accepted, RecordCell, StayAbsent};
use crate::vm::shared::Shared;
use crate::vm::status::Level;
use crate::vm::task::{self, Bell, Looked};

use self::sweep::Sweeps;

pub mod adoption;
pub mod api;
pub mod fill;
pub mod life;
pub mod look;
mod lost;
pub mod network;
pub mod sweep;

/// How long writing a record may take before the server is told that it is not known to be held.
const RECORD_LIMIT: Duration = Duration::from_secs(10);

/// All VMs of the host. Cheap to clone.
#[derive(Clone)]
pub struct Supervisor(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    vms: Mutex<HashMap<VmId, Arc<Entry>>>,
    /// VMs of which there is something here and no readable record.
    stranded: Mutex<BTreeSet<VmId>>,
    /// VMs of which the sweep removes something just now. Taken after `vms`.
    withheld: Mutex<BTreeSet<VmId>>,
    /// Told when one is withheld no longer.
    released: tokio::sync::Notify,
    sweeps: Sweeps,
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct Entry {
    record: Arc<RecordCell>,
    bell: Bell,
    fill: Level,
    guest: Arc<GuestChannel>,
    spawned: std::sync::atomic::AtomicBool,
    /// Fires when nothing of the VM is left here.
    gone: CancellationToken,
}

impl Supervisor {
    fn new(shared: Arc<Shared>, sweeps: Sweeps) -> Self {
        Self(Arc::new(Inner {
            shared,
            vms: Mutex::default(),
            stranded: Mutex::default(),
            withheld: Mutex::default(),
            released: tokio::sync::Notify::new(),
            sweeps,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }))
    }

    /// What the tasks share.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// Where reports are.
    #[must_use]
    pub fn reporter(&self) -> &Reporter {
        &self.0.shared.reporter
    }

    /// Takes one assignment.
    ///
    /// # Errors
    /// It could not be written, or gives a guest that runs another address
    /// ([`HostErrorKind::Refused`]); nothing changed.
    pub async fn accept(&self, assignment: Assignment) -> HostResult<Assigned> {
        let vm = assignment.vm;
        loop {
            // Made before the look, so that no release is missed between the two.
            let released = self.0.released.notified();
            let Some(entry) = self.entry(vm) else {
                released.await;
                continue;
            };
            let unknown = entry.record.get().is_none();
            let leftovers = unknown && self.has_leftovers(vm).await;
            if unknown && !leftovers && assignment.power == Power::Absent {
                let now = self.0.shared.clock.now();
                let absent = entry.record.stay_absent(vm, assignment.version, now).await;
                // An older create came first: it is deleted like any other VM.
                if matches!(absent, Ok(StayAbsent::Held)) {
                    continue;
                }
                self.drop_if_empty(vm, &entry);
                return absent.map(|absent| match absent {
                    StayAbsent::Stale(seen) => Assigned::Stale(seen),
                    StayAbsent::Absent | StayAbsent::Held => Assigned::Absent,
                });
            }
            if let Some(why) = self.refuses_identity(&entry, &assignment) {
                return Err(HostError::new(HostErrorKind::Refused, "take on VM", vm).detail(why));
            }
            match self.merge(&entry, assignment.clone()).await {
                Ok(Accepted::Held(version)) => {
                    self.spawn_once(vm, &entry, leftovers, None, None).await;
                    entry.bell.wake.notify_one();
                    return Ok(Assigned::Accepted(version));
                }
                Ok(Accepted::Stale(seen)) => {
                    self.drop_if_empty(vm, &entry);
                    return Ok(Assigned::Stale(seen));
                }
                Ok(Accepted::Gone) => self.drop_entry(vm, &entry),
                Err(error) => {
                    self.drop_if_empty(vm, &entry);
                    return Err(error);
                }
            }
        }
    }

    /// Why a guest that runs is not given another address.
    fn refuses_identity(&self, entry: &Entry, offered: &Assignment) -> Option<String> {
        let report = self.reporter().get(offered.vm)?;
        report.process.as_ref()?;
        entry.record.get()?.refuses_identity(offered)
    }

    /// On a task of its own: a caller that goes away must not let go of the record's lock while
    /// the file is being written.
    async fn merge(&self, entry: &Entry, offered: Assignment) -> HostResult<Accepted> {
        let vm = offered.vm;
        let (host, record) = (self.0.shared.host.clone(), Arc::clone(&entry.record));
        let boot_id = self.0.shared.boot_id.clone();
        let merging = tokio::spawn(async move {
            tokio::time::timeout(RECORD_LIMIT, record.merge(&*host.files, offered, &boot_id)).await
        });
        let failed = |kind| HostError::new(kind, "write record of VM", vm);
        match merging.await {
            Ok(Ok(merged)) => merged,
            // Whether it is on disk is unknown; the server sends it again, which is harmless.
            Ok(Err(_)) => Err(failed(HostErrorKind::TimedOut)),
            Err(died) => Err(failed(HostErrorKind::Other).because(died)),
        }
    }

    /// The guest agent of a VM; `None`: nothing is held of that VM.
    #[must_use]
    pub fn guest(&self, vm: VmId) -> Option<Result<GuestClient, NoGuest>> {
        let entry = self.0.vms.lock().get(&vm).cloned()?;
        entry.record.get()?;
        Some(entry.guest.client())
    }

    /// Makes every task run a pass.
    #[cfg(test)]
    pub(crate) fn wake_all(&self) {
        for entry in self.0.vms.lock().values() {
            entry.bell.wake.notify_one();
        }
    }

    /// The VMs that own objects here, with a record or without.
    #[must_use]
    pub fn owners(&self) -> BTreeSet<VmId> {
        let mut owners: BTreeSet<VmId> = self.0.vms.lock().keys().copied().collect();
        owners.extend(self.0.stranded.lock().iter());
        owners
    }

    /// Removes an image that the server has brought, unless a VM of the host refers to it, be it
    /// one that is on its way out.
    ///
    /// # Errors
    /// [`HostErrorKind::Busy`] when a VM does, or its file cannot be removed.
    pub async fn remove_image(&self, name: &ImageName) -> HostResult<Change> {
        let is_used = || {
            let vms = self.0.vms.lock();
            // Of a VM whose record is lost nobody knows what it uses.
            !self.0.stranded.lock().is_empty()
                || vms.values().filter_map(|vm| vm.record.get()).any(|record| record.names(name))
        };
        self.0.shared.bases.remove_image(&self.0.shared.host, name, is_used).await
    }

    /// What fires when nothing of a VM is left here; `None` for one that is not held.
    #[must_use]
    pub fn gone(&self, vm: VmId) -> Option<CancellationToken> {
        let vms = self.0.vms.lock();
        let held = vms.get(&vm).filter(|entry| entry.record.get().is_some());
        held.map(|entry| entry.gone.clone())
    }

    /// Stops all tasks after the effect each is at, and leaves every VM as it is. A task that
    /// does not come to an end within the limit is left to die with the process, which is as
    /// safe as a crash.
    pub async fn shutdown(&self, limit: Duration) {
        self.0.stop.cancel();
        self.0.tasks.close();
        if tokio::time::timeout(limit, self.0.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.0.tasks.len(), "tasks of VMs did not come to an end");
        }
    }

    /// The VM's entry, made if it is missing; `None` while the VM is withheld.
    fn entry(&self, vm: VmId) -> Option<Arc<Entry>> {
        let mut vms = self.0.vms.lock();
        if self.0.withheld.lock().contains(&vm) {
            return None;
        }
        let entry = vms.entry(vm).or_insert_with(|| self.new_entry(vm, None));
        Some(Arc::clone(entry))
    }

    fn new_entry(&self, vm: VmId, record: Option<crate::assignment::Record>) -> Arc<Entry> {
        let names = self.0.shared.naming.vm(vm);
        let stale = self.0.shared.stale.clone();
        let bell = Bell { wake: Arc::default(), stop: self.0.stop.clone() };
        let shared = &self.0.shared;
        let guest = GuestChannel::new(
            names.jail.clone(),
            Arc::clone(&shared.host.guests),
            shared.clock.clone(),
            Arc::clone(&bell.wake),
            bell.stop.clone(),
        );
        Arc::new(Entry {
            record: Arc::new(RecordCell::new(names, record).guarded_by(stale)),
            bell,
            fill: Level::default(),
            guest: Arc::new(guest),
            spawned: std::sync::atomic::AtomicBool::new(false),
            gone: CancellationToken::new(),
        })
    }

    fn drop_entry(&self, vm: VmId, entry: &Arc<Entry>) {
        let mut vms = self.0.vms.lock();
        if vms.get(&vm).is_some_and(|held| Arc::ptr_eq(held, entry)) {
            vms.remove(&vm);
            entry.gone.cancel();
        }
    }

    /// Drops an entry that never held anything, unless somebody else is filling it just now.
    fn drop_if_empty(&self, vm: VmId, entry: &Arc<Entry>) {
        let mut vms = self.0.vms.lock();
        let ours = vms.get(&vm).is_some_and(|held| Arc::ptr_eq(held, entry));
        // Two: the map's and the caller's. More: another call has it and will merge into it.
        if ours && Arc::strong_count(entry) <= 2 && entry.record.get().is_none() {
            vms.remove(&vm);
        }
    }

    /// Whether anything of a VM without a record may be here. What cannot be told counts as yes.
    async fn has_leftovers(&self, vm: VmId) -> bool {
        if self.0.stranded.lock().contains(&vm) {
            return true;
        }
        let (host, names) = (&self.0.shared.host, self.0.shared.naming.vm(vm));
        let (jail, snapshot, tap, rules, pin) = futures_util::join!(
            host.jails.observe(&names.jail),
            host.snapshots.observe(&names.snapshot),
            host.taps.observe(&names.tap),
            host.firewall.observe(&names.rules),
            host.pins.observe(&names.rules),
        );
        let nothing = matches!(jail, Ok(None))
            && matches!(snapshot, Ok(None))
            && matches!(tap, Ok(None))
            && matches!(rules, Ok(None))
            && matches!(pin, Ok(None));
        !nothing
    }

    /// Starts the task of a VM, unless it runs.
    async fn spawn_once(
        &self,
        vm: VmId,
        entry: &Arc<Entry>,
        leftovers: bool,
        table: Option<Arc<ProcessTable>>,
        looked: Option<Looked>,
    ) {
        if entry.spawned.swap(true, std::sync::atomic::Ordering::AcqRel) {
            return;
        }
        let hints = if leftovers { self.hints(vm).await } else { VmHandles::default() };
        self.0.stranded.lock().remove(&vm);
        let mut state = Vm::new(
            vm,
            Arc::clone(&self.0.shared),
            Arc::clone(&entry.record),
            hints,
            entry.fill.clone(),
            Arc::clone(&entry.guest),
        );
        if leftovers {
            state.keep_address();
        }
        if leftovers && table.is_none() {
            state.search_everywhere();
        }
        let (this, entry, bell) = (self.clone(), Arc::clone(entry), entry.bell.clone());
        self.0.tasks.spawn(async move {
            let gone = task::run(state, bell, table, looked).await;
            if gone {
                let version = entry.record.get().map(|record| record.assignment.version);
                this.0.shared.addresses.release(&this.0.shared.naming.vm(vm).rules);
                this.drop_entry(vm, &entry);
                this.0.shared.reporter.gone(vm, version.unwrap_or_default());
                tracing::info!(%vm, "nothing of the VM is left");
            }
        });
    }

    async fn hints(&self, vm: VmId) -> VmHandles {
        let names = self.0.shared.naming.vm(vm);
        match file::load(&*self.0.shared.host.files, vm, &names).await {
            Ok(hints) => hints,
            Err(file::NoHints::Missing) => VmHandles::default(),
            Err(why) => {
                tracing::warn!(%vm, error = with_causes(&why), "no hints; the kernel is asked");
                VmHandles::default()
            }
        }
    }

    /// Keeps a VM whose record is lost, and says so.
    fn strand(&self, vm: VmId, phase: Phase, fault: Fault) {
        if !self.0.stranded.lock().insert(vm) {
            return;
        }
        tracing::warn!(%vm, reason = fault.reason.as_str(), error = fault.message,
            "the VM is kept as it is");
        let now = self.0.shared.clock.now();
        self.0.shared.reporter.publish(Arc::new(VmReport {
            vm,
            name: String::new(),
            guest_address: None,
            accepted: Version::default(),
            settled: None,
            phase,
            phase_since: now,
            observed_at: now,
            fault: Some(fault),
            process: None,
            process_started_at: None,
            boot_id: self.0.shared.boot_id.clone(),
            exit: None,
            restart_count: 0,
            adopted_at: None,
            next_attempt_at: None,
            guest: None,
            devices: Devices::default(),
            bounds: None,
        }));
    }
}

/// Why the supervisor could not start.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The machine could not be read.
    #[error("the host cannot be read")]
    Host(#[source] HostError),
    /// Its own record of lives could not be written.
    #[error("the agent's own record could not be written")]
    Life(#[source] life::LifeError),
}

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
pub(crate) mod harness;
#[cfg(test)]
mod limit_tests;
#[cfg(test)]
mod tests;
