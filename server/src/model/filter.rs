//! Which VMs and hosts a list or a watch shows.
//!
//! Made once at the edge, asked for every record and every event.

use banger_proto::ids::HostId;

use super::host::HostState;
use super::intent::VmIntent;
use super::labels::{Labels, Selector};
use super::project::ProjectName;
use super::status::VmState;

/// Which hosts. Every part that is set must match. The default matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFilter {
    /// Over the labels of the host.
    pub selector: Selector,
    /// In any of these states; empty: in any.
    pub states: Vec<HostState>,
}

impl HostFilter {
    /// Whether a host with these labels and in this state matches.
    pub fn matches(&self, labels: &Labels, state: HostState) -> bool {
        (self.states.is_empty() || self.states.contains(&state)) && self.selector.matches(labels)
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.selector.is_empty() && self.states.is_empty()
    }
}

/// Which VMs. Every part that is set must match. The default matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VmFilter {
    /// Over the labels of the VM.
    pub selector: Selector,
    /// Placed on this host.
    pub host: Option<HostId>,
    /// In any of these states; empty: in any.
    pub states: Vec<VmState>,
    /// In this project. A caller who sees one project alone has it in every filter.
    pub project: Option<ProjectName>,
}

impl VmFilter {
    /// Whether a VM in this state matches.
    pub fn matches(&self, intent: &VmIntent, state: VmState) -> bool {
        self.is_of(&intent.project)
            && self.host.is_none_or(|host| intent.host == Some(host))
            && (self.states.is_empty() || self.states.contains(&state))
            && self.selector.matches(intent.spec.labels())
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.selector.is_empty()
            && self.host.is_none()
            && self.states.is_empty()
            && self.project.is_none()
    }

    /// Whether a VM may match at one time and not at another: its project is its own for ever.
    pub fn may_change(&self) -> bool {
        !self.selector.is_empty() || self.host.is_some() || !self.states.is_empty()
    }

    /// Whether VMs of this project can match. Of others a reader must not even learn that they have
    /// gone: a VM never changes its project, so they never matched.
    pub fn is_of(&self, project: &ProjectName) -> bool {
        self.project.as_ref().is_none_or(|wanted| wanted == project)
    }
}
