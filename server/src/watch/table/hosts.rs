//! Hosts in the table: their VMs, their health, and what their agents report.
//!
//! An inventory counts only when it is complete: until then no VM of the host becomes absent. A VM
//! that an agent holds and no intent knows is listed as unclaimed and never touched.

use super::{
    Arc, BTreeMap, BTreeSet, Effects, HostHealth, HostId, HostRecord, HostSnapshot, HostState,
    HostView, Observation, ObservedVm, Resources, Standing, Thing, Timestamp, UnknownWhy,
    ViewTable, VmId, VmRecord, Watched, needs_the_server,
};
use banger_proto::ids::Revision;

use crate::model::audience::Audiences;
use crate::model::host::{CertificateSeen, HostFacts};
use crate::watch::ring::Event;

/// Hosts are the fleet's.
fn who_sees_hosts() -> Audiences {
    Audiences::of(|audience| audience.sees_hosts)
}

#[derive(Debug)]
pub(in crate::watch) struct HostEntry {
    pub(in crate::watch) view: Arc<HostView>,
    /// VMs placed here.
    pub(in crate::watch) vms: BTreeSet<VmId>,
    /// Those of them for which the server has something to do.
    pub(in crate::watch) unsettled: BTreeSet<VmId>,
    /// VMs the agent holds and no intent knows.
    pub(in crate::watch) unclaimed: BTreeMap<VmId, Box<ObservedVm>>,
    /// What its agent shows, and how the renewal of that goes.
    pub(in crate::watch) certificate: Option<Arc<CertificateSeen>>,
    /// What the VMs placed here may use.
    pub(in crate::watch) booked: Resources,
}

fn snapshot_of(entry: &HostEntry, revision: Revision, added: Revision) -> HostSnapshot {
    HostSnapshot {
        view: Arc::clone(&entry.view),
        vm_count: entry.vms.len(),
        booked: entry.booked,
        unclaimed: entry.unclaimed.keys().copied().collect(),
        certificate: entry.certificate.clone(),
        revision,
        added,
    }
}

impl ViewTable {
    pub(in crate::watch) fn hosts(&self) -> impl Iterator<Item = &HostEntry> {
        self.hosts.values()
    }

    pub(in crate::watch) fn host(&self, host: HostId) -> Option<&HostEntry> {
        self.hosts.get(&host)
    }

    /// The records of the VMs for which the server has something to do on this host.
    pub(in crate::watch) fn unsettled(&self, host: HostId) -> Vec<Arc<VmRecord>> {
        self.hosts.get(&host).map_or_else(Vec::new, |entry| self.records(&entry.unsettled))
    }

    /// The records of all VMs placed on this host.
    pub(in crate::watch) fn placed_on(&self, host: HostId) -> Vec<Arc<VmRecord>> {
        self.hosts.get(&host).map_or_else(Vec::new, |entry| self.records(&entry.vms))
    }

    fn records(&self, ids: &BTreeSet<VmId>) -> Vec<Arc<VmRecord>> {
        ids.iter().filter_map(|id| self.vms.get(id).cloned()).collect()
    }

    /// A host has joined or its record has changed.
    pub(in crate::watch) fn put_host(
        &mut self,
        record: &Arc<HostRecord>,
        now: Timestamp,
        out: &mut Effects,
    ) {
        match self.hosts.get_mut(&record.id) {
            Some(entry) => {
                let mut view = HostView::clone(&entry.view);
                let renamed = view.record.name != record.name;
                let was_revoked = view.record.revoked.is_some();
                view.record = Arc::clone(record);
                let unknown = match (&record.revoked, was_revoked) {
                    (Some(by), false) => {
                        view.health = HostHealth::revoked(record, by, view.health.last_seen);
                        Some(UnknownWhy::HostRevoked)
                    }
                    (None, true) => {
                        view.health = HostHealth::connecting(now);
                        Some(UnknownWhy::HostNotYetSeen)
                    }
                    (Some(_), true) | (None, false) => None,
                };
                entry.view = Arc::new(view);
                match unknown {
                    Some(why) => self.nothing_known(record.id, why, now, out),
                    None if renamed => self.refresh(record.id, out),
                    None => {}
                }
            }
            None => {
                let health = match &record.revoked {
                    Some(by) => HostHealth::revoked(record, by, None),
                    None => HostHealth::connecting(now),
                };
                let view = HostView { record: Arc::clone(record), health, facts: None };
                self.hosts.insert(
                    record.id,
                    HostEntry {
                        view: Arc::new(view),
                        vms: BTreeSet::new(),
                        unsettled: BTreeSet::new(),
                        unclaimed: BTreeMap::new(),
                        certificate: None,
                        booked: Resources::default(),
                    },
                );
            }
        }
        Self::host_changed(record.id, out);
        out.records_changed = true;
        out.wake_placement = true;
    }

