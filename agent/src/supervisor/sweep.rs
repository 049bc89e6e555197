//! The effects of a sweep: does what the plan says, looks once more before each removal, and
//! reports what became of every object.
//!
//! Driven by the supervisor's timer and by `SweepHost`; one sweep at a time. Before anything of a
//! VM is removed, the VM is withheld: an assignment for it waits until that is done, so that
//! nothing is removed that has just got an owner. A process is looked at anew as a whole (pid,
//! start time, boot, the id on its command line, root) and ended through a pidfd. What can go
//! wrong: a device is busy, a process does not die, a list cannot be read; what stays is said.

use std::collections::BTreeSet;
use std::time::Duration;

use banger_proto::ids::VmId;
use parking_lot::Mutex;

use super::Supervisor;
use super::look::Look;
use crate::clock::Moment;
use crate::host::{
    BackingFile, Change, HostError, HostErrorKind, HostResult, ProcessFacts, Signal, TapName,
};
use crate::inventory::sweep::{
    Asker, Fate, Kept, Ledger, Listed, Policy, SweepSettings, Swept, Verdict, plan,
};
use crate::inventory::{Kind, Object, Target};
use crate::jail::process::ProcessTable;
use crate::report::phase::Phase;

mod hindrances;

use hindrances::Certainly;

/// How long a process may take to die of SIGKILL.
const DEATH_LIMIT: Duration = Duration::from_secs(10);

/// What the supervisor keeps for its sweeps.
pub(in crate::supervisor) struct Sweeps {
    pub(in crate::supervisor) settings: SweepSettings,
    pub(in crate::supervisor) ledger: Mutex<Ledger>,
    /// One sweep at a time: two would remove the same thing and count it twice.
    pub(in crate::supervisor) turn: tokio::sync::Mutex<()>,
    pub(in crate::supervisor) on_seen: Option<Box<SweepObserver>>,
}

/// Told of every look and every removal.
pub type SweepObserver = dyn Fn(&SweepEvent) + Send + Sync;

/// What an observer of sweeps is told.
#[derive(Debug, Clone)]
pub enum SweepEvent {
    /// A look.
    Looked {
        /// How many orphans there are of each kind.
        orphans: Vec<(Kind, usize)>,
        /// What may be removed in an hour.
        budget_per_hour: u32,
        /// What is left of that.
        budget_left: u32,
    },
    /// A removal came to an end.
    Removed {
        /// Of this kind.
        kind: Kind,
        /// Whether the object is gone.
        succeeded: bool,
    },
}

/// Keeps assignments for a VM waiting for as long as it lives.
struct Withheld<'a> {
    supervisor: &'a Supervisor,
    vm: VmId,
}

impl Drop for Withheld<'_> {
    fn drop(&mut self) {
        self.supervisor.0.withheld.lock().remove(&self.vm);
        self.supervisor.0.released.notify_waiters();
    }
}

impl Supervisor {
    /// Sweeps until the agent stops.
    pub fn spawn_sweep(&self) {
        let this = self.clone();
        self.0.tasks.spawn(async move {
            let settings = this.0.sweeps.settings;
            let rounds = async {
                loop {
                    // Whatever is in its grace period is looked at when that is over.
                    let waiting = this.round().await;
                    let interval = settings.interval.max(settings.grace);
                    tokio::time::sleep(if waiting { settings.grace } else { interval }).await;
                }
            };
            // Cancel-safe: every removal is idempotent and found again.
            tokio::select! {
                () = this.0.stop.cancelled() => {}
                () = rounds => {}
            }
        });
    }

    /// Whether an orphan is in its grace period.
    async fn round(&self) -> bool {
        let dry_run = !self.0.sweeps.settings.automatic;
        match self.sweep(&Asker::Timer, dry_run).await {
            Ok((swept, _)) => {
                let waits = |fate: &Fate| matches!(fate, Fate::Kept(Kept::Grace { .. }));
                swept.iter().any(|(_, fate)| waits(fate))
            }
            Err(error) => {
                tracing::warn!(error = error.chain(), "the host's objects cannot be listed");
                false
            }
        }
    }

