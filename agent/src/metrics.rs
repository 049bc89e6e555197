//! What an operator can see of the agent: counters that are kept, and gauges read when somebody
//! asks.
//!
//! Recording never fails and never waits. The text is that of Prometheus (OpenMetrics), served by
//! [`listener`]. Label values come from closed lists only: a caller can't make a new series. The
//! one exception are the series of each VM, which are made anew from the reports for each page.

mod traffic;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use banger_wire::service::calls::{Calls, seconds};
use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::host::{RefusedFor, Room};
use crate::report::Reporter;
use crate::report::phase::{Phase, Reason};

pub mod listener;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Effect {
    effect: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Removal {
    kind: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    why: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InPhase {
    phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfVm {
    vm: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Alarm {
    reason: &'static str,
}

/// All metrics of the agent. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    calls: Calls,
    effects: Family<Effect, Histogram>,
    vms: Family<InPhase, Gauge>,
    orphans: Family<OfKind, Gauge>,
    removals: Family<Removal, Counter>,
    sweep_budget: Gauge,
    sweep_budget_left: Gauge,
    epoch: Gauge,
    certificate_not_after: Gauge,
    disk_free: Gauge,
    disk_size: Gauge,
    disk_alarms: Family<Alarm, Gauge>,
    refused: Family<Refusal, Counter>,
    /// What the kernel's own counters said last.
    refused_before: Mutex<BTreeMap<RefusedFor, u64>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("banger_agent");
        let calls = Calls::register(&mut registry, &[banger_proto::FILE_DESCRIPTOR_SET]);
        let effects = Family::new_with_constructor(seconds as fn() -> Histogram);
        registry.register(
            "effect_duration_seconds",
            "How long effects on the host took, by kind and result",
            effects.clone(),
        );
        let vms = Family::default();
        registry.register("vms", "VMs of the host, by phase", vms.clone());
        let orphans = Family::default();
        registry.register(
            "orphans",
            "Objects of this agent that no VM owns, by kind, at the last look",
            orphans.clone(),
        );
        let removals = Family::default();
        registry.register(
            "orphan_removals",
            "Removals of orphans that came to an end, by kind and result",
            removals.clone(),
        );
        let (sweep_budget, sweep_budget_left) = (Gauge::default(), Gauge::default());
        registry.register(
            "sweep_budget_per_hour",
            "Most removals of orphans in any hour",
            sweep_budget.clone(),
        );
        registry.register(
            "sweep_budget_left",
            "Removals of orphans that were left at the last look",
            sweep_budget_left.clone(),
        );
        let epoch = Gauge::default();
        registry.register("epoch", "How often the agent has started on this host", epoch.clone());
        let certificate_not_after = Gauge::default();
        registry.register(
            "certificate_not_after_seconds",
            "When the agent's certificate expires, in seconds since 1970; 0: not known",
            certificate_not_after.clone(),
        );
        let disk_free = Gauge::default();
        let help = "Room left on the disk with the VMs' directories";
        registry.register("disk_free_bytes", help, disk_free.clone());
        let disk_size = Gauge::default();
        let help = "Size of the disk with the VMs' directories";
        registry.register("disk_size_bytes", help, disk_size.clone());
        let disk_alarms = Family::default();
        let help = "VMs whose root disk is nearly full, full or lost, by reason";
        registry.register("root_disk_alarms", help, disk_alarms.clone());
        let refused = Family::default();
        let help =
            "Packets of guests that were dropped: none a guest may send, or past a bound, by why";
        registry.register("refused_packets", help, refused.clone());
        let inner = Inner {
            registry,
            calls,
            effects,
            vms,
            orphans,
            removals,
            sweep_budget,
            sweep_budget_left,
            epoch,
            certificate_not_after,
            disk_free,
            disk_size,
            disk_alarms,
            refused,
            refused_before: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Where the calls of the agent's service are counted.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.inner.calls.clone()
    }

    /// An effect on the host came to an end.
    pub fn effect(&self, effect: &'static str, succeeded: bool, took: Duration) {
        let result = if succeeded { "ok" } else { "error" };
        self.inner.effects.get_or_create(&Effect { effect, result }).observe(took.as_secs_f64());
    }

    /// The host was looked at: how many orphans of each kind there are, how many may be removed in
    /// an hour, and how many of those are left.
    pub fn orphans(
        &self,
        orphans: impl Iterator<Item = (&'static str, usize)>,
        budget_per_hour: u32,
        budget_left: u32,
    ) {
        for (kind, count) in orphans {
            let gauge = self.inner.orphans.get_or_create(&OfKind { kind });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.inner.sweep_budget.set(budget_per_hour.into());
        self.inner.sweep_budget_left.set(budget_left.into());
    }

    /// The removal of an orphan came to an end.
    pub fn swept(&self, kind: &'static str, succeeded: bool) {
        let result = if succeeded { "ok" } else { "error" };
        self.inner.removals.get_or_create(&Removal { kind, result }).inc();
    }

    /// What the kernel has counted of refused packets so far. It begins anew when the tables of
    /// guests are made anew.
    pub fn refused(&self, now: &BTreeMap<RefusedFor, u64>) {
        let mut before = self.inner.refused_before.lock();
        for (why, packets) in now {
            let known = before.insert(*why, *packets).unwrap_or(0);
            let more = packets.checked_sub(known).unwrap_or(*packets);
            self.inner.refused.get_or_create(&Refusal { why: why.as_str() }).inc_by(more);
        }
    }

    /// Which life of the agent this is.
    pub fn set_epoch(&self, epoch: u64) {
        self.inner.epoch.set(i64::try_from(epoch).unwrap_or(i64::MAX));
    }

    /// When the certificate that is in use expires, in seconds since 1970.
    pub fn set_certificate(&self, not_after: Option<i64>) {
        self.inner.certificate_not_after.set(not_after.unwrap_or_default());
    }

    /// Room of the disk with the VMs' directories, as seen last.
    pub fn set_room(&self, room: Room) {
        self.inner.disk_free.set(i64::try_from(room.free_bytes).unwrap_or(i64::MAX));
        self.inner.disk_size.set(i64::try_from(room.total_bytes).unwrap_or(i64::MAX));
    }

    /// The text for Prometheus, with the VMs as they are now.
    ///
    /// # Errors
    /// Never with a `String` below; the encoder's signature has one.
    pub fn encode(&self, reports: &Reporter) -> Result<String, std::fmt::Error> {
        let counts = reports.count_by_phase();
        for phase in PHASES {
            let count = counts.get(&phase).copied().unwrap_or(0);
            let gauge = self.inner.vms.get_or_create(&InPhase { phase: label(phase) });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let mut page = String::new();
        let root_disks = self.root_disks(reports);
        text::encode_registry(&mut page, &self.inner.registry)?;
        text::encode_registry(&mut page, &root_disks)?;
        text::encode_registry(&mut page, &traffic::series(&reports.traffic()))?;
        text::encode_eof(&mut page)?;
        Ok(page)
    }
}

impl Metrics {
    /// The series of each VM, for one page.
    fn root_disks(&self, reports: &Reporter) -> Registry {
        let mut alarms = DISK_REASONS.map(|reason| (reason, 0_i64));
        let ratios = Family::<OfVm, Gauge<f64, AtomicU64>>::default();
        let sizes = Family::<OfVm, Gauge>::default();
        for report in reports.all() {
            let reason = report.fault.as_ref().map(|fault| fault.reason);
            if let Some((_, count)) = alarms.iter_mut().find(|(alarm, _)| Some(*alarm) == reason) {
                *count += 1;
            }
            let Some((used, total)) = report.devices.cow_sectors.filter(|(_, total)| *total > 0)
            else {
                continue;
            };
            let vm = OfVm { vm: report.vm.to_string() };
            let size = total.saturating_mul(512);
            sizes.get_or_create(&vm).set(i64::try_from(size).unwrap_or(i64::MAX));
            #[expect(clippy::cast_precision_loss, reason = "a ratio, shown to a few digits")]
            ratios.get_or_create(&vm).set(used as f64 / total as f64);
        }
        for (reason, count) in alarms {
            let alarm = Alarm { reason: reason.as_str() };
            self.inner.disk_alarms.get_or_create(&alarm).set(count);
        }
        let mut registry = Registry::with_prefix("banger_agent");
        let help = "How full the store of a VM's root disk is, 0 to 1";
        registry.register("root_disk_used_ratio", help, ratios);
        let help = "Length of the store of a VM's root disk";
        registry.register("root_disk_size_bytes", help, sizes);
        registry
    }
}

/// The reasons that are alarms about a root disk.
const DISK_REASONS: [Reason; 3] =
    [Reason::RootDiskNearlyFull, Reason::RootDiskFull, Reason::RootDiskLost];

const PHASES: [Phase; 10] = [
    Phase::Preparing,
    Phase::Starting,
    Phase::Running,
    Phase::Paused,
    Phase::Stopping,
    Phase::Stopped,
    Phase::Crashed,
    Phase::Failed,
    Phase::Deleting,
    Phase::Unclear,
];

const fn label(phase: Phase) -> &'static str {
    match phase {
        Phase::Preparing => "preparing",
        Phase::Starting => "starting",
        Phase::Running => "running",
        Phase::Paused => "paused",
        Phase::Stopping => "stopping",
        Phase::Stopped => "stopped",
        Phase::Crashed => "crashed",
        Phase::Failed => "failed",
        Phase::Deleting => "deleting",
        Phase::Unclear => "unclear",
        Phase::Gone => "gone",
    }
}

#[cfg(test)]
mod tests;
