//! Deciding about VMs: create, update, delete, forget. Where they go is in [`super::placing`],
//! power in [`super::power`].

use std::sync::Arc;
use std::time::Duration;

use banger_proto::ids::{Generation, VmId};

use super::{
    Change, CreateVm, Decided, DeleteVm, HostRef, Ledger, NewSpec, Outcome, Refusal, UpdateVm,
    VmRef, event,
};
use crate::model::caller::Caller;
use crate::model::history::EventKind;
use crate::model::host::Resources;
use crate::model::intent::{DEFAULT_STOP_GRACE, Desired, Fingerprint, FoundPlace, VmIntent};
use crate::model::placement::{self, Evaluation, Unsuitable};
use crate::model::project::Named;
use crate::model::spec::{SpecProblem, TakesEffect, VmSpec, VmSpecDraft};

/// What of a placement is for callers of the whole fleet: to name a host, and to go before those of
/// other projects. What one of them has set a caller of a project may leave.
fn check_reserved(old: Option<&VmSpec>, new: &VmSpec, caller: &Caller) -> Result<(), Refusal> {
    if caller.sees_hosts() {
        return Ok(());
    }
    let (old, new) = (old.map(VmSpec::placement), new.placement());
    let mut problems = Vec::new();
    if new.host.is_some() && old.is_none_or(|old| old.host != new.host) {
        let why = "is for callers of the whole fleet; name labels of hosts instead";
        problems.push(SpecProblem::new("spec.placement.host", why));
    }
    if new.priority > old.map_or(0, |old| old.priority.max(0)) {
        let why =
            "above 0 is for callers of the whole fleet: VMs of all projects wait in one order";
        problems.push(SpecProblem::new("spec.placement.priority", why));
    }
    if problems.is_empty() { Ok(()) } else { Err(Refusal::InvalidFields(problems)) }
}

/// Why a host can't take a VM, for a caller: how much is left of it says how much others have.
fn told(refusal: Refusal, caller: &Caller) -> Refusal {
    match refusal {
        Refusal::HostUnsuitable { host, .. } if !caller.sees_hosts() => {
            Refusal::HostUnsuitable { host, why: Unsuitable::Full, also: Vec::new() }
        }
        refusal => refusal,
    }
}

impl Ledger {
    pub(super) fn create_vm(&self, create: &CreateVm, caller: &Caller) -> Result<Decided, Refusal> {
        self.create_vm_knowing(create, caller, &[], |intent| self.find_place(intent))
    }

    /// What a create would come to now that is not to be stored, with those of its ids that were
    /// found used up, and what is thought of every host where it would make a VM. Changes nothing.
    ///
    /// # Errors
    /// Why it would be refused.
    pub fn check_create(
        &self,
        create: &CreateVm,
        caller: &Caller,
        used_up: &[VmId],
    ) -> Result<(Decided, Option<Evaluation>), Refusal> {
        self.check_caller(caller)?;
        let mut found = None;
        let decided = self.create_vm_knowing(create, caller, used_up, |intent| {
            let (place, evaluation) = self.find_place_with_verdicts(intent)?;
            found = Some(evaluation);
            Ok(place)
        })?;
        Ok((decided, found))
    }

    fn create_vm_knowing(
        &self,
        create: &CreateVm,
        caller: &Caller,
        used_up: &[VmId],
        find_place: impl FnOnce(&VmIntent) -> Result<FoundPlace, Refusal>,
    ) -> Result<Decided, Refusal> {
        let fingerprint = Fingerprint::of(&create.name, &create.spec, create.desired);
        self.check_project(&create.project, caller)?;
        check_reserved(None, &create.spec, caller)?;
        // In one order, whether what has an id is there, is somebody else's, or is gone: which of
        // the last two it is nobody is told.
        for id in [Some(create.id), create.request_id].into_iter().flatten() {
            match self.created_as(id) {
                Some(existing) if caller.sees(&existing.project) => {
                    let same_id = !create.id_is_given || existing.id == create.id;
                    let same_id = same_id && existing.project == create.project;
                    if same_id && self.is_create_of(create, fingerprint, existing) {
                        return Ok(unchanged(existing));
                    }
                    let name = existing.name.clone();
                    return Err(Refusal::VmIdTaken { id: existing.id, name });
                }
                Some(_) => return Err(Refusal::VmIdUsedUp { id }),
                None if self.used_up.contains(&id) || used_up.contains(&id) => {
                    return Err(Refusal::VmIdUsedUp { id });
                }
                None => {}
            }
        }
        if self.vms.len() >= self.config.max_vms {
            return Err(Refusal::LimitReached { what: "VMs", limit: self.config.max_vms });
        }
        let name = self.free_name(create)?;
        let spec = self.pin_images(&create.spec, None, &create.project)?;
        let root_image_mib = self.root_image_mib(&spec, None, &create.project);
        let wants = spec.counted(root_image_mib);
        self.check_quota(&create.project, Resources::default(), wants)?;
        let mut intent = VmIntent {
            id: create.id,
            name,
            project: create.project.clone(),
            spec,
            desired: create.desired,
            host: None,
            net: None,
            pending: None,
            generation: Generation(1),
            boot_number: 1,
            root_disk_number: 1,
            root_image_mib,
            stop_grace: DEFAULT_STOP_GRACE,
            fingerprint,
            request_id: create.request_id,
            created_at: caller.at,
            updated_at: caller.at,
            traceparent: caller.trace.clone(),
            actor: caller.actor.to_string(),
        };
        let place = find_place(&intent)?;
        intent.set_place(place);
        let mut changes = Vec::with_capacity(3);
        let intent = Arc::new(intent);
        changes.push(Change::put(Arc::clone(&intent)));
        changes.push(event(&intent, EventKind::Created, "", String::new(), caller));
        changes.push(self.place_event(&intent, caller));
        Ok(Decided { changes, outcome: Outcome::Vm { intent, changed: true } })
    }

