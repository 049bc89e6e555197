//! VMs in the table: their intents, what is seen of them, and the events that follow.
//!
//! Whatever changes a VM ends in `ViewTable::put`, which makes its record anew. A difference that
//! somebody can see gets a revision and an event; one that nobody sees (an agent's acknowledgement,
//! the same report again) only takes the place of the record, under the same revision.

use std::sync::Arc;

use banger_proto::ids::{Version, VmId};
use jiff::Timestamp;

use super::{Effects, Standing, ViewTable, history};
use crate::model::affinity::AffinityRule;
use crate::model::audience::Audiences;
use crate::model::host::{HostState, Resources};
use crate::model::intent::{Desired, VmIntent};
use crate::model::observed::{Observation, UnknownWhy};
use crate::model::past::Thing;
use crate::model::placement::NoHost;
use crate::model::status::{StatusContext, Trouble, VmStatus};
use crate::watch::record::{Sight, VmRecord};
use crate::watch::ring::Event;
use crate::watch::watched::Watched;

impl ViewTable {
    /// An intent is new or has changed.
    pub(in crate::watch) fn put_intent(
        &mut self,
        intent: &Arc<VmIntent>,
        now: Timestamp,
        out: &mut Effects,
    ) {
        let before = self.vms.get(&intent.id).cloned();
        let (observation, trouble) = match &before {
            Some(before) if before.intent.host == intent.host => {
                let same = before.intent.generation == intent.generation;
                (before.observation.clone(), before.trouble.clone().filter(|_| same))
            }
            Some(_) | None => (self.first_sight(intent, now), None),
        };
        self.put(Arc::clone(intent), observation, trouble, before, out);
    }

    /// Nothing of the VM is left and its intent is gone.
    pub(in crate::watch) fn forget(&mut self, vm: VmId, now: Timestamp, out: &mut Effects) {
        let Some(last) = self.vms.remove(&vm) else { return };
        self.count_out(&last);
        self.names.remove(&last.intent.named());
        self.by_project.remove(&last.intent);
        self.unplaced.remove(&vm);
        self.unfollow(&last.intent);
        self.by_revision.remove(&last.revision);
        let mut host = last.host.clone();
        if let Some(id) = last.intent.host {
            self.leave_host(id, &last, out);
            host = self.hosts.get(&id).map(|entry| Arc::clone(&entry.view));
        }
        // Room has become free.
        out.wake_placement |= !self.unplaced.is_empty();
        self.revision = self.revision.next();
        let gone = Arc::new(VmRecord {
            intent: Arc::clone(&last.intent),
            observation: Observation::Absent,
            trouble: None,
            status: VmStatus::deleted(&last.intent, now),
            host,
            observed_at: None,
            revision: self.revision,
            added: last.added,
            last_sight: None,
            told: last.told,
        });
        self.bury(Watched::Vm(Arc::clone(&gone)));
        out.touched.push(vm);
        let seen_by = Audiences::EVERYBODY;
        let (after, before) = (Watched::Vm(gone), Some(Watched::Vm(last)));
        out.events.push(Event { after, before, gone: true, seen_by });
    }

    /// Something keeps the intent of this generation from its agent, or no longer does.
    pub(in crate::watch) fn set_trouble(
        &mut self,
        vm: VmId,
        version: Version,
        trouble: Option<Arc<Trouble>>,
        out: &mut Effects,
    ) {
        let Some(before) = self.vms.get(&vm).cloned() else { return };
        if before.intent.generation != version.generation || before.trouble == trouble {
            return;
        }
        let (intent, observation) = (Arc::clone(&before.intent), before.observation.clone());
        self.put(intent, observation, trouble, Some(before), out);
    }

    // === inside ===

