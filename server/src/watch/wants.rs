//! What a stream is to be told of: kinds of things, and of each kind which.

use super::watched::Watched;
use crate::model::filter::{HostFilter, VmFilter};

/// Which things of one kind.
#[derive(Debug, Clone, Default)]
pub enum Interest<F> {
    /// None.
    #[default]
    Nothing,
    /// All of them.
    All,
    /// Those that the filter shows.
    Some(Box<F>),
}

impl From<VmFilter> for Interest<VmFilter> {
    fn from(filter: VmFilter) -> Self {
        if filter.is_empty() { Self::All } else { Self::Some(Box::new(filter)) }
    }
}

impl From<HostFilter> for Interest<HostFilter> {
    fn from(filter: HostFilter) -> Self {
        if filter.is_empty() { Self::All } else { Self::Some(Box::new(filter)) }
    }
}

impl<F> Interest<F> {
    pub const fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    pub const fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }
}

/// Which things a stream is to be told of.
#[derive(Debug, Clone, Default)]
pub struct Wants {
    pub vms: Interest<VmFilter>,
    pub hosts: Interest<HostFilter>,
}

impl From<VmFilter> for Wants {
    fn from(filter: VmFilter) -> Self {
        Self { vms: filter.into(), hosts: Interest::Nothing }
    }
}

impl From<HostFilter> for Wants {
    fn from(filter: HostFilter) -> Self {
        Self { vms: Interest::Nothing, hosts: filter.into() }
    }
}

impl Wants {
    /// Whether such a thing can ever be shown: of others a reader must not even learn that they
    /// have gone.
    pub(super) fn may_show(&self, subject: &Watched) -> bool {
        match subject {
            Watched::Vm(record) => match &self.vms {
                Interest::Nothing => false,
                Interest::All => true,
                Interest::Some(filter) => filter.is_of(&record.intent.project),
            },
            Watched::Host(_) => !self.hosts.is_nothing(),
            Watched::Past(past) => match &past.gone.project {
                None => !self.hosts.is_nothing(),
                Some(project) => match &self.vms {
                    Interest::Nothing => false,
                    Interest::All => true,
                    Interest::Some(filter) => filter.is_of(project),
                },
            },
        }
    }

    /// Whether a thing may be shown at one time and not at another.
    pub(super) fn may_change(&self) -> bool {
        matches!(self.hosts, Interest::Some(_))
            || matches!(&self.vms, Interest::Some(filter) if filter.may_change())
    }

    /// Whether a thing is shown as it is.
    pub fn shows(&self, subject: &Watched) -> bool {
        match subject {
            Watched::Vm(record) => match &self.vms {
                Interest::Nothing => false,
                Interest::All => true,
                Interest::Some(filter) => record.matches(filter),
            },
            Watched::Host(host) => match &self.hosts {
                Interest::Nothing => false,
                Interest::All => true,
                Interest::Some(filter) => {
                    filter.matches(&host.view.record.labels, host.view.health.state)
                }
            },
            Watched::Past(_) => false,
        }
    }
}
