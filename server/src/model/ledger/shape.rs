//! All that a decision where a VM goes reads of it: where one of a shape fits nowhere, none does.

use super::Ledger;
use crate::model::affinity::{AffinityRule, AffinityTarget};
use crate::model::host::Resources;
use crate::model::intent::VmIntent;
use crate::model::labels::Labels;
use crate::model::project::ProjectName;

/// What two VMs have in common of which one fits where the other does.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape<'a> {
    resources: Resources,
    host: Option<&'a str>,
    host_labels: &'a Labels,
    affinity: &'a [AffinityRule],
    pool: Option<&'a str>,
    is_left_to_scheduler: bool,
    /// Files that only hosts can have.
    files: Vec<&'a str>,
    /// Where rules about VMs go by it: its project and its labels.
    peer: Option<(&'a ProjectName, &'a Labels)>,
}

impl<'a> Shape<'a> {
    /// `is_avoided`: VMs of its project stay apart from others, so that it matters whether from it.
    fn of(vm: &'a VmIntent, is_avoided: bool) -> Self {
        let spec = &vm.spec;
        let placement = spec.placement();
        let files = spec.images().filter(|(_, image)| !image.stored);
        let about_vms = |rule: &AffinityRule| matches!(rule.target, AffinityTarget::Vms { .. });
        let has_peers = is_avoided || placement.affinity.iter().any(about_vms);
        Self {
            resources: spec.resources(),
            host: placement.host.as_deref(),
            host_labels: &placement.host_labels,
            affinity: &placement.affinity,
            pool: placement.pool.as_deref(),
            is_left_to_scheduler: placement.scheduler.is_some(),
            files: files.map(|(_, image)| image.name.as_str()).collect(),
            peer: has_peers.then(|| (&vm.project, spec.labels())),
        }
    }
}

impl Ledger {
    /// `is_avoided`: by VMs that get a host in the same decision.
    pub(super) fn shape_of<'a>(&self, vm: &'a VmIntent, is_avoided: bool) -> Shape<'a> {
        Shape::of(vm, is_avoided || self.peer_index.some_stay_apart(&vm.project))
    }
}
