//! What the host reports: a full inventory, then every change. [`phase`] is what a VM is seen to
//! be.
//!
//! VM tasks publish, the Observe stream reads. Every change gets a number; a VM has one place in
//! the order, that of its newest change, so that a reader who is slow finds each VM once, as it
//! is now, and memory stays bounded by the number of VMs. A VM that is gone leaves a tombstone;
//! of those the newest are kept, and a reader so slow that one it has not seen was dropped is
//! told to begin anew ([`Lagged`]).

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use banger_proto::ids::{Version, VmId};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::assignment::Exit;
use crate::guests::GuestSeen;
use crate::handles::ProcessIdentity;
use crate::host::{BoundsSeen, Traffic};

pub mod phase;

use phase::{Fault, Phase};

/// How many VMs that are gone are remembered for slow readers.
const TOMBSTONES: usize = 4096;

/// How many changes are handed out at once.
const PART: usize = 256;

/// What is shown of one VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmReport {
    /// Which VM.
    pub vm: VmId,
    /// As last told; may be empty.
    pub name: String,
    /// The guest's address as last told.
    pub guest_address: Option<Ipv4Addr>,
    /// The highest version accepted; 0.0 when the record is lost.
    pub accepted: Version,
    /// The version for which nothing is left to do, or at which the agent failed.
    pub settled: Option<Version>,
    /// What it is seen to be.
    pub phase: Phase,
    /// Since when.
    pub phase_since: Timestamp,
    /// When this was seen.
    pub observed_at: Timestamp,
    /// What went wrong.
    pub fault: Option<Fault>,
    /// When the agent tries again.
    pub next_attempt_at: Option<Timestamp>,
    /// The VMM process.
    pub process: Option<ProcessIdentity>,
    /// When it started.
    pub process_started_at: Option<Timestamp>,
    /// The boot of the host that this was seen in.
    pub boot_id: String,
    /// How the process last ended.
    pub exit: Option<Exit>,
    /// Starts after ends by itself.
    pub restart_count: u32,
    /// When this life of the agent took over the process that an earlier one had started.
    pub adopted_at: Option<Timestamp>,
    /// What its guest agent says.
    pub guest: Option<GuestSeen>,
    /// Kernel objects, by name.
    pub devices: Devices,
    /// What the control group of its process holds it to.
    pub bounds: Option<BoundsSeen>,
}

/// Kernel objects, by name; empty where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devices {
    /// The tap.
    pub tap: String,
    /// The root image's loop device.
    pub base_loop: String,
    /// The copy-on-write store's loop device.
    pub cow_loop: String,
    /// The root disk.
    pub snapshot: String,
    /// Sectors of the store, used and in all, when they were last looked at.
    pub cow_sectors: Option<(u64, u64)>,
    /// API socket on the host.
    pub api_socket: String,
    /// vsock socket on the host.
    pub vsock_socket: String,
    /// What it runs under.
    pub vmm: &'static str,
    /// How its root disk is made.
    pub root_disk: &'static str,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reported {
    /// A VM is as reported now.
    Vm(Arc<VmReport>),
    /// Nothing of a VM is left, confirmed.
    Gone {
        /// Which VM.
        vm: VmId,
        /// The version that asked for it.
        version: Version,
    },
}

/// A reader fell so far behind that it must begin anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reader fell too far behind; it must begin with the inventory again")]
pub struct Lagged;

/// Collects reports and hands them on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reporter(Arc<ReporterInner>);

#[derive(Debug)]
struct ReporterInner {
    board: Mutex<Board>,
    /// What guests that run have sent and received, as counted last. No change of a VM: nobody is
    /// woken for it.
    traffic: Mutex<Arc<BTreeMap<VmId, Traffic>>>,
    /// The number of the newest change; wakes readers.
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Board {
    newest: u64,
    /// The newest change of each VM, gone or not.
    changes: BTreeMap<u64, Reported>,
    place: HashMap<VmId, u64>,
    tombstones: BTreeMap<u64, VmId>,
    /// The highest place of a tombstone that was dropped.
    dropped: u64,
}

impl Board {
    fn reports(&self) -> Vec<Arc<VmReport>> {
        let report = |change: &Reported| match change {
            Reported::Vm(report) => Some(Arc::clone(report)),
            Reported::Gone { .. } => None,
        };
        self.changes.values().filter_map(report).collect()
    }