    /// Whether this create is the one that made a VM. Its host may be named by its id now and may
    /// have been by its name then, or the other way round.
    fn is_create_of(
        &self,
        create: &CreateVm,
        fingerprint: Fingerprint,
        existing: &VmIntent,
    ) -> bool {
        if existing.fingerprint == fingerprint {
            return true;
        }
        let Some(named) = &create.spec.placement().host else { return false };
        let host = named.parse().map_or_else(|_| HostRef::Name(named.clone()), HostRef::Id);
        let Some(host) = self.host(&host) else { return false };
        [host.id.to_string(), host.name.clone()].into_iter().any(|named| {
            let spec = create.spec.on_host(named);
            existing.fingerprint == Fingerprint::of(&create.name, &spec, create.desired)
        })
    }

    /// The VM that a create with this id, or request id, has made.
    fn created_as(&self, id: VmId) -> Option<&Arc<VmIntent>> {
        self.vms.get(&id).or_else(|| self.requests.get(&id).and_then(|vm| self.vms.get(vm)))
    }

    fn free_name(&self, create: &CreateVm) -> Result<String, Refusal> {
        let taken = |name: String| match self.names.get(&Named::new(&create.project, &name)) {
            Some(by) => Err(Refusal::VmNameTaken { name, by: *by }),
            None => Ok(name),
        };
        if !create.name.is_empty() {
            return taken(create.name.clone());
        }
        // The end of a UUIDv7 is its random part; the beginning is the time.
        let id = create.id.uuid().simple().to_string();
        taken(format!("vm-{}", &id[20..])).or_else(|_| taken(format!("vm-{id}")))
    }

    pub(super) fn update_vm(&self, update: &UpdateVm, caller: &Caller) -> Result<Decided, Refusal> {
        let old = self.living(&update.vm, update.etag.as_deref(), caller)?;
        let asked = match &update.spec {
            NewSpec::Whole(spec) => Arc::clone(spec),
            NewSpec::Parts(draft, mask) => {
                let merged = VmSpecDraft::clone(draft).over(&old.spec, mask);
                Arc::new(merged.map_err(Refusal::of_spec)?)
            }
        };
        check_reserved(Some(&old.spec), &asked, caller)?;
        let spec = &self.pin_images(&asked, Some(&old.spec), &old.project)?;
        let changes = old.spec.changes(spec);
        if changes.is_empty() {
            return Ok(unchanged(old));
        }
        let of = |effect: TakesEffect| {
            changes.iter().filter(move |change| change.takes_effect == effect).map(|c| c.field)
        };
        let mut problems = Vec::new();
        if old.host.is_some() {
            problems.extend(of(TakesEffect::BeforePlaced).map(|field| {
                SpecProblem::new(field, "can be changed only while the VM has no host")
            }));
        }
        problems.extend(old.spec.shrunk_disks(spec).into_iter().map(|(field, now, asked)| {
            SpecProblem::new(
                field,
                format!(
                    "is {asked}, less than the {now} MiB that the disk has; a disk can only grow"
                ),
            )
        }));
        if !problems.is_empty() {
            return Err(Refusal::InvalidFields(problems));
        }
        let needs_stop: Vec<&'static str> = of(TakesEffect::NeedsStoppedVm).collect();
        let restart = !needs_stop.is_empty() && old.desired.wants_process();
        if restart && !update.allow_restart {
            return Err(Refusal::NeedsStoppedVm {
                name: old.name.clone(),
                desired: old.desired,
                fields: needs_stop,
            });
        }
        let root_image_mib = self.root_image_mib(spec, Some(old), &old.project);
        self.check_quota(&old.project, old.counted(), spec.counted(root_image_mib))?;
        self.check_growth(old, spec, caller)?;
        let mut new = next(old, caller);
        new.spec = Arc::clone(spec);
        new.root_image_mib = root_image_mib;
        new.stop_grace = DEFAULT_STOP_GRACE;
        new.boot_number += u64::from(restart);
        new.root_disk_number += u64::from(old.spec.root_disk_is_lost(spec));
        if new.host.is_none() {
            let place = self.find_place(&new).map_err(|refusal| told(refusal, caller))?;
            new.set_place(place);
        }
        let fields: Vec<&str> = changes.iter().map(|change| change.field).collect();
        let new = Arc::new(new);
        let mut changes = vec![
            Change::put(Arc::clone(&new)),
            event(&new, EventKind::Updated, "", fields.join(", "), caller),
        ];
        if old.host.is_none() && (new.host.is_some() || new.pending != old.pending) {
            changes.push(self.place_event(&new, caller));
        }
        Ok(Decided { changes, outcome: Outcome::Vm { intent: new, changed: true } })
    }