    /// Makes the record of a VM anew and, if somebody sees a difference, gives it a revision.
    pub(super) fn put(
        &mut self,
        intent: Arc<VmIntent>,
        observation: Observation,
        trouble: Option<Arc<Trouble>>,
        before: Option<Arc<VmRecord>>,
        out: &mut Effects,
    ) {
        let id = intent.id;
        let host =
            intent.host.and_then(|host| self.hosts.get(&host)).map(|entry| Arc::clone(&entry.view));
        let last_sight =
            Sight::of(&observation).or_else(|| before.as_ref().and_then(|b| b.last_sight));
        let context = StatusContext {
            epoch: self.epoch,
            host: host.as_deref(),
            trouble: trouble.as_deref(),
            last_settled: last_sight.map(|sight| sight.settled),
        };
        let mut status = VmStatus::of(&intent, &observation, context);
        if let Some(before) = &before
            && stays_in_its_state(before, &status, &observation)
        {
            status.since = before.status.since;
        }
        let next = self.revision.next();
        let added =
            before.as_ref().map_or_else(|| self.came(Thing::Vm(id), next), |before| before.added);
        let mut record = VmRecord {
            intent,
            observation,
            trouble,
            status,
            host,
            observed_at: None,
            revision: next,
            added,
            last_sight,
            told: before.as_ref().map_or_else(Default::default, |before| before.told),
        };
        let mut seen_by = Audiences::EVERYBODY;
        if let Some(before) = &before {
            if record.is_the_same_as(before) {
                return;
            }
            seen_by = record.differs_for(before);
            self.count_out(before);
            if before.intent.host != record.intent.host
                && let Some(old) = before.intent.host
            {
                self.leave_host(old, before, out);
            }
        }
        match &before {
            Some(before) if seen_by.is_nobody() => {
                record.revision = before.revision;
                record.observed_at = before.observed_at;
            }
            Some(_) | None => {
                record.observed_at = record.seen().map(|vm| vm.observed_at);
                self.revision = next;
                if let Some(before) = &before {
                    self.by_revision.remove(&before.revision);
                }
                self.by_revision.insert(next, Standing::Living(Thing::Vm(id)));
            }
        }
        let sight = before.as_ref().and_then(|before| before.last_sight);
        let lines = history::of_change(sight, &record, self.started_at);
        record.told = history::bounded(record.told, &record, lines, self.now, &mut out.history);
        let record = Arc::new(record);
        self.states[record.state() as usize] += 1;
        // A VM never changes its project.
        if before.is_none() {
            self.by_project.insert(&record.intent);
        }
        if before.as_ref().is_none_or(|before| before.intent.name != record.intent.name) {
            if let Some(before) = &before {
                self.names.remove(&before.intent.named());
            }
            self.names.insert(record.intent.named(), id);
        }
        match record.intent.host {
            None => {
                self.unplaced.insert(id);
                self.unfollow(&record.intent);
                if record.intent.spec.placement().affinity.iter().any(AffinityRule::follows) {
                    let project = record.intent.project.clone();
                    self.followers.entry(project).or_default().insert(id);
                }
                // One that is new or was changed has just been tried, in the same transaction.
                let left_its_host = before.as_ref().is_some_and(|b| b.intent.host.is_some());
                out.wake_placement |= left_its_host || record.intent.desired == Desired::Absent;
                // It gave way to others, which are to be looked at first.
                out.wake_placement |= record.intent.pending == Some(NoHost::OthersFirst);
            }
            Some(host) => {
                self.unplaced.remove(&id);
                self.unfollow(&record.intent);
                let before_it = before.as_ref().map(|before| &*before.intent);
                out.wake_placement |= self.lets_others_go(before_it, &record.intent);
                self.join_host(host, before.as_deref(), &record, out);
            }
        }
        self.vms.insert(id, Arc::clone(&record));
        out.touched.push(id);
        if !seen_by.is_nobody() {
            let (after, before) = (Watched::Vm(record), before.map(Watched::Vm));
            out.events.push(Event { after, before, gone: false, seen_by });
        }
    }

    fn unfollow(&mut self, vm: &VmIntent) {
        if let Some(of) = self.followers.get_mut(&vm.project) {
            of.remove(&vm.id);
            if of.is_empty() {
                self.followers.remove(&vm.project);
            }
        }
    }

    /// Whether a VM that has a host may have one that waits find its own: it has just got the host,
    /// leaves more room on it, or is another for the rules about it.
    fn lets_others_go(&self, before: Option<&VmIntent>, now: &VmIntent) -> bool {
        let (old, new) = match before {
            Some(before) if before.host == now.host => (&before.spec, &now.spec),
            Some(_) | None => {
                return !now.spec.labels().is_empty() && self.followers.contains_key(&now.project);
            }
        };
        let is_other = old.labels() != new.labels() || old.placement() != new.placement();
        let leaves_more = old.resources().minus(new.resources()) != Resources::default();
        !self.unplaced.is_empty() && (is_other || leaves_more)
    }

    fn count_out(&mut self, record: &VmRecord) {
        let count = &mut self.states[record.state() as usize];
        *count = count.saturating_sub(1);
    }

    /// What is known of a VM that has just been placed, or loaded.
    fn first_sight(&mut self, intent: &VmIntent, now: Timestamp) -> Observation {
        let Some(host) = intent.host else {
            // Never placed: nobody can hold anything of it.
            return Observation::Absent;
        };
        let unknown = |why| Observation::Unknown { since: now, why };
        let Some(entry) = self.hosts.get_mut(&host) else {
            return unknown(UnknownWhy::HostNotYetSeen);
        };
        match entry.view.health.state {
            HostState::Online => match entry.unclaimed.remove(&intent.id) {
                Some(seen) => Observation::Present(seen),
                None => Observation::Absent,
            },
            HostState::Connecting => unknown(UnknownWhy::HostNotYetSeen),
            HostState::Suspect | HostState::Offline => unknown(UnknownWhy::HostUnreachable),
            HostState::Revoked => unknown(UnknownWhy::HostRevoked),
        }
    }
}

/// Whether a VM is shown in the state that it was in already, and has not left it meanwhile: what
/// its host has begun is what it was shown to be about to begin, and one step of a state that has
/// several is as good as another. A stage that is entered anew is a state that is.
fn stays_in_its_state(before: &VmRecord, now: &VmStatus, seen: &Observation) -> bool {
    let Observation::Present(vm) = seen else { return false };
    let entered_anew = match &before.observation {
        Observation::Unknown { .. } => true,
        Observation::Absent => false,
        Observation::Present(was) => was.phase == vm.phase && was.phase_since != vm.phase_since,
    };
    before.status.state == now.state && !entered_anew
}
