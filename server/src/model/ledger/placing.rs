//! Deciding where a VM goes: when it is created or changed, and for those that wait for a host.
//!
//! The choice is [`placement`]'s; here it is asked with what is booked, and booked with the intent.
//!
//! VMs wait in the order of their priority, the highest first, and of their age. The first for
//! which there is room goes first: one that fits nowhere keeps none back that come after it. A VM
//! that is new takes no room that one which waits before it could have now.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use banger_proto::ids::{HostId, VmId};
use uuid::Uuid;

use super::bookings::HostBookings;
use super::peers::Counted;
use super::shape::Shape;
use super::turn::turn;
use super::vms::unchanged;
use super::{BindVm, Change, Decided, HostRef, Ledger, Outcome, Refusal, VmRef, event};
use crate::model::caller::Caller;
use crate::model::history::EventKind;
use crate::model::intent::{Desired, FoundPlace, NetAllocation, VmIntent};
use crate::model::placement::{self, Evaluation, NoHost, Unsuitable, Wanted};
use crate::model::project::ProjectName;
use crate::model::spec::{SpecProblem, VmSpec};

/// Most VMs placed by one mutation, so that one group of the writer stays small.
const MAX_PLACED_AT_ONCE: usize = 1000;

/// Most VMs for which one mutation looks at all hosts: nobody else can write until it is done.
pub(super) const MAX_LOOKS_AT_ONCE: usize = 256;

/// Most VMs that it considers, those included of a shape of which it knows that it fits nowhere.
const MAX_CONSIDERED_AT_ONCE: usize = 10_000;

/// Most shapes of VMs that wait for which a host is looked for before a new VM takes one.
pub(super) const MAX_SHAPES_BEFORE: usize = 16;

/// Most VMs that wait which are looked at then.
const MAX_WAITING_BEFORE: usize = 1000;

