//! One look at the host: every list of every seam, and the records of the same moment.
//!
//! Driven by the inventory and the sweep. The records are read after the host, so that an object of
//! a VM made meanwhile has its owner. What can go wrong: a list cannot be read; then there is no
//! look at all.

use std::collections::{BTreeSet, HashMap};

use banger_proto::ids::VmId;

use super::Supervisor;
use crate::assignment::Power;
use crate::host::{Host, HostResult, JailId, Pid, ProcessFacts};
use crate::inventory::{Found, Frame, Hold, Object, Records, join};
use crate::jail::process::ProcessTable;
use crate::naming::Naming;

/// How many processes of one jail's control group are looked at. One is usual.
const LOOKED_AT: usize = 16;

/// What one look saw.
pub struct Look {
    /// Everything of banger's.
    pub objects: Vec<Object>,
}

/// Asks the operating system for everything of banger's.
///
/// # Errors
/// One of the lists cannot be read.
pub async fn observe(host: &Host, naming: Naming) -> HostResult<Found> {
    let (taps, snapshots) = (naming.tap_prefix(), naming.snapshot_prefix());
    // Processes before jails: one whose jail is made later is another's, or not yet.
    let table = ProcessTable::read(&*host.processes).await?;
    let (jails, mounts, rules, pins, taps, snapshots, loops, dirs) = futures_util::try_join!(
        host.jails.survey(),
        host.jails.mounts(),
        host.firewall.count_rules(),
        host.pins.list(),
        host.taps.list(&taps),
        host.snapshots.list(&snapshots),
        host.loops.list(),
        host.files.survey(),
    )?;
    let mut processes: HashMap<Pid, (ProcessFacts, JailId)> = HashMap::new();
    let mut told: HashMap<JailId, Vec<Pid>> = HashMap::new();
    for (facts, jail) in table.claims() {
        told.entry(jail.clone()).or_default().push(facts.pid);
        processes.insert(facts.pid, (facts.clone(), jail));
    }
    let mut members = BTreeSet::new();
    for jail in &jails {
        let told = told.get(&jail.id).map_or(&[][..], Vec::as_slice);
        if let Some(pid) = told.iter().find(|pid| jail.members.contains(pid)) {
            members.insert(*pid);
            continue;
        }
        // One that says nothing of its jail, or that it is in another. The oldest stands for all:
        // they are its children, and end with it.
        let mut oldest: Option<ProcessFacts> = None;
        for pid in jail.members.iter().take(LOOKED_AT) {
            if let Some(facts) = host.processes.observe(*pid).await?.filter(|facts| !facts.zombie)
                && oldest.as_ref().is_none_or(|oldest| facts.start_ticks < oldest.start_ticks)
            {
                oldest = Some(facts);
            }
        }
        if let Some(facts) = oldest {
            members.insert(facts.pid);
            processes.insert(facts.pid, (facts, jail.id.clone()));
        }
    }
    Ok(Found {
        processes: processes.into_values().collect(),
        members,
        jails,
        mounts,
        rules,
        pins: pins.into_keys().collect(),
        open_taps: taps.iter().filter(|tap| tap.open).map(|tap| tap.name.clone()).collect(),
        taps: taps.into_iter().map(|tap| tap.name).collect(),
        snapshots,
        loops,
        dirs,
    })
}

impl Supervisor {
    /// What the records say now.
    fn records(&self, claimed: &BTreeSet<VmId>) -> Records {
        let vms = self.0.vms.lock();
        let held = vms.iter().map(|(vm, entry)| {
            let record = entry.record.get();
            let leaving = record.is_some_and(|record| record.assignment.power == Power::Absent);
            (*vm, if leaving { Hold::Leaving } else { Hold::Kept })
        });
        let held = held.collect();
        drop(vms);
        let (lost, images) = (self.0.stranded.lock().clone(), self.0.shared.bases.in_use());
        Records { held, lost, images, claimed: claimed.clone() }
    }

    /// Looks at the host and joins what it holds with the records. `claimed` are VMs that the
    /// server knows: their taps get their names.
    ///
    /// # Errors
    /// The host cannot be read.
    pub async fn look(&self, claimed: &BTreeSet<VmId>) -> HostResult<Look> {
        let shared = &self.0.shared;
        let found = observe(&shared.host, shared.naming).await?;
        let dirs = shared.host.loops.dirs();
        let frame = Frame {
            naming: shared.naming,
            boot_id: &shared.boot_id,
            boot_time: shared.boot_time,
            now: u64::try_from(shared.clock.now().as_second()).unwrap_or(0),
            images: &dirs.images,
            scratch: &dirs.scratch,
        };
        Ok(Look { objects: join(&found, &self.records(claimed), frame) })
    }
}
