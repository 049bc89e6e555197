//! Watches that resume by themselves.
//!
//! The consumer is told the state at a revision and then every change, once and in order. When the
//! connection breaks, the stream is opened again after the last revision that was told, over
//! restarts of the server too. When the server can't go on after that revision (the break was long,
//! or its database was restored), the state is read anew and the *differences* to what was told are
//! made up here, so that the consumer sees no gap and nothing twice: it may only miss steps between
//! two states of one thing.
//!
//! `told` decides, purely; `follow` does.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::v1::{Vm, VmEventType, VmFilter, WatchVmsRequest, WatchVmsResponse};
use futures_util::{Stream, StreamExt as _};

use crate::error::{Call, ClientError};
use crate::vms::{VmList, Vms};

mod fleet;
pub(crate) mod follow;
pub(crate) mod told;

pub use fleet::{FleetStream, FleetUpdate, HostChange};
use follow::{Step, follow};
use told::{Event, News, Said, Told, Watched};

const WATCH: Call = Call::read("WatchVms");

/// What a watch tells.
#[derive(Debug)]
pub enum Update {
    /// A VM came, changed or went.
    Change(Change),
    /// The state at this revision has been told whole.
    Current {
        /// The revision.
        revision: u64,
    },
    /// Nothing happened up to this revision.
    Bookmark {
        /// The revision.
        revision: u64,
    },
    /// The connection broke. Nothing will be missed; only a display may want to say so.
    Reconnecting {
        /// Why.
        error: ClientError,
        /// When the next attempt is made.
        pause: Duration,
    },
}

/// One change of one VM.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What happened to it, as the consumer sees it.
    pub kind: ChangeKind,
    /// The VM now; for [`ChangeKind::Removed`] as it was last seen.
    pub vm: Arc<Vm>,
    /// The revision of the change; 0 when it was found by comparing and has none of its own.
    pub revision: u64,
}

/// What happened to a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new to the consumer.
    Added,
    /// Its intent or status changed.
    Modified,
    /// It is gone, or no longer matches the filter.
    Removed,
}

/// VMs, changing. Ends only with an error that no retry can help.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<Update, ClientError>> + Send>>;

impl Vms {
    /// Follows all VMs that match: the state now, then every change, resuming by itself.
    #[must_use]
    pub fn watch(&self, filter: VmFilter) -> WatchStream {
        watch(self.clone(), filter, None)
    }

    /// Follows all VMs that match from a list that was read with the same filter.
    #[must_use]
    pub fn watch_from(&self, filter: VmFilter, list: VmList) -> WatchStream {
        watch(self.clone(), filter, Some(list))
    }
}

impl Watched for Vm {
    fn id(&self) -> &str {
        &self.id
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn is_as(&self, other: &Self) -> bool {
        Self { revision: other.revision, ..self.clone() } == *other
    }
}

impl From<WatchVmsResponse> for Said<Vm> {
    fn from(response: WatchVmsResponse) -> Self {
        let events = response.events.into_iter().filter_map(|event| {
            let (kind, revision, thing) = (event.r#type(), event.revision, event.vm?);
            Some(match kind {
                VmEventType::Removed => Event::Removed { thing, revision },
                VmEventType::Added | VmEventType::Modified | VmEventType::Unspecified => {
                    Event::Put { thing, revision }
                }
            })
        });
        Self {
            events: events.collect(),
            revision: response.revision,
            complete: response.initial_state_complete,
        }
    }
}

impl From<News<Vm>> for Update {
    fn from(news: News<Vm>) -> Self {
        match news {
            News::Change { kind, thing: vm, revision } => {
                Self::Change(Change { kind, vm, revision })
            }
            News::Current { revision } => Self::Current { revision },
            News::Bookmark { revision } => Self::Bookmark { revision },
        }
    }
}

/// Opens the watch, from the state now or from a list.
fn watch(vms: Vms, filter: VmFilter, list: Option<VmList>) -> WatchStream {
    let told = list.map_or_else(Told::default, |list| Told::from_list(list.vms, list.revision));
    let link = vms.link.clone();
    let open = move |after_revision| {
        let filter = vms.filter(Some(filter.clone()));
        let request = WatchVmsRequest { after_revision, filter };
        let mut rpc = vms.rpc.clone();
        async move { rpc.watch_vms(request).await }
    };
    let steps = follow::<Vm, WatchVmsResponse, _>(link, WATCH, told, open);
    Box::pin(steps.map(|step| {
        step.map(|step| match step {
            Step::News(news) => news.into(),
            Step::Reconnecting { error, pause } => Update::Reconnecting { error, pause },
        })
    }))
}

#[cfg(test)]
mod tests;
