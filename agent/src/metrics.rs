//! What an operator can see of the agent: counters that are kept, and gauges read when somebody
//! asks.
//!
//! Recording never fails and never waits. The text is that of Prometheus (OpenMetrics), served by
//! [`listener`]. Label values come from closed lists only: a caller can't make a new series.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use prost::Message as _;

use crate::report::Reporter;
use crate::vm::phase::Phase;

pub mod listener;
pub mod rpc;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rpc {
    method: Arc<str>,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Effect {
    effect: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InPhase {
    phase: &'static str,
}

/// All metrics of the agent. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    methods: HashSet<Arc<str>>,
    other_method: Arc<str>,
    rpcs: Family<Rpc, Counter>,
    effects: Family<Effect, Histogram>,
    vms: Family<InPhase, Gauge>,
    epoch: Gauge,
}

fn seconds() -> Histogram {
    // 50 µs to 26 s.
    Histogram::new(exponential_buckets(0.000_05, 3.0, 13))
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
        let rpcs = Family::default();
        registry.register("rpcs", "Calls answered, by method and gRPC code", rpcs.clone());
        let effects = Family::new_with_constructor(seconds as fn() -> Histogram);
        registry.register(
            "effect_duration_seconds",
            "How long effects on the host took, by kind and result",
            effects.clone(),
        );
        let vms = Family::default();
        registry.register("vms", "VMs of the host, by phase", vms.clone());
        let epoch = Gauge::default();
        registry.register("epoch", "How often the agent has started on this host", epoch.clone());
        let methods = methods();
        let inner =
            Inner { registry, methods, other_method: "other".into(), rpcs, effects, vms, epoch };
        Self { inner: Arc::new(inner) }
    }

    /// An effect on the host came to an end.
    pub fn effect(&self, effect: &'static str, succeeded: bool, took: Duration) {
        let result = if succeeded { "ok" } else { "error" };
        self.inner.effects.get_or_create(&Effect { effect, result }).observe(took.as_secs_f64());
    }

    /// Which life of the agent this is.
    pub fn set_epoch(&self, epoch: u64) {
        self.inner.epoch.set(i64::try_from(epoch).unwrap_or(i64::MAX));
    }

    fn rpc(&self, path: &str, code: &'static str) {
        let method = self.inner.methods.get(path).unwrap_or(&self.inner.other_method);
        self.inner.rpcs.get_or_create(&Rpc { method: Arc::clone(method), code }).inc();
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
        text::encode(&mut page, &self.inner.registry)?;
        Ok(page)
    }
}

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

/// The paths of all methods of the agent's service, from its descriptor.
fn methods() -> HashSet<Arc<str>> {
    // Our own descriptors, tested to decode; without them every method would be "other".
    let files = prost_types::FileDescriptorSet::decode(banger_proto::FILE_DESCRIPTOR_SET);
    files
        .map(|set| set.file)
        .unwrap_or_default()
        .iter()
        .filter(|file| file.package() == "banger.agent.v1")
        .flat_map(|file| &file.service)
        .flat_map(|service| {
            service.method.iter().map(|method| {
                format!("/banger.agent.v1.{}/{}", service.name(), method.name()).into()
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