#[cfg(test)]
std::thread_local! {
    /// How often all hosts were looked at for a VM: what a decision costs.
    pub(super) static LOOKS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

impl Ledger {
    pub(super) fn place_vm(&self, vm: VmId, caller: &Caller) -> Result<Decided, Refusal> {
        let old = self.matching(&VmRef::Id(vm), None, caller)?;
        if old.host.is_some() || old.desired == Desired::Absent {
            return Ok(unchanged(old));
        }
        let mut new = VmIntent::clone(old);
        new.set_place(self.find_place(old)?);
        if new.host.is_none() && new.pending == old.pending {
            return Ok(unchanged(old));
        }
        let new = Arc::new(new);
        let changes = vec![Change::put(Arc::clone(&new)), self.place_event(&new, caller)];
        Ok(Decided { changes, outcome: Outcome::Vm { intent: new, changed: true } })
    }

    /// Finding a host is no change of what is wanted, whoever finds it: the generation stays.
    pub(super) fn bind_vm(&self, bind: &BindVm, caller: &Caller) -> Result<Decided, Refusal> {
        let old = self.living(&bind.vm, bind.etag.as_deref(), caller)?;
        if !caller.sees_hosts() {
            let why = "is for callers of the whole fleet";
            return Err(Refusal::InvalidFields(vec![SpecProblem::new("host", why)]));
        }
        let entry =
            self.host_entry(&bind.host).ok_or_else(|| Refusal::HostNotFound(bind.host.clone()))?;
        let place = match old.host {
            Some(host) if host == entry.record.id => return Ok(unchanged(old)),
            Some(_) => return Err(unsuitable(entry, vec![Unsuitable::HasAnother])),
            None => self.place_on(old, entry)?,
        };
        let mut new = VmIntent::clone(old);
        new.set_place(Ok(place));
        let new = Arc::new(new);
        let changes = vec![Change::put(Arc::clone(&new)), self.place_event(&new, caller)];
        Ok(Decided { changes, outcome: Outcome::Vm { intent: new, changed: true } })
    }

    /// This host and an address of it, or all that speaks against it.
    fn place_on(
        &self,
        vm: &VmIntent,
        entry: &HostBookings,
    ) -> Result<(HostId, NetAllocation), Refusal> {
        let candidate = entry.candidate(self.config.overcommit);
        let wanted = self.wanted(vm, &[], &Counted::default());
        let checked = placement::check_host(&wanted, &candidate);
        checked.map_err(|against| unsuitable(entry, against))?;
        let net = entry.allocation_of(vm.id);
        let net = net.ok_or_else(|| unsuitable(entry, vec![Unsuitable::NoFreeAddress]))?;
        Ok((entry.record.id, net))
    }

    /// Goes on after those that the last mutation of the search has looked at.
    pub(super) fn place_pending(&self, caller: &Caller) -> Decided {
        // A copy to book on: a decision changes nothing.
        let mut hosts: BTreeMap<_, _> =
            if self.pending.is_empty() { BTreeMap::new() } else { self.hosts.clone() };
        let mut changes = Vec::new();
        let mut given = Vec::new();
        let counted = Counted::default();
        // What is booked on the way leaves less room, never more; but the VMs that others are to be
        // near may come.
        let mut nowhere: HashMap<Shape<'_>, (NoHost, usize)> = HashMap::new();
        // Projects of VMs that get a host here and stay apart from others.
        let mut avoiding: HashSet<&ProjectName> = HashSet::new();
        let (mut changed, mut looks) = (0, 0);
        let after = self.search.after().map_or(Bound::Unbounded, Bound::Excluded);
        let mut waiting = self.pending.range((after, Bound::Unbounded)).enumerate().peekable();
        let mut last = None;
        while let Some((_, turn)) = waiting.next_if(|(number, _)| {
            changed < MAX_PLACED_AT_ONCE
                && looks < MAX_LOOKS_AT_ONCE
                && *number < MAX_CONSIDERED_AT_ONCE
        }) {
            last = Some(*turn);
            let Some(old) = self.vms.get(&turn.2) else { continue };
            let shape = self.shape_of(old, avoiding.contains(&old.project));
            let known = nowhere.get(&shape).filter(|(_, after)| {
                old.spec.placement().affinity.is_empty() || *after == given.len()
            });
            let place = match known {
                Some((why, _)) => Err(*why),
                None => {
                    looks += 1;
                    self.choose(old, &hosts, &given, &counted)
                }
            };
            if let Err(why) = place {
                nowhere.insert(shape, (why, given.len()));
            }
            if place.is_err() && place.err() == old.pending {
                continue;
            }
            let mut new = VmIntent::clone(old);
            new.set_place(place);
            let new = Arc::new(new);
            if let Some(entry) = new.host.and_then(|host| hosts.get_mut(&host)) {
                entry.book(&new);
                entry.note_given(&new);
                given.push(Arc::clone(&new));
                if old.spec.placement().affinity.iter().any(|rule| rule.repels().is_some()) {
                    avoiding.insert(&old.project);
                }
            }
            changed += 1;
            changes.push(Change::put(Arc::clone(&new)));
            changes.push(self.place_event(&new, caller));
        }
        let placed = given.len();
        let pending = self.pending.len() - placed;
        let rest_after = waiting.peek().and(last);
        Decided { changes, outcome: Outcome::Placed { placed, pending, rest_after } }
    }

    /// A named host is taken or refused; without one the best that can, or the reason why none.
    pub(super) fn find_place(&self, vm: &VmIntent) -> Result<FoundPlace, Refusal> {
        let Some(entry) = self.named_host(&vm.spec)? else {
            let found = self.choose(vm, &self.hosts, &[], &Counted::default());
            let gives_way = found.is_ok() && self.is_overtaking(vm);
            return Ok(if gives_way { Err(NoHost::OthersFirst) } else { found });
        };
        self.place_on(vm, entry).map(Ok)
    }

    /// The same of a VM that is not to be stored, with what is thought of every host: one look at
    /// them for both.
    pub(super) fn find_place_with_verdicts(
        &self,
        vm: &VmIntent,
    ) -> Result<(FoundPlace, Evaluation), Refusal> {
        let named = self.named_host(&vm.spec)?;
        let found = self.evaluate(vm);
        let place = match named {
            Some(entry) => Ok(self.place_on(vm, entry)?),
            None => found.chosen.and_then(|host| {
                let net = self.hosts.get(&host).and_then(|host| host.allocation_of(vm.id));
                net.map(|net| (host, net)).ok_or(NoHost::NoneHasRoom)
            }),
        };
        Ok((place, found))
    }

    /// Whether a VM that comes before this one waits, and could have a host now.
    ///
    /// Only when room has come since they were looked at; until then none of them could. Where too
    /// many would have to be looked at, the search for all that wait finds out.
    fn is_overtaking(&self, vm: &VmIntent) -> bool {
        if !self.search.room_came() {
            return false;
        }
        let own = turn(vm);
        let (mut seen, counted) = (HashSet::new(), Counted::default());
        let before = self.pending.iter().take_while(|turn| **turn < own);
        let before = before.filter_map(|(_, _, id)| self.vms.get(id));
        for (number, other) in before.filter(|other| other.id != vm.id).enumerate() {
            if number >= MAX_WAITING_BEFORE {
                return true;
            }
            if !seen.insert(self.shape_of(other, false)) {
                continue;
            }
            if seen.len() > MAX_SHAPES_BEFORE
                || self.choose(other, &self.hosts, &[], &counted).is_ok()
            {
                return true;
            }
        }
        false
    }

    /// The best of these hosts, beside VMs that get one in the same decision.
    fn choose<'l>(
        &'l self,
        vm: &'l VmIntent,
        hosts: &BTreeMap<HostId, HostBookings>,
        also: &[Arc<VmIntent>],
        counted: &Counted<'l>,
    ) -> FoundPlace {
        if vm.spec.placement().scheduler.is_some() {
            return Err(NoHost::LeftToScheduler);
        }
        #[cfg(test)]
        LOOKS.set(LOOKS.get() + 1);
        let candidates = hosts.values().map(|host| host.candidate(self.config.overcommit));
        let host = placement::choose_host(&self.wanted(vm, also, counted), candidates)?;
        let net = hosts.get(&host).and_then(|host| host.allocation_of(vm.id));
        net.map(|net| (host, net)).ok_or(NoHost::NoneHasRoom)
    }

    /// What is thought of every host for a VM, as if it were to be placed now. One that has a host
    /// is taken off it first.
    pub fn evaluate(&self, intent: &VmIntent) -> Evaluation {
        let stored = self.vms.get(&intent.id);
        let candidates = self.hosts.values().map(|entry| {
            let mut candidate = entry.candidate(self.config.overcommit);
            if let Some(stored) = stored.filter(|vm| vm.host == Some(entry.record.id)) {
                candidate.booked = candidate.booked.minus(stored.spec.resources());
                candidate.has_free_slot = true;
            }
            candidate
        });
        #[cfg(test)]
        LOOKS.set(LOOKS.get() + 1);
        let wanted = self.wanted(intent, &[], &Counted::default());
        let mut found = Evaluation::of(&wanted, candidates);
        if intent.spec.placement().scheduler.is_some() {
            found.chosen = Err(NoHost::LeftToScheduler);
        }
        let waits = stored.is_none_or(|stored| stored.host.is_none());
        if waits && found.chosen.is_ok() && self.is_overtaking(intent) {
            found.chosen = Err(NoHost::OthersFirst);
        }
        found
    }

    fn wanted<'a, 'l: 'a>(
        &'l self,
        vm: &'l VmIntent,
        also: &'a [Arc<VmIntent>],
        counted: &Counted<'l>,
    ) -> Wanted<'a> {
        let spec = &vm.spec;
        let named = match self.named_host(spec) {
            Ok(entry) => entry.map(|entry| entry.record.id),
            // Gone since: no host is that one.
            Err(_) => Some(HostId::from_uuid(Uuid::nil())),
        };
        let strategy = spec.placement().strategy.unwrap_or(self.config.strategy);
        Wanted { spec, named, strategy, usual: self.usual, peers: self.peers(vm, also, counted) }
    }

    fn named_host(&self, spec: &VmSpec) -> Result<Option<&HostBookings>, Refusal> {
        let Some(wanted) = &spec.placement().host else { return Ok(None) };
        let host = wanted.parse().map_or_else(|_| HostRef::Name(wanted.clone()), HostRef::Id);
        self.host_entry(&host).map(Some).ok_or(Refusal::HostNotFound(host))
    }

    pub(super) fn place_event(&self, intent: &VmIntent, caller: &Caller) -> Change {
        match (intent.host.and_then(|host| self.hosts.get(&host)), intent.pending) {
            (Some(entry), _) => {
                let message = format!("host {}", entry.record.name);
                event(intent, EventKind::Placed, "", message, caller)
            }
            (None, Some(why)) => {
                let message = why.sentence().to_owned();
                event(intent, EventKind::Unplaced, why.reason(), message, caller)
            }
            (None, None) => event(intent, EventKind::Unplaced, "", String::new(), caller),
        }
    }
}

fn unsuitable(entry: &HostBookings, mut against: Vec<Unsuitable>) -> Refusal {
    let (why, host) = (against.remove(0), entry.record.name.clone());
    Refusal::HostUnsuitable { host, why, also: against }
}