    /// A placed VM that grows must fit where it is. Shrinking always does.
    fn check_growth(&self, old: &VmIntent, spec: &VmSpec, caller: &Caller) -> Result<(), Refusal> {
        let Some(entry) = old.host.and_then(|host| self.hosts.get(&host)) else { return Ok(()) };
        let (before, after) = (old.spec.resources(), spec.resources());
        if after.minus(before) == crate::model::host::Resources::default() {
            return Ok(());
        }
        let host = &entry.record.name;
        let refused = |why| Refusal::HostUnsuitable { host: host.clone(), why, also: Vec::new() };
        let limit = entry.allocatable(self.config.overcommit);
        let limit = limit.ok_or_else(|| refused(Unsuitable::NotYetSeen))?;
        let others = entry.used().booked.minus(before);
        placement::check_room(after, others, limit).map_err(|shortage| match caller.sees_hosts() {
            true => refused(Unsuitable::NoRoom(shortage)),
            // How much is left says how much others have.
            false => refused(Unsuitable::Full),
        })
    }

    pub(super) fn delete_vm(&self, delete: &DeleteVm, caller: &Caller) -> Result<Decided, Refusal> {
        let old = self.matching(&delete.vm, delete.etag.as_deref(), caller)?;
        if old.desired == Desired::Absent {
            return Ok(unchanged(old));
        }
        let mut new = next(old, caller);
        new.desired = Desired::Absent;
        // Its disks go with it: there is nothing a guest could still save.
        new.stop_grace = Duration::ZERO;
        let new = Arc::new(new);
        let mut changes = vec![
            Change::put(Arc::clone(&new)),
            event(&new, EventKind::DeleteRequested, "", String::new(), caller),
        ];
        if new.host.is_some() {
            return Ok(Decided { changes, outcome: Outcome::Vm { intent: new, changed: true } });
        }
        // No host ever held anything of it.
        changes.push(Change::remove(Arc::clone(&new), caller.at));
        changes.push(event(&new, EventKind::Deleted, "", String::new(), caller));
        Ok(Decided { changes, outcome: Outcome::VmGone(new) })
    }

    pub(super) fn forget_vm(&self, vm: VmId, caller: &Caller) -> Result<Decided, Refusal> {
        let last = self.matching(&VmRef::Id(vm), None, caller)?;
        if last.desired != Desired::Absent {
            return Err(Refusal::NotAbsent { name: last.name.clone(), desired: last.desired });
        }
        let gone = event(last, EventKind::Deleted, "", String::new(), caller);
        Ok(Decided {
            changes: vec![Change::remove(Arc::clone(last), caller.at), gone],
            outcome: Outcome::VmGone(Arc::clone(last)),
        })
    }

    /// The VM, when it is there for this caller and the etag is its present one.
    pub(super) fn matching(
        &self,
        vm: &VmRef,
        etag: Option<&str>,
        caller: &Caller,
    ) -> Result<&Arc<VmIntent>, Refusal> {
        let seen = self.vm_seen(vm, caller);
        let intent = seen.ok_or_else(|| Refusal::VmNotFound(vm.clone()))?;
        if etag.is_some_and(|given| given != intent.etag()) {
            return Err(Refusal::EtagMismatch { what: format!("VM {}", intent.name) });
        }
        Ok(intent)
    }

    /// The same, when it is not being deleted.
    pub(super) fn living(
        &self,
        vm: &VmRef,
        etag: Option<&str>,
        caller: &Caller,
    ) -> Result<&Arc<VmIntent>, Refusal> {
        let intent = self.matching(vm, etag, caller)?;
        if intent.desired == Desired::Absent {
            return Err(Refusal::VmDeleting { name: intent.name.clone() });
        }
        Ok(intent)
    }
}

/// Nothing is to change.
pub(super) fn unchanged(intent: &Arc<VmIntent>) -> Decided {
    Decided {
        changes: Vec::new(),
        outcome: Outcome::Vm { intent: Arc::clone(intent), changed: false },
    }
}

/// The next generation of an intent, changed by this caller.
pub(super) fn next(old: &VmIntent, caller: &Caller) -> VmIntent {
    let mut new = old.clone();
    new.generation = old.generation.next();
    new.updated_at = caller.at;
    new.traceparent.clone_from(&caller.trace);
    new.actor = caller.actor.to_string();
    new
}
