//! Reads what requests say of VMs: specs, wanted power, states, filters. Nothing is refused here
//! but what can't even be read.

use banger_proto::v1;

use super::metadata;
use crate::model::affinity::AffinityDraft;
use crate::model::filter::VmFilter;
use crate::model::intent::Desired;
use crate::model::labels::Selector;
use crate::model::placement::Strategy;
use crate::model::spec::{
    Egress, ImageDraft, RateLimits, ResourceLimits, RestartPolicy, SpecProblem, VmSpecDraft,
};
use crate::model::status::VmState;

/// Most states of one filter.
const MAX_STATES: usize = 32;

/// A spec as a request says it. One that is missing is one that says nothing.
pub fn spec_draft(spec: Option<v1::VmSpec>) -> VmSpecDraft {
    let spec = spec.unwrap_or_default();
    let mut unreadable = Vec::new();
    let metadata = spec.metadata.and_then(|document| {
        metadata::to_json(document)
            .map_err(|why| unreadable.push(SpecProblem::new("spec.metadata", why)))
            .ok()
    });
    let network = spec.network.unwrap_or_default();
    #[expect(deprecated, reason = "read to be refused: it says that something was asked for")]
    let allow_host_metadata = network.allow_host_metadata;
    let egress = match v1::EgressPolicy::try_from(network.egress) {
        Ok(v1::EgressPolicy::Unspecified | v1::EgressPolicy::Nat) => Egress::Nat,
        Ok(v1::EgressPolicy::None) => Egress::None,
        Err(_) => {
            unreadable.push(unknown_value("spec.network.egress", network.egress));
            Egress::default()
        }
    };
    let restart_policy = match v1::RestartPolicy::try_from(spec.restart_policy) {
        Ok(v1::RestartPolicy::Unspecified | v1::RestartPolicy::Never) => RestartPolicy::Never,
        Ok(v1::RestartPolicy::OnFailure) => RestartPolicy::OnFailure,
        Ok(v1::RestartPolicy::Always) => RestartPolicy::Always,
        Err(_) => {
            unreadable.push(unknown_value("spec.restart_policy", spec.restart_policy));
            RestartPolicy::default()
        }
    };
    let limits = spec.rate_limits.unwrap_or_default();
    let held = spec.limits.unwrap_or_default();
    let placement = spec.placement.unwrap_or_default();
    let placement_strategy = match v1::PlacementStrategy::try_from(placement.strategy) {
        Ok(v1::PlacementStrategy::Unspecified) => None,
        Ok(v1::PlacementStrategy::Spread) => Some(Strategy::Spread),
        Ok(v1::PlacementStrategy::Pack) => Some(Strategy::Pack),
        Err(_) => {
            unreadable.push(unknown_value("spec.placement.strategy", placement.strategy));
            None
        }
    };
    VmSpecDraft {
        vcpus: spec.vcpus,
        memory_mib: spec.memory_mib,
        kernel: spec.kernel.map(image),
        root_image: spec.root_image.map(image),
        initrd: spec.initrd.map(image),
        root_disk_mib: spec.root_disk_mib,
        work_disk_mib: spec.work_disk.map(|disk| disk.size_mib),
        boot_args: spec.boot_args,
        metadata,
        egress,
        port_count: network.ports.len(),
        allow_host_metadata,
        rate_limits: RateLimits {
            disk_bytes_per_second: limits.disk_bytes_per_second,
            disk_ops_per_second: limits.disk_ops_per_second,
            net_rx_bytes_per_second: limits.net_rx_bytes_per_second,
            net_tx_bytes_per_second: limits.net_tx_bytes_per_second,
        },
        limits: ResourceLimits {
            cpu_weight: held.cpu_weight,
            cpu_millis: held.cpu_millis,
            io_read_bytes_per_second: held.io_read_bytes_per_second,
            io_write_bytes_per_second: held.io_write_bytes_per_second,
            io_read_ops_per_second: held.io_read_ops_per_second,
            io_write_ops_per_second: held.io_write_ops_per_second,
        },
        labels: spec.labels,
        placement_host: placement.host,
        placement_labels: placement.host_labels,
        placement_strategy,
        affinity: placement.affinity.into_iter().map(affinity).collect(),
        priority: placement.priority,
        pool: placement.pool,
        scheduler: placement.scheduler_name,
        restart_policy,
        unreadable,
    }
}

