//! A watch of VMs that resumes by itself.
//!
//! The consumer is told the state at a revision and then every change, once and in order. When the
//! connection breaks, the stream is opened again after the last revision that was told. When the
//! server no longer knows that revision (it was restarted, or the break was long), the state is
//! read anew and the *differences* to what was told are made up here, so that the consumer sees no
//! gap and nothing twice: it may only miss steps between two states of one VM.
//!
//! `told` decides, purely; this file does. What can go wrong: a refusal that no retry can help
//! (no permission, a bad filter) ends the stream with the error. Everything else is
//! [`Update::Reconnecting`] and goes on.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::v1::{ErrorReason, Vm, VmFilter, WatchVmsRequest};
use futures_util::Stream;

use crate::backoff::{Backoff, spread};
use crate::error::{Call, ClientError};
use crate::vms::{VmList, Vms};

mod told;

use told::Told;

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

/// Opens the watch, from the state now or from a list.
fn watch(vms: Vms, filter: VmFilter, list: Option<VmList>) -> WatchStream {
    let mut told = list.map_or_else(Told::default, Told::from_list);
    Box::pin(async_stream::stream! {
        let mut backoff = Backoff::default();
        loop {
            let request = WatchVmsRequest {
                after_revision: told.begin(),
                filter: vms.filter(Some(filter.clone())),
            };
            let status = match vms.rpc.clone().watch_vms(request).await {
                Err(status) => status,
                Ok(response) => {
                    let mut stream = response.into_inner();
                    loop {
                        match stream.message().await {
                            Ok(Some(response)) => {
                                backoff.reset();
                                for update in told.take(response) {
                                    yield Ok(update);
                                }
                            }
                            Ok(None) => break tonic::Status::unavailable("the stream ended"),
                            Err(status) => break status,
                        }
                    }
                }
            };
            let error = vms.link.error(WATCH, None, status);
            if error.refusal().is_some_and(|r| r.is(ErrorReason::RevisionTooOld)) {
                // At once, and only once in a row: the next attempt names no revision.
                if told.forget_revision() {
                    continue;
                }
            } else if !error.is_passing() {
                yield Err(error);
                return;
            }
            let pause = backoff.pause(spread());
            yield Ok(Update::Reconnecting { error, pause });
            tokio::time::sleep(pause).await;
        }
    })
}

#[cfg(test)]
mod tests;