    /// Everything of banger's on the host, in order of kind and name. Begins the grace period of
    /// what is found to be nobody's.
    ///
    /// # Errors
    /// The host cannot be read.
    pub async fn inventory(&self, claimed: &BTreeSet<VmId>) -> HostResult<(Vec<Listed>, Policy)> {
        let look = self.look(claimed).await?;
        let mut ledger = self.0.sweeps.ledger.lock();
        let now = self.noted(&mut ledger, &look);
        let policy = self.policy(&ledger, now);
        let objects = look.objects.into_iter();
        let objects = objects.map(|object| listed(&ledger, object, now)).collect();
        Ok((objects, policy))
    }

    /// Removes what is due, or says what would be. Answers what became of everything that nobody
    /// owns, in order of removal.
    ///
    /// # Errors
    /// The host cannot be read; nothing was removed.
    pub async fn sweep(&self, asker: &Asker, dry_run: bool) -> HostResult<(Vec<Swept>, Policy)> {
        let _turn = self.0.sweeps.turn.lock().await;
        let look = self.look(&asker.claimed()).await?;
        let hindrances = self.hindrances(&look).await?;
        let planned: Vec<(Listed, Verdict)> = {
            let mut ledger = self.0.sweeps.ledger.lock();
            let now = self.noted(&mut ledger, &look);
            let settings = &self.0.sweeps.settings;
            let planned = plan(&look.objects, &hindrances, &ledger, settings, asker, now);
            let planned = planned.into_iter();
            planned.map(|item| (listed(&ledger, item.object, now), item.verdict)).collect()
        };
        let mut pass = Pass { supervisor: self, asker, table: None, gone: BTreeSet::new() };
        let mut swept = Vec::with_capacity(planned.len());
        for (item, verdict) in planned {
            let fate = match verdict {
                Verdict::Keep(kept) => Fate::Kept(kept),
                Verdict::Remove if dry_run => Fate::Removed,
                Verdict::Remove => {
                    let fate = pass.remove(&item.object).await;
                    if fate == Fate::Removed {
                        let now = self.0.shared.clock.monotonic();
                        self.0.sweeps.ledger.lock().spend(now);
                    }
                    fate
                }
            };
            swept.push((item, fate));
        }
        let gone = pass.gone;
        if !gone.is_empty() {
            self.let_go_of(&gone).await;
        }
        let now = self.0.shared.clock.monotonic();
        let policy = self.policy(&self.0.sweeps.ledger.lock(), now);
        Ok((swept, policy))
    }

    fn noted(&self, ledger: &mut Ledger, look: &Look) -> Moment {
        let now = self.0.shared.clock.monotonic();
        ledger.note(&look.objects, now);
        if let Some(observer) = &self.0.sweeps.on_seen {
            let count = |kind| {
                let of_kind = |object: &&Object| object.kind() == kind && object.is_orphan();
                (kind, look.objects.iter().filter(of_kind).count())
            };
            observer(&SweepEvent::Looked {
                orphans: Kind::ALL.into_iter().map(count).collect(),
                budget_per_hour: self.0.sweeps.settings.budget_per_hour,
                budget_left: ledger.left(&self.0.sweeps.settings, now),
            });
        }
        now
    }

    fn policy(&self, ledger: &Ledger, now: Moment) -> Policy {
        let settings = self.0.sweeps.settings;
        Policy { settings, budget_left: ledger.left(&settings, now) }
    }