    /// A host is gone. The store has made sure that it holds no VMs.
    pub(in crate::watch) fn remove_host(&mut self, host: HostId, out: &mut Effects) {
        if self.hosts.remove(&host).is_none() {
            return;
        }
        out.hosts_changed = true;
        out.records_changed = true;
        out.changed_hosts.remove(&host);
        let Some(last) = self.shown_hosts.remove(&host) else { return };
        self.by_revision.remove(&last.revision);
        self.revision = self.revision.next();
        let gone = HostSnapshot { revision: self.revision, ..HostSnapshot::clone(&last) };
        let after = Watched::Host(Arc::new(gone));
        self.bury(after.clone());
        let before = Some(Watched::Host(last));
        out.events.push(Event { after, before, gone: true, seen_by: who_sees_hosts() });
    }

    /// The session judges the host otherwise than before. Leaving `ONLINE` makes everything on the
    /// host unknown; becoming `ONLINE` is for [`ViewTable::inventory`] to say.
    pub(in crate::watch) fn set_health(
        &mut self,
        host: HostId,
        health: HostHealth,
        now: Timestamp,
        out: &mut Effects,
    ) {
        let Some(entry) = self.heard(host) else { return };
        if entry.view.health == health {
            return;
        }
        let before = entry.view.health.state;
        let state = health.state;
        let mut view = HostView::clone(&entry.view);
        view.health = health;
        entry.view = Arc::new(view);
        Self::host_changed(host, out);
        if before == state {
            return;
        }
        out.wake_placement = true;
        let why = match state {
            HostState::Online => return self.refresh(host, out),
            HostState::Connecting => UnknownWhy::HostNotYetSeen,
            HostState::Suspect | HostState::Offline => UnknownWhy::HostUnreachable,
            HostState::Revoked => UnknownWhy::HostRevoked,
        };
        self.nothing_known(host, why, now, out);
    }

    fn nothing_known(&mut self, host: HostId, why: UnknownWhy, now: Timestamp, out: &mut Effects) {
        for id in self.vms_of(host) {
            self.observe(id, out, |before| match before {
                Observation::Unknown { since, .. } => Observation::Unknown { since: *since, why },
                Observation::Absent | Observation::Present(_) => {
                    Observation::Unknown { since: now, why }
                }
            });
        }
    }

    /// The entry of a host that may be heard: of one that was shut out nothing is taken, though its
    /// session may have something in hand.
    fn heard(&mut self, host: HostId) -> Option<&mut HostEntry> {
        self.hosts.get_mut(&host).filter(|entry| entry.view.record.revoked.is_none())
    }

    /// A session has begun and says what is true of the host; its inventory is still to come.
    pub(in crate::watch) fn set_facts(
        &mut self,
        host: HostId,
        facts: Arc<HostFacts>,
        out: &mut Effects,
    ) {
        let Some(entry) = self.hosts.get_mut(&host) else { return };
        if entry.view.facts.as_ref() == Some(&facts) {
            return;
        }
        let mut view = HostView::clone(&entry.view);
        view.facts = Some(facts);
        entry.view = Arc::new(view);
        Self::host_changed(host, out);
        out.wake_placement = true;
    }

    /// The certificate of a host's agent is seen, or its renewal goes otherwise than before.
    pub(in crate::watch) fn set_certificate(
        &mut self,
        host: HostId,
        seen: CertificateSeen,
        out: &mut Effects,
    ) {
        let Some(entry) = self.hosts.get_mut(&host) else { return };
        if entry.certificate.as_deref() != Some(&seen) {
            entry.certificate = Some(Arc::new(seen));
            Self::host_changed(host, out);
        }
    }

    /// The complete inventory of a host: what it does not list is absent, and the host is online.
    pub(in crate::watch) fn inventory(
        &mut self,
        host: HostId,
        mut listed: BTreeMap<VmId, Box<ObservedVm>>,
        health: HostHealth,
        out: &mut Effects,
    ) {
        let Some(entry) = self.heard(host) else { return };
        let came_online = !entry.view.health.state.is_online();
        let mut view = HostView::clone(&entry.view);
        view.health = health;
        entry.view = Arc::new(view);
        for id in self.vms_of(host) {
            let seen = match listed.remove(&id) {
                Some(vm) => Observation::Present(vm),
                None => Observation::Absent,
            };
            self.observe(id, out, |_| seen);
        }
        if let Some(entry) = self.hosts.get_mut(&host) {
            entry.unclaimed = listed;
        }
        Self::host_changed(host, out);
        out.wake.insert(host);
        out.wake_placement |= came_online;
    }

