//! Does what a plan says, and reports for each VM. Makes no choice.
//!
//! One flight is some commands to one agent in as few calls as fit, or some intents to drop. It
//! tries everything and never stops at the first failure.

use std::sync::Arc;

use banger_proto::ids::{Generation, Version, VmId};

use crate::clock::SharedClock;
use crate::fleet::link::{AgentLink, Command, Delivery, LinkError, RefusalReason};
use crate::model::caller::Caller;
use crate::model::intent::VmIntent;
use crate::model::ledger::{Forget, Refusal};
use crate::store::{MutateError, Store};

/// What became of one VM's part of a flight.
#[derive(Debug)]
pub(super) struct Landed {
    pub(super) vm: VmId,
    pub(super) generation: Generation,
    pub(super) outcome: Landing,
}

/// What became of one command or one intent to drop.
#[derive(Debug)]
pub(super) enum Landing {
    /// The agent holds the version sent.
    Accepted { version: Version, intent: Arc<VmIntent> },
    /// The agent was to delete, and holds nothing.
    Absent,
    /// The agent holds a newer version.
    Stale { version: Version, seen: Version },
    /// The agent won't.
    Refused { version: Version, reason: RefusalReason, message: String },
    /// Not reached, or nobody knows.
    NoAnswer { message: String },
    /// The intent is dropped, or was already.
    Forgotten,
    /// The store could not drop it now.
    NotForgotten { message: String },
}

/// Sends commands to an agent.
pub(super) async fn send(link: Arc<dyn AgentLink>, commands: Vec<Command>) -> Vec<Landed> {
    let answer = link.send(&commands).await;
    let mut deliveries = match answer {
        Ok(deliveries) => deliveries.into_iter().collect::<std::collections::HashMap<_, _>>(),
        Err(error) => {
            tracing::debug!(error = %error, commands = commands.len(), "commands were not answered");
            return commands.into_iter().map(|command| unanswered(command, &error)).collect();
        }
    };
    commands
        .into_iter()
        .map(|command| {
            let version = command.version;
            let outcome = match deliveries.remove(&command.vm()) {
                Some(Delivery::Accepted) => {
                    Landing::Accepted { version, intent: Arc::clone(&command.intent) }
                }
                Some(Delivery::Absent) => Landing::Absent,
                Some(Delivery::Stale { seen }) => Landing::Stale { version, seen },
                Some(Delivery::Refused { reason, message }) => {
                    Landing::Refused { version, reason, message }
                }
                None => {
                    Landing::NoAnswer { message: "the agent did not answer for this VM".to_owned() }
                }
            };
            Landed { vm: command.vm(), generation: version.generation, outcome }
        })
        .collect()
}

fn unanswered(command: Command, error: &LinkError) -> Landed {
    let version = command.version;
    let message = error.to_string();
    let outcome = match error {
        LinkError::Unreachable { .. }
        | LinkError::OutcomeUnknown { .. }
        | LinkError::Protocol { .. } => Landing::NoAnswer { message },
        LinkError::Refused { .. } => {
            Landing::Refused { version, reason: RefusalReason::Other, message }
        }
    };
    Landed { vm: command.vm(), generation: version.generation, outcome }
}

/// Drops intents of which nothing is left. Submitted together, so that they share commits.
pub(super) async fn forget(
    store: Store,
    clock: SharedClock,
    vms: Vec<(VmId, Generation)>,
) -> Vec<Landed> {
    let drops = vms.into_iter().map(|(vm, generation)| {
        let store = store.clone();
        let caller = Caller::server(clock.now());
        async move {
            let outcome = match store.submit(caller, Forget { vm }).await {
                // Wanted again or gone meanwhile: the next pass sees which.
                Ok(_)
                | Err(MutateError::Refused(Refusal::VmNotFound(_) | Refusal::NotAbsent { .. })) => {
                    Landing::Forgotten
                }
                Err(error) => Landing::NotForgotten { message: error.to_string() },
            };
            Landed { vm, generation, outcome }
        }
    });
    futures_util::future::join_all(drops).await
}