    fn put(&mut self, vm: VmId, change: Reported) -> u64 {
        self.newest += 1;
        if let Some(old) = self.place.insert(vm, self.newest) {
            self.changes.remove(&old);
            self.tombstones.remove(&old);
        }
        if matches!(change, Reported::Gone { .. }) {
            self.tombstones.insert(self.newest, vm);
        }
        self.changes.insert(self.newest, change);
        if self.tombstones.len() > TOMBSTONES
            && let Some((place, vm)) = self.tombstones.pop_first()
        {
            self.changes.remove(&place);
            self.place.remove(&vm);
            self.dropped = place;
        }
        self.newest
    }
}

impl Default for Reporter {
    fn default() -> Self {
        Self::new()
    }
}

impl Reporter {
    /// With nothing to report.
    #[must_use]
    pub fn new() -> Self {
        let newest = watch::Sender::new(0);
        let (board, traffic) = (Mutex::default(), Mutex::default());
        Self(Arc::new(ReporterInner { board, traffic, newest }))
    }

    /// A VM is as reported now.
    pub fn publish(&self, report: Arc<VmReport>) {
        self.put(report.vm, Reported::Vm(report));
    }

    /// Nothing of a VM is left.
    pub fn gone(&self, vm: VmId, version: Version) {
        self.put(vm, Reported::Gone { vm, version });
    }

    fn put(&self, vm: VmId, change: Reported) {
        let mut board = self.0.board.lock();
        let newest = board.put(vm, change);
        // Under the lock, so that the number never goes back.
        self.0.newest.send_replace(newest);
    }

    /// The report on one VM.
    #[must_use]
    pub fn get(&self, vm: VmId) -> Option<Arc<VmReport>> {
        let board = self.0.board.lock();
        match board.changes.get(board.place.get(&vm)?)? {
            Reported::Vm(report) => Some(Arc::clone(report)),
            Reported::Gone { .. } => None,
        }
    }

    /// All reports.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<VmReport>> {
        self.0.board.lock().reports()
    }

    /// All reports, and a reader of every change after them.
    #[must_use]
    pub fn subscribe(&self) -> (Vec<Arc<VmReport>>, Subscription) {
        let board = self.0.board.lock();
        let inventory = board.reports();
        let reader = Subscription {
            shared: Arc::clone(&self.0),
            newest: self.0.newest.subscribe(),
            seen: board.newest,
        };
        (inventory, reader)
    }

    /// Notes what guests have sent and received, in place of what was noted before.
    pub fn set_traffic(&self, traffic: BTreeMap<VmId, Traffic>) {
        *self.0.traffic.lock() = Arc::new(traffic);
    }

    /// As it was counted last.
    #[must_use]
    pub fn traffic(&self) -> Arc<BTreeMap<VmId, Traffic>> {
        Arc::clone(&self.0.traffic.lock())
    }

    /// Reports by phase, for metrics.
    #[must_use]
    pub fn count_by_phase(&self) -> HashMap<Phase, usize> {
        let mut counts = HashMap::new();
        for change in self.0.board.lock().changes.values() {
            if let Reported::Vm(report) = change {
                *counts.entry(report.phase).or_default() += 1;
            }
        }
        counts
    }

    /// Waits until a predicate holds of a VM's report (`None`: not there or gone).
    pub async fn wait_for(
        &self,
        vm: VmId,
        mut holds: impl FnMut(Option<&VmReport>) -> bool,
    ) -> Option<Arc<VmReport>> {
        let mut newest = self.0.newest.subscribe();
        loop {
            newest.mark_unchanged();
            let report = self.get(vm);
            if holds(report.as_deref()) {
                return report;
            }
            if newest.changed().await.is_err() {
                return None;
            }
        }
    }
}

/// A cursor over the changes.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<ReporterInner>,
    newest: watch::Receiver<u64>,
    seen: u64,
}

impl Subscription {
    /// Changes in order, at most a few hundred, as soon as there is one. Cancel-safe: the cursor
    /// moves only with the answer.
    ///
    /// # Errors
    /// [`Lagged`].
    pub async fn changes(&mut self) -> Result<Vec<Reported>, Lagged> {
        loop {
            self.newest.mark_unchanged();
            let changes = self.take(PART)?;
            if !changes.is_empty() {
                return Ok(changes);
            }
            // The sender lives in `shared`, which this reader holds: an error cannot come.
            let _ = self.newest.changed().await;
        }
    }

    fn take(&mut self, limit: usize) -> Result<Vec<Reported>, Lagged> {
        let board = self.shared.board.lock();
        if self.seen < board.dropped {
            return Err(Lagged);
        }
        let mut changes = Vec::new();
        for (place, change) in board.changes.range(self.seen + 1..).take(limit) {
            self.seen = *place;
            changes.push(change.clone());
        }
        Ok(changes)
    }
}

#[cfg(test)]
mod tests;
