//! What stands in the way of removals, looked for before the plan is made: so that a dry run says
//! what a sweep would do.
//!
//! Driven by every sweep. Reads only. What can go wrong: the processes cannot be listed; then there
//! is no sweep.

use std::collections::BTreeSet;

use banger_proto::ids::VmId;

use super::super::Supervisor;
use super::super::look::Look;
use crate::host::{HostResult, ProcessFacts};
use crate::inventory::sweep::{Hindrances, Kept};
use crate::inventory::{Kind, Object, Target};
use crate::jail::process::{Liveness, ProcessTable};

/// Whether a process is the one that is meant.
pub(super) enum Certainly {
    It,
    /// There is none any more.
    Dead,
    /// And why.
    Not(String),
}

impl Supervisor {
    /// What a removal would meet: an owner that came after the look, a process that is not listed
    /// as one to go, or one that cannot be ended with certainty.
    pub(super) async fn hindrances(&self, look: &Look) -> HostResult<Hindrances> {
        let mut hindrances = Hindrances::new();
        let orphans: Vec<&Object> = look.objects.iter().filter(|o| o.is_orphan()).collect();
        if orphans.is_empty() {
            return Ok(hindrances);
        }
        let table = ProcessTable::read(&*self.0.shared.host.processes).await?;
        let listed: BTreeSet<VmId> = orphans
            .iter()
            .filter(|object| object.kind() == Kind::Process)
            .filter_map(|object| object.vm)
            .collect();
        for object in orphans {
            if let Some(kept) = self.hindrance(object, &table, &listed).await {
                hindrances.insert(object.key(), kept);
            }
        }
        Ok(hindrances)
    }

    async fn hindrance(
        &self,
        object: &Object,
        table: &ProcessTable,
        listed: &BTreeSet<VmId>,
    ) -> Option<Kept> {
        let owned = match (&object.target, object.vm) {
            (_, Some(vm)) => self.0.vms.lock().contains_key(&vm),
            (Target::Tap(tap), None) => self.owns_tap(tap),
            (_, None) => false,
        };
        if owned {
            return Some(Kept::FoundOwner);
        }
        let vm = object.vm?;
        match &object.target {
            Target::Process(process) => match self.is_certainly(vm, process, table).await {
                Certainly::It | Certainly::Dead => None,
                Certainly::Not(why) => Some(Kept::Unclear(why)),
            },
            _ if listed.contains(&vm) => None,
            _ => {
                let fault = self.stray(vm, table).await?;
                Some(Kept::ProcessStays(fault.message))
            }
        }
    }

    /// Whether this process is, as a whole, the one in the jail of this VM.
    pub(super) async fn is_certainly(
        &self,
        vm: VmId,
        process: &ProcessFacts,
        table: &ProcessTable,
    ) -> Certainly {
        match self.alive_without_record(vm, table).await {
            Liveness::Alive(found)
                if found.pid == process.pid && found.start_ticks == process.start_ticks =>
            {
                Certainly::It
            }
            Liveness::Dead(_) => Certainly::Dead,
            other @ (Liveness::Alive(_)
            | Liveness::SomebodyElses { .. }
            | Liveness::CannotTell(_)) => {
                Certainly::Not(format!("it is not certainly the one listed: {other:?}"))
            }
        }
    }
}
