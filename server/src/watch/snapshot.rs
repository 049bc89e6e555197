//! All VMs and hosts at one revision, and which VMs are of each project.
//!
//! A list and the start of a stream look at a snapshot. With a project in the filter, which every
//! caller of one has, they look at that project's VMs alone, however many others there are.

use std::ops::Bound;
use std::sync::Arc;

use banger_proto::ids::{HostId, Revision, VmId};
use imbl::{OrdMap, OrdSet};

use super::host::HostSnapshot;
use super::record::VmRecord;
use crate::model::filter::VmFilter;
use crate::model::intent::VmIntent;
use crate::model::project::ProjectName;

#[cfg(test)]
std::thread_local! {
    /// How many VMs were looked at in snapshots: what a read costs.
    pub(crate) static LOOKED_AT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Which VMs each project has. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct ByProject(OrdMap<ProjectName, OrdSet<VmId>>);

impl ByProject {
    pub(super) fn insert(&mut self, vm: &VmIntent) {
        self.0.entry(vm.project.clone()).or_default().insert(vm.id);
    }

    pub(super) fn remove(&mut self, vm: &VmIntent) {
        if let Some(its) = self.0.get_mut(&vm.project) {
            its.remove(&vm.id);
            if its.is_empty() {
                self.0.remove(&vm.project);
            }
        }
    }
}

/// All VMs and hosts at one revision. Cheap to take and to hold.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub revision: Revision,
    pub vms: OrdMap<VmId, Arc<VmRecord>>,
    pub hosts: OrdMap<HostId, Arc<HostSnapshot>>,
    pub(super) by_project: ByProject,
}

impl Snapshot {
    /// Of no VMs.
    #[cfg(test)]
    pub(crate) fn empty(revision: Revision) -> Self {
        Self { revision, ..Self::default() }
    }

    /// The VMs after this one that match, by id.
    pub fn matching<'a>(
        &'a self,
        filter: Option<&'a VmFilter>,
        after: Option<VmId>,
    ) -> Box<dyn Iterator<Item = &'a Arc<VmRecord>> + 'a> {
        let range = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let looked_at = |_: &&Arc<VmRecord>| {
            #[cfg(test)]
            LOOKED_AT.set(LOOKED_AT.get() + 1);
        };
        let matches =
            move |record: &&'a Arc<VmRecord>| filter.is_none_or(|filter| record.matches(filter));
        match filter.and_then(|filter| filter.project.as_ref()) {
            None => {
                let all = self.vms.range(range).map(|(_, record)| record);
                Box::new(all.inspect(looked_at).filter(matches))
            }
            Some(project) => {
                let ids = self.by_project.0.get(project).into_iter();
                let ids = ids.flat_map(move |ids| ids.range(range));
                let its = ids.filter_map(|id| self.vms.get(id));
                Box::new(its.inspect(looked_at).filter(matches))
            }
        }
    }

    /// How many match.
    pub fn count(&self, filter: &VmFilter) -> usize {
        match filter.is_empty() {
            true => self.vms.len(),
            false => self.matching(Some(filter), None).count(),
        }
    }
}
