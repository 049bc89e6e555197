//! How much an agent may say, over one observation.
//!
//! One [`Entrance`] for each stream, driven by the gRPC link, through which every message passes.
//! It bounds what the server holds because of one agent: the VMs that the agent says it has, the
//! bytes of what it says of them, and how often it says something new. Past a bound of size the
//! observation ends with a sentence; past the pace it is read more slowly, and HTTP/2 makes the
//! agent wait. Pure but for the clock, which is an argument.

use std::collections::HashMap;
use std::time::Duration;

use banger_proto::agent_v1 as wire;
use banger_proto::ids::{HostId, VmId};
use banger_proto::words;
use tokio::time::Instant;

use super::{Unreadable, message};
use crate::fleet::link::{Message, Report};
use crate::model::observed::ObservedVm;

/// Most VMs that one agent may say it has. A guest subnet of the largest size that is usual has a
/// quarter as many addresses.
pub(in crate::fleet) const MAX_VMS: usize = 16_384;

/// Most bytes of what it says of them, in memory.
pub(in crate::fleet) const MAX_BYTES: usize = 32 << 20;

/// Most VMs in one part of an inventory: twice what agents send.
const MAX_PART: usize = 2 * banger_proto::bounds::INVENTORY_PART_VMS;

/// Changes that may come at once: so many, and so many for each VM.
const BURST: (u32, u32) = (1_000, 16);

/// Changes that may go on coming each second: so many, and so many for each VM.
const RATE: (u32, u32) = (200, 4);

/// Why an observation can't go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::fleet) enum Breach {
    /// A field makes no sense.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// It is another host than its certificate says.
    #[error("it says that it is host {0:?}")]
    OtherHost(String),
    /// It has more VMs than any host.
    #[error("its inventory has more than {MAX_VMS} VMs")]
    TooManyVms,
    /// It says too much of them.
    #[error("what it says of its VMs has more than {} MiB", MAX_BYTES >> 20)]
    TooHeavy,
    /// A part of an inventory is too large.
    #[error("a part of its inventory has {0} VMs; at most {MAX_PART} are allowed")]
    LargePart(usize),
}

/// One observation, as far as it has come.
#[derive(Debug)]
pub(in crate::fleet) struct Entrance {
    host: HostId,
    /// What each VM that the agent says it has weighs.
    held: HashMap<VmId, usize>,
    bytes: usize,
    /// The inventory was complete once: another one is a change of all of it.
    complete: bool,
    /// Changes that may come now, and since when more of them may.
    allowance: f64,
    counted_at: Instant,
}

impl Entrance {
    /// Of a stream that begins now.
    pub(in crate::fleet) fn new(host: HostId, now: Instant) -> Self {
        let allowance = f64::from(BURST.0);
        Self { host, held: HashMap::new(), bytes: 0, complete: false, allowance, counted_at: now }
    }

    /// Lets a message in, and says how long to wait before the next one is read.
    ///
    /// # Errors
    /// The observation is over.
    pub(in crate::fleet) fn take(
        &mut self,
        response: wire::ObserveResponse,
        now: Instant,
    ) -> Result<(Message, Duration), Breach> {
        use wire::observe_response::Event;
        match &response.event {
            Some(Event::Host(facts)) if facts.host_id != self.host.to_string() => {
                return Err(Breach::OtherHost(words::word(facts.host_id.clone())));
            }
            // Before a VM of it is read: what is read is larger than what came.
            Some(Event::Inventory(part)) if part.vms.len() > MAX_PART => {
                return Err(Breach::LargePart(part.vms.len()));
            }
            Some(_) | None => {}
        }
        let message = message(response)?;
        let changes = match &message.report {
            Report::Inventory { vms, last } => {
                vms.iter().try_for_each(|(id, vm)| self.hold(*id, vm))?;
                let again = self.complete;
                self.complete |= last;
                if again { vms.len().max(1) } else { 0 }
            }
            Report::Vm(id, vm) => {
                self.hold(*id, vm)?;
                1
            }
            Report::Gone(id) => {
                self.bytes -= self.held.remove(id).unwrap_or(0);
                1
            }
            Report::Host(_) | Report::Heartbeat | Report::Traffic(_) => 1,
        };
        Ok((message, self.pace(changes, now)))
    }

    fn hold(&mut self, id: VmId, vm: &ObservedVm) -> Result<(), Breach> {
        let weight = vm.weight();
        let before = self.held.insert(id, weight);
        if before.is_none() {
            self.allowance += f64::from(BURST.1);
        }
        self.bytes = self.bytes + weight - before.unwrap_or(0);
        if self.held.len() > MAX_VMS {
            return Err(Breach::TooManyVms);
        }
        if self.bytes > MAX_BYTES { Err(Breach::TooHeavy) } else { Ok(()) }
    }

    /// Counts changes, and says how long they are ahead of the pace.
    fn pace(&mut self, changes: usize, now: Instant) -> Duration {
        let vms = u32::try_from(self.held.len()).unwrap_or(u32::MAX);
        let of = |(base, each): (u32, u32)| f64::from(base) + f64::from(each) * f64::from(vms);
        let passed = now.saturating_duration_since(self.counted_at).as_secs_f64();
        self.counted_at = now;
        let changes = f64::from(u32::try_from(changes).unwrap_or(u32::MAX));
        self.allowance = (self.allowance + passed * of(RATE)).min(of(BURST)) - changes;
        Duration::try_from_secs_f64(-self.allowance / of(RATE)).unwrap_or(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests;