    /// The agent reports one VM.
    pub(in crate::watch) fn seen(
        &mut self,
        host: HostId,
        id: VmId,
        vm: Box<ObservedVm>,
        out: &mut Effects,
    ) {
        let Some(entry) = self.heard(host) else { return };
        if entry.vms.contains(&id) {
            self.observe(id, out, |_| Observation::Present(vm));
        } else if entry.unclaimed.insert(id, vm).is_none() {
            Self::host_changed(host, out);
        }
    }

    /// The agent confirms that it holds nothing of a VM any more.
    pub(in crate::watch) fn gone(&mut self, host: HostId, id: VmId, out: &mut Effects) {
        let Some(entry) = self.heard(host) else { return };
        if entry.vms.contains(&id) {
            self.observe(id, out, |_| Observation::Absent);
        } else if entry.unclaimed.remove(&id).is_some() {
            Self::host_changed(host, out);
        }
    }

    // === inside ===

    fn vms_of(&self, host: HostId) -> Vec<VmId> {
        self.hosts.get(&host).map_or_else(Vec::new, |entry| entry.vms.iter().copied().collect())
    }

    /// Computes every VM of a host again, with what is known of it.
    fn refresh(&mut self, host: HostId, out: &mut Effects) {
        for id in self.vms_of(host) {
            self.observe(id, out, Observation::clone);
        }
    }

    fn observe(
        &mut self,
        id: VmId,
        out: &mut Effects,
        observation: impl FnOnce(&Observation) -> Observation,
    ) {
        let Some(before) = self.vms.get(&id).cloned() else { return };
        let seen = observation(&before.observation);
        let (intent, trouble) = (Arc::clone(&before.intent), before.trouble.clone());
        self.put(intent, seen, trouble, Some(before), out);
    }

    fn host_changed(host: HostId, out: &mut Effects) {
        out.hosts_changed = true;
        out.changed_hosts.insert(host);
    }

    /// A host as streams are told of it; with what its agent has said since.
    pub(in crate::watch) fn host_now(&self, host: HostId) -> Option<HostSnapshot> {
        let entry = self.hosts.get(&host)?;
        let shown = self.shown_hosts.get(&host);
        let (revision, added) = shown.map_or_else(Default::default, |h| (h.revision, h.added));
        Some(snapshot_of(entry, revision, added))
    }

    /// Ends a change: those hosts that are to be shown otherwise than before get a revision each,
    /// after the VMs that changed them.
    pub(super) fn show_hosts(&mut self, out: &mut Effects) {
        for id in std::mem::take(&mut out.changed_hosts) {
            let Some(entry) = self.hosts.get(&id) else { continue };
            let next = self.revision.next();
            let before = self.shown_hosts.get(&id).cloned();
            let added = match &before {
                Some(before) => before.added,
                None => self.came(Thing::Host(id), next),
            };
            let now = snapshot_of(entry, next, added);
            if let Some(before) = &before {
                if now.shows_the_same_as(before) {
                    continue;
                }
                self.by_revision.remove(&before.revision);
            }
            self.revision = next;
            self.by_revision.insert(next, Standing::Living(Thing::Host(id)));
            let now = Arc::new(now);
            self.shown_hosts.insert(id, Arc::clone(&now));
            let (after, before) = (Watched::Host(now), before.map(Watched::Host));
            out.events.push(Event { after, before, gone: false, seen_by: who_sees_hosts() });
        }
    }

    /// Keeps the indexes of a host right for a VM on it.
    pub(super) fn join_host(
        &mut self,
        host: HostId,
        before: Option<&VmRecord>,
        record: &VmRecord,
        out: &mut Effects,
    ) {
        let epoch = self.epoch;
        let Some(entry) = self.hosts.get_mut(&host) else { return };
        let id = record.id();
        let was = before
            .filter(|before| before.intent.host == Some(host))
            .map(|before| before.intent.spec.resources());
        let is = record.intent.spec.resources();
        let joined = entry.vms.insert(id);
        if joined || was != Some(is) {
            entry.booked = entry.booked.minus(was.unwrap_or_default()).plus(is);
            Self::host_changed(host, out);
        }
        let Some(entry) = self.hosts.get_mut(&host) else { return };
        if needs_the_server(&record.intent, &record.observation, epoch) {
            entry.unsettled.insert(id);
            out.wake.insert(host);
        } else {
            entry.unsettled.remove(&id);
        }
    }

    pub(super) fn leave_host(&mut self, host: HostId, last: &VmRecord, out: &mut Effects) {
        let Some(entry) = self.hosts.get_mut(&host) else { return };
        entry.unsettled.remove(&last.id());
        if entry.vms.remove(&last.id()) {
            entry.booked = entry.booked.minus(last.intent.spec.resources());
            Self::host_changed(host, out);
        }
    }
}
