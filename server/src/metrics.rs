//! What an operator can see: counters that are kept, and gauges read when somebody asks.
//!
//! One value handed around; recording is lock-free or nearly so and never fails. The text is that
//! of Prometheus (OpenMetrics), served beside the API by [`crate::server`]. Label values come from
//! closed lists only: a caller can't make a new series.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use banger_wire::service::calls::{Calls, seconds};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::model::audit_room::AuditRoom;
use crate::model::host::HostState;
use crate::store::CommitStats;
use crate::watch::View;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CommitResult {
    result: &'static str,
}

/// All metrics of the server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    calls: Calls,
    passes: Counter,
    pass_vms: Histogram,
    pass_seconds: Histogram,
    lag_seconds: Histogram,
    commits: Family<CommitResult, Counter>,
    commit_mutations: Histogram,
    commit_rows: Histogram,
    commit_seconds: Histogram,
    vms: Family<State, Gauge>,
    vms_unplaced: Gauge,
    hosts: Family<State, Gauge>,
    not_renewed: Gauge,
    next_expiry: Gauge,
    watchers: Gauge,
    revision: Gauge,
    epoch: Gauge,
    audit_records: Gauge,
    audit_limit: Gauge,
}

fn counts() -> Histogram {
    // 1 to 16384.
    Histogram::new(exponential_buckets(1.0, 4.0, 8))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("banger_server");
        let calls = Calls::register(&mut registry, &API_DESCRIPTORS);
        let passes = Counter::default();
        registry.register("reconcile_passes", "Passes of the drivers of hosts", passes.clone());
        let pass_vms = counts();
        registry.register("reconcile_pass_vms", "VMs looked at in a pass", pass_vms.clone());
        let pass_seconds = seconds();
        registry.register(
            "reconcile_pass_duration_seconds",
            "How long a pass took, without what it sent",
            pass_seconds.clone(),
        );
        let lag_seconds = seconds();
        registry.register(
            "reconcile_lag_seconds",
            "From a change of intent until its agent has accepted it",
            lag_seconds.clone(),
        );
        let commits = Family::default();
        registry.register("store_commits", "Commits of the store, by result", commits.clone());
        let commit_mutations = counts();
        registry.register(
            "store_commit_mutations",
            "Mutations in one commit",
            commit_mutations.clone(),
        );
        let commit_rows = counts();
        registry.register(
            "store_commit_rows",
            "Rows written or removed in one commit",
            commit_rows.clone(),
        );
        let commit_seconds = seconds();
        registry.register(
            "store_commit_duration_seconds",
            "How long a commit took, its sync to disk included",
            commit_seconds.clone(),
        );
        let vms = Family::default();
        registry.register("vms", "VMs by state", vms.clone());
        let vms_unplaced = Gauge::default();
        registry.register("vms_unplaced", "VMs without a host", vms_unplaced.clone());
        let hosts = Family::default();
        registry.register("hosts", "Hosts by the state of their sessions", hosts.clone());
        let not_renewed = Gauge::default();
        registry.register(
            "agent_certificates_not_renewed",
            "Hosts whose agent's certificate is due and could not be renewed at the newest try",
            not_renewed.clone(),
        );
        let next_expiry = Gauge::default();
        registry.register(
            "agent_certificate_next_expiry_seconds",
            "When the first certificate of an agent expires, in seconds since 1970; 0: there is none",
            next_expiry.clone(),
        );
        let watchers = Gauge::default();
        registry.register("watch_subscribers", "Open streams of VM changes", watchers.clone());
        let revision = Gauge::default();
        registry.register("watch_revision", "Revision of the newest change", revision.clone());
        let epoch = Gauge::default();
        registry.register("store_epoch", "Epoch of the store", epoch.clone());
        let audit_records = Gauge::default();
        registry.register("audit_records", "Records of who did what", audit_records.clone());
        let audit_limit = Gauge::default();
        registry.register(
            "audit_records_limit",
            "How many records of who did what there may be; at 95 % of it only admins change anything",
            audit_limit.clone(),
        );
        let inner = Inner {
            registry,
            calls,
            passes,
            pass_vms,
            pass_seconds,
            lag_seconds,
            commits,
            commit_mutations,
            commit_rows,
            commit_seconds,
            vms,
            vms_unplaced,
            hosts,
            not_renewed,
            next_expiry,
            watchers,
            revision,
            epoch,
            audit_records,
            audit_limit,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Where the calls of the API are counted.
    pub fn calls(&self) -> Calls {
        self.inner.calls.clone()
    }

    /// One pass of a driver.
    pub fn reconcile_pass(&self, vms: u32, took: Duration) {
        self.inner.passes.inc();
        self.inner.pass_vms.observe(f64::from(vms));
        self.inner.pass_seconds.observe(took.as_secs_f64());
    }

    /// An agent has accepted an intent this long after it changed.
    pub fn intent_delivered(&self, after: Duration) {
        self.inner.lag_seconds.observe(after.as_secs_f64());
    }

    /// One commit of the store.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub fn commit(&self, stats: CommitStats) {
        let result = if stats.failed { "failed" } else { "committed" };
        self.inner.commits.get_or_create(&CommitResult { result }).inc();
        self.inner.commit_mutations.observe(stats.mutations as f64);
        self.inner.commit_rows.observe(stats.rows as f64);
        self.inner.commit_seconds.observe(stats.duration.as_secs_f64());
    }

    /// How much room the audit has.
    pub fn audit(&self, room: AuditRoom) {
        self.inner.audit_records.set(gauge(room.records));
        self.inner.audit_limit.set(gauge(room.max));
    }

    /// Everything as text, with what the view shows now.
    pub fn render(&self, view: &View) -> String {
        let inner = &self.inner;
        for (state, count) in view.states() {
            inner.vms.get_or_create(&State { state: state.as_str() }).set(gauge(count));
        }
        inner.vms_unplaced.set(gauge(view.unplaced()));
        let mut hosts = [0_u64; HOST_STATES.len()];
        let (mut not_renewed, mut next_expiry) = (0_u64, None);
        for host in view.hosts() {
            let seen = host.certificate.as_deref();
            not_renewed += u64::from(seen.is_some_and(|seen| seen.failure.is_some()));
            let until = host.view.record.certificate_expires_at.as_second();
            next_expiry = Some(next_expiry.map_or(until, |next: i64| next.min(until)));
            let state = host.view.health.state;
            if let Some(index) = HOST_STATES.iter().position(|known| *known == state) {
                hosts[index] += 1;
            }
        }
        for (state, count) in HOST_STATES.iter().zip(hosts) {
            inner.hosts.get_or_create(&State { state: state.as_str() }).set(gauge(count));
        }
        inner.not_renewed.set(gauge(not_renewed));
        inner.next_expiry.set(next_expiry.unwrap_or_default());
        inner.watchers.set(gauge(view.subscribers()));
        inner.revision.set(gauge(view.revision().0));
        inner.epoch.set(gauge(view.epoch().0));
        let mut out = String::new();
        if let Err(error) = text::encode(&mut out, &inner.registry) {
            // Writing to a string does not fail; a metric that can't be written is a defect.
            let _ = writeln!(out, "# {error}");
        }
        out
    }
}

/// The public API, health and reflection.
pub const API_DESCRIPTORS: [&[u8]; 4] = [
    banger_proto::FILE_DESCRIPTOR_SET,
    tonic_health::pb::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
];

const HOST_STATES: [HostState; 5] = [
    HostState::Connecting,
    HostState::Online,
    HostState::Suspect,
    HostState::Offline,
    HostState::Revoked,
];

fn gauge(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
