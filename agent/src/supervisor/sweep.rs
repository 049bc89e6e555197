//! Objects of ours that no VM owns: found, waited for, then removed within a budget.
//!
//! Driven by a timer of the supervisor. An object counts as ours by its name, and as an orphan
//! when neither a VM with a record nor one whose record is lost owns it. It is removed only when
//! it was an orphan for a whole grace period, when the VM it is named after has no process, and
//! within a number of removals each hour, so that a mistake of ours stays small. What fails is
//! tried again at the next round.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use banger_proto::ids::VmId;

use super::Supervisor;
use crate::clock::Moment;
use crate::host::{
    BackingFile, DmName, GuestKey, HostResult, ImageName, JailId, LoopFacts, TapName,
};
use crate::jail::process::ProcessTable;
use crate::naming;
use crate::vm::phase::Phase;

/// When and how much.
#[derive(Debug, Clone, Copy)]
pub struct SweepSettings {
    /// How long an object has to be an orphan.
    pub grace: Duration,
    /// Time between rounds after the first two.
    pub interval: Duration,
    /// Removals in an hour.
    pub budget_per_hour: u32,
}

impl Default for SweepSettings {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(60),
            interval: Duration::from_secs(600),
            budget_per_hour: 200,
        }
    }
}

/// An object that no VM owns, in the order of removal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Orphan {
    /// A jail, with its control group and symlinks.
    Jail(JailId),
    /// A guest's rules.
    Rules(GuestKey),
    /// A tap.
    Tap(TapName),
    /// A root disk.
    Snapshot(DmName),
    /// A loop device, by its number and backing path: over a VM's store, or over an image that
    /// nobody uses.
    Loop(u32, String),
}

/// Everything of ours on the host.
#[derive(Debug, Default)]
pub struct Found {
    /// Jails.
    pub jails: Vec<JailId>,
    /// Guests with rules.
    pub rules: Vec<GuestKey>,
    /// Taps.
    pub taps: Vec<TapName>,
    /// Snapshots.
    pub snapshots: Vec<DmName>,
    /// Loop devices.
    pub loops: Vec<LoopFacts>,
}

/// The orphans among what was found. `owners` own objects; `owned_taps` are the names of theirs.
#[must_use]
pub fn orphans(
    found: &Found,
    naming: naming::Naming,
    owners: &BTreeSet<VmId>,
    owned_taps: &BTreeSet<TapName>,
) -> BTreeSet<Orphan> {
    let orphan = |vm: Option<VmId>| vm.is_some_and(|vm| !owners.contains(&vm));
    let mut orphans = BTreeSet::new();
    orphans.extend(
        found.jails.iter().filter(|id| orphan(naming::vm_of_jail(id))).cloned().map(Orphan::Jail),
    );
    orphans.extend(
        found.rules.iter().filter(|k| orphan(naming::vm_of_rules(k))).cloned().map(Orphan::Rules),
    );
    orphans.extend(
        found
            .taps
            .iter()
            .filter(|tap| naming.is_tap(tap) && !owned_taps.contains(tap))
            .cloned()
            .map(Orphan::Tap),
    );
    orphans.extend(
        found
            .snapshots
            .iter()
            .filter(|name| orphan(naming.vm_of_snapshot(name)))
            .cloned()
            .map(Orphan::Snapshot),
    );
    orphans.extend(
        found
            .loops
            .iter()
            .filter(|facts| match vm_of_loop(&facts.backing_path) {
                Some(vm) => !owners.contains(&vm),
                None => facts.read_only && facts.holders.is_empty(),
            })
            .map(|facts| {
                Orphan::Loop(facts.device.0, facts.backing_path.to_string_lossy().into_owned())
            }),
    );
    orphans
}

/// The VM whose directory a loop device's file lies in.
fn vm_of_loop(path: &Path) -> Option<VmId> {
    path.parent()?.file_name()?.to_str()?.parse().ok()
}

/// What was an orphan since when, and what was removed this hour.
#[derive(Debug, Default)]
pub struct Ledger {
    since: BTreeMap<Orphan, Moment>,
    hour: Option<Moment>,
    removed: u32,
}

impl Ledger {
    /// Notes the orphans of a round and says which of them are due, in order of removal.
    pub fn due(
        &mut self,
        orphans: BTreeSet<Orphan>,
        settings: &SweepSettings,
        now: Moment,
    ) -> Vec<Orphan> {
        if self.hour.is_none_or(|hour| hour.after(Duration::from_secs(3600)) <= now) {
            self.hour = Some(now);
            self.removed = 0;
        }
        self.since.retain(|orphan, _| orphans.contains(orphan));
        for orphan in orphans {
            self.since.entry(orphan).or_insert(now);
        }
        let left = settings.budget_per_hour.saturating_sub(self.removed) as usize;
        let due: Vec<Orphan> = self
            .since
            .iter()
            .filter(|(_, since)| since.after(settings.grace) <= now)
            .map(|(orphan, _)| orphan.clone())
            .take(left)
            .collect();
        self.removed = self.removed.saturating_add(u32::try_from(due.len()).unwrap_or(u32::MAX));
        due
    }
}

