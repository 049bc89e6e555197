//! Holds an agent's inventory back until it is complete, finds gaps in its messages, and hands on
//! what it says.
//!
//! [`Intake`] is pure: one for each observation, fed with its messages in order by the session. It
//! holds back the inventory until it is complete, because what a part does not list is not absent,
//! and it finds gaps. What it makes of a message the session hands to the [`FleetSink`], behind
//! which are placement (which learns of capacities first) and then the watch view.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use banger_proto::ids::{HostId, VmId};

use super::link::{Message, Report};
use crate::model::host::{HostFacts, HostHealth};
use crate::model::observed::{ObservedVm, TrafficSeen};

/// What an agent said of one VM after its inventory.
#[derive(Debug, Clone)]
pub enum Sighting {
    /// The agent holds it.
    Vm(VmId, Box<ObservedVm>),
    /// The agent confirms that it holds nothing of it any more.
    Gone(VmId),
}

/// Where what sessions learn goes. Nothing of it can fail; what is said of a host or a VM that is
/// not known is kept apart or left out there.
pub trait FleetSink: fmt::Debug + Send + Sync + 'static {
    /// The session judges the host otherwise than before.
    fn host_health(&self, host: HostId, health: HostHealth);

    /// What is true of the host.
    fn host_facts(&self, host: HostId, facts: Arc<HostFacts>);

    /// The complete inventory. What it does not list is absent.
    fn inventory(&self, host: HostId, listed: BTreeMap<VmId, Box<ObservedVm>>, health: HostHealth);

    /// What changed after the inventory, in order.
    fn observed(&self, host: HostId, sightings: Vec<Sighting>);

    /// What all guests of the host that run have sent and received. No change of anything.
    fn traffic(&self, host: HostId, guests: Vec<(VmId, TrafficSeen)>);
}

/// What follows from one message.
#[derive(Debug)]
pub enum Taken {
    /// Nothing, but that the agent is there.
    Nothing,
    /// What its guests have sent and received.
    Traffic(Vec<(VmId, TrafficSeen)>),
    /// What is true of the host.
    Facts(Box<HostFacts>),
    /// The inventory is complete.
    Inventory(BTreeMap<VmId, Box<ObservedVm>>),
    /// A change after the inventory.
    Sighting(Sighting),
}

/// Why an observation can't go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// Messages are missing.
    #[error("message {got} came where {expected} was due")]
    Gap {
        /// The sequence number that was due.
        expected: u64,
        /// The one that came.
        got: u64,
    },
    /// The stream did not begin with the facts of the host.
    #[error("the stream does not begin with the facts of the host")]
    NoFacts,
}

/// One observation, as far as it has come.
#[derive(Debug, Default)]
pub struct Intake {
    taken: u64,
    facts_seen: bool,
    complete: bool,
    listed: BTreeMap<VmId, Box<ObservedVm>>,
}

impl Intake {
    /// Whether the inventory is complete.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Takes the next message.
    ///
    /// # Errors
    /// The observation must begin anew.
    pub fn take(&mut self, message: Message) -> Result<Taken, IntakeError> {
        let expected = self.taken + 1;
        if message.sequence != expected {
            return Err(IntakeError::Gap { expected, got: message.sequence });
        }
        self.taken = expected;
        match message.report {
            Report::Host(facts) => {
                self.facts_seen = true;
                Ok(Taken::Facts(facts))
            }
            Report::Heartbeat => Ok(Taken::Nothing),
            // Of VMs that nobody has heard of yet it says nothing.
            Report::Traffic(_) if !self.complete => Ok(Taken::Nothing),
            Report::Traffic(guests) => Ok(Taken::Traffic(guests)),
            Report::Inventory { .. } | Report::Vm(..) | Report::Gone(_) if !self.facts_seen => {
                Err(IntakeError::NoFacts)
            }
            Report::Inventory { vms, last } => {
                self.listed.extend(vms);
                self.complete |= last;
                Ok(if last {
                    Taken::Inventory(std::mem::take(&mut self.listed))
                } else {
                    Taken::Nothing
                })
            }
            // A change between parts of the inventory is part of it.
            Report::Vm(id, vm) if !self.complete => {
                self.listed.insert(id, vm);
                Ok(Taken::Nothing)
            }
            Report::Gone(id) if !self.complete => {
                self.listed.remove(&id);
                Ok(Taken::Nothing)
            }
            Report::Vm(id, vm) => Ok(Taken::Sighting(Sighting::Vm(id, vm))),
            Report::Gone(id) => Ok(Taken::Sighting(Sighting::Gone(id))),
        }
    }
}

#[cfg(test)]
mod tests;
