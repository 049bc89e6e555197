//! What a change is about: a VM of this life of the server, or what is left of a thing of an earlier
//! one.

use std::sync::Arc;

use banger_proto::ids::Revision;

use super::record::VmRecord;
use crate::model::filter::VmFilter;
use crate::model::past::{GoneThing, Thing};

/// What a change is about, as it is after the change; of what is gone, its last state.
#[derive(Debug, Clone)]
pub enum Subject {
    Vm(Arc<VmRecord>),
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

impl Subject {
    pub fn thing(&self) -> Thing {
        match self {
            Self::Vm(record) => Thing::Vm(record.id()),
            Self::Past(past) => past.gone.thing,
        }
    }

    /// The revision of the newest change shown here.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Vm(record) => record.revision,
            Self::Past(past) => past.revision,
        }
    }

    /// The revision at which it first appeared.
    pub(super) fn added(&self) -> Revision {
        match self {
            Self::Vm(record) => record.added,
            Self::Past(past) => past.added,
        }
    }

    /// A rough size in bytes.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Vm(record) => record.weight(),
            Self::Past(_) => 256,
        }
    }

    /// Whether a filter can ever have shown it.
    pub(super) fn is_of(&self, filter: &VmFilter) -> bool {
        match self {
            Self::Vm(record) => filter.is_of(&record.intent.project),
            Self::Past(past) => {
                past.gone.project.as_ref().is_none_or(|project| filter.is_of(project))
            }
        }
    }

    /// Whether a filter shows it as it is.
    pub(super) fn matches(&self, filter: &VmFilter) -> bool {
        match self {
            Self::Vm(record) => record.matches(filter),
            Self::Past(_) => false,
        }
    }
}