    /// Keeps assignments for a VM waiting; `None` when it has an owner.
    fn withhold(&self, vm: VmId) -> Option<Withheld<'_>> {
        let vms = self.0.vms.lock();
        if vms.contains_key(&vm) {
            return None;
        }
        // Under the lock of the map, which an assignment takes before it asks for this one.
        self.0.withheld.lock().insert(vm);
        drop(vms);
        Some(Withheld { supervisor: self, vm })
    }

    /// Forgets VMs with a lost record of which nothing is left.
    async fn let_go_of(&self, gone: &BTreeSet<VmId>) {
        let look = match self.look(&BTreeSet::new()).await {
            Ok(look) => look,
            Err(error) => {
                tracing::warn!(error = error.chain(), "what is left cannot be listed");
                return;
            }
        };
        let left: BTreeSet<VmId> = look.objects.iter().filter_map(|object| object.vm).collect();
        for vm in gone.difference(&left) {
            if self.0.stranded.lock().remove(vm) {
                self.0.shared.reporter.gone(*vm, banger_proto::ids::Version::default());
                tracing::info!(%vm, "nothing is left of a VM whose record was lost");
            }
        }
    }
}

fn listed(ledger: &Ledger, object: Object, now: Moment) -> Listed {
    Listed { orphan_for: ledger.orphan_for(&object, now), object }
}

/// How many parts of a jail are removed by one sweep: half a million names.
const PARTS_OF_A_JAIL: u32 = 25;

/// The removals of one sweep.
struct Pass<'a> {
    supervisor: &'a Supervisor,
    asker: &'a Asker,
    /// The processes after those of the plan were ended; read when first needed.
    table: Option<ProcessTable>,
    /// VMs of which something was removed.
    gone: BTreeSet<VmId>,
}

impl Pass<'_> {
    async fn remove(&mut self, object: &Object) -> Fate {
        let this = self.supervisor;
        let withheld = object.vm.map(|vm| this.withhold(vm));
        if matches!(withheld, Some(None)) {
            return Fate::Kept(Kept::FoundOwner);
        }
        if let Target::Tap(tap) = &object.target
            && this.owns_tap(tap)
        {
            return Fate::Kept(Kept::FoundOwner);
        }
        if let (Some(vm), false) = (object.vm, object.kind() == Kind::Process) {
            match self.process_of(vm).await {
                Ok(None) => {}
                Ok(Some(kept)) => return Fate::Kept(kept),
                Err(error) => return Fate::Failed(left_behind(object, &error)),
            }
        }
        let removed = this.remove_object(object).await;
        drop(withheld);
        let fate = match removed {
            Ok(Removal::Done) => Fate::Removed,
            Ok(Removal::InUse) => Fate::Kept(Kept::FoundOwner),
            Err(error) => Fate::Failed(left_behind(object, &error)),
        };
        let kind = object.kind();
        let asked = matches!(self.asker, Asker::People { .. });
        match &fate {
            Fate::Removed => {
                self.gone.extend(object.vm);
                tracing::info!(
                    kind = kind.as_str(),
                    name = object.name,
                    asked,
                    "removed an object that no VM owns"
                );
            }
            Fate::Failed(why) => {
                tracing::warn!(
                    kind = kind.as_str(),
                    name = object.name,
                    asked,
                    error = why,
                    "an orphan stays"
                );
            }
            Fate::Kept(_) => return fate,
        }
        if let Some(observer) = &this.0.sweeps.on_seen {
            observer(&SweepEvent::Removed { kind, succeeded: matches!(fate, Fate::Removed) });
        }
        fate
    }

    /// Whether a VM without a record has a process after all.
    async fn process_of(&mut self, vm: VmId) -> HostResult<Option<Kept>> {
        let this = self.supervisor;
        let table = match &mut self.table {
            Some(table) => table,
            none => none.insert(ProcessTable::read(&*this.0.shared.host.processes).await?),
        };
        let Some(fault) = this.stray(vm, table).await else { return Ok(None) };
        let why = fault.message.clone();
        if matches!(self.asker, Asker::Timer) {
            this.strand(vm, Phase::Unclear, fault);
        }
        Ok(Some(Kept::ProcessStays(why)))
    }
}