impl Supervisor {
    /// Sweeps until the agent stops.
    pub fn spawn_sweep(&self, settings: SweepSettings) {
        let this = self.clone();
        self.0.tasks.spawn(async move {
            let stop = this.0.stop.clone();
            let rounds = async {
                let mut ledger = Ledger::default();
                let mut pause = settings.grace;
                loop {
                    this.sweep_round(&mut ledger, &settings).await;
                    tokio::time::sleep(pause).await;
                    if !ledger.since.is_empty() {
                        pause = settings.grace;
                        this.sweep_round(&mut ledger, &settings).await;
                    }
                    pause = settings.interval.max(pause);
                }
            };
            // Cancel-safe: every removal is idempotent and found again.
            tokio::select! {
                () = stop.cancelled() => {}
                () = rounds => {}
            }
        });
    }

    /// One round: look, note, remove what is due. Answers what was removed.
    pub async fn sweep_round(&self, ledger: &mut Ledger, settings: &SweepSettings) -> Vec<Orphan> {
        let found = match self.find_objects().await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(error = error.chain(), "the host's objects cannot be listed");
                return Vec::new();
            }
        };
        // Owners are read after the objects: an object of a VM made meanwhile has its owner.
        let owners = self.owners();
        let naming = self.0.shared.naming;
        let taps = owners.iter().map(|vm| naming.vm(*vm).tap).collect();
        let orphans = orphans(&found, naming, &owners, &taps);
        let due = ledger.due(orphans, settings, self.0.shared.clock.monotonic());
        if due.is_empty() {
            return due;
        }
        let table = match ProcessTable::read(&*self.0.shared.host.processes).await {
            Ok(table) => table,
            Err(error) => {
                tracing::warn!(error = error.chain(), "processes cannot be listed");
                return Vec::new();
            }
        };
        let mut removed = Vec::new();
        for orphan in due {
            if !self.may_remove(&orphan, &table).await {
                continue;
            }
            match self.remove_orphan(&orphan, &found).await {
                Ok(()) => {
                    tracing::info!(?orphan, "removed an object that no VM owns");
                    removed.push(orphan);
                }
                Err(error) => {
                    tracing::warn!(?orphan, error = error.chain(), "an orphan stays");
                }
            }
        }
        removed
    }

    async fn find_objects(&self) -> HostResult<Found> {
        let (host, naming) = (&self.0.shared.host, self.0.shared.naming);
        let (taps, snapshots) = (naming.tap_prefix(), naming.snapshot_prefix());
        let (jails, rules, taps, snapshots, loops) = futures_util::try_join!(
            host.jails.list(),
            host.firewall.list(),
            host.taps.list(&taps),
            host.snapshots.list(&snapshots),
            host.loops.list(),
        )?;
        Ok(Found {
            jails,
            rules: rules.into_keys().collect(),
            taps: taps.into_iter().map(|tap| tap.name).collect(),
            snapshots: snapshots.into_iter().map(|snapshot| snapshot.name).collect(),
            loops,
        })
    }

    /// The last look before a removal: the VM was not adopted meanwhile, and has no process.
    async fn may_remove(&self, orphan: &Orphan, table: &ProcessTable) -> bool {
        let vm = match orphan {
            Orphan::Jail(id) => naming::vm_of_jail(id),
            Orphan::Rules(key) => naming::vm_of_rules(key),
            Orphan::Snapshot(name) => self.0.shared.naming.vm_of_snapshot(name),
            Orphan::Loop(_, path) => vm_of_loop(Path::new(path)),
            Orphan::Tap(name) => {
                let naming = self.0.shared.naming;
                return !self.owners().iter().any(|vm| naming.vm(*vm).tap == *name);
            }
        };
        let Some(vm) = vm else { return true };
        if self.owners().contains(&vm) {
            return false;
        }
        if let Some(fault) = self.stray(vm, table).await {
            self.strand(vm, Phase::Unclear, fault);
            return false;
        }
        true
    }

    async fn remove_orphan(&self, orphan: &Orphan, found: &Found) -> HostResult<()> {
        let host = &self.0.shared.host;
        match orphan {
            Orphan::Jail(id) => {
                host.outputs.remove(id).await?;
                host.jails.remove(id).await?;
            }
            Orphan::Rules(key) => {
                host.firewall.remove(key).await?;
            }
            Orphan::Tap(name) => {
                host.taps.remove(std::slice::from_ref(name)).await?;
            }
            Orphan::Snapshot(name) => {
                host.snapshots.remove(name).await?;
            }
            Orphan::Loop(number, _) => {
                let Some(facts) = found.loops.iter().find(|facts| facts.device.0 == *number) else {
                    return Ok(());
                };
                match (vm_of_loop(&facts.backing_path), image_of(&facts.backing_path)) {
                    (None, Some(image)) => {
                        let image = BackingFile::Image(image);
                        self.0.shared.bases.detach_unused(&*host.loops, &image, facts).await?;
                    }
                    (Some(_), _) | (None, None) => {
                        host.loops.remove(facts.device, facts.backing).await?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The image a loop device stands on, also when it was unlinked since.
fn image_of(path: &Path) -> Option<ImageName> {
    let name = path.file_name()?.to_str()?;
    ImageName::new(name.strip_suffix(" (deleted)").unwrap_or(name)).ok()
}

#[cfg(test)]
mod tests;