fn affinity(rule: v1::AffinityRule) -> AffinityDraft {
    let v1::AffinityRule { vm_selector, host_selector, topology, anti, weight } = rule;
    AffinityDraft { vm_selector, host_selector, topology, anti, weight }
}

fn image(image: v1::ImageRef) -> ImageDraft {
    ImageDraft { name: image.name, sha256: image.sha256 }
}

/// A power state to create a VM in.
pub fn initial_power(value: i32, problems: &mut Vec<SpecProblem>) -> Desired {
    match v1::DesiredState::try_from(value) {
        Ok(v1::DesiredState::Unspecified | v1::DesiredState::Running) => Desired::Running,
        Ok(v1::DesiredState::Paused) => Desired::Paused,
        Ok(v1::DesiredState::Stopped) => Desired::Stopped,
        Ok(v1::DesiredState::Absent) => {
            let why = "must be RUNNING, PAUSED or STOPPED";
            problems.push(SpecProblem::new("desired_state", why));
            Desired::Stopped
        }
        Err(_) => {
            problems.push(unknown_value("desired_state", value));
            Desired::Stopped
        }
    }
}

/// A state to filter by or wait for; `None` for "not said".
///
/// # Errors
/// The number is no state.
pub fn vm_state(value: i32) -> Result<Option<VmState>, SpecProblem> {
    let state = v1::VmState::try_from(value).map_err(|_| unknown_value("state", value))?;
    Ok(match state {
        v1::VmState::Unspecified => None,
        v1::VmState::Pending => Some(VmState::Pending),
        v1::VmState::Preparing => Some(VmState::Preparing),
        v1::VmState::Starting => Some(VmState::Starting),
        v1::VmState::Running => Some(VmState::Running),
        v1::VmState::Paused => Some(VmState::Paused),
        v1::VmState::Stopping => Some(VmState::Stopping),
        v1::VmState::Stopped => Some(VmState::Stopped),
        v1::VmState::Crashed => Some(VmState::Crashed),
        v1::VmState::Failed => Some(VmState::Failed),
        v1::VmState::Deleting => Some(VmState::Deleting),
        v1::VmState::Unknown => Some(VmState::Unknown),
        v1::VmState::Deleted => Some(VmState::Deleted),
    })
}

/// A filter but for its host, which has to be looked up: that is answered beside it.
pub fn vm_filter(
    filter: Option<v1::VmFilter>,
    problems: &mut Vec<SpecProblem>,
) -> (VmFilter, Option<crate::model::ledger::HostRef>) {
    let Some(filter) = filter else { return (VmFilter::default(), None) };
    let selector = Selector::parse(&filter.label_selector).unwrap_or_else(|why| {
        problems.push(SpecProblem::new("filter.label_selector", why));
        Selector::default()
    });
    let host = (!filter.host.is_empty())
        .then(|| crate::api::parse_host(&filter.host, "filter.host", problems))
        .flatten();
    if filter.states.len() > MAX_STATES {
        let why = format!("has {} states; at most {MAX_STATES} are allowed", filter.states.len());
        problems.push(SpecProblem::new("filter.states", why));
        return (VmFilter::default(), host);
    }
    let mut states = Vec::new();
    for value in filter.states {
        match vm_state(value) {
            Ok(Some(state)) => states.push(state),
            Ok(None) => {
                problems.push(SpecProblem::new("filter.states", "must not be UNSPECIFIED"));
            }
            Err(problem) => {
                problems.push(SpecProblem::new("filter.states", problem.description));
            }
        }
    }
    (VmFilter { selector, host: None, states, project: None }, host)
}

fn unknown_value(field: &str, value: i32) -> SpecProblem {
    SpecProblem::new(field, format!("is {value}, which is not a value of its type"))
}