/// What a removal came to.
enum Removal {
    /// The object is gone.
    Done,
    /// Somebody has begun to use it.
    InUse,
}

impl From<Change> for Removal {
    fn from(_: Change) -> Self {
        Self::Done
    }
}

/// What was tried, why it failed, and what stays.
fn left_behind(object: &Object, error: &HostError) -> String {
    format!("{}; {} {} is left behind", error.chain(), object.kind().as_str(), object.name)
}

impl Supervisor {
    fn owns_tap(&self, tap: &TapName) -> bool {
        self.0.vms.lock().keys().any(|vm| self.0.shared.naming.vm(*vm).tap == *tap)
    }

    async fn remove_object(&self, object: &Object) -> HostResult<Removal> {
        let host = &self.0.shared.host;
        Ok(match &object.target {
            Target::Process(process) => self.end_process(object, process).await?,
            Target::Cgroup(id) | Target::Jail(id) => {
                host.outputs.remove(id).await?;
                // A VMM may have filled it: it goes in parts, for as long as a sweep has time.
                let mut change = host.jails.remove(id).await?;
                for _ in 1..PARTS_OF_A_JAIL {
                    if change == Change::AlreadySo || host.jails.observe(id).await?.is_none() {
                        break;
                    }
                    change = host.jails.remove(id).await?;
                }
                if host.jails.observe(id).await?.is_some() {
                    return Err(HostError::new(HostErrorKind::Busy, "remove jail", id)
                        .detail("there is still something in it; the next sweep goes on"));
                }
                change.into()
            }
            Target::Mount(mount) => {
                // No plan says so.
                return Err(HostError::new(
                    HostErrorKind::Refused,
                    "unmount",
                    mount.path.display(),
                ));
            }
            Target::Rule(key) => {
                let pin = host.pins.remove(key).await?;
                pin.and(host.firewall.remove(key).await?).into()
            }
            Target::Tap(name) => host.taps.remove(std::slice::from_ref(name)).await?.into(),
            Target::Dm(name) => host.snapshots.remove(name).await?.into(),
            Target::Loop(facts) => host.loops.remove(facts.device, facts.backing).await?.into(),
            Target::Image(facts, image) => {
                let image = BackingFile::Image(image.clone());
                match self.0.shared.bases.detach_unused(&*host.loops, &image, facts).await? {
                    Some(change) => change.into(),
                    None => Removal::InUse,
                }
            }
            Target::Directory(dir) => host.files.remove_dir(dir).await?.into(),
        })
    }

    /// Ends a process that is, at this moment and as a whole, the one in the jail of this VM.
    async fn end_process(&self, object: &Object, process: &ProcessFacts) -> HostResult<Removal> {
        let shared = &self.0.shared;
        let verb = "end process";
        let refused =
            |why: String| HostError::new(HostErrorKind::Refused, verb, process.pid).detail(why);
        let Some(vm) = object.vm else { return Err(refused("it names no VM".to_owned())) };
        // Once more: time has passed since the plan.
        let table = ProcessTable::read(&*shared.host.processes).await?;
        match self.is_certainly(vm, process, &table).await {
            Certainly::It => {}
            Certainly::Dead => return Ok(Removal::Done),
            Certainly::Not(why) => return Err(refused(why)),
        }
        let processes = &shared.host.processes;
        processes.signal(process.pid, process.start_ticks, Signal::Kill).await?;
        let death = processes.wait_exit(process.pid, process.start_ticks);
        match tokio::time::timeout(DEATH_LIMIT, death).await {
            Ok(exit) => {
                exit?;
                // And what it started.
                shared.host.jails.end_members(&shared.naming.vm(vm).jail).await?;
                Ok(Removal::Done)
            }
            Err(_) => Err(HostError::new(HostErrorKind::TimedOut, verb, process.pid)
                .detail("it does not die of SIGKILL")),
        }
    }
}

#[cfg(test)]
mod tests;
