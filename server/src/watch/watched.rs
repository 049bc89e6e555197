//! What a change is about: a VM or a host of this life of the server, or what is left of one of an
//! earlier.

use std::sync::Arc;

use banger_proto::ids::Revision;

use super::host::HostSnapshot;
use super::record::VmRecord;
use crate::model::past::{GoneThing, Thing};

/// What a change is about, as it is after the change; of what is gone, its last state.
#[derive(Debug, Clone)]
pub enum Watched {
    Vm(Arc<VmRecord>),
    Host(Arc<HostSnapshot>),
    /// Gone before this life of the server, which knows nothing else of it.
    Past(Arc<PastThing>),
}

/// What is gone since an earlier life of the server.
#[derive(Debug, Clone)]
pub struct PastThing {
    pub gone: GoneThing,
    /// When it went.
    pub revision: Revision,
    /// When it came, or a revision that nobody resumes from before.
    pub added: Revision,
}

impl Watched {
    pub fn thing(&self) -> Thing {
        match self {
            Self::Vm(record) => Thing::Vm(record.id()),
            Self::Host(host) => Thing::Host(host.view.record.id),
            Self::Past(past) => past.gone.thing,
        }
    }

    /// The revision of the newest change shown here.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Vm(record) => record.revision,
            Self::Host(host) => host.revision,
            Self::Past(past) => past.revision,
        }
    }

    /// The revision at which it first appeared.
    pub(super) fn added(&self) -> Revision {
        match self {
            Self::Vm(record) => record.added,
            Self::Host(host) => host.added,
            Self::Past(past) => past.added,
        }
    }

    /// A rough size in bytes.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Vm(record) => record.weight(),
            Self::Host(host) => host.weight(),
            Self::Past(_) => 256,
        }
    }

    /// Whether it is a VM, or was one.
    pub fn is_vm(&self) -> bool {
        matches!(self.thing(), Thing::Vm(_))
    }
}
