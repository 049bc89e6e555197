//! A watch of VMs and hosts together, each revision of both in one order: for schedulers, which
//! need capacity and VMs of one moment.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::v1::watch_service_client::WatchServiceClient;
use banger_proto::v1::{ChangeType, Host, Vm, WatchRequest, WatchResponse};
use futures_util::{Stream, StreamExt as _};

use super::follow::{Step, follow};
use super::told::{Event, News, Said, Told, Watched};
use super::{Change, ChangeKind};
use crate::connect::{Client, MAX_ANSWER_BYTES};
use crate::error::{Call, ClientError};

const WATCH: Call = Call::read("Watch");

/// What a watch of VMs and hosts tells.
#[derive(Debug)]
pub enum FleetUpdate {
    /// A VM came, changed or went.
    Vm(Change),
    /// A host came, changed or went.
    Host(HostChange),
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

/// One change of one host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostChange {
    /// What happened to it, as the consumer sees it.
    pub kind: ChangeKind,
    /// The host now; for [`ChangeKind::Removed`] as it was last seen.
    pub host: Arc<Host>,
    /// The revision of the change; 0 when it was found by comparing and has none of its own.
    pub revision: u64,
}

/// VMs and hosts, changing. Ends only with an error that no retry can help.
pub type FleetStream = Pin<Box<dyn Stream<Item = Result<FleetUpdate, ClientError>> + Send>>;

#[derive(Debug)]
enum Thing {
    Vm(Arc<Vm>),
    Host(Arc<Host>),
}

impl Watched for Thing {
    fn id(&self) -> &str {
        match self {
            Self::Vm(vm) => &vm.id,
            Self::Host(host) => &host.id,
        }
    }

    fn revision(&self) -> u64 {
        match self {
            Self::Vm(vm) => vm.revision,
            Self::Host(host) => host.revision,
        }
    }

    fn is_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Vm(one), Self::Vm(other)) => one.is_as(other),
            (Self::Host(one), Self::Host(other)) => one.is_as(other),
            (Self::Vm(_) | Self::Host(_), _) => false,
        }
    }
}

impl From<WatchResponse> for Said<Thing> {
    fn from(response: WatchResponse) -> Self {
        let events = response.events.into_iter().filter_map(|event| {
            let (kind, revision) = (event.r#type(), event.revision);
            let thing = match (event.vm, event.host) {
                (Some(vm), _) => Thing::Vm(Arc::new(vm)),
                (None, Some(host)) => Thing::Host(Arc::new(host)),
                // A kind of a newer server, which was not asked for.
                (None, None) => return None,
            };
            Some(match kind {
                ChangeType::Removed => Event::Removed { thing, revision },
                ChangeType::Added | ChangeType::Modified | ChangeType::Unspecified => {
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

impl Client {
    /// Follows VMs and hosts, or those kinds of them that are asked for: the state of both at one
    /// revision, then every change, resuming by itself. `after_revision` of the request is not
    /// used.
    #[must_use]
    pub fn watch(&self, request: WatchRequest) -> FleetStream {
        let link = self.link.clone();
        let vms = self.vms();
        let rpc = WatchServiceClient::new(link.transport.clone())
            .max_decoding_message_size(MAX_ANSWER_BYTES);
        let open = move |after_revision| {
            let vms = vms.filter(request.vms.clone());
            let request = WatchRequest { after_revision, vms, ..request.clone() };
            let mut rpc = rpc.clone();
            async move { rpc.watch(request).await }
        };
        let steps = follow::<Thing, WatchResponse, _>(link, WATCH, Told::default(), open);
        Box::pin(steps.map(|step| {
            Ok(match step? {
                Step::News(News::Change { kind, thing, revision }) => match &*thing {
                    Thing::Vm(vm) => FleetUpdate::Vm(Change { kind, vm: Arc::clone(vm), revision }),
                    Thing::Host(host) => {
                        FleetUpdate::Host(HostChange { kind, host: Arc::clone(host), revision })
                    }
                },
                Step::News(News::Current { revision }) => FleetUpdate::Current { revision },
                Step::News(News::Bookmark { revision }) => FleetUpdate::Bookmark { revision },
                Step::Reconnecting { error, pause } => FleetUpdate::Reconnecting { error, pause },
            })
        }))
    }
}

#[cfg(test)]
mod tests;
